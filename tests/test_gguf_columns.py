"""Tensor infos read all at once say what reading one after the other says, or leave it to that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import info, u32, whole
from hypothesis import given
from hypothesis import strategies as st

from qformat.errors import FormatError
from qformat.files.gguf import header as headers
from qformat.files.gguf.entries import Columns, InOrder
from qformat.files.gguf.place import notes, place
from qformat.files.gguf.types import TENSOR_TYPES


@st.composite
def sound(draw):
    """Infos as a writer would write them, and the bytes that their tensors need."""
    names = draw(st.lists(st.text("abc.0123456789", min_size=1, max_size=70), min_size=1, unique=True))
    made, at = [], 0
    for name in names:
        kind = draw(st.sampled_from(list(TENSOR_TYPES.values())))
        first = draw(st.integers(1, 3)) * kind.block
        dims = [first, *draw(st.lists(st.integers(1, 3), max_size=3))]
        made.append((name, dims, kind.number, at))
        at += int(np.prod(dims)) // kind.block * kind.size
        at += -at % 32
    return made, at


def both(raw: bytes):
    """What each way of reading finds: a header, or the error."""
    data = np.frombuffer(raw, np.uint8)
    found = []
    for each in (headers.columns, lambda *_: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(headers, "columns", each)
            try:
                head = headers.parse(data, Path("x.gguf"))
                placed = place(head, data.size)
                found.append((head, placed, notes(head, placed, data.size)))
            except FormatError as error:
                found.append(str(error))
    return found


def compare(raw: bytes):
    fast, slow = both(raw)
    if isinstance(slow, str):
        assert fast == slow
        return fast
    assert fast[2] == slow[2]
    assert tuple(fast[0].entries) == slow[0].entries
    assert (fast[0].end, dict(fast[0].by_name)) == (slow[0].end, slow[0].by_name)
    assert tuple(fast[1]) == slow[1]
    return fast


@given(sound(), st.booleans(), st.integers(0, 70))
def test_what_is_sound_is_read_in_columns(made, tail, cut):
    infos, size = made
    raw = whole([u32("general.alignment", 32)], [info(*i) for i in infos], bytes(size + 64 * tail))
    found = compare(raw)
    assert isinstance(found[0].entries, Columns)
    assert isinstance(found[1], InOrder)
    assert found[1][-1].entry.name == infos[-1][0]
    assert [e.name for e in found[0].entries[1:3]] == [i[0] for i in infos[1:3]]
    compare(raw[: len(raw) - cut])


@given(sound(), st.data())
def test_what_is_odd_is_left_to_the_other_reader(made, data):
    infos, size = made
    at = data.draw(st.integers(0, len(infos) - 1))
    name, dims, number, offset = infos[at]
    other = data.draw(st.sampled_from(infos))
    dim = st.one_of(st.sampled_from([0, 1, 32, 2**31, 2**47, 2**63]), st.integers(0, 2**64 - 1))
    infos[at] = data.draw(
        st.one_of(
            st.tuples(st.sampled_from([other[0], "é", "", "x" * 64]), *map(st.just, (dims, number, offset))),
            st.builds(lambda n: (name, n, number, offset), st.lists(dim, max_size=6)),
            st.builds(lambda n: (name, n, number, offset), st.permutations([0, 2**62, 256])),
            st.builds(
                lambda n, i: (name, [*dims[:i], n, *dims[i + 1 :]], number, offset), dim, st.integers(0, 3)
            ),
            st.builds(lambda n: (name, dims, n, offset), st.integers(0, 60)),
            st.builds(lambda n: (name, dims, number, n), st.sampled_from([offset + 32, other[3], 31, 2**63])),
        )
    )
    compare(whole([], [info(*i) for i in infos], bytes(size)))


@given(sound(), st.data())
def test_any_flipped_byte_is_met_alike(made, data):
    infos, size = made
    raw = bytearray(whole([], [info(*i) for i in infos], bytes(size)))
    at = data.draw(st.integers(0, len(raw) - size - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    compare(bytes(raw))


def test_only_entries_that_are_asked_for_are_made(monkeypatch):
    raw = whole([], [info(f"t{i}", [32], 0, 128 * i) for i in range(1000)], bytes(128_000))
    data = np.frombuffer(raw, np.uint8)
    asked = []
    one = Columns.__getitem__
    monkeypatch.setattr(Columns, "__getitem__", lambda self, at: asked.append(at) or one(self, at))
    head = headers.parse(data, Path("x.gguf"))
    placed = place(head, data.size)
    assert notes(head, placed, data.size) == ()
    assert placed[head.by_name["t7"]].begin == head.data_start + 7 * 128
    assert len(asked) <= 2
