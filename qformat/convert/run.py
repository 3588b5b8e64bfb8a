"""Running a plan: each tensor is read, encoded and written once, in order, in bounded memory.

Worker threads encode tiles and write them where the layout says; this thread takes them in
order, for digests and figures. Only a handful of tiles exist at any moment.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import planes
from qformat.blocks.sums import Sums, measure
from qformat.blocks.tiles import Tile, tiles
from qformat.convert.figures import Figures
from qformat.convert.hashing import CHUNK, byte_view, digest
from qformat.convert.plan import GGUF, QFORMAT, Outcome, Plan, TensorPlan, metadata, shared_metadata
from qformat.convert.repack import Repacking
from qformat.convert.riders import read_rider, riders
from qformat.errors import DataError, IntegrityError, TargetError
from qformat.files import container as box
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.files.gguf.writing import GGUFLayout, GGUFWriter
from qformat.files.writing import FileLayout, FileWriter, staged
from qformat.schemes.coder import check_rows, encode_tile, plane_offset
from qformat.schemes.kernels import kernel
from qformat.views.derived import DerivedCheckpoint
from qformat.views.source import TensorSource, regions, tensor_source

Progress = Callable[[int, str], None]  # source bytes done since the last call, tensor name


@dataclass(frozen=True)
class Result:
    """What a run leaves: outcomes by tensor, the content digest, and the seconds it took."""

    outcomes: Mapping[str, Outcome]
    content: str | None
    seconds: float


def run(plan: Plan, *, threads: int, overwrite: bool = False, progress: Progress | None = None) -> Result:
    """Write the plan's files; the target appears complete or not at all.

    Raises
    ------
    TargetError
        If the target is the source, exists, or does not fit on the disk.
    DataError
        For values that a scheme cannot hold; names tensor and index.
    """
    start = time.perf_counter()
    _check_target(plan)
    with _stages(plan, overwrite=overwrite) as stages:
        with contextlib.ExitStack() as stack:
            writers = {}
            for file in plan.files:
                writers[file.name] = _writer(stages[file.name], file.layout)
                stack.callback(writers[file.name].close)
            outcomes = _write_tensors(plan, writers, threads, progress or (lambda _done, _name: None))
            content = _finish(plan, writers, outcomes)
        if plan.folder:
            _write_loose(plan, stages[plan.files[0].name].parent, content)
    return Result(outcomes, content, time.perf_counter() - start)


def _is_the_input(path: Path) -> TargetError:
    return TargetError("it is the input, which would be lost", file=path, hint="choose another name")


@contextlib.contextmanager
def _stages(plan: Plan, *, overwrite: bool) -> Iterator[dict[str, Path]]:
    """Where each file is written until all are complete: in a folder's stage, or one beside its own place."""
    with contextlib.ExitStack() as stack:
        if plan.folder:
            stage = stack.enter_context(staged(plan.target, folder=True, overwrite=overwrite))
            yield {f.name: stage / f.name for f in plan.files}
        else:
            yield {
                name: stack.enter_context(staged(path, folder=False, overwrite=overwrite))
                for name, path in plan.paths.items()
            }


_Writer = FileWriter | GGUFWriter


def _writer(path: Path, layout: FileLayout | GGUFLayout) -> _Writer:
    return GGUFWriter(path, layout) if isinstance(layout, GGUFLayout) else FileWriter(path, layout)


def _check_target(plan: Plan) -> None:
    target = plan.target.resolve()
    sources = {f.resolve() for f in plan.source.files}
    if plan.folder and target in {f.parent for f in sources}:
        raise _is_the_input(plan.target)
    for path in plan.paths.values():
        if path.resolve() in sources or (path.is_file() and any(path.samefile(f) for f in sources)):
            raise _is_the_input(path)
    if target.parent.is_dir():
        free = shutil.disk_usage(target.parent).free
        if free < plan.nbytes:
            raise TargetError(
                f"{plan.nbytes:,} bytes are needed, {free:,} are free on this disk", file=plan.target
            )


# --- pieces of work -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """A part of a tensor that has been written, on its way to the digests."""

    planes: Mapping[str, NDArray[np.uint8]]
    sums: Sums
    source_bytes: int


@dataclass
class _State:
    """A tensor under way."""

    tensor: TensorPlan
    source: Future[dict[str, str]] | None
    hashes: dict[str, Any] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)

    def take(self, piece: _Piece) -> None:
        for name, data in piece.planes.items():
            if name in self.hashes:
                self.hashes[name].update(data)
        self.sums += piece.sums

    def outcome(self) -> Outcome:
        digests = {name: h.hexdigest() for name, h in self.hashes.items()}
        source = self.source.result() if self.source else digests
        exact = self.tensor.kept or self.tensor.repacking is not None
        figures = None if exact else Figures.of(self.sums)
        return Outcome(digests, source.get(""), figures)


_Work = Callable[[], _Piece]


