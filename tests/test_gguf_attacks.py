"""GGUF files that lie: each is refused with an error of its own, in bounded time and memory."""

import contextlib
import re
import struct
import tracemalloc

import numpy as np
import pytest
from gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U8,
    array,
    header,
    info,
    pair,
    strings,
    text,
    u32,
    whole,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qformat.errors import FormatError, QFormatError
from qformat.files.gguf import raw
from qformat.files.opening import open_checkpoint

HUGE = 2**64 - 1
ONE = info("t", [4], 0, 0)


def tensor(dims, number=0, offset=0, data=16, **other):
    return whole([], [info("t", dims, number, offset, **other)], bytes(data))


# name -> (the file, what the error says, the byte it names)
ATTACKS = {
    "short": (b"GGUF", "needs 8 bytes", 0),
    "short-counts": (b"GGUF\3\0\0\0" + bytes(8), "number of key-values", 16),
    "version-1": (header(version=1), "version 1", 4),
    "version-0": (header(version=0), "version 0", 4),
    "version-4": (header(version=4), "version 4", 4),
    "big-endian": (header(version=0x03000000), "big endian", 4),
    "tensor-count-huge": (header(tensors=HUGE), "claims 18,446,744,073,709,551,615 tensors", 24),
    "tensor-count-overflows": (header(tensors=2**61 + 1), "tensors, but only 0 bytes", 24),
    "tensor-count-one-too-many": (whole([], [ONE], bytes(16), tensors=2), "its type and offset needs", None),
    "key-count-huge": (header(keys=HUGE), "key-values, but only 0 bytes", 24),
    "key-count-one-too-many": (header([u32("a", 1), u32("b" * 9, 1)], keys=3), "key 3 of 3 needs 8", None),
    "key-length-huge": (header([struct.pack("<Q", HUGE) + bytes(32)]), "key 1 of 1 claims", 24),
    "key-truncated": (header([struct.pack("<Q", 60000) + bytes(32)]), "needs 60,000 bytes", 32),
    "key-not-utf8": (header([pair(b"a\xffb", U8, b"\0")]), "not valid UTF-8", 33),
    "key-empty": (header([pair("", U8, b"\0")]), "key 1 of 1 is empty", 24),
    "key-twice": (header([u32("a", 1), u32("a", 2)]), "the key 'a' stands twice", 41),
    "value-type-unknown": (header([pair("a", 13, bytes(8))]), "is 13; the types known", 33),
    "value-truncated": (header([pair("abcdef", 12, b"\0\0\0")]), "the float64 of key 'abcdef'", 42),
    "bool-7": (header([pair("a", BOOL, b"\7")]), "is 7; expected 0 or 1", 37),
    "bool-array-2": (header([array("a", BOOL, 3, b"\1\0\2")]), "is 2; expected 0 or 1", 51),
    "string-length-huge": (header([pair("a", STRING, struct.pack("<Q", HUGE))]), "claims 18,446", 37),
    "string-truncated": (header([pair("a", STRING, text("abc")[:-1])]), "claims 3 bytes", 37),
    "array-of-arrays": (header([array("a", ARRAY, 1, bytes(12))]), "array of arrays", 37),
    "array-type-unknown": (header([array("a", 99, 1, bytes(12))]), "item type of key 'a' is 99", 37),
    "array-count-huge": (header([array("a", F32, HUGE, bytes(12))]), "items of type float32", 41),
    "array-count-overflows": (header([array("a", F32, 2**62 + 1, bytes(12))]), "items of type float32", 41),
    "array-truncated": (header([array("a", F32, 3, bytes(11))]), "need at least 12 bytes", 41),
    "strings-count-huge": (header([strings("a", ["x"], count=2**61)]), "items of type string", 41),
    "strings-one-too-many": (header([strings("a", ["x" * 20], count=2)]), "string 1 of 2 of key 'a'", 77),
    "strings-last-truncated": (header([strings("a", ["x", "yyy"])])[:-1], "string 1 of 2 of key 'a'", 58),
    "strings-length-wraps": (
        header([array("a", STRING, 2, struct.pack("<QQQ", 2**64 - 8, 0, 0))]),
        "string 0 of 2",
        49,
    ),
    "strings-many-last-truncated": (
        header([strings("a", ["word"] * 9999)])[:-1],
        "string 9998 of 9999",
        None,
    ),
    "strings-many-one-huge": (
        header([strings("a", ["word"] * 500)[:-12] + struct.pack("<Q", 2**63) + b"word"]),
        "string 499 of 500",
        None,
    ),
    "alignment-0": (whole([u32("general.alignment", 0)]), "expected a power of two", 53),
    "alignment-24": (whole([u32("general.alignment", 24)]), "is 24; expected a power of two", 53),
    "alignment-type": (whole([pair("general.alignment", U8, b"\x20")]), "must be uint32", 53),
    "alignment-beyond-file": (
        whole([u32("general.alignment", 2**31)], [ONE], bytes(64)),
        "needs 16 bytes from byte 2147483648",
        None,
    ),
    "name-length-huge": (header([], [struct.pack("<Q", HUGE) + bytes(32)]), "a tensor's name claims", 24),
    "name-not-utf8": (header([], [info(b"\xc3(", [4], 0, 0)]), "not valid UTF-8", 32),
    "name-twice": (whole([], [ONE, info("t", [4], 0, 32)], bytes(64)), "a second tensor has this name", 57),
    "dims-huge": (tensor([4], count=2**32 - 1), "claims 4,294,967,295 dimensions", 33),
    "dims-33": (tensor([1] * 33), "claims 33 dimensions", 33),
    "dims-truncated": (header([], [info("t", [4], 0, 0, count=9)]), "its dimensions needs 72", 37),
    "product-2-63": (tensor([2**32, 2**31]), "more than 2**63 elements", 37),
    "product-wraps-to-small": (tensor([2**33, 2**31 + 1]), "more than 2**63 elements", 37),
    "product-behind-a-zero": (tensor([0, 2**32, 2**32]), "more than 2**63 elements", 37),
    "dimension-negative": (tensor([2**64 - 4]), "more than 2**63 elements", 37),
    "bytes-2-63": (tensor([2**61]), "more than 2**63 bytes", 45),
    "bytes-wrap-for-blocks": (tensor([2**63 - 256], 15), "more than 2**63 bytes", 45),
    "row-not-divided": (tensor([48], 2), "no multiple of the 32 in a block of q4_0", 45),
    "scalar-of-a-block-type": (tensor([], 2), "rows have 1 elements", 37),
    "offset-huge": (tensor([4], 0, HUGE - 31), "past 2**63", 49),
    "offset-misaligned": (tensor([4], 0, 8, 64), "no multiple of the alignment 32", 49),
    "offset-beyond-file": (tensor([4], 0, 64, 16), "the file ends after 0", 24),
    "data-short-by-one": (
        tensor([4], data=15),
        "needs 16 bytes from byte 64 on, but the file ends after 15",
        24,
    ),
    "data-missing": (header([], [ONE]), "needs 16 bytes", 24),
    "overlap": (
        whole([], [info("a", [16], 0, 0), info("b", [4], 0, 32)], bytes(64)),
        "'a' has not ended",
        57,
    ),
    "overlap-same-place": (whole([], [ONE, info("u", [4], 0, 0)], bytes(64)), "has not ended", None),
    "overlap-out-of-order": (
        whole([], [info("a", [4], 0, 32), info("b", [9], 0, 0)], bytes(64)),
        "ended",
        24,
    ),
    "unknown-type-without-bytes": (
        whole([], [info("a", [4], 0, 32), info("b", [4], 99, 96)], bytes(64)),
        "b",
        None,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(tmp_path, name):
    data, said, at = ATTACKS[name]
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=re.escape(said)) as caught:
        open_checkpoint(path)
    error = caught.value
    assert error.file == str(path)
    assert error.offset is not None
    assert error.hint
    if at is not None:
        assert error.offset == at


def valid():
    words = ["a", "bc", "", "word", "\0", "é"] * 12
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        u32("general.alignment", 32),
        strings("tokens", words),
        array("scores", F32, 6, np.arange(6, dtype="<f4").tobytes()),
        array("flags", BOOL, 2, b"\0\1"),
        pair("split.count", 2, b"\1\0"),
    ]
    infos = [
        info("a", [8, 2], 0, 0),
        info("b", [32, 2], 2, 64),
        info("c", [3], 77, 128),
        info("d", [2], 1, 160),
    ]
    return whole(pairs, infos, bytes(range(164)))


