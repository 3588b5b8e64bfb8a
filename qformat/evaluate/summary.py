"""What is said of a model, alone and beside its original."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.evaluate.heads import Arrays
from qformat.evaluate.statistics import Bootstrap, Estimate, Spread


@dataclass(frozen=True)
class Alone:
    """One model on a text. ``per_byte`` is the perplexity of a byte, which does not depend on a tokenizer."""

    perplexity: Estimate
    nll: Estimate  # nats a token
    per_byte: Estimate | None = None
    bits_per_byte: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        known = {"perplexity": self.perplexity, "nll": self.nll}
        known |= {"byte_perplexity": self.per_byte, "bits_per_byte": self.bits_per_byte}  # type: ignore[dict-item]
        return {name: e.to_json() if e else None for name, e in known.items()}


@dataclass(frozen=True)
class Divergence:
    """A model against its original; ``delta_p`` is of the true token's probability, model minus original."""

    kl: Spread  # KL(original‖model), nats a token
    kl_reverse: Spread
    js: Spread
    delta_p: Spread
    delta_p_rms: Estimate
    ratio: Estimate  # of perplexities, model to original
    difference: Estimate  # of perplexities, model minus original
    same_top: Estimate  # share of tokens with the same likeliest token
    top5_overlap: Estimate  # mean share of the original's five likeliest that are the model's, too

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_json() for name in self.__dataclass_fields__}


def alone(arrays: Arrays, bootstrap: Bootstrap, lengths: NDArray[np.int64] | None = None) -> Alone:
    """Summary of one model; ``lengths`` are the bytes of each scored token."""
    nll = arrays["nll"]
    per_byte = bits = None
    if lengths is not None and lengths.sum():
        per_byte = bootstrap.estimate(lambda n, b: np.exp(n / b), nll, lengths)
        bits = bootstrap.estimate(lambda n, b: n / b / math.log(2), nll, lengths)
    return Alone(bootstrap.estimate(np.exp, nll), bootstrap.mean(nll), per_byte, bits)


def divergence(original: Arrays, arrays: Arrays, bootstrap: Bootstrap) -> Divergence:
    """Summary of what separates a model from its original."""
    a, b = original["nll"].astype(np.float64), arrays["nll"].astype(np.float64)
    change = np.exp(-b) - np.exp(-a)
    return Divergence(
        kl=bootstrap.spread(arrays["kl"]),
        kl_reverse=bootstrap.spread(arrays["kl_reverse"]),
        js=bootstrap.spread(arrays["js"]),
        delta_p=bootstrap.spread(change),
        delta_p_rms=bootstrap.estimate(np.sqrt, change**2),
        ratio=bootstrap.estimate(np.exp, b - a),
        difference=bootstrap.estimate(lambda x, y: np.exp(y) - np.exp(x), a, b),
        same_top=bootstrap.mean(same_top(original, arrays)),
        top5_overlap=bootstrap.mean(top_overlap(original, arrays)),
    )


def same_top(original: Arrays, arrays: Arrays) -> NDArray[np.bool_]:
    """Where both models find the same token likeliest."""
    return np.asarray(original["top"][:, 0] == arrays["top"][:, 0])


def top_overlap(original: Arrays, arrays: Arrays) -> NDArray[np.float64]:
    """The share of the original's likeliest tokens that are among the model's."""
    both = original["top"][:, :, None] == arrays["top"][:, None, :]
    return np.asarray(both.any(axis=2).mean(axis=1))
