"""Proving that a container is whole: every byte is held against a digest, a rule, or both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from qformat.blocks.layout import Codes, planes
from qformat.convert.hashing import digest
from qformat.files import container as box
from qformat.files.checkpoint import Stored
from qformat.files.container import Container
from qformat.files.opening import Source, opened
from qformat.files.strict_json import canonical, parse_file

RUN_BYTES, RUN_ARRAYS = 1 << 20, 512  # checked by a thread at a time


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written."""

    file: str
    tensor: str | None
    what: str


@dataclass(frozen=True)
class Verification:
    """What was checked and what was found; ``whole`` is false of a file that is itself damaged."""

    path: str
    format: str
    tensors: int
    bytes_checked: int
    content: str | None
    faults: tuple[Fault, ...]
    whole: bool

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def has_digests(self) -> bool:
        return self.content is not None


def verify(
    path: Source,
    *,
    source: Source | None = None,
    threads: int = 2,
    progress: Callable[[int, str], None] | None = None,
) -> Verification:
    """Check every byte of a checkpoint that carries digests; others are checked for structure.

    With ``source``, the recorded digests and error figures of each tensor are recomputed from
    the original.

    Raises
    ------
    FormatError
        If the file cannot even be opened: cut short, or its header damaged.
    """
    checkpoint = opened(path)
    total = sum(f.stat().st_size for f in checkpoint.files)
    faults: list[Fault] = []
    content = None
    if isinstance(checkpoint, Container):
        content = checkpoint.metadata[box.CONTENT]
        faults += _container_faults(checkpoint, threads, progress)
    whole = not faults
    if source is not None:
        from qformat.convert.recheck import source_faults

        faults += source_faults(checkpoint, opened(source))
    return Verification(
        str(checkpoint.path), checkpoint.format, len(checkpoint.tensors), total, content, tuple(faults), whole
    )


def _container_faults(
    container: Container, threads: int, progress: Callable[[int, str], None] | None
) -> Iterator[Fault]:
    stored = [s for p in container.parts for s in p.file.tensors.values()]

    def check(array: Stored) -> Fault | None:
        data = container.stored_bytes(array)
        if array.name.startswith(box.PAD_PREFIX):
            fault = "its padding is not zero" if data.any() else None
        else:
            fault = (
                None if digest(data) == container.digests[array.name] else "its bytes do not match its digest"
            )
        return Fault(str(array.file), _tensor_of(container, array), fault) if fault else None

    with ThreadPoolExecutor(threads) as pool:
        runs = list(_runs(stored))
        for run, found in zip(runs, pool.map(lambda run: [check(a) for a in run], runs), strict=True):
            if progress:
                progress(sum(a.nbytes for a in run), run[-1].name)
            yield from (fault for fault in found if fault)
    yield from _pad_faults(stored)
    yield from _spare_faults(container)
    for part in container.parts:
        yield from _spelling_faults(part)
    yield from _content_faults(container, stored)


def _runs(stored: list[Stored]) -> Iterator[list[Stored]]:
    """Arrays in runs of some size: to hand each tiny one to a thread would cost more than to check it."""
    run: list[Stored] = []
    size = 0
    for array in stored:
        run.append(array)
        size += array.nbytes
        if size >= RUN_BYTES or len(run) >= RUN_ARRAYS:
            yield run
            run, size = [], 0
    if run:
        yield run


def _pad_faults(stored: list[Stored]) -> Iterator[Fault]:
    """Padding is outside the content digest, so its names are held to their own rule."""
    pads = [s for s in stored if s.name.startswith(box.PAD_PREFIX)]
    for i, pad in enumerate(pads):
        if pad.name != f"{box.PAD_PREFIX}{i}" or pad.dtype != "U8":
            yield Fault(str(pad.file), pad.name, f"padding number {i} is not as it was written")


def _spare_faults(container: Container) -> Iterator[Fault]:
    """Bits after a row's last code are zero, whoever wrote the file."""
    for name, info in container.tensors.items():
        if info.scheme is None or not info.elements:
            continue
        cols = info.shape[-1] if info.shape else 1
        for plane in planes(info.scheme.layout):
            used = plane.count(cols) * plane.item.bits % 8 if isinstance(plane.item, Codes) else 0
            if used and (container.plane(name, plane.name)[..., -1] >> used).any():
                file = str(info.planes[plane.name].file)
                yield Fault(
                    file, f"{name} (plane {plane.name})", "spare bits at the end of a row are not zero"
                )


_CAPITAL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u[0-9a-f]{0,3}[A-F]")


def _spelling_faults(part: box.Part) -> Iterator[Fault]:
    """JSON has two spellings of one character that differ in a bit; only one is allowed."""
    file = str(part.file.path)
    if "\\u" in part.file.header and _CAPITAL_ESCAPE.search(part.file.header):
        yield Fault(file, None, "an escape in the header has a capital digit, which none is written with")
    for key, value in ((box.TENSORS, part.notes), (box.DIGESTS, part.digests)):
        if part.file.metadata[key] != canonical(value):
            yield Fault(file, None, f"its metadata {key!r} is not canonical JSON")


def _tensor_of(container: Container, array: Stored) -> str:
    for name, info in container.tensors.items():
        if any(p.name == array.name for p in info.planes.values()):
            return name if name == array.name else f"{name} (plane {array.name.removeprefix(name + '/')})"
    return array.name


def _content_faults(container: Container, stored: list[Stored]) -> Iterator[Fault]:
    """The content digest holds names, shapes, descriptors and metadata together."""
    notes: dict[str, Any] = {}
    for part in container.parts:
        notes.update(part.notes)
    named = [s for s in stored if not s.name.startswith(box.PAD_PREFIX)]
    arrays = [(s.name, s.dtype, s.shape, container.digests[s.name]) for s in named]
    found = box.content_digest(box.content_lines(container.metadata, notes, arrays))
    wanted = container.metadata[box.CONTENT]
    lone = len(container.files) == 1 and container.files[0].name.count("-of-") == 1
    if found != wanted:
        hint = "; it is one shard of a set: verify its folder" if lone else ""
        yield Fault(str(container.path), None, f"the header does not match the content digest{hint}")
    yield from _index_faults(container)


def _index_faults(container: Container) -> Iterator[Fault]:
    """The index of a set: the files' content digest, all of their arrays, and their bytes."""
    if len(container.files) == 1:
        return
    path = container.path
    stored = [s for p in container.parts for s in p.file.tensors.values()]
    names = {s.name for s in stored if not s.name.startswith(box.PAD_PREFIX)}
    for index in sorted(path.glob("*.safetensors.index.json")) if path.is_dir() else [path]:
        value = parse_file(index, "the index")
        told = value.get("metadata")
        told = told if isinstance(told, dict) else {}
        if told.get(box.CONTENT) != container.metadata[box.CONTENT]:
            yield Fault(str(index), None, "its content digest is not the files'")
        if told.get("total_size") != sum(s.nbytes for s in stored):
            yield Fault(str(index), None, "its total_size is not that of the files")
        if lost := names - set(value["weight_map"]):
            yield Fault(str(index), min(lost), "the index does not list it")