def exercise(path):
    """Open and read everything that can be read."""
    found = open_checkpoint(path)
    for value in found.keyvalues.values():
        with contextlib.suppress(QFormatError):
            decoded = value.read()
            if value.is_array:
                assert len(list(decoded)) == len(decoded)
    for name, tensor_ in found.tensors.items():
        for plane in tensor_.planes:
            assert found.plane(name, plane).nbytes == tensor_.planes[plane].nbytes
    skeleton = raw.skeleton(found.shards[0])
    sizes = {n: t.nbytes for n, t in found.tensors.items()}
    assert raw.layout(skeleton, sizes, path).nbytes == path.stat().st_size


def attempt(path, data):
    path.write_bytes(data)
    with contextlib.suppress(QFormatError):
        exercise(path)


def test_the_valid_file_is_valid(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(valid())
    exercise(path)
    assert list(open_checkpoint(path).tensors) == ["a", "b", "c", "d"]


def test_every_truncation(tmp_path):
    data, path = valid(), tmp_path / "m.gguf"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(QFormatError):
            open_checkpoint(path)


FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(st.lists(st.tuples(st.integers(0, len(valid()) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@FUZZ
def test_changed_bytes(tmp_path, changes):
    data = bytearray(valid())
    for at, value in changes:
        data[at] = value
    attempt(tmp_path / "m.gguf", data)


BOUNDS = [
    0,
    1,
    31,
    32,
    33,
    255,
    256,
    2**31,
    2**32 - 1,
    2**32,
    2**61,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 8,
    2**64 - 1,
]


@given(st.integers(0, len(valid()) - 8), st.sampled_from(BOUNDS), st.sampled_from([4, 8]))
@FUZZ
def test_changed_numbers(tmp_path, at, value, width):
    data = bytearray(valid())
    data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    attempt(tmp_path / "m.gguf", data)


@given(st.integers(0, len(valid())), st.integers(0, 64), st.binary(max_size=40))
@FUZZ
def test_cut_and_spliced_bytes(tmp_path, at, gone, put):
    data = valid()
    attempt(tmp_path / "m.gguf", data[:at] + put + data[at + gone :])


@given(st.binary(max_size=300))
@FUZZ
def test_any_bytes_after_the_magic(tmp_path, tail):
    attempt(tmp_path / "m.gguf", b"GGUF\3\0\0\0" + tail)


def test_refusing_allocates_nothing(tmp_path):
    path = tmp_path / "m.gguf"
    open_checkpoint_quietly(path, ATTACKS["short"][0])
    tracemalloc.start()
    for data, _, _ in ATTACKS.values():
        open_checkpoint_quietly(path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def open_checkpoint_quietly(path, data):
    path.write_bytes(data)
    with pytest.raises(FormatError):
        open_checkpoint(path)
