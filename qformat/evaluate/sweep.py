"""Many schemes against one original: encoded, then measured together in one streamed pass.

The original goes through each layer once, not once for each scheme, and so does its output head. What
is done stays in the sweep's folder, the encoded files and the figures of each group of windows, so that a
sweep that was stopped goes on where it was, and a scheme that is added costs only itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qformat.errors import QFormatError
from qformat.evaluate import by_layer as layers
from qformat.evaluate.answers import answer
from qformat.evaluate.by_layer import ByLayer
from qformat.evaluate.cached import CachedEngine
from qformat.evaluate.digests import content_digest
from qformat.evaluate.encodings import Encoding, check, encode
from qformat.evaluate.engine import GROUP_TOKENS
from qformat.evaluate.pair import common_tokenizer, common_vocabulary, open_models
from qformat.evaluate.quiz_files import Quiz, read_quiz
from qformat.evaluate.result import Protocol, window_notes
from qformat.evaluate.runners import check_engine
from qformat.evaluate.stage import Stage
from qformat.evaluate.statistics import Bootstrap
from qformat.evaluate.stream import Model, Route
from qformat.evaluate.summary import Alone, Divergence, alone, divergence
from qformat.evaluate.sweep_quiz import Quizzed, quizzed
from qformat.evaluate.sweep_result import Row, Sweep
from qformat.evaluate.sweep_speed import Fast, timed
from qformat.evaluate.text import read_text, windows_of
from qformat.evaluate.verbs import byte_lengths
from qformat.evaluate.windows import WINDOW, Windows, token_digest
from qformat.families import ModelConfig, tensor_names
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import Source, opened
from qformat.model.weights import dtype_named

ACTIVATION_BYTES = 1 << 30  # of all models' activations together


def sweep(
    original: Source,
    schemes: Sequence[str],
    *,
    text: str | os.PathLike[str],
    protocol: str = WINDOW,
    ctx: int | None = None,
    dtype: str = "f32",
    limit: int | None = None,
    by_layer: bool = False,
    quiz: str | os.PathLike[str] | None = None,
    prompt: str | None = None,
    speed: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[Stage], None] | None = None,
) -> Sweep:
    """Encode a model with each scheme and measure all against it.

    Parameters
    ----------
    original
        A checkpoint of plain numbers.
    schemes
        Such as ``"asym4:block=64"``, ``"q4_k_m"`` (a GGUF is made) or ``"bf16"`` (a plain cast).
    text, protocol, ctx, dtype, limit, seed
        As for `qformat.evaluate`.
    by_layer
        Also say what each layer adds to each scheme's divergence, on as many windows as take about as
        long again as the whole.
    quiz
        A file of multiple-choice questions (`qformat.evaluate.quiz_files`) that each model answers.
    prompt
        A text that each model goes on from, always with the likeliest token.
    speed
        Also time how fast each makes tokens, in turn with the original: ``"ours"`` or ``"llama.cpp"``.
    folder
        Where files and figures are kept, to go on from; by default they are deleted at the end.

    Returns
    -------
    Sweep
        At Ctrl-C, of the windows measured until then, if there are any.

    Raises
    ------
    QFormatError
        For an unknown scheme or engine, and as `qformat.convert` and `qformat.evaluate`.
    """
    begun = time.perf_counter()
    check(list(schemes))
    if speed is not None:
        check_engine(speed)
    read = read_text(text)
    questions = read_quiz(Path(quiz)) if quiz is not None else None
    source = opened(original)
    tokenizer = common_tokenizer([source], None)
    dtype = dtype_named(dtype)
    config = open_models([source], dtype)[0].config
    tokens, every = windows_of(read, tokenizer, config, protocol=protocol, ctx=ctx, stride=None)
    told = Protocol(
        protocol, every.ctx, None, tokenizer.bos if tokenizer.adds_bos else None, dtype, seed, str(read.path),
        read.digest, token_digest(every), len(tokens), len(every), config.vocabulary,
    )  # fmt: skip
    windows = chosen(every, limit, seed)
    with _place(folder) as place:
        digest = content_digest(source)
        made = list(_encodings(source, digest, schemes, place, progress))
        models = open_models([source, *(e.checkpoint for e in made)], dtype)
        keys = [_key(digest, dtype), *(_key(digest, dtype, content_digest(e.checkpoint)) for e in made)]
        notes: list[str] = []
        engine = _engine(models, windows, keys, place, seed, common_vocabulary(models, notes))
        everyone = [source, *(e.checkpoint for e in made)]
        parts: dict[int, ByLayer] = {}
        scores: list[Quizzed] = []
        said: list[str] = []
        speeds: list[Fast | None] = []
        complete = False
        try:
            _run(engine, "measuring", progress)
            parts = _by_layer(engine, progress) if by_layer else {}
            scores = _quizzed(everyone, keys, questions, dtype, place, progress) if questions else []
            said = _said(everyone, tokenizer, prompt, dtype, progress) if prompt is not None else []
            speeds = timed(everyone, keys, speed, dtype, place / "figures", progress) if speed else []
            complete = True
        except KeyboardInterrupt:
            if not engine.done:
                raise
    found = engine.tokens()
    bootstrap = Bootstrap(found.window, seed=seed)
    rows = _rows(engine, bootstrap, byte_lengths(tokenizer, found.token), made, parts)
    none: list[None] = [None] * len(rows)
    others = zip(scores or none, said or none, speeds or none, strict=True)
    rows = [
        replace(row, quiz=score, answer=words, speed=fast)
        for row, (score, words, fast) in zip(rows, others, strict=True)
    ]
    return Sweep(
        original=str(source.path),
        content=digest,
        rows=tuple(rows),
        protocol=told,
        windows=len(engine.done),
        tokens=len(found),
        seconds=time.perf_counter() - begun,
        notes=(*notes, *window_notes(bootstrap)),
        prompt=prompt,
        quiz=questions,
        speed=speed,
        complete=complete,
        every_window=len(windows),
    )


def chosen(windows: Windows, limit: int | None, seed: int) -> Windows:
    """All windows, or so many of them at random, in order."""
    if limit is None or limit >= len(windows):
        return windows
    return windows.take(np.sort(np.random.default_rng(seed).permutation(len(windows))[:limit]))


@contextlib.contextmanager
def _place(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The sweep's folder, or one that is gone afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="qformat-sweep-") as name:
            yield Path(name)
        return
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QFormatError(f"cannot be made: {error.strerror}", file=path) from None
    yield path


def _encodings(
    source: Any, digest: str, schemes: Sequence[str], place: Path, progress: Callable[[Stage], None] | None
) -> Iterator[Encoding]:
    total = sum(i.nbytes for i in source.tensors.values()) or 1
    for scheme in schemes:
        done = 0

        def tell(count: int, _tensor: str, what: str = f"encoding {scheme}") -> None:
            nonlocal done
            done += count
            if progress:
                progress(Stage(what, min(1.0, done / total)))

        yield encode(source, digest, scheme, place, tell)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _engine(
    models: Sequence[Model], windows: Windows, keys: list[str], place: Path, seed: int, vocabulary: int
) -> CachedEngine:
    depth = int(models[0].config.layers)
    figures = place / "figures"
    figures.mkdir(exist_ok=True)
    return CachedEngine(
        models,
        [Route.through(i, depth) for i in range(len(models))],
        windows,
        vocabulary,
        compare=True,
        seed=seed,
        group_tokens=_group_tokens(models, len(models)),
        folder=figures,
        keys=tuple(keys),
    )


def _group_tokens(models: Sequence[Model], states: int) -> int:
    return min(GROUP_TOKENS, ACTIVATION_BYTES // (4 * states * int(models[0].config.width)))


def _run(engine: CachedEngine, what: str, progress: Callable[[Stage], None] | None) -> None:
    if progress:
        engine.progress = lambda fraction: progress(Stage(what, fraction))
    for _ in engine.run():
        pass


def _by_layer(engine: CachedEngine, progress: Callable[[Stage], None] | None) -> dict[int, ByLayer]:
    """What each layer adds, by the number of the scheme's model."""
    models, depth = engine.models, int(engine.models[0].config.layers)
    numbers = range(1, len(models))
    count = max(2, 2 * len(engine.windows) // (depth + 1))
    some = chosen(engine.windows, count, engine.seed)
    routes, keys = [*engine.routes], [*engine.keys]
    for i in numbers:
        steps = layers.steps(depth, 0, i)
        routes += steps
        keys += [_key(engine.keys[i], "up to", str(k)) for k in range(len(steps))]
    part = CachedEngine(
        models,
        routes,
        some,
        engine.vocabulary,
        compare=True,
        seed=engine.seed,
        group_tokens=_group_tokens(models, len(routes)),
        folder=engine.folder,
        keys=tuple(keys),
    )
    _run(part, "layer by layer", progress)
    bootstrap = Bootstrap(part.tokens().window, seed=engine.seed)
    found = {}
    for i in numbers:
        first = len(models) + (i - 1) * (depth + 1)
        stages = [part.arrays(k) for k in range(first, first + depth + 1)]
        found[i] = layers.by_layer(stages, part.arrays(i), bootstrap)
    return found


def _quizzed(
    everyone: list[Checkpoint],
    keys: list[str],
    questions: Quiz,
    dtype: str,
    place: Path,
    progress: Callable[[Stage], None] | None,
) -> list[Quizzed]:
    marks = [_key(k, questions.digest) for k in keys]

    def tell(fraction: float) -> None:
        if progress:
            progress(Stage("quiz", fraction))

    return quizzed(everyone, marks, questions, dtype, place / "figures", tell)


def _said(
    everyone: list[Checkpoint],
    tokenizer: Any,
    prompt: str,
    dtype: str,
    progress: Callable[[Stage], None] | None,
) -> list[str]:
    found: list[str] = []
    for checkpoint in everyone:
        if progress:
            progress(Stage("answers", len(found) / len(everyone)))
        found.append(answer(checkpoint, tokenizer, prompt, dtype))
    return found


def _rows(
    engine: CachedEngine,
    bootstrap: Bootstrap,
    lengths: Any,
    made: Sequence[Encoding],
    parts: Mapping[int, ByLayer],
) -> list[Row]:
    """The original's row, and each scheme's beside it."""
    original, base = engine.models[0], engine.arrays(0)
    rows = [_original_row(original, alone(base, bootstrap, lengths))]
    names = _canonical_names(original.config)
    for i, encoding in enumerate(made, 1):
        arrays = engine.arrays(i)
        figures = alone(arrays, bootstrap, lengths), divergence(base, arrays, bootstrap)
        rows.append(_row(encoding, rows[0], names, *figures, parts.get(i)))
    return rows


def _original_row(model: Model, figures: Alone) -> Row:
    infos = model.checkpoint.tensors.values()
    bpw = sum(i.nbytes for i in infos) * 8 / sum(i.elements for i in infos)
    return Row("original", sum(f.stat().st_size for f in model.checkpoint.files), bpw, 1.0, figures)


def _canonical_names(config: ModelConfig) -> dict[str, str]:
    """GGUF's name of each Hugging Face tensor that is one there, too."""
    pairs = tensor_names(config)
    return {hf[0]: gguf[0] for hf, gguf in pairs if len(hf) == len(gguf) == 1}


def _row(
    encoding: Encoding,
    original: Row,
    names: dict[str, str],
    figures: Alone,
    apart: Divergence,
    parts: ByLayer | None,
) -> Row:
    return Row(
        encoding.scheme,
        encoding.nbytes,
        encoding.bpw,
        original.nbytes / encoding.nbytes,
        figures,
        apart,
        parts,
        errors={names.get(name, name): error for name, error in encoding.errors.items()},
    )
