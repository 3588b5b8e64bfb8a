"""An evaluation for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qformat.cli.text import line, show, size, table

PERCENT = ("same_top", "top5_overlap")


def show_evaluation(found: Any, *, by_position: bool = False) -> None:
    """Print all tables of a result."""
    _show_models(found)
    if found.divergence is not None:
        _show_divergence(found)
    if found.by_layer is not None:
        _show_layers(found.by_layer)
    if by_position:
        _show_positions(found.by_position)
    _show_protocol(found)


def number(value: float) -> str:
    """A figure with as many digits as it deserves.

    >>> number(8.1934), number(0.00081234), number(0), number(float("inf"))
    ('8.1934', '0.0008123', '0', 'inf')
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5 or size < 1e-5:
        return (
            f"{value:.3e}".replace("e-0", "e-").replace("e+0", "e+") if size != float("inf") else str(value)
        )
    return f"{value:.4f}" if size >= 0.1 else f"{value:.4g}"


def interval(estimate: Any, *, percent: bool = False) -> tuple[str, str]:
    """A figure, and its interval."""
    scale, sign = (100, " %") if percent else (1, "")
    shown = f"{estimate.value * scale:.2f}{sign}" if percent else number(estimate.value)
    if estimate.low is None:
        return shown, ""
    low, high = estimate.low * scale, estimate.high * scale
    return shown, f"{low:.2f} – {high:.2f}" if percent else f"{number(low)} – {number(high)}"


def _show_models(found: Any) -> None:
    rows = []
    for role, one in (("model", found.model), ("original", found.original)):
        if one is None:
            continue
        row = [role, Path(one.path).name, size(one.nbytes), f"{one.bpw:.3f}", *interval(one.alone.perplexity)]
        row += [number(one.alone.bits_per_byte.value) if one.alone.bits_per_byte else ""]
        rows.append(row)
    show(
        table(
            rows, ["", "file", "bytes", "bpw", "perplexity", "95% interval", "bits/byte"], right=(2, 3, 4, 6)
        )
    )
    show()


def _show_divergence(found: Any) -> None:
    d = found.divergence
    means = [
        ("perplexity, model / original", *interval(d.ratio)),
        ("perplexity, model − original", *interval(d.difference)),
        ("KL(original‖model), nats a token", *interval(d.kl.mean)),
        ("KL(model‖original)", *interval(d.kl_reverse.mean)),
        ("Jensen–Shannon", *interval(d.js.mean)),
        ("Δp of the true token, mean", *interval(d.delta_p.mean, percent=True)),
        ("Δp of the true token, RMS", *interval(d.delta_p_rms, percent=True)),
        ("same likeliest token", *interval(d.same_top, percent=True)),
        ("overlap of the five likeliest", *interval(d.top5_overlap, percent=True)),
    ]
    if found.floor is not None:
        means.append(("noise floor: KL of bf16 activations", *interval(found.floor.mean)))
    show(table(means, ["against the original", "mean", "95% interval"], right=(1,)))
    show()
    spreads = [("KL", d.kl, 1), ("KL reverse", d.kl_reverse, 1), ("JS", d.js, 1), ("Δp %", d.delta_p, 100)]
    heads = ["of tokens", "max", *(f"{p:g}%" if p != 50 else "median" for p in d.kl.percentiles), "min"]
    rows = [[n, *(number(v * k) for v in (s.high, *s.percentiles.values(), s.low))] for n, s, k in spreads]
    show(table(rows, heads, right=range(1, len(heads))))
    show()


def _show_layers(parts: Any) -> None:
    longest = max(abs(p.kl.value) for p in parts.parts) or 1.0
    rows = []
    for part in parts.parts:
        share = f"{part.kl.value / parts.total:.1%}" if parts.total else ""
        bar = "█" * round(24 * abs(part.kl.value) / longest)
        rows.append([part.name, *interval(part.kl), share, bar])
    rows.append(["sum", number(parts.total), "", "", ""])
    show(table(rows, ["part", "adds to KL", "95% interval", "share", ""], right=(1, 3)))
    show()


def _show_positions(found: Any) -> None:
    rows = [
        [f"{r.first}–{r.last}" if r.last > r.first else str(r.first), f"{r.tokens:,}", number(r.nll)]
        + ([number(r.kl)] if r.kl is not None else [])
        for r in found
    ]
    heads = ["position", "tokens", "−ln p", "KL"]
    show(table(rows, heads[: len(rows[0])], right=(1, 2, 3)[: len(rows[0]) - 1]))
    show()


def _show_protocol(found: Any) -> None:
    p = found.protocol
    how = f"protocol {p.name}, windows of {p.ctx}" + (f" every {p.stride}" if p.stride else "")
    part = f"{found.windows} of {p.windows}" if not found.complete else str(found.windows)
    rate = found.windows * p.ctx / found.seconds if found.seconds else 0.0
    show(
        f"{line(Path(p.text).name)}: {found.tokens:,} tokens scored in {part} windows ({how}, {p.dtype}), "
        f"{found.seconds:.1f} s, {rate:,.0f} tokens/s"
    )
