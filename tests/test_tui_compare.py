"""The Compare screen: the command line's figures, worst first, and the block that differs most."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path

import pytest
from screens import app_of, press, seen, settled

import qformat
from qformat.convert.diff import paired
from qformat.convert.diff_blocks import worst_blocks
from qformat.inspect.block import block_tile, block_view
from qformat.inspect.values import values
from qformat.tui.screens.block import BlockScreen
from qformat.tui.screens.browser import Browser
from qformat.tui.screens.compare import Compare
from qformat.tui.workers import Job

SAMPLE = Path(__file__).parents[1] / "samples" / "village"


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_a_gguf_and_the_model_it_was_made_of(tmp_path, size):
    target = tmp_path / "q4.gguf"
    qformat.convert(SAMPLE, target, "q4_0", to="gguf")
    app = app_of(tmp_path, target)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        app.original = qformat.open(SAMPLE)
        await press(pilot, "c")
        screen = app.screen
        assert isinstance(screen, Compare)
        wanted = qformat.diff(SAMPLE, target)
        assert [r.name for r in screen.rows] == [r.name for r in wanted.rows]
        text = seen(app)
        assert f"relative RMSE {wanted.total.rmse:.4f}" in text
        assert all(f"{r.figures.rmse:.4f}" in text for r in wanted.rows[:15])
        name = screen.rows[0].name
        await press(pilot, "enter")
        assert isinstance(app.screen, BlockScreen)
        pair = paired(qformat.open(SAMPLE), qformat.open(target))
        assert app.screen.index == worst_blocks(*pair, name, 1)[0].index
        await press(pilot, "escape", "escape")
        assert not isinstance(app.screen, Compare)


@pytest.mark.parametrize("kind", ["k_proj", "down_proj"])
async def test_blocks_of_the_left_file_alone_are_taken_apart_where_they_lie(tmp_path, kind):
    """GGUF stores the rows of k in another order than Hugging Face: the block is found all the same."""
    source = tmp_path / "q4.gguf"
    qformat.convert(SAMPLE, source, "q4_0", to="gguf")
    app = app_of(tmp_path, SAMPLE)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        left, right = qformat.open(source), qformat.open(SAMPLE)
        await app.push_screen(Compare(right, left))
        await settled(pilot)
        row = next(i for i, r in enumerate(app.screen.rows) if kind in r.name)
        name = app.screen.rows[row].name
        await press(pilot, *["down"] * row, "enter")
        assert isinstance(app.screen, BlockScreen)
        assert app.screen.checkpoint is left
        assert app.screen.info.name.startswith("blk.")
        seen_left, _ = paired(left, right)
        worst = worst_blocks(seen_left, right, name, 1)[0]
        wanted = block_view(seen_left, seen_left.tensors[name], worst.index)
        assert app.screen.view.values == wanted.values
        assert app.screen.view.stored[0].data == wanted.stored[0].data
        tile = block_tile(seen_left.tensors[name], worst.index)
        beside = values(right, right.tensors[name], tile).reshape(-1)
        assert all(f"{float(v):.7g}" in seen(app) for v in beside[:20])


async def test_escape_stops_comparing_and_keeps_the_rows(tmp_path, monkeypatch):
    target = tmp_path / "sym4.safetensors"
    qformat.convert(SAMPLE, target, "sym4")
    reached, go_on, progress = threading.Event(), threading.Event(), Job.progress

    def halting(job, done, at=""):
        progress(job, done, at)
        if at.startswith("model.layers.1"):
            reached.set()
            assert go_on.wait(60)

    monkeypatch.setattr(Job, "progress", halting)
    app = app_of(tmp_path, target, clock=itertools.count().__next__)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        app.original = qformat.open(SAMPLE)
        await pilot.press("c")
        assert await asyncio.to_thread(reached.wait, 60)
        await pilot.press("escape")
        go_on.set()
        await settled(pilot)
        page = app.screen
        assert isinstance(page, Compare)
        assert "stopped at" in seen(app)
        assert 0 < len(page.rows) < len(page.right.tensors)
        assert not any(r.name.startswith("model.layers.2") for r in page.rows)
        await press(pilot, "escape")
        assert isinstance(app.screen, Browser)
