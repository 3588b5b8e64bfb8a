"""The lab: numbers as bits, blocks under several schemes, outliers, block sizes."""

from __future__ import annotations

import json
import math

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import save_bf16, weights
from hypothesis import given
from hypothesis import strategies as st

import qformat
from qformat.blocks.tiles import Tile
from qformat.cli.lab_command import lab
from qformat.convert.recipe import Rule
from qformat.errors import DataError, QFormatError, SchemeError
from qformat.inspect.block import block_view
from qformat.inspect.lab.mapping import SPECS, block_values, mapped
from qformat.inspect.lab.number import FORMATS, Number, number
from qformat.inspect.lab.outlier import outlier_effect, outlier_values, replaced
from qformat.inspect.lab.sizes import size_points
from qformat.views.source import tensor_source

ORACLES = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "e2m1": np.dtype(ml_dtypes.float4_e2m1fn),
    "int8": np.dtype(np.int8),
}
WORDS = {8: np.uint8, 16: np.uint16, 32: np.uint32}
formats = pytest.mark.parametrize("name", list(FORMATS))


def all_codes(name: str) -> np.ndarray:
    bits = FORMATS[name].bits
    if bits <= 16:
        return np.arange(1 << bits, dtype=WORDS[max(bits, 8)])
    edges = [e << 23 | m for e in range(512) for m in (0, 1, 2, 0x3FFFFF, 0x400000, 0x7FFFFE, 0x7FFFFF)]
    return np.array(edges, np.uint32)


def oracle_values(name: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return all_codes(name).view(ORACLES[name]).astype(np.float64)


@formats
def test_every_code_is_the_number_that_ml_dtypes_has(name):
    ours = np.array([FORMATS[name].value(int(c)) for c in all_codes(name)])
    theirs = oracle_values(name)
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(np.signbit(ours), np.signbit(theirs))


@formats
def test_every_number_encodes_to_its_own_code(name):
    for code in all_codes(name):
        value = FORMATS[name].value(int(code))
        if not math.isnan(value):
            assert FORMATS[name].encode(value) == code


@given(st.floats(width=32, allow_nan=False), st.sampled_from(["f32", "f16", "bf16", "e4m3", "e5m2", "e2m1"]))
def test_values_round_as_ml_dtypes_has_it_and_too_large_ones_stay_finite_without_an_infinity(value, name):
    form = FORMATS[name]
    code = form.encode(value)
    if not form.infinite and abs(value) > form.value(form.top):
        assert form.value(code) == math.copysign(form.value(form.top), value)
        return
    with np.errstate(over="ignore"):
        stored = np.float32(value).astype(ORACLES[name])
    assert code == int(stored.view(WORDS[max(form.bits, 8)])) & (1 << form.bits) - 1


@formats
@given(st.data())
def test_halfway_values_go_to_the_even_code(name, data):
    form = FORMATS[name]
    low = data.draw(st.integers(0, form.top - 1))
    middle = (form.value(low) + form.value(low + 1)) / 2
    assert form.encode(middle) == low + low % 2


@given(st.integers(-1000, 1000))
def test_int8_rounds_and_saturates(tenths):
    wanted = int(np.clip(np.round(tenths / 2), -128, 127))
    assert FORMATS["int8"].value(FORMATS["int8"].encode(tenths / 2)) == wanted


@formats
def test_neighbours_are_the_values_in_order(name):
    form = FORMATS[name]
    if form.bits > 16:
        codes = [Number(form, int(c)) for c in all_codes(name)]
        for n in codes:
            if n.above is not None and math.isfinite(n.above.value):
                assert np.float32(n.above.value) == np.nextafter(np.float32(n.value), np.float32(np.inf))
        return
    known = sorted({float(v) for v in oracle_values(name) if not math.isnan(v)})
    place = {v: i for i, v in enumerate(known)}
    for code in all_codes(name)[:: 1 if form.bits <= 8 else 7]:
        n = Number(form, int(code))
        if math.isnan(n.value):
            assert n.above is n.below is None
            continue
        i = place[n.value]
        assert (n.above.value if n.above else None) == (known[i + 1] if i + 1 < len(known) else None)
        assert (n.below.value if n.below else None) == (known[i - 1] if i else None)


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "e4m3", "e5m2", "e2m1"])
@given(st.data())
def test_spacing_is_the_gap_to_the_neighbour_away_from_zero(name, data):
    form = FORMATS[name]
    n = Number(form, data.draw(st.integers(0, form.top)))
    if n.above is not None and math.isfinite(n.above.value):
        assert n.spacing == n.above.value - n.value
    assert n.spacing == Number(form, n.code | 1 << form.bits - 1).spacing


