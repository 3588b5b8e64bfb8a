"""Every token's figures in a file: JSON lines for programs, a page of tinted text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qformat.errors import TargetError
from qformat.evaluate import page
from qformat.evaluate.page import fill, write_whole
from qformat.evaluate.result import Evaluation

KINDS = (".jsonl", ".html")


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that says no format, or where nothing can be written, before anything is measured.

    Raises
    ------
    TargetError
        If it does not end in .jsonl or .html, or is no place for a new file.
    """
    _check_kind(path)
    page.check_target(path, overwrite=overwrite)


def _check_kind(path: Path) -> None:
    if path.suffix not in KINDS:
        raise TargetError("tokens are written as .jsonl or .html", file=path, hint="name it tokens.html")


def write_tokens(found: Evaluation, path: Path) -> None:
    """Write the tokens of a result; the file appears whole or not at all."""
    _check_kind(path)
    if path.suffix == ".jsonl":
        write_whole(path, (json.dumps(row, ensure_ascii=True) + "\n" for row in token_rows(found)))
    else:
        write_whole(path, [fill("tokens.html", _page_data(found))])


def pieces_of(found: Evaluation, tokens: Any) -> list[str]:
    """Tokens as text; bytes that are no UTF-8 by themselves are replaced."""
    assert found.pieces is not None
    pieces = found.pieces([int(t) for t in tokens])
    return [p.decode("utf-8", "replace") for p in pieces]


def token_rows(found: Evaluation) -> Iterator[dict[str, Any]]:
    """One object a scored token, in the text's order."""
    assert found.scored is not None
    scored, mine, base = found.scored, found.figures, found.original_figures
    used = np.unique(np.concatenate([a["top"].reshape(-1) for a in (mine, base) if a] + [scored.token]))
    words = dict(zip(used.tolist(), pieces_of(found, used), strict=True))

    def top(arrays: Any, i: int) -> list[list[Any]]:
        pairs = zip(arrays["top"][i].tolist(), arrays["top_ln"][i].tolist(), strict=True)
        return [[words[t], round(float(np.exp(ln)), 6)] for t, ln in pairs]

    for i in range(len(scored)):
        row: dict[str, Any] = {
            "window": int(scored.window[i]),
            "position": int(scored.position[i]),
            "at": int(scored.source[i]),
            "token": int(scored.token[i]),
            "text": words[int(scored.token[i])],
            "nll": float(mine["nll"][i]),
            "top": top(mine, i),
        }
        if base:
            row |= {name: float(mine[name][i]) for name in ("kl", "kl_reverse", "js")}
            row |= {"nll_original": float(base["nll"][i]), "top_original": top(base, i)}
        yield row


def _page_data(found: Evaluation) -> dict[str, Any]:
    """The page's data, by column, each text stored once."""
    assert found.scored is not None
    scored, mine, base = found.scored, found.figures, found.original_figures
    used = np.unique(np.concatenate([a["top"].reshape(-1) for a in (mine, base) if a] + [scored.token]))
    place = {int(t): i for i, t in enumerate(used)}

    def tops(arrays: Any) -> list[list[float]]:
        probabilities = np.round(np.exp(arrays["top_ln"].astype(np.float64)), 4)
        return [
            [x for t, p in zip(ids, ps, strict=True) for x in (place[t], p)]
            for ids, ps in zip(arrays["top"].tolist(), probabilities.tolist(), strict=True)
        ]

    return {
        "model": found.model.path,
        "original": found.original.path if found.original else None,
        "text": found.protocol.text,
        "perplexity": found.model.alone.perplexity.value,
        "kl": found.divergence.kl.mean.value if found.divergence else None,
        "words": pieces_of(found, used),
        "window": scored.window.tolist(),
        "token": [place[int(t)] for t in scored.token],
        "nll": np.round(mine["nll"].astype(np.float64), 4).tolist(),
        "tint": [float(f"{v:.3g}") for v in mine["kl" if base else "nll"]],
        "nllOriginal": np.round(base["nll"].astype(np.float64), 4).tolist() if base else None,
        "top": tops(mine),
        "topOriginal": tops(base) if base else None,
    }
