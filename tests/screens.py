"""Driving the TUI: what is on screen as text, waiting for workers instead of sleeping."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from qformat.tui.app import QFormatApp
from qformat.tui.recent import Recent, Settings


def app_of(tmp_path: Path, *files: Path, **options) -> QFormatApp:
    """The program with a list of recent files of its own."""
    recent = Recent(tmp_path / "state" / "recent.json")
    return QFormatApp(files, recent=recent, settings=options.pop("settings", Settings()), **options)


async def settled(pilot: Pilot) -> None:
    """Everything that was asked for has been computed and painted; a result may ask for more."""
    for _ in range(3):
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def write(pilot: Pilot, text: str) -> None:
    names = {" ": "space", "*": "asterisk", ".": "full_stop", "_": "underscore", "/": "slash", "-": "minus"}
    await pilot.press(*(names.get(c, c) for c in text))
    await settled(pilot)


def seen(app: QFormatApp) -> str:
    """The screen as lines of text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def part(app: QFormatApp, selector: str) -> str:
    """What one widget shows, as words with one space between them."""
    x, y, width, height = app.screen.query_one(selector).region
    lines = seen(app).splitlines()[y : y + height]
    return " ".join(" ".join(line[x : x + width] for line in lines).split())
