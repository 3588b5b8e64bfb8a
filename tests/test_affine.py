"""The affine schemes: worked examples, an independent NumPy encoder, and the cases that go wrong."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from conftest import SCHEMES, weights
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qformat.blocks.bits import unpack
from qformat.blocks.decode import decode_rows
from qformat.blocks.layout import Codes, planes, rows_cols
from qformat.errors import DataError, SchemeError
from qformat.schemes.coder import decode, encode, plane_rows
from qformat.schemes.registry import registry

SCALES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32}
EXAMPLE = np.array([-0.89, 0.16, 0.08, -0.13, 0.16, -0.54], np.float32)


def parse(spec):
    return registry().parse(spec)


def opened(spec, values):
    """Codes and other planes of one encoded row, and the decoded values."""
    scheme = parse(spec)
    values = np.atleast_1d(values)
    stored = encode(scheme, values).planes
    rows, cols = rows_cols(values.shape)
    found = {}
    for plane in planes(scheme.layout()):
        array = plane_rows(plane, stored[plane.name], rows, cols)
        if isinstance(plane.item, Codes):
            array = unpack(array, plane.item.bits, plane.count(cols), signed=plane.item.signed)
        found[plane.name] = array.reshape(-1)
    return found, decode(scheme, stored, values.shape)


def relative(values, decoded):
    return float(np.mean(np.abs((decoded - values) / values)))


def test_the_fields_worked_example_symmetric():
    found, decoded = opened("sym4", EXAMPLE)
    assert found["codes"].tolist() == [-7, 1, 1, -1, 1, -4]
    assert relative(EXAMPLE, decoded) == pytest.approx(0.18, abs=0.01)


def test_the_fields_worked_example_asymmetric():
    found, decoded = opened("asym4", EXAMPLE)
    assert found["codes"].tolist() == [-8, 7, 6, 3, 7, -3]
    assert found["zero_points"].tolist() == [5]
    assert found["scales"][0] == pytest.approx(0.07, rel=1e-3)
    assert relative(EXAMPLE, decoded) == pytest.approx(0.085, abs=0.005)


def numpy_encode(scheme, x):
    """The formulas of the specification, block by block, in plain NumPy float32."""
    stored = SCALES[scheme.scale]

    def inverse(s):
        return np.float32(1) / s if s > 0 else np.float32(0)

    if not hasattr(scheme, "zero"):
        top = 2 ** (scheme.bits - 1) - 1
        s = np.float32(stored(np.abs(x).max() / np.float32(top)))
        return np.clip(np.rint(x * inverse(s)), -top, top), s, None
    steps, least = 2**scheme.bits - 1, -(2 ** (scheme.bits - 1))
    low, high = x.min(), x.max()
    if scheme.zero == "min":
        low = np.float32(stored(low))
        s = np.float32(stored((high - low) / np.float32(steps)))
        return np.clip(np.rint((x - low) * inverse(s)), 0, steps), s, low
    low, high = min(low, np.float32(0)), max(high, np.float32(0))
    s = np.float32(stored((high - low) / np.float32(steps)))
    z = np.clip(least - np.rint(low * inverse(s)), least, least + steps)
    return np.clip(np.rint(x * inverse(s)) + z, least, least + steps), s, z


ALL = [
    *SCHEMES,
    *(f"{s}:zero=min" for s in ("asym8", "asym4", "asym2")),
    "sym4:scale=bf16,block=64",
    "asym4:scale=f32,block=256",
    "asym2:scale=bf16,zero=min,block=96",
    *("sym6", "sym5", "sym3", "asym6", "asym5", "asym3", "asym3:zero=min"),
]


@pytest.mark.parametrize("spec", ALL)
def test_codes_are_those_of_the_formulas(spec):
    scheme = parse(spec)
    x = weights(3, (40, scheme.block), np.float32)
    found, decoded = opened(spec, x)
    codes = found["codes"].reshape(x.shape)
    other = "mins" if "mins" in found else "zero_points"
    for i, row in enumerate(x):
        q, s, z = numpy_encode(scheme, row)
        # The compiler divides by a constant as a product with its reciprocal: one last bit of float32.
        assert abs(found["scales"][i] - s) <= (np.spacing(s) if scheme.scale == "f32" else 0)
        # A product may land on the other side of a tie by its last bit, no further.
        assert np.abs(codes[i] - q).max() <= 1
        assert np.mean(codes[i] != q) < 0.01
        if z is not None:
            assert abs(float(found[other][i]) - float(z)) <= (1 if other == "zero_points" else 0)
    step = found["scales"].astype(np.float32)[:, None]
    if scheme.bits > 2:
        assert (np.abs(decoded - x) <= step * 0.52 + 1e-3 * np.abs(x)).all()


@pytest.mark.parametrize("spec", ALL)
def test_zeros_stay_zeros(spec):
    found, decoded = opened(spec, np.zeros(70, np.float32))
    assert not decoded.any()
    assert not found["scales"].astype(np.float32).any()


@pytest.mark.parametrize("value", [0.375, -0.375, 3.0])
@pytest.mark.parametrize("spec", ALL)
def test_a_constant_block_comes_back(spec, value):
    _, decoded = opened(spec, np.full(32, value, np.float32))
    assert decoded == pytest.approx(value, rel=5e-3)


def test_a_range_without_zero_is_widened_to_it_by_a_zero_point_and_not_by_a_minimum():
    x = np.linspace(5, 6, 32, dtype=np.float32)
    point, from_point = opened("asym4", x)
    low, from_min = opened("asym4:zero=min", x)
    assert point["scales"][0] == np.float16(6 / 15)
    assert point["zero_points"].tolist() == [-8]
    assert low["mins"][0] == 5
    assert np.abs(from_min - x).max() < np.abs(from_point - x).max() / 4
    negative, _ = opened("asym4", -x)
    assert negative["zero_points"].tolist() == [7]


@pytest.mark.parametrize("spec", ["asym8", "asym4", "asym2"])
@given(x=arrays(np.float32, 32, elements=st.floats(-4, 4, width=32)))
def test_zero_decodes_to_zero_with_a_zero_point(spec, x):
    x[5] = 0
    assert opened(spec, x)[1][5] == 0


def test_denormals_count_as_zero():
    x = np.full(32, 1e-40, np.float32)
    for spec in ("sym8:scale=f32", "asym4:scale=f32", "asym4:scale=f32,zero=min"):
        assert not opened(spec, x)[1].any()


def test_values_below_the_scales_type_vanish_and_f16_denormal_scales_work():
    assert not opened("sym4", np.full(32, 1e-9, np.float32))[1].any()
    small = np.full(32, 3e-6, np.float32)  # the scale is a denormal of float16
    assert opened("sym4", small)[1] == pytest.approx(3e-6, rel=0.1)


@pytest.mark.parametrize("spec", ["sym8", "sym4", "asym4", "asym8:zero=min"])
def test_a_scale_that_overflows_is_an_error_with_a_remedy(spec):
    x = np.zeros(32, np.float32)
    x[3], x[4] = 3e7, -3e7
    with pytest.raises(DataError, match="overflow F16") as caught:
        encode(parse(spec), x)
    assert "scale=bf16" in caught.value.hint
    wide = spec + (",scale=bf16" if ":" in spec else ":scale=bf16")
    assert np.isfinite(opened(wide, x)[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spec", ["sym8", "asym2", "asym4:zero=min"])
def test_nan_and_infinity_are_errors_that_name_the_index(spec, bad, dtype):
    x = weights(1, (5, 70), np.float32)
    x[3, 68] = bad
    with pytest.raises(DataError, match="no scheme can hold") as caught:
        encode(parse(spec), x.astype(dtype))
    assert caught.value.at == (3, 68)


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int8, np.int64]
)
def test_sources_of_any_number_type(dtype):
    x = (weights(2, (3, 100), np.float32) * 200).astype(dtype)
    decoded = decode(parse("sym8"), encode(parse("sym8"), x).planes, x.shape)
    wanted = x.astype(np.float32)
    assert np.abs(decoded - wanted).max() <= np.abs(wanted).max() / 127 * 0.51


SHAPES = [
    (),
    (1,),
    (5,),
    (33,),
    (7, 172),
    (2, 3, 64),
    (3, 0),
    (0, 3),
    (2, 1, 1),
    (1, 600_001),
    (300, 8),
    (257, 4096),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", ["sym4", "asym2:block=96", "asym4:zero=min,scale=f32"])
def test_any_shape_decodes_alike_with_and_without_the_plugin(spec, shape):
    scheme = parse(spec)
    x = weights(4, shape)
    done = encode(scheme, x, figures=True)
    rows, cols = rows_cols(shape)
    layout = scheme.layout()
    assert sum(p.size for p in done.planes.values()) == rows * sum(p.row_bytes(cols) for p in planes(layout))
    by_kernel = decode(scheme, done.planes, shape)
    stored = {p.name: plane_rows(p, done.planes[p.name], rows, cols) for p in planes(layout)}
    by_numpy = decode_rows(layout, stored, cols).reshape(shape)
    assert by_kernel.tobytes() == by_numpy.tobytes()
    error = x.astype(np.float64) - by_kernel
    assert done.sums.error2 == pytest.approx(float((error**2).sum()), rel=1e-4, abs=1e-12)
    assert done.sums.value2 == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-4)


@pytest.mark.parametrize("spec", ["sym4", "asym4:block=64"])
def test_a_row_is_encoded_alike_wherever_it_stands_and_by_any_number_of_threads(spec):
    scheme = parse(spec)
    x = weights(5, (700, 3000))
    whole = encode(scheme, x, threads=1).planes
    again = encode(scheme, x, threads=3).planes
    alone = encode(scheme, x[500:501]).planes
    for name, data in whole.items():
        assert data.tobytes() == again[name].tobytes()
        per_row = data.size // 700
        assert data[500 * per_row : 501 * per_row].tobytes() == alone[name].tobytes()


@pytest.mark.parametrize("spec", ["sym4", "asym6", "q4_0"])
def test_results_go_into_arrays_that_are_there(spec):
    scheme, values = registry().parse(spec), weights(3, (300, 4096))
    made = encode(scheme, values)
    out = {name: np.full_like(plane, 7) for name, plane in made.planes.items()}
    assert encode(scheme, values, out=out).planes is out
    for name, plane in made.planes.items():
        np.testing.assert_array_equal(out[name], plane)
    decoded = np.full(values.shape, 7, np.float32)
    assert decode(scheme, out, values.shape, out=decoded) is decoded
    np.testing.assert_array_equal(decoded, decode(scheme, made.planes, values.shape))


def test_of_many_errors_the_first_is_raised():
    values = np.zeros((1600, 4096), np.float32)
    values[300, 5] = values[301:, 7] = np.nan
    with pytest.raises(DataError) as caught:
        encode(registry().parse("sym4"), values, threads=3)
    assert caught.value.at is not None
    assert caught.value.at[1] == 5


def test_options_that_are_not_possible_are_refused_with_what_is():
    with pytest.raises(SchemeError, match="block=7") as caught:
        parse("sym4:block=7")
    assert "32" in caught.value.hint
    with pytest.raises(SchemeError, match="no option"):
        parse("sym4:zero=min")
    with pytest.raises(SchemeError, match="no scheme") as caught:
        parse("asim4")
    assert "asym4" in caught.value.hint
    with pytest.raises(SchemeError, match="not a scheme"):
        parse("sym4:block")


GOLDEN = {
    "sym4": {"codes": "99aabbccdcedfe0f0011223344546576", "scales": "9234"},
    "asym4": {"codes": "98a9bacbdcedfe0f0011223344556677", "scales": "2234", "zero_points": "00"},
}


@pytest.mark.parametrize("spec", GOLDEN)
def test_golden_bytes_freeze_the_format(spec):
    """A change here is a change of the format; the values are -2, -1.875, … 1.875."""
    found = encode(parse(spec), np.arange(-16, 16, dtype=np.float32) / 8).planes
    assert {name: data.tobytes().hex() for name, data in found.items()} == GOLDEN[spec]


def test_the_golden_codes_follow_by_hand():
    x = np.arange(-16, 16, dtype=np.float32) / 8
    wanted = np.clip(np.rint(x / np.float32(np.float16(2 / 7))), -7, 7).astype(int)
    packed = bytes((wanted[i] & 15) | (wanted[i + 1] & 15) << 4 for i in range(0, 32, 2))
    assert packed.hex() == GOLDEN["sym4"]["codes"]
