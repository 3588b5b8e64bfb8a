"""Tensors whose blocks only change their form: the same codes and scales, as planes or as records.

Which raw schemes are another form of which planes is theirs to say (`Scheme.equivalent`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.equivalent import Equivalent, from_records, to_records
from qformat.blocks.layout import Layout, RawBlocks, Vocabulary, rows_cols
from qformat.files.checkpoint import TensorInfo
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme
from qformat.views.source import TensorSource

WEIGHTS = 1 << 20  # re-packed at a time


@dataclass(frozen=True)
class Repacking:
    """How one tensor changes its form: from the planes to the records, or the other way."""

    same: Equivalent
    raw: RawBlocks
    planar: Vocabulary

    def pieces(self, source: TensorSource) -> Iterator[tuple[int, int]]:
        """Runs of rows, first and last, to be re-packed one at a time."""
        step = max(1, WEIGHTS // max(1, source.cols))
        for start in range(0, source.rows, step):
            yield start, min(start + step, source.rows)

    def piece(self, source: TensorSource, start: int, stop: int) -> dict[str, NDArray[np.uint8]]:
        """The bytes of some rows, by plane of the target."""
        stored = {name: source.stored_rows(name, start, stop) for name in source.info.planes}
        if "blocks" in stored:
            return from_records(self.same, self.raw, self.planar, stored["blocks"])
        return {"blocks": to_records(self.same, self.raw, self.planar, stored, source.cols).reshape(-1)}


def repacking(info: TensorInfo, target: Scheme) -> Repacking | None:
    """How a tensor becomes one of a scheme without quantizing again; None if it cannot."""
    if info.scheme is None:
        return None
    source, layout = info.scheme.layout, target.layout()
    same = target.equivalent()
    if same is not None and isinstance(layout, RawBlocks) and not isinstance(source, RawBlocks):
        fits = same.holds(source) and rows_cols(info.shape)[1] % layout.block == 0
        return Repacking(same, layout, source) if fits else None
    if isinstance(source, RawBlocks) and not isinstance(layout, RawBlocks):
        same = registry().for_record(info.scheme).equivalent() if _is_installed(info.scheme) else None
        if same is not None and same.fits(layout):
            return Repacking(same, _fields(info.scheme), layout)
    return None


def smallest_equivalent(layout: Layout, allowed: Iterable[str]) -> Scheme | None:
    """Of the raw schemes with one of these ids, the one of fewest bits that can say what planes say."""
    names = set(allowed)
    found = [kind() for kind, _ in registry().schemes() if kind.id in names]
    fitting = [s for s in found if (same := s.equivalent()) is not None and same.holds(layout)]
    return min(fitting, key=lambda s: s.bpw, default=None)


def _is_installed(record: SchemeRecord) -> bool:
    return any(kind.id == record.id for kind, _ in registry().schemes())


def _fields(record: SchemeRecord) -> RawBlocks:
    """The records of an installed scheme, with the fields that a file's own record may lack."""
    layout = registry().for_record(record).layout()
    assert isinstance(layout, RawBlocks)
    return layout
