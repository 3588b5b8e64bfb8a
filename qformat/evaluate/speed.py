"""How fast models read a prompt and go on from it: timed in turn, so that what disturbs one disturbs all."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from qformat.errors import QFormatError
from qformat.evaluate.runners import OURS, Runner, check_engine, runner
from qformat.evaluate.stage import Stage
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import Source, opened
from qformat.model.weights import dtype_named
from qformat.schemes.cores import cores

SCHEMA = 1
PROMPT, NEW, REPEATS = 512, 128, 5


@dataclass(frozen=True)
class Spread:
    """The median of all rounds, and the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.low, "high": self.high}


@dataclass
class Timed:
    """One model in one engine: seconds of each round.

    Attributes
    ----------
    prompt_seconds, new_seconds
        For reading the prompt up to the first new token, and for the tokens after that one.
    """

    path: str
    engine: str
    weight_bytes: int
    prompt: int
    new: int
    prompt_seconds: list[float] = field(default_factory=list)
    new_seconds: list[float] = field(default_factory=list)

    @property
    def prefill(self) -> Spread:
        """Tokens of the prompt a second."""
        return Spread.of([self.prompt / s for s in self.prompt_seconds])

    @property
    def decode(self) -> Spread:
        """New tokens a second."""
        return Spread.of([(self.new - 1) / s for s in self.new_seconds])

    @property
    def first_token(self) -> Spread:
        """Seconds until the first new token."""
        return Spread.of(self.prompt_seconds)

    def times(self, base: Timed) -> Spread:
        """How many times as fast as another one new tokens come, round by round."""
        return Spread.of([b / a for a, b in zip(self.new_seconds, base.new_seconds, strict=True)])

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "engine": self.engine,
            "weight_bytes": self.weight_bytes,
            "prefill_tokens_per_second": self.prefill.to_json(),
            "decode_tokens_per_second": self.decode.to_json(),
            "seconds_to_first_token": self.first_token.to_json(),
            "rounds": [
                {"prompt_seconds": a, "new_seconds": b}
                for a, b in zip(self.prompt_seconds, self.new_seconds, strict=True)
            ],
        }


@dataclass(frozen=True)
class Speeds:
    """What `speed` found; complete unless it was stopped."""

    timed: tuple[Timed, ...]
    prompt: int
    new: int
    repeats: int
    threads: int
    dtype: str
    peak_bytes: int | None  # that the whole program had in memory; None where the system does not say

    @property
    def done(self) -> int:
        """Rounds that all went through."""
        return len(self.timed[-1].new_seconds)

    @property
    def complete(self) -> bool:
        return self.done == self.repeats

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "prompt_tokens": self.prompt,
            "new_tokens": self.new,
            "repeats": self.done,
            "threads": self.threads,
            "dtype": self.dtype,
            "peak_bytes": self.peak_bytes,
            "results": [
                {**t.to_json(), "decode_ratio": t.times(self.timed[0]).to_json()} for t in self.timed
            ],
            "versions": {name: _version(name) for name in ("jax", "llama-cpp-python", "qformat")},
        }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def speed(
    models: Sequence[Source],
    engines: Sequence[str] = (OURS,),
    *,
    prompt: int | None = None,
    new: int = NEW,
    repeats: int = REPEATS,
    dtype: str = "f32",
    threads: int | None = None,
    progress: Callable[[Stage], None] | None = None,
) -> Speeds:
    """Time models that read a prompt of random tokens and go on with the likeliest.

    All are in memory at once and take turns; a shorter round that is not counted comes first.

    Parameters
    ----------
    models, engines
        Each model is timed in each engine: ``"ours"``, or ``"llama.cpp"`` for a GGUF.
    prompt
        Tokens of the prompt; by default `PROMPT`, or what fits into the smallest context.
    new
        Tokens to make, at least 2.
    dtype
        What ours computes in.
    threads
        Of llama.cpp; by default one for each processor, as ours has.

    Returns
    -------
    Speeds
        Of the rounds until Ctrl-C, if there is one.

    Raises
    ------
    QFormatError
        For an engine that is unknown or not installed, a model that it cannot run, and for more tokens
        than a model's context holds.
    """
    if not models or not engines or new < 2 or repeats < 1 or (prompt is not None and prompt < 1):
        raise QFormatError("there is nothing to time", hint="at least a model, 1 token to read and 2 to make")
    for engine in engines:
        check_engine(engine)
    dtype, threads = dtype_named(dtype), threads or cores()
    sources = [opened(m) for m in models]
    if prompt is None:
        prompt = _fitting(sources, new)
    runners: list[Runner] = []
    timed: list[Timed] = []
    try:
        for source in sources:
            for engine in engines:
                one = runner(engine, source, room=prompt + new, dtype=dtype, threads=threads)
                runners.append(one)
                _check_room(source, one, prompt + new)
                timed.append(Timed(str(source.path), engine, one.weight_bytes, prompt, new))
        take_turns(runners, timed, repeats, progress)
    finally:
        for one in runners:
            one.close()
    return Speeds(tuple(timed), prompt, new, repeats, threads, dtype, _peak())


def _peak() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _fitting(sources: Sequence[Checkpoint], new: int) -> int:
    from qformat.views.canonical import canonical

    contexts = [int(canonical(s).config.context) for s in sources]
    return max(1, min([PROMPT, *(c - new for c in contexts if c)]))


def _check_room(source: Checkpoint, one: Runner, wanted: int) -> None:
    if one.context and wanted > one.context:
        what = f"{wanted} tokens are more than the model's context of {one.context}"
        raise QFormatError(what, file=source.path, hint="ask for a shorter prompt, or fewer new tokens")


def take_turns(
    runners: Sequence[Runner],
    timed: Sequence[Timed],
    repeats: int,
    progress: Callable[[Stage], None] | None,
) -> None:
    """All rounds; of one that Ctrl-C stops nothing stays."""
    ids = np.random.default_rng(0).integers(0, min(r.vocabulary for r in runners), timed[0].prompt).tolist()
    steps = len(runners) * (repeats + 1)
    try:
        for turn in range(repeats + 1):
            found = []
            for i, one in enumerate(runners):
                if progress:
                    progress(Stage("timing" if turn else "warming up", (turn * len(runners) + i) / steps))
                found.append(_round(one, ids, timed[i].new if turn else 4))
            if turn:
                for at, (prompt, new) in zip(timed, found, strict=True):
                    at.prompt_seconds.append(prompt)
                    at.new_seconds.append(new)
    except KeyboardInterrupt:
        if not timed[-1].new_seconds:
            raise


def _round(one: Runner, ids: list[int], new: int) -> tuple[float, float]:
    """Seconds up to the first new token, and for those after it."""
    one.begin()
    start = time.perf_counter()
    token = one.read(ids)
    first = time.perf_counter()
    for _ in range(new - 1):
        token = one.read([token])
    return first - start, time.perf_counter() - first
