"""An evaluation in words: the rows and figures that every skin shows."""

from __future__ import annotations

from pathlib import Path

from qformat.evaluate.result import Evaluation
from qformat.evaluate.statistics import Estimate
from qformat.text import counted, size

MODEL_HEADERS = ("", "file", "bytes", "bpw", "perplexity", "95% interval", "bits/byte")


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


def interval(estimate: Estimate, *, percent: bool = False) -> tuple[str, str]:
    """A figure, and its interval."""
    scale, sign = (100, " %") if percent else (1, "")
    shown = f"{estimate.value * scale:.2f}{sign}" if percent else number(estimate.value)
    if estimate.low is None or estimate.high is None:
        return shown, ""
    low, high = estimate.low * scale, estimate.high * scale
    return shown, f"{low:.2f} – {high:.2f}" if percent else f"{number(low)} – {number(high)}"


def model_rows(found: Evaluation) -> list[list[str]]:
    """The model and its original under `MODEL_HEADERS`."""
    rows = []
    for role, one in (("model", found.model), ("original", found.original)):
        if one is None:
            continue
        row = [role, Path(one.path).name, size(one.nbytes), f"{one.bpw:.3f}", *interval(one.alone.perplexity)]
        row += [number(one.alone.bits_per_byte.value) if one.alone.bits_per_byte else ""]
        rows.append(row)
    return rows


def divergence_rows(found: Evaluation) -> list[tuple[str, str, str]]:
    """What separates the model from its original: name, mean, interval."""
    d = found.divergence
    if d is None:
        return []
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
    return means


def protocol_line(found: Evaluation) -> str:
    """What was read, how, and how fast."""
    p = found.protocol
    how = f"protocol {p.name}, windows of {p.ctx}" + (f" every {p.stride}" if p.stride else "")
    part = f"{found.windows:,} of " if not found.complete else ""
    part += counted(found.windows if found.complete else p.windows, "window")
    rate = found.windows * p.ctx / found.seconds if found.seconds else 0.0
    return (
        f"{Path(p.text).name}: {counted(found.tokens, 'token')} scored in {part} ({how}, {p.dtype}), "
        f"{found.seconds:.1f} s, {rate:,.0f} tokens/s"
    )