@formats
@given(st.data())
def test_flipping_changes_that_bit_and_twice_nothing(name, data):
    form = FORMATS[name]
    n = Number(form, data.draw(st.integers(0, (1 << form.bits) - 1)))
    bit = data.draw(st.integers(0, form.bits - 1))
    flipped = n.flipped(bit)
    assert [i for i in range(form.bits) if n.bits[-1 - i] != flipped.bits[-1 - i]] == [bit]
    assert flipped.flipped(bit) == n
    assert "".join(bits for _, bits in n.fields) == n.bits == n.spaced.replace(" ", "")
    with pytest.raises(QFormatError, match="has bits 0"):
        n.flipped(form.bits)


def test_special_values_and_kinds():
    facts = {n: {k: (s.value, s.kind) for k, s in FORMATS[n].specials()} for n in FORMATS}
    assert facts["f16"]["largest"] == (65504.0, "normal")
    assert facts["f16"]["smallest subnormal"] == (2.0**-24, "subnormal")
    assert facts["bf16"]["smallest normal"] == (2.0**-126, "normal")
    assert facts["e4m3"]["largest"] == (448.0, "normal")
    assert facts["e4m3"]["NaN"][1] == "NaN"
    assert "infinity" not in facts["e4m3"]
    assert facts["e5m2"]["infinity"] == (math.inf, "infinite")
    assert facts["e2m1"] == {
        "smallest subnormal": (0.5, "subnormal"), "smallest normal": (1.0, "normal"),
        "one": (1.0, "normal"), "largest": (6.0, "normal"),
    }  # fmt: skip
    assert facts["int8"] == {"smallest": (-128.0, "integer"), "largest": (127.0, "integer")}
    assert Number(FORMATS["f32"], 1 << 31).kind == "zero"


def test_digits():
    assert int(number("0.1", "f32").digits) == 7
    assert int(number("1", "f16").digits) == 3
    assert int(number("1", "bf16").digits) == 2
    assert number("0", "bf16").digits == 0
    assert number("inf", "bf16").digits is None


def test_numbers_are_read_from_decimals_and_bits():
    assert number("0x3dcd", "bf16") == number("0.1", "bf16")
    assert number("0b111", "e2m1").value == 6
    for text, name, what in (
        ("0x10", "e2m1", "more than the 4 bits"),
        ("ten", "f32", "not a number"),
        ("0xzz", "f32", "not a number"),
        ("nan", "e2m1", "has no NaN"),
    ):
        with pytest.raises(QFormatError, match=what):
            number(text, name)


# --- a block under schemes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    return qformat.open(save_bf16({"w": weights(3, (8, 172))}, folder / "plain.safetensors"))


@pytest.mark.parametrize("spec", [*SPECS, "asym4:zero=min", "nf4:double=0"])
def test_a_block_is_what_convert_makes_of_it(plain, spec, tmp_path):
    size = 64 if spec.startswith("nf4") else 32
    qformat.convert(plain.path, tmp_path / "box.safetensors", rules=[Rule("*", spec)])
    made = qformat.open(tmp_path / "box.safetensors")
    info = made.tensors["w"]
    for index in (0, 2, 7):
        view = block_view(made, info, index)
        (m,) = mapped(block_values(plain, plain.tensors["w"], index, size), [spec], size)
        assert m.values == view.values
        assert m.codes == next((f.items for f in view.fields if f.name == "codes"), ())
        assert dict(m.shared) == {f.name: f.items for f in view.fields if f.name != "codes"}


@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
def test_formulas_and_levels(spec, data):
    numbers = st.floats(-100, 100, width=16).map(lambda v: v if abs(v) > 1e-3 else 0.0)
    block = np.array(data.draw(st.lists(numbers, min_size=32, max_size=32)), np.float32)
    (m,) = mapped(block, [spec])
    width, scale = int(spec[-1]), dict(m.shared)["scales"][0]
    zero = dict(m.shared).get("zero_points", (0.0,))[0]
    low, high = min(block.min(), 0), max(block.max(), 0)
    wanted = (
        (high - low) / (2**width - 1)
        if spec.startswith("asym")
        else abs(block).max() / (2 ** (width - 1) - 1)
    )
    assert scale == np.float32(np.float16(np.float32(wanted)))
    assert np.allclose(m.values, scale * (np.array(m.codes) - zero), rtol=1e-6)
    assert set(m.values) <= set(m.levels)
    assert list(m.levels) == sorted(m.levels)
    assert len(m.levels) == (2**width if scale else 1)
    assert m.rmse == pytest.approx(
        np.sqrt(np.mean((block - np.array(m.values)) ** 2, dtype=np.float64)), rel=1e-5
    )
    if spec.endswith("8") and scale > 1e-4:
        assert np.abs(block - m.values).max() <= scale * 0.51 + 1e-3 * abs(block).max()


