"""A sweep as rows of text: for terminals, CSV and the page alike."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from typing import Any

from qformat.evaluate.statistics import Estimate
from qformat.evaluate.sweep_result import Row, Sweep

Cell = Callable[[Row], str]


def plus_minus(estimate: Estimate, scale: float = 1.0) -> str:
    """A figure and half of its interval, with two digits of the latter.

    >>> plus_minus(Estimate(1.63201, 1.6088, 1.6560)), plus_minus(Estimate(8.0e-4, 7.35e-4, 8.8e-4))
    ('1.632 ± 0.024', '0.000800 ± 0.000073')
    >>> plus_minus(Estimate(1.0, 1.0, 1.0)), plus_minus(Estimate(7.9e-6, 7.1e-6, 8.7e-6))
    ('1 ± 0', '7.90e-6 ± 8.0e-7')
    """
    value, half = estimate.value * scale, (estimate.half or 0.0) * scale
    if not half:
        return f"{value:.6g}" + (" ± 0" if estimate.half is not None else "")
    if abs(value) < 1e-4:
        return f"{_short(value, 2)} ± {_short(half, 1)}"
    places = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:.{places}f} ± {half:.{places}f}"


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}e}".replace("e-0", "e-")


def columns(sweep: Sweep) -> list[tuple[str, Cell]]:
    """Headings, and what stands under each; columns that nothing was measured for are left out."""
    found: list[tuple[str, Cell]] = [
        ("scheme", lambda r: r.scheme + (" *" if r.scheme in sweep.front else "")),
        ("bytes", lambda r: f"{r.nbytes:,}"),
        ("bpw", lambda r: f"{r.bpw:.2f}"),
        ("× smaller", lambda r: f"{r.smaller:.2f}"),
        ("perplexity", lambda r: plus_minus(r.alone.perplexity)),
        ("÷ original's", lambda r: plus_minus(r.divergence.ratio) if r.divergence else ""),
        ("mean KL", lambda r: plus_minus(r.divergence.kl.mean) if r.divergence else ""),
        ("same top %", lambda r: plus_minus(r.divergence.same_top, 100) if r.divergence else ""),
    ]
    if any(r.quiz for r in sweep.rows):
        found += [("quiz %", _score), ("lost/gained", _flips)]
    if any(r.speed for r in sweep.rows):
        found += [("tokens/s", _pace), ("× tokens/s", _ratio)]
    return found


def _score(row: Row) -> str:
    if row.quiz is None:
        return ""
    low, high = row.quiz.score.interval
    return f"{100 * row.quiz.score.share:.1f} ± {50 * (high - low):.1f}"


def _flips(row: Row) -> str:
    flips = row.quiz.flips if row.quiz else None
    return f"{flips.lost}/{flips.gained}" if flips else ""


def _pace(row: Row) -> str:
    return f"{row.speed.tokens.median:.1f}" if row.speed else ""


def _ratio(row: Row) -> str:
    if row.speed is None or row.divergence is None:
        return ""
    times = row.speed.times
    return f"{times.median:.2f} ({times.low:.2f} to {times.high:.2f})"


def cells(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Headings and rows."""
    shown = columns(sweep)
    return [name for name, _ in shown], [[cell(row) for _, cell in shown] for row in sweep.rows]


_ESTIMATES: dict[str, Callable[[Row], Estimate | None]] = {
    "perplexity": lambda r: r.alone.perplexity,
    "bits_per_byte": lambda r: r.alone.bits_per_byte,
    "perplexity_ratio": lambda r: r.divergence.ratio if r.divergence else None,
    "kl": lambda r: r.divergence.kl.mean if r.divergence else None,
    "kl_reverse": lambda r: r.divergence.kl_reverse.mean if r.divergence else None,
    "js": lambda r: r.divergence.js.mean if r.divergence else None,
    "same_top": lambda r: r.divergence.same_top if r.divergence else None,
    "top5_overlap": lambda r: r.divergence.top5_overlap if r.divergence else None,
}


def to_csv(sweep: Sweep) -> str:
    """All figures as numbers, each estimate with the ends of its interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")]
    quizzed = ["quiz_right", "quiz_count", "quiz_lost", "quiz_gained"]
    fast = ["tokens_per_second", "speed_ratio", "speed_ratio_low", "speed_ratio_high"]
    writer.writerow(
        ["scheme", "bytes", "bits_per_weight", "times_smaller", "pareto", *names, *quizzed, *fast]
    )
    for row in sweep.rows:
        figures: list[Any] = []
        for get in _ESTIMATES.values():
            estimate = get(row)
            figures += [estimate.value, estimate.low, estimate.high] if estimate else [None] * 3
        head = [row.scheme, row.nbytes, row.bpw, row.smaller, int(row.scheme in sweep.front)]
        writer.writerow([*head, *figures, *_quiz_numbers(row), *_speed_numbers(row)])
    return out.getvalue()


def _quiz_numbers(row: Row) -> list[int | None]:
    if row.quiz is None:
        return [None] * 4
    score, flips = row.quiz.score, row.quiz.flips
    return [score.right, score.count, *((flips.lost, flips.gained) if flips else (None, None))]


def _speed_numbers(row: Row) -> list[float | None]:
    if row.speed is None:
        return [None] * 4
    times = row.speed.times
    return [row.speed.tokens.median, times.median, times.low, times.high]
