"""One tensor, or one block of it, on paper."""

from __future__ import annotations

import math
from typing import Any

from qformat.blocks import dtypes
from qformat.cli.inspect_command import SCHEMA, tensor_json
from qformat.cli.text import counted, line, shape, show, show_json, table
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.block import BlockView, block_count, block_view
from qformat.inspect.statistics import Statistics, statistics
from qformat.inspect.usage import Levels, Usage, usage
from qformat.text import spaced

_BARS = 50
_FIGURES = {"rmse": "rel. RMSE", "snr": "SNR dB", "max": "max error"}  # as tables head them


def show_tensor(checkpoint: Checkpoint, name: str, block: int | None, *, as_json: bool) -> None:
    """Print a tensor: planes, statistics and histogram, or one block."""
    info = find_tensor(checkpoint, name)
    view = block_view(checkpoint, info, block) if block is not None else None
    known = dtypes.is_quantizable(info.dtype) and view is None
    stats = statistics(checkpoint, info) if known else None
    used = usage(checkpoint, info) if known else ()
    if as_json:
        show_json(_json(info, stats, used, view))
        return
    _show_head(info)
    if view is not None:
        _show_block(info, view)
    elif stats is not None:
        _show_statistics(stats)
        _show_usage(used)


def find_tensor(checkpoint: Checkpoint, name: str) -> TensorInfo:
    """A tensor by its name.

    Raises
    ------
    QFormatError
        If there is none, naming the near misses.
    """
    if name in checkpoint.tensors:
        return checkpoint.tensors[name]
    import difflib

    near = difflib.get_close_matches(name, checkpoint.tensors, 3, 0.5)
    near = near or [n for n in checkpoint.tensors if name in n][:3]
    hint = f"did you mean {', '.join(near)}?" if near else "`qformat inspect FILE` lists them"
    raise QFormatError(f"there is no tensor {name!r}", file=checkpoint.path, hint=hint)


def _show_head(info: TensorInfo) -> None:
    show(f"{line(info.name)}  {shape(info.shape)}  {info.dtype}  {counted(info.nbytes, 'byte')}")
    if info.scheme:
        provider = info.scheme.provider
        show(
            f"{line(info.scheme.spec())}, version {info.scheme.version}, from {line(provider.distribution)} "
            f"{line(provider.version)}; {info.bpw:.3f} bits per weight, blocks of {info.scheme.block}"
        )
    error = (info.note or {}).get("error")
    if isinstance(error, dict):
        told = (f"{line(_FIGURES.get(k, k))} {line(v)}" for k, v in error.items())
        show("cost when converted: " + ", ".join(told))
    show()
    rows = [
        (name or "values", p.dtype, shape(p.shape), f"{p.nbytes:,}", f"{p.data_offset:,}", p.file.name)
        for name, p in info.planes.items()
    ]
    show(table(rows, ["plane", "type", "shape", "bytes", "data offset", "file"], right=(3, 4)))
    show()


def _show_statistics(stats: Statistics) -> None:
    for name, value in stats.facts():
        show(f"{name + ':':<22} {value}")
    show()
    top = max(stats.histogram, default=0)
    if not top:
        return
    for i, count in enumerate(stats.histogram):
        far = " ◂ outliers" if count and stats.is_far(i) else ""
        show(f"{stats.middle(i):>12.4g}  {_bar(count, top):<{_BARS}} {count:,}{far}")


def _bar(count: int, top: int) -> str:
    """A bar in eighths of a character; what is not zero shows."""
    eighths = max(round(count / top * _BARS * 8), 1 if count else 0)
    part = " ▏▎▍▌▋▊▉"[eighths % 8]
    return "█" * (eighths // 8) + part.strip()


def _show_usage(used: tuple[Usage, ...]) -> None:
    for number, field in enumerate(used):
        if number == 0:
            show()
        show(f"{line(field.name)}: {field.fact()}")
        if number or not isinstance(field, Levels) or len(field.counts) > 16:
            continue
        top = max(field.counts)
        for code, count in field.items():
            show(f"{code:>12}  {_bar(count, top):<{_BARS}} {count:,}")


def _show_block(info: TensorInfo, view: BlockView) -> None:
    last = view.first + len(view.values) - 1
    total = block_count(info)
    show(f"block {view.index:,} of {total:,}: row {view.row:,}, columns {view.first:,} to {last:,}")
    for field in view.small():
        show()
        show(f"{line(field.name)} ({field.kind})")
        for item, bits in zip(field.items, field.bits, strict=True):
            show(
                f"  {spaced(bits, field.kind)}  {item:g}" if isinstance(item, float) else f"  {bits}  {item}"
            )
    show()
    wide = view.wide()
    rows = []
    for i, value in enumerate(view.values):
        cells = [str(view.first + i)]
        for field in wide:
            cells += [field.bits[i], f"{field.items[i]}"]
        rows.append([*cells, f"{value:.7g}"])
    headers = ["column"]
    for field in wide:
        headers += [f"{field.name} bits", field.name]
    headers.append("value")
    show(table(rows, headers, right=range(len(headers))))
    show()
    stored = [(s.plane, f"{s.data_offset:,}", s.file, s.data.hex(" ")) for s in view.stored]
    show(table(stored, ["plane", "data offset", "file", "bytes"], right=(1,)))


def _json(
    info: TensorInfo, stats: Statistics | None, used: tuple[Usage, ...], view: BlockView | None
) -> dict[str, Any]:
    value: dict[str, Any] = {"schema": SCHEMA, "tensor": tensor_json(info)}
    if stats is not None:
        value["statistics"] = _statistics_json(stats)
        value["usage"] = [_usage_json(u) for u in used]
    if view is not None:
        value["block"] = _block_json(view)
    return value


def _statistics_json(stats: Statistics) -> dict[str, Any]:
    known = stats.finite > 0
    return {
        "count": stats.count,
        "min": stats.low if known else None,
        "max": stats.high if known else None,
        "mean": stats.mean if known else None,
        "std": stats.std if known else None,
        "zeros": stats.zeros,
        "within_half": stats.near,
        "outliers": stats.outliers,
        "not_finite": stats.not_finite,
        "histogram": list(stats.histogram),
    }


def _usage_json(used: Usage) -> dict[str, Any]:
    if isinstance(used, Levels):
        levels = {"levels": len(used.counts), "used": used.used, "low": used.low, "counts": list(used.counts)}
        return {"name": used.name, "bits": used.bits, **levels}
    spread = {"min": used.low, "max": used.high, "mean": used.mean, "histogram": list(used.histogram)}
    return {"name": used.name, "dtype": used.kind, "count": used.count, **spread}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _block_json(view: BlockView) -> dict[str, Any]:
    return {
        "index": view.index,
        "row": view.row,
        "first_column": view.first,
        "fields": [
            {
                "name": f.name,
                "kind": f.kind,
                "items": [_finite(i) if isinstance(i, float) else i for i in f.items],
                "bits": list(f.bits),
            }
            for f in view.fields
        ],
        "stored": [
            {"plane": s.plane, "file": s.file, "data_offset": s.data_offset, "bytes": s.data.hex()}
            for s in view.stored
        ],
        "values": [_finite(v) for v in view.values],
    }
