"""hqq and mse: what their search gains, and that it heeds importance."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import weights

from qformat.schemes.coder import decode, encode
from qformat.schemes.registry import registry

X = weights(12, (64, 1024), np.float32)


def error(spec: str) -> float:
    scheme = registry().parse(spec)
    return float(((decode(scheme, encode(scheme, X).planes, X.shape) - X) ** 2).sum())


@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("block", [32, 64])
def test_a_search_beats_plain_affine_of_the_same_size(bits, block):
    plain, searched = f"asym{bits}:zero=min,block={block}", f"mse{bits}:block={block}"
    halved = f"hqq:bits={bits},block={block}"
    assert len({registry().parse(s).bpw for s in (plain, searched, halved)}) == 1
    assert error(searched) < error(plain) * 0.95
    assert error(halved) < error(plain) * 0.95


@pytest.mark.parametrize("spec", ["mse4", "mse2", "hqq", "hqq:bits=2"])
@pytest.mark.parametrize("value", [0.0, 0.375, -3.0])
def test_a_constant_block_comes_back(spec, value):
    scheme = registry().parse(spec)
    x = np.full((1, 64), value, np.float32)
    np.testing.assert_array_equal(decode(scheme, encode(scheme, x).planes, x.shape), x)


@pytest.mark.parametrize("spec", ["mse4", "mse3", "hqq", "hqq:bits=3"])
def test_a_block_far_from_zero_keeps_its_detail(spec):
    x = np.linspace(5, 6, 64, dtype=np.float32)[None]
    scheme = registry().parse(spec)
    decoded = decode(scheme, encode(scheme, x).planes, x.shape)
    steps = 2 ** int(scheme.layout().codes.bits) - 1
    assert np.abs(decoded - x).max() < 1 / steps
