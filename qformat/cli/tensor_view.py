"""One tensor, or one block of it, on paper."""

from __future__ import annotations

from typing import Any

from qformat.blocks import dtypes
from qformat.cli.inspect_command import SCHEMA, tensor_json
from qformat.cli.text import line, shape, show, show_json, table
from qformat.convert import peek
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo

_BARS = 50


def show_tensor(checkpoint: Checkpoint, name: str, block: int | None, *, as_json: bool) -> None:
    """Print a tensor: planes, statistics and histogram, or one block."""
    info = _find(checkpoint, name)
    view = peek.block_view(checkpoint, info, block) if block is not None else None
    known = dtypes.is_quantizable(info.dtype) and view is None
    stats = peek.statistics(checkpoint, info) if known else None
    if as_json:
        show_json(_json(info, stats, view))
        return
    _show_head(info)
    if view is not None:
        _show_block(info, view)
    elif stats is not None:
        _show_statistics(stats)
        _show_codes(checkpoint, info)


def _find(checkpoint: Checkpoint, name: str) -> TensorInfo:
    if name in checkpoint.tensors:
        return checkpoint.tensors[name]
    import difflib

    near = difflib.get_close_matches(name, checkpoint.tensors, 3, 0.5)
    near = near or [n for n in checkpoint.tensors if name in n][:3]
    hint = f"did you mean {', '.join(near)}?" if near else "`qformat inspect FILE` lists them"
    raise QFormatError(f"there is no tensor {name!r}", file=checkpoint.path, hint=hint)


def _show_head(info: TensorInfo) -> None:
    show(f"{line(info.name)}  {shape(info.shape)}  {info.dtype}")
    if info.scheme:
        provider = info.scheme.provider
        show(
            f"{line(info.scheme.spec())}, version {info.scheme.version}, from {line(provider.distribution)} "
            f"{line(provider.version)}; {info.bpw:.3f} bits per weight, blocks of {info.scheme.block}"
        )
    error = (info.note or {}).get("error")
    if isinstance(error, dict):
        show("cost when converted: " + ", ".join(f"{line(k)} {line(v)}" for k, v in error.items()))
    show()
    rows = [
        (name or "values", p.dtype, shape(p.shape), f"{p.nbytes:,}", f"{p.data_offset:,}", p.file.name)
        for name, p in info.planes.items()
    ]
    show(table(rows, ["plane", "type", "shape", "bytes", "data offset", "file"], right=(3, 4)))
    show()


def _show_statistics(stats: peek.Statistics) -> None:
    show(
        f"{stats.count:,} values from {stats.low:.6g} to {stats.high:.6g}, mean {stats.mean:.4g}, "
        f"standard deviation {stats.std:.4g}, {stats.zeros:,} zeros"
        + (f", {stats.not_finite:,} NaN or infinite" if stats.not_finite else "")
    )
    show()
    top = max(stats.histogram, default=0)
    if not top:
        return
    width = (stats.high - stats.low) / peek.BINS
    for i, count in enumerate(stats.histogram):
        middle = stats.low + (i + 0.5) * width
        show(f"{middle:>12.4g}  {_bar(count, top):<{_BARS}} {count:,}")


def _bar(count: int, top: int) -> str:
    """A bar in eighths of a character; what is not zero shows."""
    eighths = max(round(count / top * _BARS * 8), 1 if count else 0)
    part = " ▏▎▍▌▋▊▉"[eighths % 8]
    return "█" * (eighths // 8) + part.strip()


def _show_codes(checkpoint: Checkpoint, info: TensorInfo) -> None:
    usage = peek.code_usage(checkpoint, info)
    if not usage:
        return
    used = sum(1 for n in usage.values() if n)
    show()
    show(f"codes: {used} of {len(usage)} levels in use")
    if len(usage) > 16:
        return
    top = max(usage.values())
    for code, count in usage.items():
        show(f"{code:>12}  {_bar(count, top):<{_BARS}} {count:,}")


def _show_block(info: TensorInfo, view: peek.BlockView) -> None:
    last = view.first + len(view.values) - 1
    total = peek.block_count(info)
    show(f"block {view.index:,} of {total:,}: row {view.row:,}, columns {view.first:,} to {last:,}")
    small = [f for f in view.fields if len(f.items) != len(view.values)]
    for field in small:
        show()
        show(f"{line(field.name)} ({field.kind})")
        for item, bits in zip(field.items, field.bits, strict=True):
            show(
                f"  {_spaced(bits, field.kind)}  {item:g}" if isinstance(item, float) else f"  {bits}  {item}"
            )
    show()
    wide = [f for f in view.fields if len(f.items) == len(view.values)]
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


def _spaced(bits: str, kind: str) -> str:
    """Sign, exponent and mantissa of a float apart."""
    exponent = {"F16": 5, "BF16": 8, "F32": 8, "F8_E4M3": 4, "F8_E5M2": 5}.get(kind)
    return bits if exponent is None else f"{bits[0]} {bits[1 : 1 + exponent]} {bits[1 + exponent :]}"


def _json(info: TensorInfo, stats: peek.Statistics | None, view: peek.BlockView | None) -> dict[str, Any]:
    value: dict[str, Any] = {"schema": SCHEMA, "tensor": tensor_json(info)}
    if stats is not None:
        known = stats.count > stats.not_finite
        value["statistics"] = {
            "count": stats.count,
            "min": stats.low if known else None,
            "max": stats.high if known else None,
            "mean": stats.mean if known else None,
            "std": stats.std if known else None,
            "zeros": stats.zeros,
            "not_finite": stats.not_finite,
            "histogram": list(stats.histogram),
        }
    if view is not None:
        value["block"] = {
            "index": view.index,
            "row": view.row,
            "first_column": view.first,
            "fields": [
                {"name": f.name, "kind": f.kind, "items": list(f.items), "bits": list(f.bits)}
                for f in view.fields
            ],
            "values": list(view.values),
        }
    return value
