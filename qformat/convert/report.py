"""What a conversion did, or would do: the same rows for a plan, a report and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qformat.convert.figures import Figures
from qformat.convert.plan import Plan
from qformat.convert.run import Result
from qformat.files.checkpoint import Checkpoint
from qformat.text import line

SCHEMA = 1
LOST = 0.99  # relative RMSE; of zeros it is 1


@dataclass(frozen=True)
class TensorRow:
    """One tensor of the output."""

    name: str
    shape: tuple[int, ...]
    source: str  # what it was: dtype or scheme
    coding: str  # what it is now
    nbytes: int
    bpw: float
    figures: Figures | None = None
    repacked: bool = False  # the same codes and scales in another form


@dataclass(frozen=True)
class Report:
    """A finished conversion, or with ``seconds`` None a planned one."""

    source: str
    target: str
    rows: tuple[TensorRow, ...]
    files: Mapping[str, int]  # name -> exact bytes
    source_bytes: int  # of its files, with what rides along
    bpw: float
    warnings: tuple[str, ...]
    content: str | None = None
    seconds: float | None = None
    importance: Mapping[str, Any] | None = None  # where it came from, and how many tensors heed it

    @property
    def nbytes(self) -> int:
        return sum(self.files.values())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "target": self.target,
            "files": [{"name": name, "bytes": size} for name, size in self.files.items()],
            "bytes": self.nbytes,
            "source_bytes": self.source_bytes,
            "bits_per_weight": round(self.bpw, 4),
            "content": self.content,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "warnings": list(self.warnings),
            "importance": None if self.importance is None else dict(self.importance),
            "tensors": [_row_json(r) for r in self.rows],
        }


def _row_json(row: TensorRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "shape": list(row.shape),
        "source": row.source,
        "scheme": row.coding,
        "bytes": row.nbytes,
        "bits_per_weight": round(row.bpw, 4),
        "repacked": row.repacked,
        "error": row.figures.numbers() if row.figures else None,
    }


def report(plan: Plan, result: Result | None = None) -> Report:
    """The report of a plan, with the figures of its run if there was one."""
    rows = tuple(
        TensorRow(
            t.info.name,
            t.info.shape,
            t.info.coding,
            t.coding,
            t.nbytes,
            t.bpw,
            result.outcomes[t.info.name].figures if result else None,
            t.repacking is not None,
        )
        for t in plan.tensors
    )
    return Report(
        source=str(plan.source.path),
        target=str(plan.target),
        rows=rows,
        files={f.name: f.layout.nbytes for f in plan.files},
        source_bytes=_size(plan.source),
        bpw=plan.bpw,
        warnings=(*plan.warnings, *_lost(rows)),
        content=result.content if result else None,
        seconds=result.seconds if result else None,
        importance=_importance(plan),
    )


def _size(source: Checkpoint) -> int:
    """Bytes of all files of a checkpoint; in a folder the tokenizer and the like are files, too."""
    beside = sum(source.attachments.values()) if source.path.is_dir() else 0
    return sum(file.stat().st_size for file in source.files) + beside


def _lost(rows: Iterable[TensorRow]) -> Iterator[str]:
    """Tensors that became zeros, or as good as that: scales that are too small for their type."""
    lost = [r for r in rows if r.figures is not None and r.figures.rmse >= LOST]
    if lost:
        others = f" and of {len(lost) - 1} others" if len(lost) > 1 else ""
        yield (
            f"nothing is left of {line(lost[0].name)}{others} in {lost[0].coding}: the values are too small "
            "for its scales; keep such tensors (--keep PATTERN), or choose wider scales, such as scale=bf16"
        )


def _importance(plan: Plan) -> Mapping[str, Any] | None:
    if plan.imatrix is None:
        return None
    return {**plan.imatrix.origin(), "tensors": sum(t.importance is not None for t in plan.tensors)}
