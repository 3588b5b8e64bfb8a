"""Streaming through a toy model: the same figures as with everything in memory at once."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_model import FakeModel
from test_measures import log_softmax, oracle

from qformat.errors import DataError
from qformat.evaluate import by_layer, stream
from qformat.evaluate.engine import Engine
from qformat.evaluate.statistics import Bootstrap
from qformat.evaluate.stream import Route
from qformat.evaluate.summary import divergence
from qformat.evaluate.windows import cut

LAYERS = 3
TEXT = np.random.default_rng(5).integers(0, 40, 400)
WINDOWS = cut(TEXT, ctx=24, bos=1)


def models():
    """A model and a version of it with some noise in every weight."""
    return [FakeModel(1, noise=0.1), FakeModel(1)]


def engine(models, routes, **options):
    made = Engine(models, routes, WINDOWS, 40, **{"compare": len(routes) > 1, **options})
    for _ in made.run():
        pass
    return made


BOTH = [Route.through(1, LAYERS), Route.through(0, LAYERS)]


def test_streamed_is_resident():
    found = engine(models(), BOTH, group_tokens=100)
    noisy, original = (m.logits(WINDOWS.tokens) for m in models())
    before = np.roll(WINDOWS.scored, -1, axis=1)
    wanted = oracle(original[before], noisy[before])
    for name, values in wanted.items():
        assert np.allclose(found.arrays(1)[name], values, rtol=1e-3, atol=1e-7)
    true = WINDOWS.tokens[WINDOWS.scored]
    for route, logits in enumerate((original, noisy)):
        nll = -log_softmax(logits[before])[np.arange(len(true)), true]
        assert np.allclose(found.arrays(route)["nll"], nll, atol=1e-5)
    assert np.array_equal(found.tokens().token, true)
    assert np.array_equal(found.tokens().source, np.arange(len(TEXT)))


def test_groups_order_and_batches_do_not_matter(monkeypatch):
    one = engine(models(), BOTH, group_tokens=10_000)
    for options in ({"seed": 1}, {"group_tokens": 30}, {"group_tokens": 100, "seed": 9}):
        other = engine(models(), BOTH, **options)
        assert other.complete
        for a, b in zip(one.arrays(1).values(), other.arrays(1).values(), strict=True):
            assert np.allclose(a, b, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(stream, "CALL_TOKENS", 50)
    small = engine(models(), BOTH, group_tokens=10_000)
    assert np.allclose(one.arrays(1)["kl"], small.arrays(1)["kl"], rtol=1e-4, atol=1e-6)


def test_a_model_is_at_no_distance_from_itself():
    found = engine([FakeModel(1), FakeModel(1)], BOTH)
    for name in ("kl", "kl_reverse", "js"):
        assert not found.arrays(1)[name].any()
    told = divergence(found.arrays(0), found.arrays(1), Bootstrap(found.tokens().window))
    assert (told.ratio.value, told.difference.value, told.delta_p_rms.value) == (1, 0, 0)
    assert (told.same_top.value, told.top5_overlap.value) == (1, 1)


def test_only_what_speaks_about_scored_tokens_leaves_the_last_layer(monkeypatch):
    late = cut(TEXT, ctx=24, bos=1, stride=6)
    late = late.take(np.arange(1, len(late)))  # the first scores them all
    made = [Engine(models(), BOTH, late, 40, compare=True, group_tokens=100) for _ in range(2)]
    list(made[0].run())
    monkeypatch.setattr(type(late), "last", 24)
    list(made[1].run())
    for a, b in zip(made[0].arrays(1).values(), made[1].arrays(1).values(), strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_stop_begins_no_further_call(monkeypatch):
    begun, go_on = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            go_on.set()  # not before: the calls that had begun end now
            super().shutdown(wait=wait)

    def call(i):
        begun.append(i)
        assert i == 0 or go_on.wait(60)

    monkeypatch.setattr(stream, "ThreadPoolExecutor", Pool)
    results = stream.together(call, range(100))
    next(results)
    results.close()
    assert len(begun) <= 1 + stream.CALLS
    assert list(stream.together(str, range(50), 3)) == [str(i) for i in range(50)]


def test_each_layer_is_read_once_a_group_and_in_order():
    pair = models()
    engine(pair, [*BOTH, *by_layer.steps(LAYERS, 1, 0)], group_tokens=10_000)
    assert pair[0].reads == pair[1].reads == list(range(LAYERS))


def test_large_activations_lie_in_a_file_and_change_nothing(monkeypatch):
    wanted = engine(models(), BOTH).arrays(1)["kl"]
    monkeypatch.setattr(stream, "MAPPED_FROM", 1)
    assert np.array_equal(engine(models(), BOTH).arrays(1)["kl"], wanted)


def test_parts_add_up_to_the_last_bit():
    steps = by_layer.steps(LAYERS, 1, 0)
    found = engine(models(), [*BOTH, *steps])
    bootstrap = Bootstrap(found.tokens().window)
    stages = [found.arrays(2 + i) for i in range(len(steps))]
    told = by_layer.by_layer(stages, found.arrays(1), bootstrap)
    assert [p.name for p in told.parts] == ["embedding", "layer 0", "layer 1", "layer 2", "head"]
    assert sum(p.kl.value for p in told.parts) == told.total
    assert told.total == pytest.approx(bootstrap.mean(found.arrays(1)["kl"]).value, abs=1e-11)
    assert all(p.kl.low <= p.kl.value <= p.kl.high for p in told.parts)


def test_a_part_that_did_not_change_adds_nothing():
    quantized, original = FakeModel(1), FakeModel(1)
    quantized.weights[1] = models()[0].weights[1]
    steps = by_layer.steps(LAYERS, 1, 0)
    found = engine([quantized, original], [*BOTH, *steps])
    stages = [found.arrays(2 + i) for i in range(len(steps))]
    told = by_layer.by_layer(stages, found.arrays(1), Bootstrap(found.tokens().window))
    assert [p.kl.value != 0 for p in told.parts] == [False, False, True, False, False]


def test_routes_share_what_they_have_in_common():
    pair, calls = models(), []
    routes = [*BOTH, *by_layer.steps(LAYERS, 1, 0)]
    stream.run(pair, routes, WINDOWS.tokens, progress=calls.append)
    # original and model once a layer each, and each step from where it leaves the model
    assert sum(calls) == WINDOWS.tokens.size * (2 * LAYERS + LAYERS * (LAYERS + 1) // 2)


@pytest.mark.parametrize(
    ("part", "words"), [("embedding", "embedding"), ("weights", "layer 0"), ("out", "logits")]
)
def test_nan_is_named_at_once(part, words):
    broken = FakeModel(1)
    target = broken.weights[0] if part == "weights" else getattr(broken, part)
    target[0 if part != "embedding" else int(TEXT[0]), 0] = np.nan
    with pytest.raises(DataError, match=words) as caught:
        engine([broken], [Route.through(0, LAYERS)])
    assert "fake-1" in str(caught.value)


def test_what_was_done_before_an_interrupt_counts():
    made = Engine(models(), BOTH, WINDOWS, 40, compare=True, group_tokens=100)
    for _ in itertools.islice(made.run(), 2):
        pass
    assert 0 < len(made.done) < len(WINDOWS)
    assert len(made.tokens()) == len(made.arrays(1)["kl"]) == WINDOWS.scored[made.done].sum()


def test_rounded_activations_cost_something_but_little():
    found = engine(models(), [*BOTH, Route.through(1, LAYERS, rounded=True)])
    floor = found.arrays(2)["kl"].mean()
    assert 0 < floor < found.arrays(1)["kl"].mean()
