"""Make docs/tui.md's tables of keys from the action registry, and its pictures from the program.

Run: ``python docs/make_tui.py``; with ``--check`` it only says whether the tables are up to date.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tui.md"
MARKS = "<!-- keys -->\n", "<!-- end -->"
SAMPLE, BOX = Path("samples/village"), Path("build/demo/village-asym4.safetensors")
SIZE = (116, 36)
# Each picture: the keys that lead to it from the picture before.
STEPS: Sequence[tuple[str, Sequence[str]]] = (
    ("browser", ("down", "down")),
    ("map", ("enter", "m", "e", "e", "down", "down", "right")),
    ("block", ("enter", "full_stop")),
    ("lab", ("l", "m", *["up"] * 24)),
)


def tables() -> str:
    """A table of keys for each kind of screen, those that work everywhere first."""
    from qformat.tui.actions import ACTIONS, key_name, of_scope

    parts = []
    for scope in dict.fromkeys(a.scope for a in ACTIONS):
        title = "everywhere" if scope == "app" else scope
        rows = [
            f"| {' '.join(f'`{key_name(k)}`' for k in a.keys.split(','))} | {a.title} | {a.help} | `{a.id}` |"
            for a in of_scope(scope)
        ]
        head = (
            f"### {title.capitalize()}\n\n| key | | what it does | name in `tui.toml` |\n|---|---|---|---|\n"
        )
        parts.append(head + "\n".join(rows) + "\n")
    return "\n" + "\n".join(parts) + "\n"


def page() -> str:
    """docs/tui.md as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    return f"{before}{MARKS[0]}{tables()}{MARKS[1]}{rest.partition(MARKS[1])[2]}"


async def pictures() -> None:
    from qformat.tui.app import QFormatApp
    from qformat.tui.recent import Recent, Settings

    with tempfile.TemporaryDirectory() as folder:
        recent = Recent(Path(folder) / "recent.json")
        app = QFormatApp([BOX], original=SAMPLE, recent=recent, settings=Settings())
        async with app.run_test(size=SIZE) as pilot:
            for name, keys in STEPS:
                for key in ("", *keys):
                    if key:
                        await pilot.press(key)
                    for _ in range(3):
                        await pilot.pause()
                        await app.workers.wait_for_complete()
                    await pilot.pause()
                (ROOT / "docs" / f"tui-{name}.svg").write_text(app.export_screenshot(title="qformat tui"))


def main() -> None:
    os.chdir(ROOT)
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if text == PAGE.read_text(encoding="utf-8") else "run python docs/make_tui.py")
    PAGE.write_text(text, encoding="utf-8")
    if not BOX.exists():
        import qformat

        BOX.parent.mkdir(parents=True, exist_ok=True)
        qformat.convert(SAMPLE, BOX, "asym4")
    asyncio.run(pictures())


if __name__ == "__main__":
    main()
