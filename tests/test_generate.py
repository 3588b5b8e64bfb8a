"""Token by token gives what the whole sequence at once gives; sampling keeps what it says it keeps."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tokens, write_folder

from qformat.errors import QFormatError
from qformat.model import open_model
from qformat.model.generate import Session, ample, generate
from qformat.model.sampling import Sampling

VILLAGE = Path(__file__).parents[1] / "samples" / "village"


@pytest.fixture(scope="module")
def village():
    return open_model(VILLAGE)


# One of each kind of attention, positions and feed-forward part.
KINDS = ("gemma3", "gpt2", "mixtral", "phi2", "phi3_long", "qwen35", "smollm3")


@pytest.mark.parametrize("case", KINDS)
def test_fed_in_parts_is_read_at_once(case, tmp_path):
    model, ids = open_model(write_folder(case, tmp_path / "model")), tokens(case)
    wanted = np.asarray(model.logits(ids[None]))[0]
    session = Session(model, len(ids))
    end = 0
    for count in (70, 1, 1, 48):  # across ends of windows, original contexts and runs of the delta rule
        end += count
        found = session.feed(ids[end - count : end])
        assert np.abs(found - wanted[end - 1]).max() < 2e-4 * wanted.std(), end


def test_greedy_takes_the_likeliest_of_the_whole_sequence(village):
    prompt = [5, 900, 31, 7]
    made = list(generate(village, prompt, max_new=20))
    logits = np.asarray(village.logits([prompt + made[:-1]]))[0]
    assert made == logits[len(prompt) - 1 :].argmax(axis=1).tolist()


def test_what_a_cache_has_room_for_does_not_matter(village):
    """Past one reach of the cache and into the next; in a cache of another size."""
    ids = np.random.default_rng(3).integers(2, 1280, 258).tolist()
    wanted = np.asarray(village.logits([ids]))[0]
    for capacity in (258, 1500):
        session = Session(village, capacity)
        session.feed(ids[:254])
        for i in range(254, 258):
            assert np.abs(session.feed([ids[i]]) - wanted[i]).max() < 2e-4 * wanted.std()


@pytest.mark.parametrize("case", ["gemma3", "gpt2", "phi3_long", "qwen35"])
def test_a_session_goes_back_to_where_sequences_part(case, tmp_path):
    model, ids = open_model(write_folder(case, tmp_path / "model")), tokens(case)[:60].tolist()
    other = [*ids[:40], *reversed(ids[20:40])]
    session = Session(model, 60)
    session.feed(ids)
    kept = session.keep(other)
    assert kept in ({0} if case == "qwen35" else {i for i in range(40, 60) if ids[:i] == other[:i]})
    assert session.tokens == other[:kept]
    found, wanted = session.feed(other[kept:]), np.asarray(model.logits([other]))[0, -1]
    assert np.abs(found - wanted).max() < 2e-4 * wanted.std()
    assert session.keep([*other, 3]) == 60  # nothing to go back from
    assert session.keep(other) == (0 if case == "qwen35" else 59)  # the last is always fed


def test_room_for_more_stays_where_positions_turn_alike(tmp_path):
    config = open_model(write_folder("phi3_long", tmp_path / "model")).config
    original = config.rope.original_context
    assert ample(config, 3) == 6
    assert ample(config, original) == original
    assert ample(config, original - 1) == original
    assert original + 1 < ample(config, original + 1) <= config.context


def test_a_seed_decides(village):
    def run(seed):
        return list(generate(village, [5, 900], max_new=16, temperature=2.0, seed=seed))

    assert run(3) == run(3)
    assert len({tuple(run(seed)) for seed in range(4)}) > 1


def test_stops_before_a_stop_token(village):
    made = list(generate(village, [5, 900, 31, 7], max_new=12))
    stop = made[5]
    first = made.index(stop)
    assert list(generate(village, [5, 900, 31, 7], max_new=12, stop_ids=[stop])) == made[:first]


def test_bad_requests_are_refused(village):
    with pytest.raises(QFormatError, match="no token"):
        generate(village, [], max_new=3)
    with pytest.raises(QFormatError, match="token 5000"):
        generate(village, [5000], max_new=3)
    with pytest.raises(QFormatError, match="top_p"):
        generate(village, [5], max_new=3, top_p=0.0)
    session = Session(village, 3)
    with pytest.raises(QFormatError, match="4 tokens"):
        session.feed([5, 6, 7, 8])


def test_learned_positions_end(tmp_path):
    model = open_model(write_folder("gpt2", tmp_path / "model"))
    with pytest.raises(QFormatError, match="128"):
        list(generate(model, tokens("gpt2"), max_new=20))


LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=40).map(
    lambda v: np.array(v, np.float32)
)


@given(LOGITS, st.integers(0, 50), st.floats(0.01, 1), st.floats(0, 1))
def test_what_is_kept(logits, top_k, top_p, min_p):
    kept = Sampling(1.0, top_k, top_p, min_p).kept(logits)
    assert kept[0] == logits.argmax()
    order = np.argsort(-logits, kind="stable")
    assert kept.tolist() == order[: kept.size].tolist()  # the likeliest, with no gaps
    assert not top_k or kept.size <= top_k
    chances = np.exp(logits.astype(np.float64) - logits.max())
    assert (chances[kept] >= min_p - 1e-9).all()
    pool = order[:top_k] if top_k else order
    share = chances[pool] / chances[pool].sum()
    assert share[: kept.size - 1].sum() < top_p + 1e-9  # the last was needed to reach it


def test_frequencies_are_those_of_the_softmax():
    logits = np.array([1.0, 0.0, -1.0, -2.0], np.float32)
    random = np.random.default_rng(0)
    drawn = np.bincount([Sampling(0.7).choose(logits, random) for _ in range(20_000)], minlength=4) / 20_000
    wanted = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    assert np.abs(drawn - wanted).max() < 0.015