def _write_tensors(
    plan: Plan, writers: Mapping[str, _Writer], threads: int, progress: Progress
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    queue: collections.deque[tuple[_State, Future[_Piece] | None]] = collections.deque()

    def take_one() -> None:
        state, future = queue.popleft()
        name = state.tensor.info.name
        if future is None:
            outcome = state.outcome()
            _check_source(plan.source, state, outcome)
            outcomes[name] = outcome
            return
        piece = future.result()
        state.take(piece)
        progress(piece.source_bytes, name)

    pool = ThreadPoolExecutor(threads)
    try:
        for file in plan.files:
            for tensor in file.tensors:
                state = _start(plan, tensor, pool)
                for work in _works(plan, tensor, writers[file.name]):
                    queue.append((state, pool.submit(work)))
                    if len(queue) > 2 * threads + 2:
                        take_one()
                queue.append((state, None))
        while queue:
            take_one()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return outcomes


def _start(plan: Plan, tensor: TensorPlan, pool: ThreadPoolExecutor) -> _State:
    """Digests are taken where a container will hold them, or the source's own are to be checked."""
    made = tensor.kept or isinstance(plan.source, DerivedCheckpoint)
    checked = any(stored.name in plan.source.digests for stored in tensor.info.planes.values())
    if plan.to != QFORMAT and not checked:
        return _State(tensor, None)
    source = None if made else pool.submit(_digests_of, plan.source, tensor.info)
    hashed = tensor.arrays if made or plan.to == QFORMAT else ()
    return _State(tensor, source, {name: hashlib.sha256() for name in hashed})


def _digests_of(source: Checkpoint, info: TensorInfo) -> dict[str, str]:
    return {name: digest(byte_view(source.plane(info.name, name))) for name in info.planes}


def _check_source(source: Checkpoint, state: _State, outcome: Outcome) -> None:
    """A source that carries digests is held to them: damage must not travel on."""
    found = outcome.digests if state.source is None else state.source.result()
    for plane, stored in state.tensor.info.planes.items():
        wanted = source.digests.get(stored.name)
        if wanted is not None and wanted != found[plane]:
            raise IntegrityError(
                f"the bytes of {stored.name!r} do not match their digest", file=stored.file,
                tensor=state.tensor.info.name, offset=stored.data_offset,
                hint="the source is damaged; `qformat verify` says where else",
            )  # fmt: skip


def _works(plan: Plan, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    if tensor.kept and not isinstance(plan.source, DerivedCheckpoint):
        return _copying(plan.source, tensor, writer)
    source = tensor_source(plan.source, tensor.info)
    if tensor.kept:
        return _moving(source, tensor, writer)
    if tensor.repacking is not None:
        return _repacking(tensor.repacking, source, tensor, writer)
    if tensor.scheme is not None:
        return _encoding(source, tensor, writer)
    return _casting(source, tensor, writer)


def _copying(source: Checkpoint, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    for plane, array in tensor.arrays.items():
        data = byte_view(source.plane(tensor.info.name, plane))
        for start in range(0, data.size, CHUNK):

            def work(plane: str = plane, name: str = array.name, at: int = start, data: Any = data) -> _Piece:
                part = data[at : at + CHUNK]
                writer.write(name, at, part)
                return _Piece({plane: part}, Sums(), part.size)

            yield work


def _moving(source: TensorSource, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    """Stored rows, in whatever order the source gives them."""
    for plane, array in tensor.arrays.items():
        row_bytes = max(1, array.nbytes // max(1, source.rows))
        step = max(1, CHUNK // row_bytes)
        for start in range(0, source.rows, step):

            def work(
                plane: str = plane,
                name: str = array.name,
                at: int = start,
                size: int = row_bytes,
                end: int = start + step,
            ) -> _Piece:
                part = source.stored_rows(plane, at, end)
                data = byte_view(np.ascontiguousarray(part))
                writer.write(name, at * size, data)
                return _Piece({plane: data}, Sums(), data.size)

            yield work


def _repacking(how: Repacking, source: TensorSource, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    row_bytes = {plane: array.nbytes // max(1, source.rows) for plane, array in tensor.arrays.items()}
    for start, stop in how.pieces(source):

        def work(start: int = start, stop: int = stop) -> _Piece:
            made = how.piece(source, start, stop)
            for plane, data in made.items():
                writer.write(tensor.arrays[plane].name, start * row_bytes[plane], data)
            return _Piece(made, Sums(), source.info.nbytes * (stop - start) // source.rows)

        yield work


def _encoding(source: TensorSource, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    assert tensor.scheme is not None
    kern = kernel(tensor.scheme)
    if tensor.importance is not None:
        check_rows(kern, source.cols)
    for tile in tiles(source.rows, source.cols, kern.block, kern.blocks):

        def work(tile: Tile = tile) -> _Piece:
            weights = None if tensor.importance is None else tensor.importance.of(tile)
            try:
                stored, sums = encode_tile(
                    kern, source.region(tile), source.dtype, weights=weights, figures=True
                )
            except DataError as error:
                raise _located(error, source.info, tile) from None
            for plane in planes(kern.layout):
                offset = plane_offset(plane, tile, source.cols)
                writer.write(tensor.arrays[plane.name].name, offset, stored[plane.name])
            return _Piece(stored, sums, _share(source, tile))

        yield work


def _casting(source: TensorSource, tensor: TensorPlan, writer: _Writer) -> Iterator[_Work]:
    array = tensor.arrays[""]
    dtype = dtypes.numpy_dtype(array.dtype)
    for tile in regions(source.rows, source.cols):

        def work(tile: Tile = tile) -> _Piece:
            values = source.region(tile)
            with np.errstate(over="ignore", invalid="ignore"):
                cast = np.ascontiguousarray(values.astype(dtype))
            lost = np.isfinite(values) & ~np.isfinite(cast)
            if lost.any():
                row, col = np.argwhere(lost)[0]
                error = DataError(
                    f"the value is {float(values[row, col]):g}, too large for {array.dtype}",
                    hint="choose a wider type: --dtype bf16 or --dtype f32",
                )
                error.at = (int(row), int(col))
                raise _located(error, source.info, tile)
            data = byte_view(cast)
            writer.write(array.name, (tile.row * source.cols + tile.col) * dtype.itemsize, data)
            return _Piece({"": data}, measure(values, cast), _share(source, tile))

        yield work


def _share(source: TensorSource, tile: Tile) -> int:
    """The part of a tensor's stored bytes that a tile stands for."""
    return source.info.nbytes * tile.rows * tile.cols // (source.rows * source.cols)


def _located(error: DataError, info: TensorInfo, tile: Tile) -> DataError:
    """The error with its tensor, its file, and the index of the element in the tensor's own shape."""
    where = next(iter(info.planes.values())).file
    what = error.what
    if error.at is not None:
        flat = (tile.row + error.at[0]) * (info.shape[-1] if info.shape else 1) + tile.col + error.at[1]
        index = [int(i) for i in np.unravel_index(flat, info.shape)] if info.shape else []
        what = f"at index {index} {what}"
    return DataError(what, file=where, tensor=info.name, hint=error.hint)


# --- the end ------------------------------------------------------------------------------------


def _finish(plan: Plan, writers: Mapping[str, _Writer], outcomes: Mapping[str, Outcome]) -> str | None:
    if plan.to != QFORMAT:
        for file in plan.files:
            writer = writers[file.name]
            if isinstance(writer, FileWriter):
                writer.finish(metadata(plan, file.tensors, file.riders))
            else:
                writer.finish()
        return None
    digests = {}
    for file in plan.files:
        for name in file.riders:
            data = read_rider(plan.source, name)
            if len(data) != riders(plan.source)[name]:
                raise TargetError("it changed while it was read", file=plan.source.path / name)
            writers[file.name].write(box.FILE_PREFIX + name, 0, data)
            digests[name] = hashlib.sha256(data).hexdigest()
    source = _source_digest(plan, outcomes)
    content = _content(plan, outcomes, digests, source)
    shared = shared_metadata(plan, source, content)
    for file in plan.files:
        text = metadata(plan, file.tensors, file.riders, outcomes, digests, shared)
        writer = writers[file.name]
        assert isinstance(writer, FileWriter)
        writer.finish(text)
    return content


def _source_digest(plan: Plan, outcomes: Mapping[str, Outcome]) -> str:
    """A container's own content digest, or the same kind of digest over plain tensors."""
    if box.CONTENT in plan.source.metadata:
        return plan.source.metadata[box.CONTENT]
    stored = [(i.name, i.dtype, i.shape, outcomes[i.name].source or "") for i in plan.source.tensors.values()]
    return box.content_digest(box.content_lines({}, {}, stored))


def _content(plan: Plan, outcomes: Mapping[str, Outcome], carried: Mapping[str, str], source: str) -> str:
    shared = shared_metadata(plan, source)
    everything = metadata(plan, plan.tensors, tuple(carried), outcomes, carried, shared)
    notes = box.parse_object(everything[box.TENSORS])
    digests = box.parse_object(everything[box.DIGESTS])
    layouts = [f.layout for f in plan.files if isinstance(f.layout, FileLayout)]
    arrays = [(n, d, s) for layout in layouts for n, d, s, _, _ in layout.entries if n in digests]
    return box.content_digest(
        box.content_lines(everything, notes, [(n, d, s, digests[n]) for n, d, s in arrays])
    )


def _write_loose(plan: Plan, stage: Path, content: str | None) -> None:
    """An index if there are several files, and the riders that are files of their own."""
    import json

    if len(plan.files) > 1 and plan.to != GGUF:
        laid = {f.name: f.layout for f in plan.files if isinstance(f.layout, FileLayout)}
        total = sum(layout.data_bytes for layout in laid.values())
        weight_map = {e[0]: name for name, layout in laid.items() for e in layout.entries}
        extra = {} if content is None else {box.CONTENT: content}
        index = {"metadata": {"total_size": total, **extra}, "weight_map": weight_map}
        text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
        (stage / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    for name in plan.loose:
        (stage / name).write_bytes(plan.source.read_attachment(name))
