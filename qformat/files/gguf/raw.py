"""A GGUF without its tensors' bytes, and the same file back from it.

A skeleton is the file with the bytes of all tensors cut out: the header as it stands, then what lies
between and after the tensors, which is padding. The header says where each tensor was, so the
skeleton and the tensors together give back the file byte for byte, whatever order, alignment, or
odd padding it had, and whatever its header holds that nobody understands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError
from qformat.files.gguf import header as headers
from qformat.files.gguf.checkpoint import GGUFCheckpoint, shard_name
from qformat.files.gguf.entries import Placed
from qformat.files.gguf.file import GGUFFile
from qformat.files.gguf.header import Header
from qformat.files.gguf.place import gaps
from qformat.files.gguf.writing import GGUFLayout, ReadTensor, write_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

ATTACHMENT = "header.gguf"


def attachment_names(count: int) -> list[str]:
    """Under which names a container keeps the skeletons of ``count`` shards.

    >>> attachment_names(1), attachment_names(2)
    (['header.gguf'], ['header-00001-of-00002.gguf', 'header-00002-of-00002.gguf'])
    """
    return [ATTACHMENT] if count == 1 else [shard_name("header", i, count) for i in range(count)]


def skeletons(checkpoint: GGUFCheckpoint) -> dict[str, bytes]:
    """The skeleton of each file of a checkpoint, under the name that a container keeps it by."""
    names = attachment_names(len(checkpoint.shards))
    return {name: skeleton(shard) for name, shard in zip(names, checkpoint.shards, strict=True)}


def skeleton(file: GGUFFile) -> bytes:
    """Everything of a file but its tensors' bytes."""
    return b"".join(part.data for part in _parts(file))


def skeleton_bytes(file: GGUFFile) -> int:
    """How long the skeleton is, without making it."""
    return sum(part.size for part in _parts(file))


def _parts(file: GGUFFile) -> Iterator[NDArray[Any]]:
    yield file.data[: file.header.end]
    for begin, end in gaps(file.header, file.placed, file.data.size):
        yield file.data[begin:end]


def find(attachments: Mapping[str, int]) -> list[str]:
    """The skeletons among a container's attachments, in the order of the shards; empty if it has none.

    Raises
    ------
    FormatError
        If some shards' skeletons are there and others are not.
    """
    if ATTACHMENT in attachments:
        return [ATTACHMENT]
    there = [n for n in attachments if n.startswith("header-") and n.endswith(".gguf")]
    if set(there) != set(attachment_names(len(there)) if len(there) > 1 else []):
        raise FormatError(f"its attached GGUF headers are incomplete: {', '.join(sorted(there))[:200]}")
    return sorted(there)


def layout(skeleton: bytes, sizes: Mapping[str, int], where: Path) -> GGUFLayout:
    """Where everything of the file lies that a skeleton was cut from.

    ``sizes`` has the bytes of each tensor, ``where`` is what errors name.

    Raises
    ------
    FormatError
        If the skeleton is damaged, a tensor is missing or has another size, or they do not fit.
    """
    import numpy as np

    header = headers.parse(np.frombuffer(skeleton, np.uint8), where)
    placed = tuple(
        Placed(e, header.data_start + e.offset, _size(header, i, sizes)) for i, e in enumerate(header.entries)
    )
    total = len(skeleton) + sum(p.nbytes for p in placed)
    view = memoryview(skeleton)
    fixed = [(0, view[: header.end])]
    taken = header.end
    at = header.end
    for begin, end in gaps(header, placed, total):
        fixed.append((begin, view[taken : taken + end - begin]))
        taken += end - begin
    for tensor in sorted((p for p in placed if p.nbytes), key=lambda p: p.begin):
        if tensor.begin < at or tensor.end > total:
            what = "its bytes and those that the skeleton keeps do not fit together"
            raise FormatError(what, file=where, tensor=tensor.entry.name)
        at = tensor.end
    if taken != len(skeleton):
        raise FormatError("the skeleton has bytes that belong nowhere", file=where, offset=taken)
    order = sorted(placed, key=lambda p: p.begin)
    return GGUFLayout(tuple(fixed), {p.entry.name: (p.begin, p.nbytes) for p in order}, total)


def _size(header: Header, i: int, sizes: Mapping[str, int]) -> int:
    entry = header.entries[i]
    if entry.name not in sizes:
        hint = "the tensors are not those of the GGUF that this header came from"
        raise FormatError("there is no such tensor", file=header.path, tensor=entry.name, hint=hint)
    size = sizes[entry.name]
    if entry.nbytes is not None and size != entry.nbytes:
        hint = "it was coded anew since: write a GGUF of its own instead"
        what = f"it has {size:,} bytes; the header has {entry.nbytes:,}"
        raise FormatError(what, file=header.path, tensor=entry.name, hint=hint)
    return size


def targets(target: Path, count: int) -> list[Path]:
    """The files of a model of ``count`` shards that is written to ``target``.

    >>> [str(p) for p in targets(Path("out.gguf"), 2)]
    ['out-00001-of-00002.gguf', 'out-00002-of-00002.gguf']
    """
    if count == 1:
        return [target]
    return [target.with_name(shard_name(target.name.removesuffix(".gguf"), i, count)) for i in range(count)]


def rebuild(
    target: Path,
    parts: list[bytes],
    sizes: Mapping[str, int],
    read: ReadTensor,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the GGUF back that the skeletons ``parts`` were cut from; several parts give shards.

    ``read`` gives the bytes of a tensor, as a whole or in pieces. Returns the files written.

    Raises
    ------
    FormatError
        If the skeletons and tensors do not belong together.
    TargetError
        If the files cannot be written.
    """
    files = targets(target, len(parts))
    names = attachment_names(len(parts))
    layouts = [layout(part, sizes, Path(name)) for part, name in zip(parts, names, strict=True)]
    write_files(list(zip(files, layouts, strict=True)), read, overwrite=overwrite)
    return files
