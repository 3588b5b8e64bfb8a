"""nf4, fp8 and the MX and NVFP4 schemes against ml_dtypes, gguf and published tables."""

from __future__ import annotations

import gguf
import ml_dtypes
import numpy as np
import pytest
from conftest import weights
from hypothesis import given, settings
from hypothesis import strategies as st

from qformat.blocks.bits import unpack
from qformat.blocks.layout import Codes, planes, rows_cols
from qformat.schemes.coder import decode, encode, plane_rows
from qformat.schemes.minifloats import E2M1, E4M3, E5M2, power_of_two_scale
from qformat.schemes.registry import registry

TYPES = {
    "e2m1": (E2M1, ml_dtypes.float4_e2m1fn),
    "e4m3": (E4M3, ml_dtypes.float8_e4m3fn),
    "e5m2": (E5M2, ml_dtypes.float8_e5m2),
}
# The quantiles that QLoRA publishes (arXiv 2305.14314, appendix E).
PUBLISHED_NF4 = """-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635
-0.18477343022823334 -0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634
0.33791524171829224 0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""


def numbers(kind: str) -> np.ndarray:
    """The value of each code, as ml_dtypes has it; 0 where it is not finite."""
    mini, dtype = TYPES[kind]
    codes = np.arange(1 << mini.bits, dtype=np.uint8)
    found = codes.view(dtype).astype(np.float32)
    return np.where(np.isfinite(found), found, 0)


def rounded(kind: str, values: np.ndarray) -> np.ndarray:
    """Values converted and back by ml_dtypes, saturating."""
    mini, dtype = TYPES[kind]
    return np.clip(values, -mini.largest, mini.largest).astype(dtype).astype(np.float32)


@pytest.mark.parametrize("kind", TYPES)
def test_tables_are_those_of_ml_dtypes(kind):
    mini, dtype = TYPES[kind]
    assert np.asarray(mini.table, np.float32).tobytes() == numbers(kind).tobytes()
    assert mini.largest == float(ml_dtypes.finfo(dtype).max)
    assert 2.0**mini.largest_exponent <= mini.largest < 2.0 ** (mini.largest_exponent + 1)


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), spread=st.integers(-20, 20))
def test_the_nearest_code_is_that_of_ml_dtypes(kind, seed, spread):
    mini, _ = TYPES[kind]
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(256) * 2.0**spread).astype(np.float32)
    table = np.asarray(mini.table[: mini.top + 1], np.float32)
    middles = (table[:-1] + table[1:]) / 2
    values = np.concatenate([values, middles, -middles, np.nextafter(middles, np.float32(np.inf))])
    codes = np.asarray(mini.nearest(values))
    np.testing.assert_array_equal(np.asarray(mini.table, np.float32)[codes], rounded(kind, values))


def opened(spec: str, x: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every plane of an encoded array as items ``[rows, items]``, and what it decodes to."""
    scheme = registry().parse(spec)
    stored = encode(scheme, x).planes
    rows, cols = rows_cols(x.shape)
    found = {}
    for plane in planes(scheme.layout()):
        array = plane_rows(plane, stored[plane.name], rows, cols)
        if isinstance(plane.item, Codes):
            array = unpack(array, plane.item.bits, plane.count(cols), signed=plane.item.signed)
        found[plane.name] = array
    return found, decode(scheme, stored, x.shape)


def per_element(scales: np.ndarray, block: int, cols: int) -> np.ndarray:
    return np.repeat(scales.astype(np.float32), block, axis=1)[:, :cols]


X = weights(11, (24, 1000), np.float32)


@pytest.mark.parametrize(
    "spec", ["fp8", "fp8:format=e5m2,block=32", "fp8:scale=bf16", "mxfp8", "mxfp8:format=e5m2"]
)
def test_eight_bit_floats_decode_as_ml_dtypes_has_them(spec):
    kind = "e5m2" if "e5m2" in spec else "e4m3"
    found, decoded = opened(spec, X)
    scales = per_element(found["scales"], registry().parse(spec).block_size, X.shape[1])
    np.testing.assert_array_equal(decoded, scales * found["codes"].view(TYPES[kind][1]).astype(np.float32))
    with np.errstate(divide="ignore"):
        inverse = np.float32(1) / scales
    wanted = rounded(kind, X * inverse)
    if spec.startswith("mxfp8"):  # powers of two: no rounding but the conversion's own
        np.testing.assert_array_equal(decoded, scales * wanted)
    else:
        assert np.mean(decoded != scales * wanted) < 1e-3  # a reciprocal off by its last bit