def test_a_block_reads_the_values_of_its_place(plain):
    whole = tensor_source(plain, plain.tensors["w"]).region(Tile(0, 8, 0, 172)).astype(np.float32)
    assert np.array_equal(block_values(plain, plain.tensors["w"], 5, 32), whole[0, 160:])
    assert np.array_equal(block_values(plain, plain.tensors["w"], 7, 32), whole[1, 32:64])
    with pytest.raises(QFormatError, match="blocks 0 to 47 of 32"):
        block_values(plain, plain.tensors["w"], 48, 32)


def test_what_cannot_be_mapped_is_told():
    with pytest.raises(DataError, match="nan"):
        mapped([1.0, math.nan] * 16)
    with pytest.raises(SchemeError, match="encodes 256 values together, and these are 32"):
        mapped([1.0] * 32, ["q4_k"])
    with pytest.raises(SchemeError, match="no scheme"):
        mapped([1.0] * 32, ["sym7"])
    with pytest.raises(DataError, match="overflow"):
        mapped([1e30] * 32, ["sym4"])


# --- outliers and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["sym4", "asym4", "nf4:double=0,block=32"])
def test_an_outlier_costs_the_others_what_mapping_them_says(plain, spec):
    block = block_values(plain, plain.tensors["w"], 1, 32)
    at = int(np.abs(block).argmax())
    effects = outlier_effect(block, at, spec)
    assert [e.value for e in effects] == outlier_values(block, at)
    for e in effects[::8]:
        (m,) = mapped(replaced(block, at, e.value), [spec])
        others, found = np.delete(block, at).astype(np.float64), np.delete(np.array(m.values), at)
        assert e.figures.rmse == pytest.approx(np.linalg.norm(others - found) / np.linalg.norm(others))
        assert e.used == len(set(found))
    assert effects[-1].figures.rmse > 5 * effects[0].figures.rmse
    assert effects[-1].used < effects[0].used


def test_a_place_that_is_not_there():
    with pytest.raises(QFormatError, match="values 0 to 31; not 32"):
        outlier_effect(np.ones(32, np.float32), 32, "sym4")


def test_sizes_are_what_convert_makes_of_the_tensor(plain, tmp_path):
    points = list(size_points(plain, plain.tensors["w"], "sym4"))
    assert [p.block for p in points] == list(range(32, 257, 32))
    for p in (points[0], points[3]):
        report = qformat.convert(plain.path, tmp_path / f"{p.block}.safetensors", rules=[Rule("*", p.spec)])
        total = qformat.diff(plain.path, tmp_path / f"{p.block}.safetensors").total
        assert p.figures.rmse == pytest.approx(total.rmse, rel=1e-5)
        assert p.bpw == report.bpw
    with pytest.raises(SchemeError, match="blocks of 256 only"):
        next(size_points(plain, plain.tensors["w"], "q4_k"))


def test_sizes_can_be_given_up(plain):
    class EndError(Exception):
        pass

    def check():
        raise EndError

    with pytest.raises(EndError):
        next(size_points(plain, plain.tensors["w"], "sym4", check=check))


# --- the command --------------------------------------------------------------------------------


def command(*args):
    return CliRunner().invoke(lab, [str(a) for a in args])


def read(*args):
    return json.loads(command(*args, "--json").output)


def test_bits_on_the_command_line():
    assert [n["format"] for n in read("bits", "0.1")["numbers"]] == list(FORMATS)
    out = read("bits", "-0.1", "--as", "bf16", "--flip", "3")
    assert out["value"] == number("-0.1", "bf16").flipped(3).value
    assert [f["bit"] for f in out["flips"]] == list(range(15, -1, -1))
    assert "0 01111011 1001101" in command("bits", "0.1").output
    assert "--flip needs --as" in command("bits", "1", "--flip", "3").output


def test_blocks_on_the_command_line(plain):
    at = (plain.path, "-t", "w", "-b", "7")
    out = read("block", *at, "--set", "3=2.5", "-s", "sym4")
    wanted = mapped(replaced(block_values(plain, plain.tensors["w"], 7, 32), 3, 2.5), ["sym4"])
    assert out["schemes"] == [m.to_json() for m in wanted]
    assert "zero point" in command("block", *at, "--values").output
    assert "is not I=VALUE" in command("block", *at, "--set", "3").output
    assert len(read("outlier", *at, "--at", "4")["effects"]) == len(
        outlier_values(np.ones(32, np.float32), 4)
    )
    assert "levels used" in command("outlier", *at).output
    assert [p["block"] for p in read("sizes", plain.path, "-t", "w", "-s", "sym4")["sizes"]] == list(
        range(32, 257, 32)
    )
