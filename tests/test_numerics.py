"""The steps that encoders share, against NumPy."""

import jax
import numpy as np
import pytest

from qformat.schemes import numerics

SIZES = (1, 8, 16, 24, 32, 48, 64, 128, 160, 256)


def rows(size):
    """Small whole numbers, so that the largest magnitude often comes with both signs; zeros of both."""
    values = np.random.default_rng(size).integers(-3, 4, (64, size)).astype(np.float32)
    values[0], values[1] = 0.0, -0.0
    return values


@pytest.mark.parametrize("size", SIZES)
def test_the_first_of_the_largest_magnitude_is_found(size):
    values = rows(size)
    place = np.abs(values).argmax(axis=1)[:, None]
    found = np.asarray(jax.jit(numerics.first_extreme)(values))
    np.testing.assert_array_equal(found, np.take_along_axis(values, place, axis=1))


@pytest.mark.parametrize("size", SIZES)
def test_the_ends_of_rows_are_found_and_nan_shows(size):
    values = rows(size)
    low, high = (np.asarray(a) for a in jax.jit(numerics.smallest_and_largest)(values))
    np.testing.assert_array_equal(low[:, 0], values.min(axis=1))
    np.testing.assert_array_equal(high[:, 0], values.max(axis=1))
    values[2, size // 2], values[3, size - 1] = np.nan, -np.inf
    largest = np.asarray(jax.jit(numerics.largest_magnitude)(values))[:, 0]
    np.testing.assert_array_equal(largest, np.abs(values).max(axis=1))
    assert np.isnan(np.asarray(jax.jit(numerics.first_extreme)(values))[2, 0])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 13, 16, 17, 256])
def test_entries_of_a_table_are_looked_up(count):
    random = np.random.default_rng(count)
    table = random.standard_normal(count).astype(np.float32)
    codes = random.integers(0, count, (9, 32)).astype(np.uint8)
    found = jax.jit(lambda codes: numerics.looked_up(table, codes))(codes)
    np.testing.assert_array_equal(np.asarray(found), table[codes])
