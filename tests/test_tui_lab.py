"""The Lab: bits flipped, a value dragged, sizes measured, and the command line's own numbers."""

from __future__ import annotations

import pytest
from conftest import save_bf16, weights
from screens import app_of, press, seen, settled, write

import qformat
from qformat.inspect.lab.facts import format_rows
from qformat.inspect.lab.mapping import SPECS, block_values, mapped
from qformat.inspect.lab.number import number
from qformat.inspect.lab.sizes import size_points
from qformat.tui import launch
from qformat.tui.app import QFormatApp
from qformat.tui.screens.lab import Lab
from qformat.tui.widgets.bit_editor import BitEditor
from qformat.tui.widgets.number_line import NumberLine
from qformat.tui.widgets.sizes import Sizes


@pytest.fixture
def plain(tmp_path):
    return save_bf16({"w": weights(3, (8, 160))}, tmp_path / "plain.safetensors")


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_bits_are_flipped_by_key_and_mouse(plain, tmp_path, size):
    app = app_of(tmp_path, plain)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await press(pilot, "l")
        lab = app.screen
        assert isinstance(lab, Lab)
        editor = lab.query_one(BitEditor)
        first = editor.number
        values = block_values(qformat.open(plain), qformat.open(plain).tensors["w"], 0, 32)
        assert first.value == abs(values).max() or first.value == -abs(values).max()
        assert all(row[2] in seen(app) for row in format_rows(first.value))
        await press(pilot, "end", "space")
        assert editor.number == first.flipped(0)
        x = next(x for bit, _, x in editor._places() if bit == 15)
        await pilot.click(BitEditor, offset=(x, 2))
        await settled(pilot)
        assert editor.number == first.flipped(0).flipped(15)
        await press(pilot, "up")
        assert editor.number == first.flipped(0).flipped(15).above
        await press(pilot, "e")
        await write(pilot, "0.1")
        await press(pilot, "enter")
        assert editor.number == number("0.1", "bf16")
        await press(pilot, "f")
        assert editor.number == number("0.1", "e4m3")


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_an_outlier_is_dragged_and_put_back(plain, tmp_path, size):
    app = app_of(tmp_path, plain)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await press(pilot, "l", "m")
        lab, line = app.screen, app.screen.query_one(NumberLine)
        assert list(line.mapped) == mapped(lab.given, SPECS)
        before = lab.values.copy()
        await press(pilot, "shift+up", "up")
        assert lab.values[lab.at] > before[lab.at]
        assert list(line.mapped) == mapped(lab.values, SPECS)
        assert all(f"{m.figures.rmse:.4f}" in seen(app) for m in line.mapped)
        assert "→" in seen(app)
        await press(pilot, "r")
        assert (lab.values == before).all()
        assert list(line.mapped) == mapped(before, SPECS)
        await pilot.mouse_down(NumberLine, offset=(40, 1))
        await pilot.hover(NumberLine, offset=(60, 1))
        await pilot.mouse_up(NumberLine, offset=(60, 1))
        await settled(pilot)
        assert (lab.values != before).sum() == 1


async def test_sizes_are_what_the_command_prints(plain, tmp_path):
    app = app_of(tmp_path, plain)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "l", "z")
        checkpoint = qformat.open(plain)
        assert list(app.screen.query_one(Sizes).points) == list(
            size_points(checkpoint, checkpoint.tensors["w"], "asym4")
        )
        assert "bits per weight" in seen(app)
        await press(pilot, "escape")
        assert not isinstance(app.screen, Lab)


async def test_sizes_that_arrive_before_the_plot_is_there_are_all_drawn(plain, tmp_path):
    app = app_of(tmp_path, plain)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await press(pilot, "l")
        checkpoint = qformat.open(plain)
        points = list(size_points(checkpoint, checkpoint.tensors["w"], "asym4"))
        sizes = app.screen.query_one(Sizes)
        app.screen.query_one("#lab-bits").display, sizes.display = False, True
        for count in range(1, len(points) + 1):
            sizes.show(points[:count], "asym4")
        await settled(pilot)
        assert sizes.plot is not None
        assert list(sizes.plot._datasets[0].x) == [p.bpw for p in points]
        assert "bits per weight" in seen(app)
        sizes.show(points[:1], "sym4")
        await settled(pilot)
        assert not sizes.plot.display


def test_a_program_that_falls_over_has_an_exit_status(monkeypatch):
    monkeypatch.setattr(QFormatApp, "run", lambda app: setattr(app, "_return_code", 1))
    with pytest.raises(SystemExit) as left:
        launch.run([])
    launch.awaken()
    assert left.value.code == 1
