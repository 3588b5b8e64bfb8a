"""A GGUF model as a checkpoint: one file, or all shards of a split one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qformat.blocks import dtypes
from qformat.errors import FormatError
from qformat.files.checkpoint import Stored, TensorInfo
from qformat.files.gguf.file import GGUFFile, Tensors
from qformat.files.gguf.types import CODES, ValueType

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
MAX_SHARDS = 99999  # five digits
SHARD = re.compile(r"(?P<stem>.*)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_INTEGERS = tuple(t for t in CODES if t not in (ValueType.FLOAT32, ValueType.FLOAT64, ValueType.BOOL))


class GGUFCheckpoint:
    """An opened GGUF. ``keyvalues`` are those of the first shard, which has the model's.

    ``metadata`` shows each of them as a short printable string. ``notes`` says what llama.cpp would
    refuse in these files although they can be read.
    """

    format = "gguf"

    def __init__(self, path: Path, shards: list[GGUFFile]) -> None:
        self.path = path
        self.shards = tuple(shards)
        self.files = tuple(s.path for s in shards)
        self.keyvalues = shards[0].header.keyvalues
        self.metadata: Mapping[str, str] = {k: v.describe() for k, v in self.keyvalues.items()}
        self.attachments: Mapping[str, int] = {}
        self.digests: Mapping[str, str] = {}  # GGUF has none
        self.notes = tuple(note for s in shards for note in s.notes)
        self.tensors: Mapping[str, TensorInfo] = _joined(shards)
        self._maps = {s.path: s.map for s in shards}

    @classmethod
    def open(cls, path: Path) -> GGUFCheckpoint:
        """Open a GGUF file, or a split one from any of its shards.

        Raises
        ------
        FormatError
            If a file is damaged, or a shard is missing or does not belong to the others.
        """
        file = GGUFFile.open(path)
        count = _split(file)[1]
        if count <= 1:
            return cls(path, [file])
        paths = _siblings(file)
        shards = [file if p == path else _shard(p, path) for p in paths]
        for i, shard in enumerate(shards):
            if _split(shard) != (i, count):
                no, of = _split(shard)
                what = f"it says that it is shard {no + 1} of {of}; expected shard {i + 1} of {count}"
                raise FormatError(what, file=shard.path, hint="the shards are of two different models")
        _check_total(shards)
        return cls(path, shards)

    def stored_bytes(self, stored: Stored) -> NDArray[Any]:
        """The bytes of any stored array, mapped."""
        return self._maps[stored.file].bytes_of(stored)

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """One array of a tensor, mapped; ``blocks`` of a block type, the empty name of a plain one."""
        stored = self.tensors[tensor].planes[plane]
        data = self.stored_bytes(stored).view(dtypes.numpy_dtype(stored.dtype))
        return cast("NDArray[Any]", data.reshape(stored.shape))

    def read_attachment(self, name: str) -> bytes:
        """A GGUF carries no files: its tokenizer is in the key-values."""
        raise FormatError(f"a GGUF file has no attachment {name!r}", file=self.path)


def _joined(shards: list[GGUFFile]) -> Mapping[str, TensorInfo]:
    """The tensors of all shards, in order."""
    if len(shards) == 1:
        return shards[0].tensors
    owners: dict[str, Tensors] = {}
    for shard in shards:
        for name in shard.tensors:
            if name in owners:
                what = "an earlier shard has a tensor of this name, too"
                hint = "the shards are of two different models"
                raise FormatError(what, file=shard.path, tensor=name, hint=hint)
            owners[name] = shard.tensors
    return _Joined(owners)


class _Joined(Mapping[str, TensorInfo]):
    """The tensors of several files, each described when it is first asked for."""

    def __init__(self, owners: dict[str, Tensors]) -> None:
        self._owners = owners

    def __getitem__(self, name: str) -> TensorInfo:
        return self._owners[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)


def shard_name(stem: str, no: int, count: int) -> str:
    """The file name of a shard, numbered from 0.

    >>> shard_name("model", 0, 3)
    'model-00001-of-00003.gguf'
    """
    return f"{stem}-{no + 1:05d}-of-{count:05d}.gguf"


def _split(file: GGUFFile) -> tuple[int, int]:
    """Which shard of how many a file says that it is; (0, 1) if it is whole."""
    values = file.header.keyvalues
    count = values.scalar(SPLIT_COUNT, *_INTEGERS)
    if count is None or count <= 1:
        return 0, 1
    no = values.scalar(SPLIT_NO, *_INTEGERS)
    if no is None or not 0 <= no < count <= MAX_SHARDS:
        raise FormatError(
            f"{SPLIT_NO} is {no} and {SPLIT_COUNT} is {count}; expected a shard number below the count",
            file=file.path,
            offset=values[SPLIT_COUNT].offset,
            hint="split the model again",
        )
    return no, count


def _siblings(file: GGUFFile) -> list[Path]:
    """All shards of the model that a shard belongs to, by its name."""
    no, count = _split(file)
    match = SHARD.fullmatch(file.path.name)
    if match is None or (int(match["no"]) - 1, int(match["count"])) != (no, count):
        wanted = shard_name(match["stem"] if match else file.path.stem, no, count)
        raise FormatError(
            f"it says that it is shard {no + 1} of {count}, but its name does not",
            file=file.path,
            hint=f"rename it to {wanted}, and the other shards likewise",
        )
    return [file.path.with_name(shard_name(match["stem"], i, count)) for i in range(count)]


def _shard(path: Path, asked: Path) -> GGUFFile:
    if not path.is_file():
        raise FormatError(
            f"a shard of this split model is missing: {path.name}", file=asked,
            hint="put all shards into one folder",
        )  # fmt: skip
    return GGUFFile.open(path)


def _check_total(shards: list[GGUFFile]) -> None:
    there = sum(len(s.tensors) for s in shards)
    for shard in shards:
        claimed = shard.header.keyvalues.scalar(SPLIT_TENSORS, *_INTEGERS)
        if claimed is not None and claimed != there:
            raise FormatError(
                f"{SPLIT_TENSORS} is {claimed}, but the shards have {there} tensors together",
                file=shard.path,
                offset=shard.header.keyvalues[SPLIT_TENSORS].offset,
                hint="the shards are of two different models, or one was written anew",
            )
