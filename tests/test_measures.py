"""Per-token figures against the same formulas in float64."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qformat.evaluate import measures

divergences, own = jax.jit(measures.divergences), jax.jit(measures.own_figures)
NAMES = ("kl", "kl_reverse", "js")


def log_softmax(logits):
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def oracle(original, logits):
    """The textbook sums, in float64."""
    a, b = log_softmax(original), log_softmax(logits)
    p, q = np.exp(a), np.exp(b)
    mean = np.log((p + q) / 2)
    kl, reverse = (p * (a - b)).sum(-1), (q * (b - a)).sum(-1)
    return {"kl": kl, "kl_reverse": reverse, "js": (p * (a - mean) + q * (b - mean)).sum(-1) / 2}


def pair(vocabulary, noise, rows=16):
    rng = np.random.default_rng(vocabulary)
    original = (rng.standard_normal((rows, vocabulary)) * 4).astype(np.float32)
    return original, original + (rng.standard_normal(original.shape) * noise).astype(np.float32)


@pytest.mark.parametrize("vocabulary", [5, 1280, 50_000])
@pytest.mark.parametrize(("noise", "error"), [(1e-3, 2e-3), (1e-2, 2e-4), (0.1, 3e-5), (1, 5e-6), (10, 5e-6)])
def test_divergences_agree_with_float64(vocabulary, noise, error):
    found, wanted = divergences(*pair(vocabulary, noise)), oracle(*pair(vocabulary, noise))
    for name in NAMES:
        assert np.allclose(found[name], wanted[name], rtol=error, atol=0), name


LOGITS = hnp.arrays(np.float32, (2, 4, 7), elements=st.floats(-200, 200, width=32))


@given(LOGITS)
def test_divergences_are_never_negative_and_js_is_bounded(logits):
    found = divergences(logits[0], logits[1])
    wanted = oracle(logits[0], logits[1])
    for name in NAMES:
        assert (np.asarray(found[name]) >= 0).all()
        assert np.allclose(found[name], wanted[name], rtol=1e-4, atol=2e-6)
    assert (np.asarray(found["js"]) <= np.log(2) + 1e-5).all()


@given(LOGITS)
def test_a_distribution_is_at_no_distance_from_itself(logits):
    assert all((np.asarray(v) == 0).all() for v in divergences(logits[0], logits[0]).values())


@given(LOGITS)
def test_the_two_ways_are_each_others(logits):
    there, back = divergences(logits[0], logits[1]), divergences(logits[1], logits[0])
    assert np.array_equal(there["kl"], back["kl_reverse"])
    assert np.array_equal(there["js"], back["js"])


def test_own_figures():
    logits, _ = pair(300, 1)
    true = np.arange(16, dtype=np.int32)
    found, wanted = own(logits, true), log_softmax(logits)
    assert np.allclose(found["nll"], -wanted[np.arange(16), true], atol=3e-6)
    assert np.array_equal(found["top"], np.argsort(-logits, axis=1, kind="stable")[:, :5])
    assert np.allclose(found["top_ln"], np.take_along_axis(wanted, np.asarray(found["top"]), 1), atol=3e-6)


def test_nan_logits_are_not_hidden():
    logits, other = pair(300, 1)
    logits[3, 7] = np.nan
    assert np.isnan(own(logits, np.zeros(16, np.int32))["nll"][3])
    assert np.isnan(divergences(logits, other)["kl"][3])


@pytest.mark.parametrize(("count", "vocabulary"), [(12, 1000), (3, 150_000)])
def test_a_few_rows_at_a_time_give_the_same(count, vocabulary):
    random = np.random.default_rng(0)
    logits, original = random.standard_normal((2, count, vocabulary), np.float32)
    true = random.integers(0, vocabulary, count)
    for figures, arguments in (
        (measures.own_figures, (logits, true)),
        (measures.divergences, (original, logits)),
    ):
        found, wanted = measures.rows_in_cache(figures, *arguments), jax.jit(figures)(*arguments)
        for name, values in wanted.items():
            assert np.allclose(found[name], values, rtol=1e-5), name
