"""Reading GGUF: held against gguf-py's reader and writer."""

import subprocess
import sys
import tracemalloc

import gguf
import numpy as np
import pytest
from gguf_bytes import F32, STRING, info, pair, strings, text, u32, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from qformat.blocks.layout import RawBlocks
from qformat.errors import FormatError
from qformat.files.gguf import strings as walking
from qformat.files.gguf.checkpoint import GGUFCheckpoint
from qformat.files.gguf.types import TENSOR_TYPES, ValueType
from qformat.files.opening import open_checkpoint

WORDS = ["a", "", "Ġthe", "é" * 40, "x" * 255, "y" * 256, "z" * 70000, "nul\0nul", "\0" * 9, "end"]


def write(path, *, vocabulary=(), fill=None):
    """A small model by gguf-py, with every type of key-value."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("t.u8", 255)
    writer.add_int8("t.i8", -128)
    writer.add_uint16("t.u16", 65535)
    writer.add_int16("t.i16", -32768)
    writer.add_uint32("t.u32", 2**32 - 1)
    writer.add_int32("t.i32", -(2**31))
    writer.add_uint64("t.u64", 2**64 - 1)
    writer.add_int64("t.i64", -(2**63))
    writer.add_float32("t.f32", 1e-5)
    writer.add_float64("t.f64", 1e-300)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "naïve ☃ text")
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [0.5, 1.5])
    writer.add_array("t.bools", [True, False])
    if vocabulary:
        writer.add_array("t.words", list(vocabulary))
    rng = np.random.default_rng(7)
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
        data = rng.integers(-100, 100, (3, 5)).astype(dtype)
        writer.add_tensor(f"plain.{np.dtype(dtype).name}", data)
    writer.add_tensor("one", np.arange(7, dtype=np.float32))
    writer.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    for kind in (
        gguf.GGMLQuantizationType.Q4_0,
        gguf.GGMLQuantizationType.Q6_K,
        gguf.GGMLQuantizationType.MXFP4,
    ):
        _, size = gguf.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (2, 3, 2 * size), dtype=np.uint8)
        writer.add_tensor(f"q.{kind.name}", data, raw_dtype=kind)
    if fill:
        fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def by_hand(tmp_path, data):
    path = tmp_path / "hand.gguf"
    path.write_bytes(data)
    return path


def test_everything_reads_as_gguf_py_reads_it(tmp_path):
    path = write(tmp_path / "m.gguf", vocabulary=[w for w in WORDS if w])
    ours, theirs = open_checkpoint(path), gguf.GGUFReader(path)
    assert ours.format == "gguf"
    assert ours.files == (path,)
    assert list(ours.keyvalues) == [k for k in theirs.fields if not k.startswith("GGUF.")]
    for key, value in ours.keyvalues.items():
        field = theirs.fields[key]
        assert [value.type, value.item] == [*field.types, None][:2], key
        got, wanted = value.read(), field.contents()
        assert (list(got) if value.is_array else got) == wanted, key
    assert [(t.name, tuple(map(int, reversed(t.shape)))) for t in theirs.tensors] == [
        (t.name, t.shape) for t in ours.tensors.values()
    ]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.nbytes == tensor.n_bytes
        assert next(iter(mine.planes.values())).data_offset == tensor.data_offset
        plane = ours.plane(mine.name, next(iter(mine.planes)))
        assert plane.tobytes() == tensor.data.tobytes()
        if mine.scheme is None:
            assert plane.dtype == tensor.data.dtype
            np.testing.assert_array_equal(plane, tensor.data)
    assert ours.notes == ()


def test_block_types_are_raw_blocks(tmp_path):
    ours = open_checkpoint(write(tmp_path / "m.gguf"))
    tensor = ours.tensors["q.Q4_0"]
    assert tensor.scheme.id == tensor.coding == "q4_0"
    assert tensor.scheme.layout == RawBlocks(size=18, block=32)
    assert (tensor.shape, tensor.dtype, tensor.bpw) == ((2, 3, 64), "F32", 4.5)
    assert ours.plane("q.Q4_0", "blocks").shape == (2, 3, 2, 18)
    assert ours.tensors["cube"].planes[""].dtype == "F32"


def test_the_table_of_types_is_gguf_pys():
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        ours = TENSOR_TYPES[int(kind)]
        # gguf-py has an older block of q8_1, with two binary32; ggml's own size is 36.
        assert (ours.name, ours.block, ours.size) == (
            kind.name.lower(),
            block,
            36 if kind.name == "Q8_1" else size,
        )


def test_metadata_is_short(tmp_path):
    def fill(writer):
        writer.add_string("t.long", "ü" * 5000)
        writer.add_string("t.escape", "\x1b[31mred\n")

    metadata = open_checkpoint(write(tmp_path / "m.gguf", vocabulary=["a", "b"], fill=fill)).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["t.words"] == "array of 2 strings"
    assert metadata["t.ints"] == "array of 3 int32"
    assert metadata["t.f32"] == "1e-05"
    assert metadata["t.bool"] == "true"
    assert metadata["t.escape"] == "\x1b[31mred\n"
    assert metadata["t.long"] == "ü" * 120 + "… (10000 bytes)"


@pytest.mark.parametrize("repeats", [1, 30, 4000])
def test_long_arrays_of_odd_strings(tmp_path, repeats):
    words = [w for w in WORDS if len(w) < 70000 or repeats == 1] * repeats
    array = open_checkpoint(by_hand(tmp_path, whole([strings("w", words), u32("after", 5)]))).keyvalues
    assert array["after"].read() == 5
    found = array["w"].read()
    assert list(found) == words
    assert found[len(words) // 2 :: 7] == words[len(words) // 2 :: 7]
    assert [found[i] for i in (0, -1, len(words) // 3)] == [words[0], words[-1], words[len(words) // 3]]
    assert found[3:9] == words[3:9]
    assert found.raw(3) == words[3].encode()
    with pytest.raises(IndexError):
        found[len(words)]


@given(
    st.lists(
        st.binary(max_size=12) | st.sampled_from([b"", b"\0", b"\1" * 255, b"\2" * 300, b"\0" * 20]),
        max_size=120,
    )
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_walking_finds_what_stepping_finds(items):
    data = np.frombuffer(b"before" + b"".join(map(text, items)) + b"\5\0\0\0\0\0\0\0after", np.uint8)
    extent = walking.walk(data, 6, len(items))
    heads, at = [], 6
    for item in items:
        heads.append(at)
        at += 8 + len(item)
    assert extent.end == at
    found = []
    for i, offset in zip(extent.indices, extent.offsets, strict=True):
        found += walking.window(data, offset, len(items) - i)[0].tolist()
    assert found == heads


def test_numbers_are_mapped_and_decoded_one_by_one(tmp_path):
    value = open_checkpoint(write(tmp_path / "m.gguf")).keyvalues["t.floats"]
    assert (value.type, value.item, value.count, value.nbytes) == (ValueType.ARRAY, ValueType.FLOAT32, 2, 20)
    array = value.read()
    assert array[-1] == 1.5
    assert array[:] == [0.5, 1.5]
    assert array.numpy().dtype == np.float32
    assert not array.numpy().flags.writeable


def test_bad_utf8_waits_until_it_is_asked_for(tmp_path):
    path = by_hand(
        tmp_path, whole([strings("w", [b"good", b"b\xffd"]), pair("s", STRING, text(b"\xff\xfe"))])
    )
    values = open_checkpoint(path)
    assert values.metadata["s"] == "string of 2 bytes that are not UTF-8"
    words = values.keyvalues["w"].read()
    assert words[0] == "good"
    assert words.raw(1) == b"b\xffd"
    for read in (lambda: words[1], lambda: list(words), values.keyvalues["s"].read):
        with pytest.raises(FormatError, match="not valid UTF-8") as caught:
            read()
        assert caught.value.offset > 0


def test_a_big_endian_file_is_refused_by_name(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(FormatError, match="big endian") as caught:
        open_checkpoint(tmp_path / "big.gguf")
    assert "gguf-convert-endian" in caught.value.hint


def test_version_2_and_odd_alignments(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    for align in (1, 8, 4096):
        pairs = [u32("general.alignment", align)]
        path = by_hand(tmp_path, whole(pairs, [info("t", [3, 2], 0, 0)], data, align=align, version=2))
        found = open_checkpoint(path).plane("t")
        np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))


def test_scalars_and_empty_tensors(tmp_path):
    infos = [info("scalar", [], 0, 0), info("none", [0, 3], 0, 32), info("next", [2], 1, 32)]
    found = open_checkpoint(by_hand(tmp_path, whole([], infos, bytes(36))))
    assert [found.plane(n).shape for n in found.tensors] == [(), (3, 0), (2,)]
    assert found.notes == ()


def test_unknown_types_are_listed_with_their_bytes(tmp_path):
    infos = [
        info("m", [64, 40], 77, 0),
        info("f", [4], 0, 1920),
        info("v", [10], 200, 1952),
        info("w", [4, 8], 99, 1984),
    ]
    data = bytes(range(256)) * 8
    found = open_checkpoint(by_hand(tmp_path, whole([], infos, data[:2044])))
    matrix, vector, last = (found.tensors[n] for n in "mvw")
    assert (matrix.coding, matrix.scheme.layout) == ("ggml_type_77", RawBlocks(size=48, block=64))
    assert found.plane("m", "blocks").tobytes() == data[:1920]
    assert (vector.scheme.layout, vector.nbytes) == (RawBlocks(size=32, block=10), 32)
    assert (last.scheme.layout, last.nbytes) == (RawBlocks(size=7, block=4), 56)
    assert "a type that qformat does not know" in found.notes[0]


def test_unknown_types_of_less_than_a_byte_a_row_are_opaque(tmp_path):
    found = open_checkpoint(by_hand(tmp_path, whole([], [info("t", [1, 100], 77, 0)], bytes(40))))
    tensor = found.tensors["t"]
    assert tensor.scheme is None
    assert tensor.note == {"ggml_type": 77, "shape": [100, 1]}
    assert tensor.nbytes in (0, 40)


def test_what_llama_cpp_refuses_is_read_and_noted(tmp_path):
    infos = [info("n" * 64, [1, 1, 1, 1, 2], 0, 64), info("first", [2], 0, 0)]
    found = open_checkpoint(by_hand(tmp_path, whole([], infos, bytes(72) + b"\0" * 24 + b"tail")))
    assert found.tensors["n" * 64].shape == (2, 1, 1, 1, 1)
    notes = " ".join(found.notes)
    for said in ("names over 63 bytes", "more than 4 dimensions", "do not follow", "4 bytes follow the last"):
        assert said in notes


def split(tmp_path, count=3, change=None):
    paths = []
    for i in range(count):
        pairs = [pair("split.no", 2, bytes([i, 0])), pair("split.count", 2, bytes([count, 0]))]
        pairs.append(pair("split.tensors.count", 5, bytes([count, 0, 0, 0])))
        if i == 0:
            pairs.insert(0, pair("general.architecture", STRING, text("llama")))
        name = f"t{i}"
        if change:
            name = change(i, pairs) or name
        path = tmp_path / f"m-{i + 1:05d}-of-{count:05d}.gguf"
        path.write_bytes(whole(pairs, [info(name, [4], 0, 0)], np.full(4, i, "<f4").tobytes()))
        paths.append(path)
    return paths


def test_split_files_open_from_any_shard(tmp_path):
    paths = split(tmp_path)
    for path in paths:
        found = open_checkpoint(path)
        assert found.path == path
        assert found.files == tuple(paths)
        assert found.metadata["general.architecture"] == "llama"
        assert [found.plane(f"t{i}")[0] for i in range(3)] == [0, 1, 2]


def test_split_files_that_do_not_belong_together(tmp_path):
    paths = split(tmp_path)
    paths[1].unlink()
    with pytest.raises(FormatError, match="missing: m-00002-of-00003"):
        open_checkpoint(paths[0])
    alone = paths[2].rename(tmp_path / "other.gguf")
    with pytest.raises(FormatError, match="shard 3 of 3, but its name does not") as caught:
        open_checkpoint(alone)
    assert "other-00003-of-00003.gguf" in caught.value.hint


def test_a_folder_is_its_only_model(tmp_path):
    alone = write(tmp_path / "alone.gguf")
    assert open_checkpoint(tmp_path).path == alone
    (tmp_path / "README.md").write_text("a model")
    (tmp_path / "split").mkdir()
    paths = split(tmp_path / "split")
    assert open_checkpoint(tmp_path / "split").files == tuple(paths)
    paths[0].unlink()
    with pytest.raises(FormatError, match="missing: m-00001-of-00003"):
        open_checkpoint(tmp_path / "split")


def test_a_folder_of_several_models_lists_them(tmp_path):
    split(tmp_path)
    write(tmp_path / "other.gguf")
    with pytest.raises(FormatError, match=r"2 GGUF models: m-00001-of-00003\.gguf, other\.gguf"):
        open_checkpoint(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(FormatError, match="neither a safetensors file nor a GGUF"):
        open_checkpoint(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, _: "same", "a tensor of this name"),
        (
            lambda i, p: p.__setitem__(-3, pair("split.no", 2, b"\1\0")) if i == 2 else None,
            "it is shard 2 of 3",
        ),
        (
            lambda i, p: p.__setitem__(-1, u32("split.tensors.count", 9)) if i == 1 else None,
            "have 3 tensors together",
        ),
        (lambda i, p: p.__setitem__(-2, pair("split.count", F32, b"\0\0\0\0")), "'split.count' must be"),
        (lambda i, p: p.__setitem__(-3, pair("split.no", 2, b"\7\0")), "a shard number below the count"),
    ],
)
def test_shards_that_lie(tmp_path, change, said):
    paths = split(tmp_path, change=change)
    with pytest.raises(FormatError, match=said):
        open_checkpoint(paths[0])


def test_opening_decodes_nothing_and_stays_small(tmp_path):
    words = [f"tok{i}" for i in range(150_000)]
    path = by_hand(tmp_path, whole([strings("t", words), strings("m", words)]))
    GGUFCheckpoint.open(path)
    tracemalloc.start()
    found = GGUFCheckpoint.open(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert found.keyvalues["m"].read()[149_999] == "tok149999"


def test_opening_imports_neither_jax_nor_gguf_py(tmp_path):
    path = write(tmp_path / "m.gguf")
    code = "import sys; from qformat.files.opening import open_checkpoint as o; "
    code += f"o({str(path)!r}); assert not {{'jax', 'gguf'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
