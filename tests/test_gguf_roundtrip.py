"""GGUF to skeleton and tensors and back, byte for byte; and new GGUF files, held against gguf-py."""

import gguf
import numpy as np
import pytest
from gguf_bytes import STRING, U8, array, info, pair, strings, text, u32, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qformat.errors import FormatError, TargetError
from qformat.files.gguf import raw
from qformat.files.gguf.building import NewTensor, Typed, lay_out
from qformat.files.gguf.types import BY_NAME, TENSOR_TYPES, ValueType
from qformat.files.gguf.writing import write_file
from qformat.files.opening import open_checkpoint

QUIET = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def content(checkpoint):
    """Each tensor's bytes, as a container would keep them."""
    return {n: checkpoint.plane(n, next(iter(t.planes))) for n, t in checkpoint.tensors.items()}


def rebuilt(checkpoint, target, **options):
    tensors = content(checkpoint)
    sizes = {n: t.nbytes for n, t in tensors.items()}
    return raw.rebuild(
        target, list(raw.skeletons(checkpoint).values()), sizes, tensors.__getitem__, **options
    )


def odd_files():
    """Valid files that no tool of today would write quite so."""
    data = bytes(range(256))
    key = [pair("general.architecture", STRING, text("llama")), strings("w", ["", "a" * 300, b"\xff"])]
    yield "no-tensors", whole(key)
    yield "no-tensors-nor-padding", whole(key, align=1)
    yield "nothing", whole()
    yield "trailing", whole(key, [info("a", [4], 0, 0)], data[:16] + b"\0" * 16 + b"trailing" * 9)
    yield "no-padding-at-the-end", whole(key, [info("a", [5], 24, 0)], data[:5])
    yield "padding-not-zero", whole(key, [info("a", [5], 24, 0), info("b", [3], 24, 32)], data[:64])
    yield "out-of-order", whole(key, [info("a", [8], 24, 64), info("b", [3], 24, 0)], data[:96])
    yield "holes", whole(key, [info("a", [8], 24, 128), info("b", [3], 24, 32)], data[:160])
    yield (
        "empty-tensors",
        whole(key, [info("a", [0], 0, 0), info("b", [4], 0, 0), info("c", [0, 3], 2, 32)], data[:32]),
    )
    yield (
        "unknown-type",
        whole(key, [info("a", [8, 3], 99, 0), info("b", [4], 0, 64), info("c", [5], 98, 96)], data[:127]),
    )
    yield (
        "version-2",
        whole([u32("general.alignment", 8)], [info("a", [4], 0, 0)], data[:16], version=2, align=8),
    )
    yield "header-padding-not-zero", whole(key, align=1) + b"x" * 40


@pytest.mark.parametrize(("name", "data"), list(odd_files()))
def test_odd_files_come_back_byte_for_byte(tmp_path, name, data):
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(data)
    found = open_checkpoint(path)
    assert rebuilt(found, tmp_path / "back.gguf") == [tmp_path / "back.gguf"]
    assert (tmp_path / "back.gguf").read_bytes() == data
    parts = raw.skeletons(found)
    assert list(parts) == raw.find(dict.fromkeys(parts, 0)) == ["header.gguf"]
    cut = sum(t.nbytes for t in found.tensors.values())
    assert raw.skeleton_bytes(found.shards[0]) == len(parts["header.gguf"]) == len(data) - cut


def test_header_padding_that_is_not_zero(tmp_path):
    head = whole([], [info("a", [4], 0, 0)], align=1)
    data = head + b"p" * (-len(head) % 32) + bytes(range(16))
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    rebuilt(open_checkpoint(path), tmp_path / "back.gguf")
    assert (tmp_path / "back.gguf").read_bytes() == data


def test_a_split_file_comes_back_shard_by_shard(tmp_path):
    originals = []
    for i in range(3):
        pairs = [
            pair("split.no", U8, bytes([i])),
            pair("split.count", U8, b"\3"),
            u32("split.tensors.count", 3),
        ]
        path = tmp_path / f"m-{i + 1:05d}-of-00003.gguf"
        path.write_bytes(whole(pairs, [info(f"t{i}", [4 + i], 0, 0)], bytes(16 + 4 * i)))
        originals.append(path)
    found = open_checkpoint(originals[1])
    names = list(raw.skeletons(found))
    assert names == raw.find(dict.fromkeys(reversed(names), 0)) == raw.attachment_names(3)
    written = rebuilt(found, tmp_path / "out.gguf")
    assert [p.name for p in written] == [f"out-{i + 1:05d}-of-00003.gguf" for i in range(3)]
    assert [p.read_bytes() for p in written] == [p.read_bytes() for p in originals]
    with pytest.raises(FormatError, match="incomplete"):
        raw.find(dict.fromkeys(names[:2], 0))


