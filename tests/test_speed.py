"""Timing: what is counted, in turn, told and refused; how long anything takes is never tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import qformat as command
from hypothesis import given
from hypothesis import strategies as st

import qformat
from qformat.errors import QFormatError
from qformat.evaluate import runners
from qformat.evaluate.speed import Spread, Timed, speed, take_turns
from qformat.model import open_model
from qformat.model.generate import generate

VILLAGE = Path(__file__).parents[1] / "samples" / "village"


class Recorder:
    """A runner that only writes down what it is asked."""

    weight_bytes, vocabulary, context = 1, 100, 0

    def __init__(self, name, log, stop_after=None):
        self.name, self.log, self.left = name, log, stop_after

    def begin(self):
        self.log.append((self.name, "begin"))

    def read(self, ids):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        self.log.append((self.name, len(ids)))
        return 7

    def close(self):
        pass


def test_all_take_turns_and_the_first_round_does_not_count():
    log = []
    timed = [Timed("a", "ours", 1, 5, 6), Timed("b", "ours", 1, 5, 6)]
    take_turns([Recorder("a", log), Recorder("b", log)], timed, 2, None)
    rounds = [name for name, what in log if what == "begin"]
    assert rounds == ["a", "b"] * 3
    assert [what for name, what in log if name == "a"][-7:] == ["begin", 5, 1, 1, 1, 1, 1]
    assert [len(t.prompt_seconds) for t in timed] == [len(t.new_seconds) for t in timed] == [2, 2]


@given(st.integers(0, 40))
def test_ctrl_c_leaves_whole_rounds_only(reads):
    timed = [Timed("a", "ours", 1, 5, 3), Timed("b", "ours", 1, 5, 3)]
    try:
        take_turns([Recorder("a", []), Recorder("b", [], reads)], timed, 3, None)
    except KeyboardInterrupt:
        assert reads < 7  # the warm-up takes four reads, each round three
    assert {len(t.new_seconds) for t in timed} == {min(3, max(0, (reads - 4) // 3))}


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_figures_are_of_the_rounds(seconds):
    timed = Timed("a", "ours", 1, 10, 5, seconds, [2 * s for s in seconds])
    spread = timed.prefill
    assert spread.low <= spread.median <= spread.high
    assert spread.high == pytest.approx(10 / min(seconds))
    assert timed.decode.low == pytest.approx(4 / (2 * max(seconds)))
    assert timed.times(timed) == Spread(1, 1, 1)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("speed") / "q4.gguf"
    qformat.convert(VILLAGE, path, "q4_0", to="gguf")
    return path


def test_ours_makes_the_tokens_of_generate(packed):
    prompt = [5, 7, 11, 13]
    one = runners.runner("ours", qformat.open(packed), room=12, dtype="f32", threads=1)
    for _ in range(2):
        one.begin()
        made = [one.read(prompt)]
        made += [one.read([made[-1]]) for _ in range(1)] + [one.read([9])]
        assert made[:2] == list(generate(open_model(packed), prompt, max_new=2))
    assert 0 < one.weight_bytes < sum(i.elements for i in qformat.open(packed).tensors.values()) * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": ["gpu"]}, "no engine 'gpu'"),
        ({"new": 1}, "nothing to time"),
        ({"prompt": 600}, "more than the model's context of 512"),
        ({"dtype": "f8"}, "'f8'"),
    ],
)
def test_what_cannot_be_timed_is_refused(options, message):
    with pytest.raises(QFormatError, match=message):
        speed([VILLAGE], **options)


def test_without_llama_cpp_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(QFormatError, match="pip install llama-cpp-python"):
        speed([VILLAGE], ["llama.cpp"])


def test_the_command(packed):
    args = ("bench", packed, VILLAGE, "--prompt-tokens", 8, "--new-tokens", 3, "--repeats", 2)
    found = json.loads(command(*args, "--json").stdout)
    assert (found["schema"], found["complete"], found["repeats"]) == (1, True, 2)
    small, whole = found["results"]
    assert small["weight_bytes"] < whole["weight_bytes"]
    assert small["decode_ratio"] == {"median": 1, "low": 1, "high": 1}
    assert [len(r["rounds"]) for r in found["results"]] == [2, 2]
    assert found["peak_bytes"] > small["weight_bytes"] + whole["weight_bytes"]
    shown = command(*args).stdout
    assert "8 tokens read and 3 made in each of 2 rounds" in shown
