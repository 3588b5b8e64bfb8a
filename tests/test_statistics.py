"""Intervals that hold, pairs that stay paired."""

from __future__ import annotations

import numpy as np
import pytest

from qformat.evaluate.statistics import PERCENTILES, Bootstrap, Estimate


def clustered(rng, windows, size=8):
    """Figures that windows share in part, so that tokens are not independent."""
    values = rng.standard_normal((windows, 1)) + rng.standard_normal((windows, size))
    return np.repeat(np.arange(windows), size), values.reshape(-1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        window, values = clustered(rng, 40)
        found = Bootstrap(window, seed=trial, replicates=400).mean(values)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99  # taking tokens as independent gives about 0.5


def test_a_mean_is_that_of_tokens_whatever_the_windows_sizes():
    window = np.array([0, 0, 0, 5, 9, 9])
    values = np.array([1, 2, 3, 10, 4, 4], np.float32)
    found = Bootstrap(window).mean(values)
    assert found.value == pytest.approx(4.0)
    assert found.low < 4 < found.high


def test_pairs_are_drawn_together():
    rng = np.random.default_rng(1)
    window, values = clustered(rng, 30)
    bootstrap = Bootstrap(window)
    apart = bootstrap.estimate(lambda a, b: b - a, values, values + 0.25)
    assert (apart.value, apart.low, apart.high) == pytest.approx((0.25, 0.25, 0.25))
    assert bootstrap.mean(values).half > 0.1


def test_the_seed_decides():
    window, values = clustered(np.random.default_rng(2), 20)
    assert Bootstrap(window, seed=3).mean(values) == Bootstrap(window, seed=3).mean(values)
    assert Bootstrap(window, seed=3).mean(values) != Bootstrap(window, seed=4).mean(values)


def test_one_window_has_no_interval():
    found = Bootstrap(np.zeros(5, np.int64)).mean(np.arange(5.0))
    assert found == Estimate(2.0)
    assert found.relative == np.inf


def test_a_spread_is_numpys():
    values = np.random.default_rng(3).gamma(1, 1, 5000).astype(np.float32)
    found = Bootstrap(np.arange(5000) // 50).spread(values)
    assert list(found.percentiles.values()) == pytest.approx(list(np.percentile(values, PERCENTILES)))
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.to_json()["percentiles"]["99.9"] == found.percentiles[99.9]
