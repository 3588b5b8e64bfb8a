"""Timing in llama.cpp: it is llama.cpp that runs, and it makes the tokens that this program makes."""

from __future__ import annotations

from pathlib import Path

import pytest

import qformat
from qformat.errors import QFormatError
from qformat.evaluate.runners import runner
from qformat.evaluate.speed import speed
from qformat.evaluate.sweep import sweep

VILLAGE = Path(__file__).parents[2] / "samples" / "village"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("speed") / "wide.gguf"
    qformat.convert(VILLAGE, path, "f32", to="gguf")
    return path


def test_both_engines_make_the_same_tokens(wide):
    made = []
    for engine in ("ours", "llama.cpp"):
        one = runner(engine, qformat.open(wide), room=64, dtype="f32", threads=2)
        for _ in range(2):  # the second time from the start
            one.begin()
            tokens = [one.read([5, 7, 11, 13])]
            for _ in range(20):
                tokens.append(one.read([tokens[-1]]))
        made.append(tokens)
        one.close()
    assert made[0] == made[1]


def test_both_are_timed(wide):
    found = speed([wide], ["ours", "llama.cpp"], prompt=8, new=3, repeats=2)
    assert [t.engine for t in found.timed] == ["ours", "llama.cpp"]
    assert all(len(t.new_seconds) == 2 for t in found.timed)
    assert found.to_json()["versions"]["llama-cpp-python"]


def test_llama_cpp_reads_ggufs_only():
    with pytest.raises(QFormatError, match="GGUF files only"):
        speed([VILLAGE], ["llama.cpp"])


def test_a_sweep_times_its_ggufs(tmp_path):
    text = VILLAGE.parent / "heldout.txt"
    found = sweep(VILLAGE, ["q4_0", "sym4"], text=text, limit=2, speed="llama.cpp", folder=tmp_path)
    original, gguf, container = found.rows
    assert original.speed.times.median == 1
    assert gguf.speed.tokens.low > 0
    assert container.speed is None
