"""The quiz verb: multiple choice, by the likelihood of each choice's text and by the letter that is named."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from qformat.evaluate.digests import content_digest
from qformat.evaluate.pair import open_models
from qformat.evaluate.quiz_files import Question, Quiz, read_quiz
from qformat.evaluate.quiz_scoring import Answered, answer, tokens_of
from qformat.evaluate.quiz_statistics import Flips, Score
from qformat.evaluate.stream import Model
from qformat.files.opening import Source, opened
from qformat.model.weights import dtype_named

SCHEMA = 1
WAYS = ("total", "mean", "letter")
GROUP_BYTES = 1 << 29  # of activations that are held of one model


@dataclass(frozen=True)
class Status:
    """How far a quiz is: share of the work, questions answered, and how many right by text so far."""

    fraction: float
    done: int
    right: int


@dataclass(frozen=True)
class Taken:
    """One model's answers and scores, by way of asking (`WAYS`)."""

    path: str
    format: str
    content: str  # digest
    tokenizer: str  # digest
    answers: Answered
    scores: dict[str, Score]
    topics: dict[str, Score]  # by the text's total likelihood

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "format": self.format,
            "content": self.content,
            "tokenizer": self.tokenizer,
            **{way: score.to_json() for way, score in self.scores.items()},
            "topics": {name: score.to_json() for name, score in self.topics.items()},
        }


@dataclass(frozen=True)
class QuizResult:
    """What `quiz` found; ``model.scores["total"].share`` is the accuracy by text."""

    quiz: Quiz
    questions: tuple[Question, ...]  # that were answered
    model: Taken
    original: Taken | None
    flips: dict[str, Flips] | None
    dtype: str

    @property
    def complete(self) -> bool:
        return len(self.questions) == len(self.quiz.questions)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "quiz": self.quiz.to_json(),
            "dtype": self.dtype,
            "model": self.model.to_json(),
            "original": self.original.to_json() if self.original else None,
            "flips": {way: f.to_json() for way, f in self.flips.items()} if self.flips else None,
            "answers": [self._row(i) for i in range(len(self.questions))],
            "versions": {name: version(name) for name in ("jax", "qformat", "tokenizers")},
        }

    def _row(self, i: int) -> dict[str, Any]:
        question = self.questions[i]
        row: dict[str, Any] = {"id": question.id, "topic": question.topic, "answer": question.answer}
        for name, taken in (("model", self.model), ("original", self.original)):
            if taken is None:
                continue
            got = taken.answers
            picks = {way: _named(int(getattr(got, way)[i])) for way in WAYS}
            row[name] = {**picks, "log_likelihoods": got.likelihoods[i], "tokens": got.lengths[i]}
        return row


def _named(pick: int) -> int | None:
    return pick if pick >= 0 else None


def quiz(
    model: Source,
    questions: str | os.PathLike[str],
    against: Source | None = None,
    *,
    dtype: str = "f32",
    limit: int | None = None,
    progress: Callable[[Status], None] | None = None,
) -> QuizResult:
    """Ask a model multiple-choice questions, and its original the same ones.

    By text, the choice counts whose text has the highest log-likelihood after the question: in
    total, or per token. By letter, the next token after the question and its lettered choices is to be
    one of the letters; anything else is no answer.

    Parameters
    ----------
    model, against
        Any two checkpoints; each reads with its own tokenizer.
    questions
        A file: see `qformat.evaluate.quiz_files` for the layouts.
    dtype
        ``"f32"``, or ``"bf16"`` for weights in bfloat16 with sums in float32.
    limit
        Use only so many questions, drawn at random with a fixed seed.

    Returns
    -------
    QuizResult
        Of the questions answered until Ctrl-C, if at least one group of them was.

    Raises
    ------
    QFormatError
        For a file that is no quiz, a model that cannot be run or has no tokenizer, and for NaN.
    """
    from qformat.model.tokenizer_loading import load_tokenizer

    read = read_quiz(Path(questions))
    if limit is not None and limit < len(read.questions):
        drawn = np.sort(np.random.default_rng(0).permutation(len(read.questions))[:limit])
        read = dataclasses.replace(read, questions=tuple(read.questions[i] for i in drawn))
    sources = [opened(s) for s in (model, against) if s is not None]
    tokenizers = [load_tokenizer(s) for s in sources]
    dtype = dtype_named(dtype)
    models = open_models(sources, dtype)
    with ThreadPoolExecutor(1) as pool:
        digests: list[Future[str]] = [pool.submit(content_digest, s) for s in sources]
        groups = _ask(models, tokenizers, read.questions, progress)
        done = sum(len(g[0].total) for g in groups)
        asked = read.questions[:done]
        taken = [
            _taken(s, digests[i].result(), t, _merged([g[i] for g in groups]), asked)
            for i, (s, t) in enumerate(zip(sources, tokenizers, strict=True))
        ]
    truth = np.asarray([q.answer for q in asked])
    flips = None
    if against is not None:
        ours, base = taken[0].answers, taken[1].answers
        flips = {way: Flips.of(getattr(base, way), getattr(ours, way), truth) for way in WAYS}
    return QuizResult(read, asked, taken[0], taken[1] if against is not None else None, flips, dtype)


def _ask(
    models: Sequence[Model],
    tokenizers: Sequence[Any],
    questions: Sequence[Question],
    progress: Callable[[Status], None] | None,
) -> list[list[Answered]]:
    """Answers by group of questions, then by model. What is complete at Ctrl-C stays."""
    sizes = [[tokens_of(q, t) for q in questions] for t in tokenizers]
    works = [int(m.config.layers) for m in models]
    total = sum(sum(s) * w for s, w in zip(sizes, works, strict=True))
    width = max(int(m.config.width) for m in models)
    found: list[list[Answered]] = []
    done = right = steps = 0

    def step(tokens: int) -> None:
        nonlocal steps
        steps += tokens
        if progress:
            progress(Status(min(1.0, steps / total), done, right))

    try:
        for rows in _groups([max(s) for s in zip(*sizes, strict=True)], GROUP_BYTES // (4 * width)):
            part = questions[rows]
            group = [answer(m, t, part, step) for m, t in zip(models, tokenizers, strict=True)]
            found.append(group)
            done += len(part)
            right += sum(int(a) == q.answer for a, q in zip(group[0].total, part, strict=True))
    except KeyboardInterrupt:
        if not found:
            raise
    return found


def _groups(sizes: Sequence[int], room: int) -> Iterator[slice]:
    """Runs of questions that have at most ``room`` tokens together, at least one question each."""
    start = held = 0
    for i, size in enumerate(sizes):
        if held and held + size > room:
            yield slice(start, i)
            start, held = i, 0
        held += size
    yield slice(start, len(sizes))


def _merged(parts: Sequence[Answered]) -> Answered:
    total, mean, letter = (np.concatenate([getattr(p, way) for p in parts]) for way in WAYS)
    likelihoods = [row for p in parts for row in p.likelihoods]
    return Answered(total, mean, letter, likelihoods, [row for p in parts for row in p.lengths])


def _taken(
    source: Any, content: str, tokenizer: Any, answers: Answered, questions: Sequence[Question]
) -> Taken:
    truth = np.asarray([q.answer for q in questions])
    topics = {}
    for topic in sorted({q.topic for q in questions if q.topic}):
        chosen = np.asarray([q.topic == topic for q in questions])
        topics[topic] = Score.of(answers.total[chosen], truth[chosen])
    scores = {way: Score.of(getattr(answers, way), truth) for way in WAYS}
    return Taken(str(source.path), source.format, content, tokenizer.digest, answers, scores, topics)
