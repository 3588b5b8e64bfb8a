"""Importance matrices as llama.cpp writes them: GGUF, and the older ``.dat``.

For each matrix of a model, under its GGUF name, the mean square of what is multiplied with each of its
columns, taken over a text; a stack of experts has one row of them for each expert.

::

    GGUF   NAME.in_sum2  F32 [experts, cols]   sums of squares     imatrix.datasets, .chunk_count, .chunk_size
           NAME.counts   F32 [experts, 1]      how many were summed
    .dat   i32 entries, then for each: i32 length, name, i32 calls, i32 count, f32 means * calls [count];
           at the end, if at all: i32 chunks, i32 length, name of the text
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError
from qformat.files.gguf.arrays import StringArray

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qformat.files.gguf.checkpoint import GGUFCheckpoint

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNKS, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_NOT_ONE = "`llama-imatrix` or `qformat imatrix` makes one"


@dataclass(frozen=True)
class Imatrix:
    """An importance matrix; ``entries`` are float32 ``[experts, cols]``, or flat if unknown."""

    path: Path
    entries: Mapping[str, NDArray[np.float32]] = field(repr=False)
    datasets: tuple[str, ...]
    chunks: int
    digest: str = ""  # SHA-256 of the file

    def origin(self) -> dict[str, object]:
        """What a file made with it says of it; JSON-ready."""
        return {
            "file": self.path.name,
            "sha256": self.digest,
            "datasets": list(self.datasets),
            "chunks": self.chunks,
        }


def read_imatrix(path: Path) -> Imatrix:
    """Read an importance matrix, of either kind.

    Raises
    ------
    FormatError
        If the file is none, is cut short, or holds what cannot be a mean square.
    """
    try:
        with path.open("rb") as file:
            made = _read_gguf(path) if file.read(4) == b"GGUF" else _read_legacy(path)
            if not made.entries:
                raise FormatError("the file holds no importances", file=path, hint=_NOT_ONE)
            for name, values in made.entries.items():
                _check(name, values, path)
            file.seek(0)
            return replace(made, digest=hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", file=path) from None


def _check(name: str, values: NDArray[np.float32], path: Path) -> None:
    import numpy as np

    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        at = int(np.flatnonzero(bad.reshape(-1))[0])
        raise FormatError(
            f"value {at} is {values.reshape(-1)[at]}, which is no mean square",
            file=path, tensor=name, hint="the importance matrix is damaged: make it again",
        )  # fmt: skip


# --- GGUF -----------------------------------------------------------------------------------------


def _read_gguf(path: Path) -> Imatrix:
    from qformat.files.gguf.checkpoint import GGUFCheckpoint

    file = GGUFCheckpoint.open(path)
    names = [n.removesuffix(SUMS) for n in file.tensors if n.endswith(SUMS)]
    if not names:
        raise FormatError(
            f"no tensor's name ends in {SUMS}: this is a model, not an importance matrix",
            file=path,
            hint=_NOT_ONE,
        )
    entries = {name: _means(file, name) for name in names}
    return Imatrix(path, entries, _datasets(file), _number(file, CHUNKS))


def _means(file: GGUFCheckpoint, name: str) -> NDArray[np.float32]:
    """Sums by counts; importances of 1 where nothing was counted."""
    import numpy as np

    sums, counts = (_floats(file, name, end) for end in (SUMS, COUNTS))
    if counts.size == 0 or sums.size % counts.size:
        raise FormatError(
            f"{sums.size} sums do not divide among {counts.size} counts", file=file.path, tensor=name
        )
    whole = np.rint(counts)
    if not (np.isfinite(whole) & (whole >= 0)).all():
        raise FormatError("a count is not a number from 0", file=file.path, tensor=name + COUNTS)
    table, by = sums.reshape(counts.size, -1), whole.reshape(-1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by > 0, table / by, np.float32(1)).astype(np.float32)


def _floats(file: GGUFCheckpoint, name: str, end: str) -> NDArray[np.float32]:
    info = file.tensors.get(name + end)
    if info is None:
        raise FormatError(f"there is no {name}{end} beside the other", file=file.path, tensor=name)
    if info.dtype != "F32" or info.scheme is not None:
        raise FormatError(f"it is {info.coding}, expected f32", file=file.path, tensor=name + end)
    found: NDArray[np.float32] = file.plane(name + end)
    return found


def _datasets(file: GGUFCheckpoint) -> tuple[str, ...]:
    value = file.keyvalues[DATASETS].read() if DATASETS in file.keyvalues else None
    return tuple(value[i] for i in range(len(value))) if isinstance(value, StringArray) else ()


def _number(file: GGUFCheckpoint, key: str) -> int:
    value = file.keyvalues[key].read() if key in file.keyvalues else 0
    return value if isinstance(value, int) else 0


# --- the older form -------------------------------------------------------------------------------


def _read_legacy(path: Path) -> Imatrix:
    cursor = _Legacy(path)
    count = cursor.number("entries", 1, cursor.left // 13)
    entries: dict[str, NDArray[np.float32]] = {}
    for name, values in (cursor.entry() for _ in range(count)):
        if name in entries:
            raise FormatError("it is there twice", file=path, tensor=name)
        entries[name] = values
    chunks, text = cursor.trailer()
    return Imatrix(path, entries, (text,) if text else (), chunks)


class _Legacy:
    """The bytes of a ``.dat``, and how far they were read."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.path = path
        self.data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def number(self, what: str, least: int, most: int) -> int:
        """A number of four bytes, held to what can be."""
        start = self.at
        value = int.from_bytes(self.take(4, what), "little", signed=True)
        if not least <= value <= most:
            raise FormatError(
                f"it says {value} for {what}, expected {least} to {most}",
                file=self.path, offset=start, hint=f"this is no importance matrix, or damaged; {_NOT_ONE}",
            )  # fmt: skip
        return value

    def take(self, size: int, what: str) -> bytes:
        if size > self.left:
            raise FormatError(
                f"the file ends within {what}", file=self.path, offset=self.at, hint="it is cut short"
            )
        self.at += size
        return self.data[self.at - size : self.at].tobytes()

    def entry(self) -> tuple[str, NDArray[np.float32]]:
        """A name and its means."""
        import numpy as np

        start = self.at
        raw = self.take(self.number("the length of a name", 1, self.left - 4), "a name")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("a name is not UTF-8", file=self.path, offset=start) from None
        calls = self.number("calls", 0, 2**31 - 1)
        values = self.take(4 * self.number("the count of values", 1, self.left // 4), "the values")
        means = np.frombuffer(values, "<f4").astype(np.float32)
        return name, means / np.float32(calls) if calls else means

    def trailer(self) -> tuple[int, str]:
        """Chunks and the text's name, which the oldest files lack."""
        if self.left == 0:
            return 0, ""
        chunks = self.number("chunks", 0, 2**31 - 1)
        text = self.take(self.number("the length of a name", 0, self.left), "a name") if self.left else b""
        if self.left:
            raise FormatError(f"{self.left} bytes follow its end", file=self.path, offset=self.at)
        return chunks, text.decode("utf-8", "replace")


# --- writing --------------------------------------------------------------------------------------


def write_imatrix(
    path: Path,
    sums: Mapping[str, NDArray[Any]],
    counts: Mapping[str, NDArray[Any]],
    *,
    datasets: list[str],
    chunks: int,
    chunk_size: int,
    overwrite: bool = False,
) -> None:
    """Write sums of squares ``[experts, cols]`` and how many were summed ``[experts]``, as GGUF.

    Raises
    ------
    TargetError
        If the file exists, or cannot be written.
    """
    import numpy as np

    from qformat.files.gguf.building import NewTensor, Typed, lay_out
    from qformat.files.gguf.types import BY_NAME, ValueType
    from qformat.files.gguf.writing import write_file

    arrays: dict[str, NDArray[np.float32]] = {}
    for name in sorted(sums):
        arrays[name + SUMS] = np.ascontiguousarray(sums[name], "<f4")
        arrays[name + COUNTS] = np.ascontiguousarray(counts[name].reshape(-1, 1), "<f4")
    pairs = [
        ("general.type", Typed(ValueType.STRING, "imatrix")),
        (DATASETS, Typed(ValueType.STRING, datasets, array=True)),
        (CHUNKS, Typed(ValueType.UINT32, chunks)),
        (CHUNK_SIZE, Typed(ValueType.UINT32, chunk_size)),
    ]
    new = [NewTensor(name, BY_NAME["f32"], array.shape) for name, array in arrays.items()]
    write_file(path, lay_out(pairs, new), lambda name: [arrays[name].tobytes()], overwrite=overwrite)
