"""The Compare screen: the command line's figures, worst first, and the block that differs most."""

from __future__ import annotations

from pathlib import Path

import pytest
from screens import app_of, press, seen, settled

import qformat
from qformat.convert.diff import paired
from qformat.convert.diff_blocks import worst_blocks
from qformat.tui.screens.block import BlockScreen
from qformat.tui.screens.compare import Compare

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
