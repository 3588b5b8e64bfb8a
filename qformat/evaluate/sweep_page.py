"""A sweep as one self-contained page: table, quality against size, layers, tensors, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qformat.evaluate.encodings import form
from qformat.evaluate.page import fill
from qformat.evaluate.statistics import Estimate
from qformat.evaluate.sweep_result import Row, Sweep
from qformat.evaluate.sweep_table import cells
from qformat.text import counted


def page(sweep: Sweep) -> str:
    """The page, with its data inside and nothing from the network."""
    headers, rows = cells(sweep)
    p = sweep.protocol
    return fill(
        "sweep.html",
        {
            "model": Path(sweep.original).resolve().name,
            "how": _how(sweep),
            "headers": headers,
            "rows": rows,
            "points": [_point(r, sweep) for r in sweep.rows if r.divergence],
            "layers": [_layers(r) for r in sweep.rows if r.by_layer],
            "tensors": _tensors(sweep),
            "prompt": sweep.prompt,
            "answers": [{"scheme": r.scheme, "text": r.answer} for r in sweep.rows if r.answer is not None],
            "trace": {
                "original content": sweep.content,
                "token digest": p.token_digest,
                "text digest": p.text_digest,
                "seed": p.seed,
                **sweep.to_json()["versions"],
            },
        },
    )


def _how(sweep: Sweep) -> str:
    p = sweep.protocol
    windows = f"{counted(sweep.windows, 'window')} of {p.ctx}, protocol {p.name}, in {p.dtype}"
    interval = "± is half of the 95% interval (bootstrap over windows)"
    found = [f"{counted(sweep.tokens, 'token')} of {Path(p.text).name} in {windows}. {interval}."]
    if sweep.quiz is not None:
        many = counted(len(sweep.quiz.questions), "question")
        found.append(f"{many} of {sweep.quiz.path.name}, by the text's likelihood.")
    if sweep.speed is not None:
        found.append(f"Speed of new tokens in {sweep.speed}, in turn with the original.")
    if not sweep.complete:
        found.append(f"Stopped after {sweep.windows} of {counted(sweep.every_window, 'window')}.")
    return " ".join(found)


def _point(row: Row, sweep: Sweep) -> dict[str, Any]:
    assert row.divergence is not None
    return {
        "scheme": row.scheme,
        "form": {"gguf": "GGUF", "qformat": "container", "safetensors": "cast"}[form(row.scheme)],
        "bpw": row.bpw,
        "kl": _ends(row.divergence.kl.mean),
        "ratio": _ends(row.divergence.ratio),
        "front": row.scheme in sweep.front,
    }


def _ends(estimate: Estimate) -> list[float]:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return [estimate.value, low, high]


def _layers(row: Row) -> dict[str, Any]:
    assert row.by_layer is not None
    parts = [[p.name, *_ends(p.kl)] for p in row.by_layer.parts]
    return {"scheme": row.scheme, "total": row.by_layer.total, "parts": parts}


def _tensors(sweep: Sweep) -> dict[str, Any]:
    """Relative RMSE by tensor (in the original's order) and scheme; only tensors that some scheme changes."""
    measured = [r for r in sweep.rows if r.errors]
    names = dict.fromkeys(n for r in measured for n in r.errors or {})
    kept = [n for n in names if any((r.errors or {}).get(n) for r in measured)]
    table = [[(r.errors or {}).get(n) for r in measured] for n in kept]
    return {"schemes": [r.scheme for r in measured], "names": kept, "errors": table}