def test_mxfp4_is_the_ocp_conversion_to_the_bit():
    found, decoded = opened("mxfp4-planar", X)
    blocks = np.pad(X, ((0, 0), (0, 24)), "edge").reshape(24, -1, 32)
    shared = np.floor(np.log2(np.abs(blocks).max(axis=2).astype(np.float64))) - 2
    np.testing.assert_array_equal(found["scales"].view(np.uint8), shared.astype(int) + 127)
    assert found["scales"].dtype == ml_dtypes.float8_e8m0fnu
    scales = per_element(found["scales"], 32, 1000)
    np.testing.assert_array_equal(decoded, scales * rounded("e2m1", X / scales))
    np.testing.assert_array_equal(
        decoded, scales * found["codes"].view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    )


def test_mxfp4_in_planes_decodes_as_the_gguf_record_with_the_same_codes():
    found, decoded = opened("mxfp4-planar", X[:, :992])
    codes = found["codes"].reshape(-1, 32)
    records = np.concatenate(
        [found["scales"].view(np.uint8).reshape(-1, 1), codes[:, :16] | codes[:, 16:] << 4], axis=1
    )
    theirs = gguf.quants.dequantize(records, gguf.GGMLQuantizationType.MXFP4)
    np.testing.assert_array_equal(decoded.reshape(-1, 32), theirs)


@pytest.mark.parametrize("group", [8, 16, 64])
def test_nvfp4_decodes_as_its_scales_say(group):
    found, decoded = opened(f"nvfp4-planar:group={group}", X)
    above = per_element(found["scales.scales"], group, found["scales.codes"].shape[1])
    scales = above * found["scales.codes"].view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    elements = found["codes"].view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    np.testing.assert_array_equal(decoded, per_element(scales, 16, 1000) * elements)


def test_nvfp4_in_planes_decodes_as_the_gguf_record_under_a_scale_of_one():
    """GGUF's record has the same E4M3 scales of 16 elements, without the float32 above them."""
    x = X[:, :960].copy()
    x[:, ::256] = 6 * 448  # the float32 scales become exactly 1
    x[:, 1::16] = np.random.default_rng(0).uniform(0.1, 2000, x[:, 1::16].shape)
    found, decoded = opened("nvfp4-planar", x)
    assert (found["scales.scales"] == 1).all()
    codes = found["codes"].reshape(-1, 4, 2, 8)
    nibbles = (codes[:, :, 0] | codes[:, :, 1] << 4).reshape(-1, 32)
    records = np.concatenate([found["scales.codes"].reshape(-1, 4), nibbles], axis=1)
    theirs = gguf.quants.dequantize(records, gguf.GGMLQuantizationType.NVFP4)
    np.testing.assert_array_equal(decoded.reshape(-1, 64), theirs)


def test_nf4_levels_are_the_published_ones():
    layout = registry().parse("nf4").layout()
    assert layout.table == tuple(float(v) for v in PUBLISHED_NF4.split())


@pytest.mark.parametrize("spec", ["nf4", "nf4:block=32,double=64", "nf4:double=0", "nf4:double=8,scale=f32"])
def test_nf4_codes_are_the_nearest_levels(spec):
    scheme = registry().parse(spec)
    found, decoded = opened(spec, X)
    scales = found.get("scales")
    if scales is None:
        step, least = found["scales.scales"], found["scales.mins"]
        count = found["scales.codes"].shape[1]
        scales = per_element(step, scheme.double, count) * found["scales.codes"].astype(np.float32)
        scales = scales + per_element(least, scheme.double, count)
    scales = per_element(scales, scheme.block, 1000)
    levels = np.asarray([float(v) for v in PUBLISHED_NF4.split()], np.float32)
    np.testing.assert_array_equal(decoded, scales * levels[found["codes"]])
    away = np.abs(X[..., None] - scales[..., None] * levels)
    assert (np.abs(X - decoded) <= away.min(axis=-1) * (1 + 1e-5) + 1e-9).all()


def test_a_power_of_two_scale_never_falls_below_what_counts():
    scales = np.asarray(power_of_two_scale(np.float32([0, 1e-38, 1, 448, 449, 3e38]), E4M3))
    assert scales.tolist() == [2.0**-126, 2.0**-126, 2.0**-8, 1, 1, 2.0**119]
