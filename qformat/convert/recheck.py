"""A container held against its source: the digests and error figures that it recorded."""

from __future__ import annotations

from collections.abc import Iterator

from qformat.blocks.sums import Sums, measure
from qformat.convert.figures import Figures
from qformat.convert.hashing import byte_view, digest
from qformat.convert.verify import Fault
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.views.aligned import counterpart
from qformat.views.source import TensorSource, regions


def source_faults(made: Checkpoint, source: Checkpoint) -> Iterator[Fault]:
    """Where a checkpoint does not follow from the source that it names, which may name tensors otherwise."""
    source = counterpart(made, source)
    missing = [n for n in made.tensors if n not in source.tensors]
    other = [n for n, i in made.tensors.items() if n not in missing and source.tensors[n].shape != i.shape]
    if len(missing) + len(other) > len(made.tensors) / 2:
        what = f"of {len(made.tensors)} tensors it lacks {len(missing)} and has {len(other)} in another shape"
        yield Fault(str(source.path), None, f"this is another model: {what}")
        return
    for name, info in made.tensors.items():
        if name in missing:
            yield Fault(str(source.path), name, "the source does not have it")
        elif name in other:
            yield Fault(str(source.path), name, "the source has it in another shape")
        else:
            yield from _tensor_faults(made, source, info)


def _tensor_faults(made: Checkpoint, source: Checkpoint, info: TensorInfo) -> Iterator[Fault]:
    original = source.tensors[info.name]
    note = info.note or {}
    if "source" in note and original.scheme is None:
        found = digest(byte_view(source.plane(info.name)))
        if found != note["source"]:
            yield Fault(
                str(source.path), info.name, "it is not the tensor that was converted (digests differ)"
            )
            return
    if "error" in note:
        found_figures = _figures(made, source, info).to_json()
        for figure, value in found_figures.items():
            if not _close(value, note["error"].get(figure, "")):
                yield Fault(
                    str(made.path),
                    info.name,
                    f"{figure} is {value}, the file says {note['error'].get(figure)}",
                )


def _figures(made: Checkpoint, source: Checkpoint, info: TensorInfo) -> Figures:
    one, two = TensorSource(source, source.tensors[info.name]), TensorSource(made, info)
    tiles = regions(one.rows, one.cols)
    return Figures.of(sum((measure(one.region(t), two.region(t)) for t in tiles), Sums()))


def _close(found: str, recorded: str) -> bool:
    """Equal up to the last digit, which summation order may turn."""
    try:
        a, b = float(found), float(recorded)
    except ValueError:
        return False
    return a == b or abs(a - b) <= 2e-3 * max(abs(a), abs(b))
