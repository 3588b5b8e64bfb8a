"""The size of a block against what it costs: fewer bits for scales, more error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.layout import rows_cols, stored_bytes
from qformat.convert.figures import Figures
from qformat.errors import QFormatError, SchemeError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.lab.mapping import block_sizes

MOST = 1 << 22  # values that are measured; rows are left out evenly beyond that


@dataclass(frozen=True)
class SizePoint:
    """A tensor in blocks of one size; its shorter last blocks count in ``bpw``. ``rows`` were measured."""

    block: int
    spec: str
    bpw: float
    figures: Figures
    rows: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "block": self.block,
            "scheme": self.spec,
            "bits_per_weight": self.bpw,
            "rows": self.rows,
            "error": self.figures.numbers(),
        }


def size_points(
    checkpoint: Checkpoint,
    info: TensorInfo,
    spec: str,
    *,
    threads: int = 2,
    check: Callable[[], None] | None = None,
) -> Iterator[SizePoint]:
    """The error of a tensor under a scheme at each size of block that the scheme offers, one by one.

    ``check`` is called between them, and may raise to end it.

    Raises
    ------
    SchemeError
        If there is no such scheme, or its block is not to be chosen.
    QFormatError
        If the tensor is empty, or has values that the scheme cannot hold.
    """
    from qformat.schemes.coder import encode
    from qformat.schemes.registry import registry

    scheme = registry().parse(spec)
    sizes = block_sizes(scheme)
    if not info.elements:
        raise QFormatError("it has no values", tensor=info.name)
    if not sizes:
        raise SchemeError(f"{scheme.id} has blocks of {scheme.block_size} only")
    sample = _sample(checkpoint, info)
    for size in sizes:
        if check:
            check()
        each = dataclasses.replace(scheme, block=size)  # type: ignore[call-arg]
        sums = encode(each, sample, threads=threads, figures=True).sums
        bpw = stored_bytes(each.layout(), sample.shape) * 8 / sample.size
        yield SizePoint(size, each.spec(), bpw, Figures.of(sums), sample.shape[0])


def _sample(checkpoint: Checkpoint, info: TensorInfo) -> NDArray[Any]:
    """All rows of a tensor, or as many as there is patience for, evenly spread."""
    from qformat.views.source import tensor_source

    rows, cols = rows_cols(info.shape)
    count = min(rows, max(MOST // max(cols, 1), 1))
    wanted = np.linspace(0, rows - 1, count).round().astype(np.int64)
    return np.ascontiguousarray(tensor_source(checkpoint, info).rows_at(wanted))
