"""Where each tensor of a GGUF lies, checked against the file and against each other.

What is refused: data past the end of the file, and tensors that overlap. What is read but noted,
because llama.cpp refuses it: tensors out of order or with gaps between them, names of more than 63
bytes, more than 4 dimensions, types it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qformat.errors import FormatError
from qformat.files.gguf.cursor import CUT_SHORT, DAMAGED
from qformat.files.gguf.entries import Columns, InOrder, Placed, TensorEntry
from qformat.files.gguf.header import Header
from qformat.files.gguf.types import LLAMA_MAX_DIMS, LLAMA_MAX_NAME


def place(header: Header, size: int) -> Sequence[Placed]:
    """Find where each tensor lies in a file of ``size`` bytes, in the order of the header.

    A tensor of an unknown type has as many bytes as there are up to the next one, or up to the
    end, less what cannot be shared evenly by its rows: that is padding.

    Raises
    ------
    FormatError
        If a tensor reaches past the end or into another.
    """
    start = header.data_start
    if isinstance(header.entries, Columns):
        in_order = header.entries.in_order(start, header.alignment, size)
        if in_order is not None:
            return in_order
    order = sorted(header.entries, key=_order)
    limits = [*(start + e.offset for e in order[1:]), size]
    found: dict[str, Placed] = {}
    last: Placed | None = None
    for entry, limit in zip(order, limits, strict=False):
        begin = start + entry.offset
        nbytes = _inferred(entry, limit - begin) if entry.nbytes is None else entry.nbytes
        placed = Placed(entry, begin, nbytes)
        if begin + nbytes > size:
            raise _past_the_end(header, placed, size)
        if last is not None and begin < last.end:
            what = f"its data begins at byte {begin}, where that of {last.entry.name!r} has not ended"
            raise FormatError(what, file=header.path, tensor=entry.name, offset=entry.at, hint=DAMAGED)
        if nbytes:
            last = placed
        found[entry.name] = placed
    return tuple(found[e.name] for e in header.entries)


def _order(entry: TensorEntry) -> tuple[int, int]:
    """By offset; of those at one place, the empty ones first and one of unknown size last."""
    return entry.offset, (1 << 64) if entry.nbytes is None else entry.nbytes


def _inferred(entry: TensorEntry, room: int) -> int:
    rows = 1
    for n in entry.dims[1:]:
        rows *= n
    if rows == 0 or 0 in entry.dims[:1]:
        return 0
    return max(room, 0) // rows * rows


def _past_the_end(header: Header, placed: Placed, size: int) -> FormatError:
    left = max(size - placed.begin, 0)
    return FormatError(
        f"it needs {placed.nbytes:,} bytes from byte {placed.begin} on, but the file ends after {left:,}",
        file=header.path,
        tensor=placed.entry.name,
        offset=placed.entry.at,
        hint=CUT_SHORT,
    )


def gaps(header: Header, placed: Sequence[Placed], size: int) -> Iterator[tuple[int, int]]:
    """What no tensor covers from the end of the header on: begin and end of each gap, in order."""
    at = header.end
    for tensor in sorted((p for p in placed if p.nbytes), key=lambda p: p.begin):
        if tensor.begin > at:
            yield at, tensor.begin
        at = tensor.end
    if size > at:
        yield at, size


def notes(header: Header, placed: Sequence[Placed], size: int) -> tuple[str, ...]:
    """What llama.cpp would refuse or overlook in a file that can be read."""
    found = [] if _is_plain(placed) else _oddities(header, placed)
    last = placed[-1:] if isinstance(placed, InOrder) else placed
    end = max((p.end for p in last), default=header.end)
    trailing = size - end - -end % header.alignment
    if trailing > 0:
        found.append(f"{trailing:,} bytes follow the last tensor")
    return tuple(note for note in found if note)


def _is_plain(placed: Sequence[Placed]) -> bool:
    """Whether the way in which the tensors were read shows that llama.cpp takes them as they are."""
    return isinstance(placed, InOrder) and placed.entries.longest <= LLAMA_MAX_NAME


def _oddities(header: Header, placed: Sequence[Placed]) -> list[str]:
    entries = header.entries
    return [
        _note(
            [e for e in entries if len(e.name.encode()) > LLAMA_MAX_NAME],
            f"names over {LLAMA_MAX_NAME} bytes",
        ),
        _note([e for e in entries if len(e.dims) > LLAMA_MAX_DIMS], f"more than {LLAMA_MAX_DIMS} dimensions"),
        _note([e for e in entries if e.type is None], "a type that qformat does not know"),
        _note(_out_of_place(header, placed), "offsets that do not follow on the tensor before"),
    ]


def _note(entries: list[TensorEntry], what: str) -> str:
    if not entries:
        return ""
    count = "1 tensor has" if len(entries) == 1 else f"{len(entries)} tensors have"
    return f"{count} {what}, the first is {entries[0].name!r}; llama.cpp refuses such a file"


def _out_of_place(header: Header, placed: Sequence[Placed]) -> list[TensorEntry]:
    at, odd = header.data_start, []
    for tensor in placed:
        if tensor.begin != at:
            odd.append(tensor.entry)
        at = tensor.end + -tensor.end % header.alignment
    return odd
