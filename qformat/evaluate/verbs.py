"""The evaluation verb of the public API: open, check, measure, summarize."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from qformat.errors import QFormatError
from qformat.evaluate import by_layer as layers
from qformat.evaluate.digests import content_digest
from qformat.evaluate.engine import GROUP_TOKENS, Engine
from qformat.evaluate.pair import common_tokenizer, common_vocabulary, open_models
from qformat.evaluate.result import Evaluation, Measured, Protocol, positions, window_notes
from qformat.evaluate.statistics import Bootstrap, Estimate
from qformat.evaluate.stream import Model, Route
from qformat.evaluate.summary import Alone, alone, divergence
from qformat.evaluate.text import read_text, windows_of
from qformat.evaluate.windows import PROTOCOLS, WINDOW, token_digest
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import Source, opened
from qformat.model.weights import dtype_named


@dataclass(frozen=True)
class Status:
    """How far a measurement is. ``estimate`` is the running figure, known after the first group."""

    fraction: float
    tokens: int  # of all windows
    windows: int  # that are done
    estimate: Estimate | None
    figure: str  # "KL" or "perplexity"


def evaluate(
    model: Source,
    against: Source | None = None,
    *,
    text: str | os.PathLike[str],
    protocol: str = WINDOW,
    ctx: int | None = None,
    stride: int | None = None,
    dtype: str = "f32",
    limit: int | None = None,
    until: float | None = None,
    by_layer: bool = False,
    floor: bool = False,
    tokenizer: Source | None = None,
    seed: int = 0,
    group_tokens: int = GROUP_TOKENS,
    progress: Callable[[Status], None] | None = None,
) -> Evaluation:
    """Measure a model on a text: its perplexity, and how far it is from its original.

    Parameters
    ----------
    model, against
        Any two checkpoints of one vocabulary, in any format; or one alone.
    text
        A UTF-8 file.
    protocol, ctx, stride
        How the text is cut: see `qformat.evaluate.windows.cut`. ``"window"``, or ``"llama.cpp"`` for
        the numbers of llama-perplexity.
    dtype
        ``"f32"``, or ``"bf16"`` for weights in bfloat16 with sums in float32.
    limit
        Use only so many windows, spread over the text at random.
    until
        Stop once half of the interval is at most this share of the main figure, which is the
        mean KL divergence, or without ``against`` the perplexity.
    by_layer
        Also say what each layer adds to the divergence; takes about (layers + 3)/4 times as long.
    floor
        Also measure the original with its activations rounded to bfloat16 after each layer.
    tokenizer
        A checkpoint that has one, if the model has none.
    seed
        Of the order of the windows and of the bootstrap.
    group_tokens
        Tokens that go through all layers before there is a figure.

    Returns
    -------
    Evaluation
        Of what was measured until Ctrl-C, if at least one group of windows was.

    Raises
    ------
    QFormatError
        For models that cannot be run or compared, for a text that does not do, and for NaN.
    """
    _check(protocol, until, against, by_layer or floor)
    read = read_text(text)
    sources = [opened(s) for s in (model, against) if s is not None]
    dtype = dtype_named(dtype)
    models = open_models(sources, dtype)
    words = common_tokenizer(sources, tokenizer)
    notes: list[str] = []
    vocabulary = common_vocabulary(models, notes)
    tokens, windows = windows_of(read, words, models[0].config, protocol=protocol, ctx=ctx, stride=stride)
    told = Protocol(
        protocol, windows.ctx, stride, words.bos if words.adds_bos else None, dtype, seed, str(read.path),
        read.digest, token_digest(windows), len(tokens), len(windows), vocabulary,
    )  # fmt: skip
    if limit is not None:
        rows = np.random.default_rng(seed).permutation(len(windows))[:limit]
        windows = windows.take(np.sort(rows))
    routes = _routes(models, by_layer=by_layer, floor=floor)
    engine = Engine(
        models, routes, windows, vocabulary, compare=against is not None, seed=seed, group_tokens=group_tokens
    )
    with ThreadPoolExecutor(1) as pool:
        digests = [pool.submit(content_digest, s) for s in sources]
        _measure(engine, until, progress)
        return _result(engine, sources, digests, told, words, notes, by_layer=by_layer, floor=floor)


def _check(protocol: str, until: float | None, against: Source | None, compares: bool) -> None:
    if protocol not in PROTOCOLS:
        raise QFormatError(f"no protocol is called {protocol!r}", hint=f"known: {', '.join(PROTOCOLS)}")
    if until is not None and not 0 < until < 1:
        raise QFormatError("the share to stop at is between 0 and 1", hint="0.01 is 1%")
    if compares and against is None:
        raise QFormatError("parts of a divergence take an original", hint="name it: --against ORIGINAL")


def _routes(models: list[Model], *, by_layer: bool, floor: bool) -> list[Route]:
    """The original first, if there is one; then the model; then what else was asked for."""
    depths = {int(m.config.layers) for m in models}
    if len(depths) > 1:
        raise QFormatError(
            f"the models have {' and '.join(map(str, sorted(depths)))} layers",
            file=models[0].checkpoint.path,
            hint="only versions of one model can be compared",
        )
    depth = depths.pop()
    if len(models) == 1:
        return [Route.through(0, depth)]
    routes = [Route.through(1, depth), Route.through(0, depth)]
    if floor:
        routes.append(Route.through(1, depth, rounded=True))
    if by_layer:
        routes += layers.steps(depth, 1, 0)
    return routes


def _measure(engine: Engine, until: float | None, progress: Callable[[Status], None] | None) -> None:
    """Run groups until done, narrow enough, or interrupted with something to show."""
    known: list[Estimate | None] = [None]
    figure = "KL" if engine.compare else "perplexity"

    def tell(fraction: float) -> None:
        if progress:
            progress(Status(fraction, engine.windows.tokens.size, len(engine.done), known[0], figure))

    engine.progress = tell
    try:
        for _ in engine.run():
            bootstrap = Bootstrap(engine.tokens().window, seed=engine.seed)
            arrays = engine.arrays(int(engine.compare))
            if engine.compare:
                now = bootstrap.mean(arrays["kl"])
            else:
                now = bootstrap.estimate(np.exp, arrays["nll"])
            known[0] = now
            if until is not None and now.relative <= until:
                return
    except KeyboardInterrupt:
        if not engine.done:
            raise


def _result(
    engine: Engine,
    sources: list[Checkpoint],
    digests: list[Future[str]],
    protocol: Protocol,
    words: Any,
    notes: list[str],
    *,
    by_layer: bool,
    floor: bool,
) -> Evaluation:
    tokens = engine.tokens()
    bootstrap = Bootstrap(tokens.window, seed=engine.seed)
    lengths = byte_lengths(words, tokens.token)
    compare = engine.compare
    base = engine.arrays(0) if compare else None
    figures = engine.arrays(int(compare))
    measured = [
        _measured(m, s, d.result(), alone(a, bootstrap, lengths))
        for m, s, d, a in zip(
            engine.models, sources, digests, [figures, *([base] if base else [])], strict=True
        )
    ]
    stages = [engine.arrays(i) for i in range(2 + floor, len(engine.routes))]
    return Evaluation(
        model=measured[0],
        original=measured[1] if compare else None,
        divergence=divergence(base, figures, bootstrap) if base else None,
        floor=bootstrap.spread(engine.arrays(2)["kl"]) if floor else None,
        by_layer=layers.by_layer(stages, figures, bootstrap) if by_layer else None,
        by_position=positions(tokens, figures),
        protocol=protocol,
        windows=len(engine.done),
        tokens=len(tokens),
        seconds=engine.seconds,
        notes=(*notes, *window_notes(bootstrap)),
        scored=tokens,
        figures=figures,
        original_figures=base,
        pieces=words.pieces,
    )


def byte_lengths(words: Any, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many bytes of text each token stands for."""
    distinct, where = np.unique(tokens, return_inverse=True)
    sizes = [len(piece) for piece in words.pieces(distinct.tolist())]
    return np.asarray(sizes, np.int64)[where]


def _measured(model: Model, source: Checkpoint, digest: str, figures: Alone) -> Measured:
    nbytes = sum(i.nbytes for i in source.tensors.values())
    elements = sum(i.elements for i in source.tensors.values())
    return Measured(
        str(source.path), source.format, model.config.family, nbytes, nbytes * 8 / elements, digest, figures
    )
