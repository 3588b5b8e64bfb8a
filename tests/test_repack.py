"""Planes and GGUF's records re-packed into each other: the decoded values are equal, bit for bit."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from conftest import qformat as command
from conftest import weights
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import qformat
from qformat.blocks.decode import decode_rows
from qformat.blocks.equivalent import from_records, to_records
from qformat.blocks.layout import Affine, Codebook, Codes, Floats, ScaleMin, planes
from qformat.convert.recipe import Rule
from qformat.convert.repack import smallest_equivalent
from qformat.errors import TargetError
from qformat.files.gguf.types import BY_NAME
from qformat.schemes.coder import decode
from qformat.schemes.described import Described
from qformat.schemes.registry import registry

F16 = Floats("F16")
# What a container may hold, and the type of GGUF that says the same.
PAIRS = {
    "sym8": "q8_0",
    "sym8:block=96": "q8_0",
    "sym6": "q8_0",
    "sym5": "q5_0",
    "sym4": "q4_0",
    "sym4:block=256": "q4_0",
    "sym3": "q4_0",
    "sym2": "q4_0",
    "asym4:zero=min": "q4_1",
    "asym4:zero=min,block=64": "q4_1",
    "asym5:zero=min": "q5_1",
    "asym2:zero=min": "q4_1",
    "mse4": "q4_1",
    "mxfp4-planar": "mxfp4",
}
NONE = [
    "asym4",
    "asym8",
    "asym8:zero=min",
    "sym8:scale=bf16",
    "sym4:scale=f32",
    "hqq",
    "nf4",
    "fp8",
    "nvfp4-planar",
]


def made_of(layout, seed, rows, cols):
    """Planes of all codes and of scales of either sign, tiny ones and zeros among them."""
    rng = np.random.default_rng(seed)
    stored = {}
    for plane in planes(layout):
        if isinstance(plane.item, Codes):
            stored[plane.name] = rng.integers(0, 256, (rows, plane.row_bytes(cols)), np.uint8)
        elif plane.item.dtype == "F8_E8M0":
            stored[plane.name] = rng.integers(1, 255, (rows, plane.count(cols)), np.uint8).view(
                ml_dtypes.float8_e8m0fnu
            )
        else:
            numbers = rng.integers(0, 1 << 16, (rows, plane.count(cols)), np.uint16)
            stored[plane.name] = np.where(numbers & 0x7C00 == 0x7C00, numbers & 0x83FF, numbers).view(
                np.float16
            )
    return stored


def raw(name):
    return registry().parse(name)


LAYOUTS = {
    **{(spec, name): registry().parse(spec).layout() for spec, name in PAIRS.items()},
    ("codebook", "iq4_nl"): Codebook(Codes(4), F16, raw("iq4_nl").equivalent().layout.table, 64),
    ("signed", "q5_0"): Affine(Codes(5, signed=True), F16, block=32),
    ("min", "q5_1"): ScaleMin(Codes(5), F16, F16, block=160),
}


@pytest.mark.parametrize("pair", LAYOUTS, ids="-".join)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 4), blocks=st.integers(1, 20))
@settings(deadline=None, derandomize=True, max_examples=6)
def test_records_decode_to_the_bits_of_the_planes(pair, seed, rows, blocks):
    layout, target = LAYOUTS[pair], raw(pair[1])
    cols = blocks * 32
    stored = made_of(layout, seed, rows, cols)
    records = to_records(target.equivalent(), target.layout(), layout, stored, cols)
    shape = rows, cols
    wanted = decode(Described(layout), {k: v.reshape(-1).view(np.uint8) for k, v in stored.items()}, shape)
    found = decode(target, {"blocks": records.reshape(-1)}, shape)
    if pair[1] == "mxfp4":  # whose table has no minus zero
        wanted = np.where(wanted == 0, np.float32(0), wanted)
    assert found.tobytes() == wanted.tobytes()
    kind = gguf.GGMLQuantizationType[pair[1].upper()]
    theirs = gguf.quants.dequantize(records.reshape(rows, -1), kind)
    theirs = np.where(np.abs(theirs) < 2.0**-126, 0, theirs)
    np.testing.assert_array_equal(theirs, decode_rows(layout, stored, cols))


@pytest.mark.parametrize("pair", LAYOUTS, ids="-".join)
def test_planes_come_back_from_records(pair):
    layout, target = LAYOUTS[pair], raw(pair[1])
    same = target.equivalent()
    assert same.holds(layout)
    if layout.block != 32:
        assert not same.fits(layout)
        return
    stored = made_of(layout, 5, 7, 320)
    records = to_records(same, target.layout(), layout, stored, 320)
    if same.fits(layout):
        back = from_records(same, target.layout(), layout, records)
        assert {k: v.tobytes() for k, v in back.items()} == {k: v.tobytes() for k, v in stored.items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("repack") / "a.safetensors"
    tensors = {f"t{i}.weight": weights(i, (24, 768)) for i in range(2)}
    save_file({**tensors, "norm.weight": np.ones(768, np.float32)}, path)
    return path


def gguf_source(source, path):
    """The same tensors in a GGUF."""
    from safetensors.numpy import load_file

    writer = gguf.GGUFWriter(path, "llama")
    for name, values in load_file(source).items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("spec", ["sym8", "sym4", "asym4:zero=min", "mse4", "sym2:block=64", "mxfp4-planar"])
def test_a_container_becomes_a_gguf_exactly(source, tmp_path, spec):
    box, out = tmp_path / "box.safetensors", tmp_path / "m.gguf"
    qformat.convert(gguf_source(source, tmp_path / "s.gguf"), box, rules=[Rule("t*", spec)])
    report = qformat.convert(box, out, to="gguf")
    assert {row.name for row in report.rows if row.repacked} == {"t0.weight", "t1.weight"}
    assert not report.warnings
    qformat.convert(box, tmp_path / "plain.safetensors", to="safetensors", dtype="F32")
    from safetensors.numpy import load_file

    plain = load_file(tmp_path / "plain.safetensors")
    for tensor in gguf.GGUFReader(out).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
        assert np.array_equal(values, plain[tensor.name].reshape(-1))
    assert qformat.diff(box, out).same


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "mxfp4"])
def test_a_gguf_becomes_planes_exactly_and_comes_back(source, tmp_path, name):
    first, box, back = tmp_path / "a.gguf", tmp_path / "box.safetensors", tmp_path / "b.gguf"
    qformat.convert(gguf_source(source, tmp_path / "s.gguf"), first, to="gguf", rules=[Rule("t*", name)])
    spec = {
        "q8_0": "sym8",
        "q4_0": "sym4",
        "q4_1": "asym4:zero=min",
        "q5_0": "sym5",
        "q5_1": "asym5:zero=min",
    }
    report = qformat.convert(first, box, rules=[Rule("t*", spec.get(name, "mxfp4-planar"))])
    assert {row.name for row in report.rows if row.repacked} == {"t0.weight", "t1.weight"}
    assert not report.warnings
    assert qformat.verify(box, source=first).ok
    assert qformat.diff(first, box).same
    qformat.convert(box, back, to="gguf")
    assert back.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("spec", NONE)
def test_what_is_other_mathematics_is_refused(spec):
    assert smallest_equivalent(registry().parse(spec).layout(), BY_NAME) is None


def test_ragged_rows_fall_back_and_say_so(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama")
    writer.add_tensor("a.weight", weights(0, (8, 172), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    qformat.convert(tmp_path / "s.gguf", tmp_path / "box.safetensors", rules=[Rule("a*", "sym8")])
    done = command("convert", tmp_path / "box.safetensors", tmp_path / "m.gguf")
    assert "rows of 172 do not divide into blocks of 32: f16 instead of q8_0" in done.stderr
    done = command("convert", tmp_path / "box.safetensors", tmp_path / "n.gguf", "--strict", check=False)
    assert done.returncode == 1
    qformat.convert(tmp_path / "s.gguf", tmp_path / "b.safetensors", rules=[Rule("a*", "asym4")])
    with pytest.raises(TargetError, match="no type for asym4"):
        qformat.convert(tmp_path / "b.safetensors", tmp_path / "o.gguf", to="gguf")


def test_rows_are_moved_and_re_packed_at_once(tmp_path):
    """Q and K projections of a Hugging Face model go to GGUF's order of rows."""
    from test_samples import MODEL

    box = tmp_path / "box"
    qformat.convert(MODEL, box, "sym8")
    done = command("convert", box, tmp_path / "a.gguf")
    assert "q8_0 (re-packed)" in done.stdout
    qformat.convert(MODEL, tmp_path / "f32.gguf", "f32", to="gguf")
    kept = {t.name: t for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    for tensor in gguf.GGUFReader(tmp_path / "f32.gguf").tensors:
        if "attn_q" in tensor.name:
            found = gguf.quants.dequantize(kept[tensor.name].data, kept[tensor.name].tensor_type)
            assert kept[tensor.name].tensor_type.name == "Q8_0"
            assert np.abs(found - tensor.data).max() < np.abs(tensor.data).max() / 200