def test_a_skeleton_refuses_what_does_not_belong_to_it(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(whole([], [info("a", [4], 0, 0), info("b", [4], 99, 32)], bytes(48)))
    found = open_checkpoint(path)
    skeleton = raw.skeleton(found.shards[0])
    assert raw.layout(skeleton, {"a": 16, "b": 16}, path).nbytes == 96 + 48
    for sizes, said in (
        ({"a": 16}, "no such tensor"),
        ({"a": 8, "b": 16}, "it has 8 bytes; the header has 16"),
    ):
        with pytest.raises(FormatError, match=said):
            raw.layout(skeleton, sizes, path)
    for damaged in (skeleton[:50], skeleton[:-5], b"", b"GGUF"):
        with pytest.raises(FormatError):
            raw.layout(damaged, {"a": 16, "b": 16}, path)


def test_nothing_half_written_stays(tmp_path):
    path, target = tmp_path / "m.gguf", tmp_path / "out.gguf"
    path.write_bytes(whole([], [info("a", [4], 0, 0), info("b", [4], 0, 32)], bytes(48)))
    layout = raw.layout(raw.skeleton(open_checkpoint(path).shards[0]), {"a": 16, "b": 16}, path)
    target.write_bytes(b"old")
    for read, said in (
        (lambda _: [bytes(15)], "15 of its 16 bytes"),
        (lambda _: [bytes(9), bytes(8)], "cannot write bytes 9 to 17"),
    ):
        with pytest.raises(TargetError, match=said):
            write_file(target, layout, read, overwrite=True)
    with pytest.raises(TargetError, match="exists already"):
        write_file(target, layout, lambda _: bytes(16))
    with pytest.raises(ZeroDivisionError):
        write_file(target, layout, lambda n: bytes(16) if n == "a" else 1 / 0, overwrite=True)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.gguf", "out.gguf"]


def test_a_file_may_be_written_over_itself(tmp_path):
    path = tmp_path / "m.gguf"
    data = whole([], [info("a", [4], 0, 0)], bytes(range(16)))
    path.write_bytes(data)
    rebuilt(open_checkpoint(path), path, overwrite=True)
    assert path.read_bytes() == data


# --- new files ----------------------------------------------------------------------------------

SCALARS = [
    ("u8", ValueType.UINT8, 255), ("i8", ValueType.INT8, -128), ("u16", ValueType.UINT16, 7),
    ("i16", ValueType.INT16, -7), ("u32", ValueType.UINT32, 2**32 - 1), ("i32", ValueType.INT32, -1),
    ("u64", ValueType.UINT64, 2**64 - 1), ("i64", ValueType.INT64, -(2**63)), ("f32", ValueType.FLOAT32, 0.25),
    ("f64", ValueType.FLOAT64, 0.1), ("bool", ValueType.BOOL, True), ("str", ValueType.STRING, "naïve"),
]  # fmt: skip


def pairs_of_every_type():
    yield "general.architecture", Typed(ValueType.STRING, "llama")
    for name, kind, value in SCALARS:
        yield name, Typed(kind, value)
        yield f"{name}.array", Typed(kind, [value] * 3, array=True)
    yield "numpy", Typed(ValueType.FLOAT32, np.arange(5, dtype=np.float32), array=True)
    yield "words", Typed(ValueType.STRING, ["a", "bc", "d" * 300], array=True)


def test_a_new_file_reads_in_gguf_py(tmp_path):
    rng = np.random.default_rng(3)
    data = {"a": rng.random((3, 5), np.float32), "q": rng.integers(0, 256, (2, 36), np.uint8)}
    tensors = [NewTensor("a", BY_NAME["f32"], (3, 5)), NewTensor("q", BY_NAME["q4_0"], (2, 64))]
    path = tmp_path / "new.gguf"
    layout = lay_out(pairs_of_every_type(), tensors)
    write_file(path, layout, lambda name: [data[name][:1], data[name][1:]])
    assert path.stat().st_size == layout.nbytes
    theirs = gguf.GGUFReader(path)
    for key, value in pairs_of_every_type():
        got = theirs.get_field(key).contents()
        assert (list(got) if value.array else got) == (list(value.value) if value.array else value.value), key
    for tensor in theirs.tensors:
        assert tensor.data.tobytes() == data[tensor.name].tobytes()
    assert open_checkpoint(path).notes == ()


def test_a_new_file_has_the_bytes_that_gguf_py_writes(tmp_path):
    data = {"a": np.arange(15, dtype=np.float32).reshape(3, 5), "b": np.ones((2, 2), np.float16)}
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    writer.add_array("words", ["x", "yy"])
    writer.add_uint32("n", 3)
    for name, array_ in data.items():
        writer.add_tensor(name, array_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pairs = [
        ("general.architecture", Typed(ValueType.STRING, "llama")),
        ("words", Typed(ValueType.STRING, ["x", "yy"], array=True)),
        ("n", Typed(ValueType.UINT32, 3)),
    ]
    tensors = [NewTensor("a", BY_NAME["f32"], (3, 5)), NewTensor("b", BY_NAME["f16"], (2, 2))]
    write_file(tmp_path / "ours.gguf", lay_out(pairs, tensors), data.__getitem__)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


def test_values_that_were_read_are_copied_as_they_are(tmp_path):
    path = tmp_path / "m.gguf"
    head = [
        u32("n", 5),
        strings("w", ["a", b"\xff", ""]),
        array("e", STRING, 0, b""),
        pair("s", STRING, text(b"\xfe")),
    ]
    path.write_bytes(whole(head))
    write_file(tmp_path / "copy.gguf", lay_out(open_checkpoint(path).keyvalues.items(), []), lambda _: b"")
    copy = open_checkpoint(tmp_path / "copy.gguf").keyvalues
    assert {k: v.raw() for k, v in copy.items()} == {
        k: v.raw() for k, v in open_checkpoint(path).keyvalues.items()
    }


A = NewTensor("a", BY_NAME["f32"], (4,))


@pytest.mark.parametrize(
    ("pairs", "tensors", "said"),
    [
        ([("k", Typed(ValueType.UINT8, 256))], [], "must be a uint8, not 256"),
        ([("k", Typed(ValueType.UINT8, 1.5))], [], "must be a uint8"),
        ([("k", Typed(ValueType.FLOAT32, 1e39))], [], "must be a float32"),
        ([("k", Typed(ValueType.BOOL, 1))], [], "true or false"),
        ([("k", Typed(ValueType.STRING, 1))], [], "must be a string"),
        ([("k", Typed(ValueType.STRING, "\ud800"))], [], "UTF-8"),
        ([("k", Typed(ValueType.INT32, [1, "x"], array=True))], [], "item 1 of the value of key 'k'"),
        ([("k", Typed(ValueType.ARRAY, [1]))], [], "items' type"),
        ([("", Typed(ValueType.UINT8, 1))], [], "no name"),
        ([("k", Typed(ValueType.UINT8, 1))] * 2, [], "'k' would stand twice"),
        ([("general.alignment", Typed(ValueType.UINT32, 24))], [], "power of two"),
        ([("general.alignment", Typed(ValueType.INT32, 32))], [], "must be a uint32"),
        ([], [A, A], "'a' would stand twice"),
        ([], [NewTensor("n" * 64, BY_NAME["f32"], (4,))], "up to 63 bytes"),
        ([], [NewTensor("a", BY_NAME["f32"], (1,) * 5)], "up to 4 dimensions"),
        ([], [NewTensor("a", BY_NAME["q4_k"], (2, 128))], "do not divide"),
        ([], [NewTensor("a", BY_NAME["f32"], (-4,))], "negative"),
        ([], [NewTensor("a", BY_NAME["f64"], (2**61,))], "past 2"),
    ],
)
def test_what_cannot_be_written_is_named(pairs, tensors, said):
    with pytest.raises(TargetError, match=said):
        lay_out(pairs, tensors)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=15)
values = st.one_of(
    st.builds(Typed, st.just(ValueType.STRING), st.text(st.characters(codec="utf-8"), max_size=300)),
    st.builds(Typed, st.just(ValueType.INT32), st.integers(-(2**31), 2**31 - 1)),
    st.builds(Typed, st.just(ValueType.FLOAT64), st.floats(allow_nan=False)),
    st.builds(Typed, st.just(ValueType.STRING), st.lists(st.text(st.characters(codec="utf-8"), max_size=9)), st.just(True)),
    st.builds(Typed, st.just(ValueType.BOOL), st.lists(st.booleans()), st.just(True)),
)  # fmt: skip
tensors = st.lists(
    st.tuples(names, st.sampled_from(list(TENSOR_TYPES.values())), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 2)),
    max_size=5, unique_by=lambda t: t[0],
)  # fmt: skip


@given(st.dictionaries(names, values, max_size=6), tensors, st.sampled_from([1, 16, 32, 256]))
@QUIET
def test_what_is_written_is_read_and_rebuilt(tmp_path, pairs, specs, align):
    pairs = {**pairs, "general.alignment": Typed(ValueType.UINT32, align)}
    new = [NewTensor(n, kind, (*lead, blocks * kind.block)) for n, kind, lead, blocks in specs]
    rng = np.random.default_rng(5)
    data = {t.name: rng.integers(0, 256, t.nbytes, np.uint8) for t in new}
    path = tmp_path / "new.gguf"
    write_file(path, lay_out(pairs.items(), new), data.__getitem__, overwrite=True)
    found = open_checkpoint(path)
    assert found.notes == ()
    for key, value in pairs.items():
        got = found.keyvalues[key].read()
        assert (list(got) if value.array else got) == value.value
    assert [(t.name, t.shape) for t in found.tensors.values()] == [(t.name, t.shape) for t in new]
    for name, plane in content(found).items():
        assert plane.tobytes() == data[name].tobytes()
    rebuilt(found, tmp_path / "back.gguf", overwrite=True)
    assert (tmp_path / "back.gguf").read_bytes() == path.read_bytes()
