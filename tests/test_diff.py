"""Two checkpoints side by side: names matched, rows as they arrive, the blocks that differ most."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import save_bf16, weights

import qformat
from qformat.blocks.tiles import Tile
from qformat.cli.diff_command import diff as command
from qformat.convert.diff import compared, paired, worst_first
from qformat.convert.diff_blocks import worst_blocks
from qformat.convert.recipe import Rule
from qformat.errors import QFormatError
from qformat.views.source import tensor_source

MODEL = Path(__file__).parents[1] / "samples" / "village"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    target = tmp_path_factory.mktemp("diff") / "q4.gguf"
    qformat.convert(MODEL, target, "q4_0", to="gguf")
    return target


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    plain = save_bf16({"w": weights(1, (40, 172)), "same": weights(2, (3,))}, folder / "plain.safetensors")
    qformat.convert(plain, folder / "box.safetensors", rules=[Rule("w", "sym4")])
    return qformat.open(plain), qformat.open(folder / "box.safetensors")


def test_names_are_matched_across_conventions(gguf, tmp_path):
    back = tmp_path / "back"
    qformat.convert(gguf, back, to="safetensors")
    one, other, direct = qformat.diff(MODEL, gguf), qformat.diff(gguf, MODEL), qformat.diff(MODEL, back)
    assert not any(r.note for r in (*one.rows, *other.rows))
    assert len(one.rows) == len(other.rows) == len(direct.rows)
    assert {r.name for r in one.rows} == set(qformat.open(gguf).tensors)
    assert {r.name for r in other.rows} == set(qformat.open(MODEL).tensors)
    wanted = sorted(r.figures.rmse for r in direct.rows)
    assert [r.figures.rmse for r in reversed(one.rows)] == pytest.approx(wanted)
    assert one.total.max == pytest.approx(other.total.max)


def test_rows_arrive_one_by_one_and_are_those_of_the_whole(pair):
    told = []
    rows = compared(*pair, progress=lambda n, name: told.append((n, name)))
    first = next(rows)[0]
    assert {name for _, name in told} == {first.name}
    found = [first, *(row for row, _ in rows)]
    assert worst_first(found) == list(qformat.diff(*pair).rows)
    assert sum(n for n, _ in told) == sum(i.nbytes for c in pair for i in c.tensors.values())


def test_progress_that_raises_ends_the_work(tmp_path):
    big = qformat.open(save_bf16({"w": weights(4, (2100, 1024))}, tmp_path / "big.safetensors"))
    seen = []

    def stop(done, _name):
        seen.append(done)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        next(compared(big, big, progress=stop))
    assert len(seen) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_the_worst_blocks_are_those_that_numpy_finds(pair, turned):
    left, right = reversed(pair) if turned else pair
    v, d = (
        np.asarray(tensor_source(c, c.tensors["w"]).region(Tile(0, 40, 0, 172)), np.float64)
        for c in (left, right)
    )
    wanted = []
    for row in range(40):
        for i, at in enumerate(range(0, 172, 32)):
            part = slice(at, at + 32)
            e = v[row, part] - d[row, part]
            wanted.append(
                (
                    np.sqrt(np.mean(e**2)),
                    row * 6 + i,
                    row,
                    at,
                    np.linalg.norm(e) / np.linalg.norm(v[row, part]),
                )
            )
    wanted.sort(key=lambda w: (-w[0], w[1]))
    found = worst_blocks(left, right, "w", 300)
    assert [b.index for b in found] == [w[1] for w in wanted]
    assert [(b.row, b.first) for b in found] == [(w[2], w[3]) for w in wanted]
    assert [b.rmse for b in found] == pytest.approx([w[0] for w in wanted])
    assert [b.relative_rmse for b in found] == pytest.approx([w[4] for w in wanted])
    assert worst_blocks(left, right, "w", 7) == found[:7]


def test_blocks_of_many_parts(tmp_path):
    values = weights(5, (1300, 1024))
    one = qformat.open(save_bf16({"w": values}, tmp_path / "one.safetensors"))
    changed = values.copy()
    changed[1111, 70] += 9
    other = qformat.open(save_bf16({"w": changed}, tmp_path / "other.safetensors"))
    checks = []
    found = worst_blocks(one, other, "w", 3, check=lambda: checks.append(1))
    assert (found[0].row, found[0].first, found[0].index) == (1111, 64, 1111 * 32 + 2)
    assert found[1].rmse == 0
    assert len(checks) > 1


def test_blocks_that_cannot_be_compared(pair, tmp_path):
    other = qformat.open(
        save_bf16({"w": weights(1, (4, 4)), "x": weights(1, (4,))}, tmp_path / "o.safetensors")
    )
    for name, what in (("w", "shapes are"), ("x", "only on the right"), ("same", "only on the left")):
        with pytest.raises(QFormatError, match=what):
            worst_blocks(pair[0], other, name)


def test_blocks_on_the_command_line(pair):
    args = [str(pair[0].path), str(pair[1].path), "--tensor", "w", "--limit", "4"]
    out = json.loads(CliRunner().invoke(command, [*args, "--json"]).output)
    assert out["blocks"] == [b.to_json() for b in worst_blocks(*paired(*pair), "w", 4)]
    assert "columns" in CliRunner().invoke(command, args).output
