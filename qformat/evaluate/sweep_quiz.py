"""The quiz of a sweep: each model answers it once, and the answers are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qformat.evaluate.page import write_whole
from qformat.evaluate.quiz import Status, quiz
from qformat.evaluate.quiz_files import Quiz
from qformat.evaluate.quiz_statistics import Answers, Flips, Score
from qformat.files.checkpoint import Checkpoint


@dataclass(frozen=True)
class Quizzed:
    """A model's score by the likelihood of the choices' text, and what became of the original's answers."""

    score: Score
    flips: Flips | None = None

    def to_json(self) -> dict[str, Any]:
        return {"score": self.score.to_json(), "flips": self.flips.to_json() if self.flips else None}


def quizzed(
    checkpoints: list[Checkpoint],
    keys: list[str],
    questions: Quiz,
    dtype: str,
    folder: Path,
    tell: Callable[[float], None],
) -> list[Quizzed]:
    """Scores of models, the original first. ``keys`` name model and questions; answers lie under them."""
    truth = np.asarray([q.answer for q in questions.questions])
    found: list[Answers] = []
    for checkpoint, key in zip(checkpoints, keys, strict=True):

        def within(status: Status) -> None:
            tell((len(found) + status.fraction) / len(keys))

        kept = folder / f"quiz-{key}.json"
        answers = _known(kept, len(truth))
        if answers is None:
            answers = _asked(checkpoint, questions, dtype, within)
            write_whole(kept, [json.dumps(answers.tolist())])
        found.append(answers)
    base, *others = found
    return [
        Quizzed(Score.of(base, truth)),
        *(Quizzed(Score.of(a, truth), Flips.of(base, a, truth)) for a in others),
    ]


def _known(kept: Path, count: int) -> Answers | None:
    """The answers that a file holds; None if there is none, or a damaged one."""
    try:
        answers = np.asarray(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return answers.astype(np.int64) if answers.shape == (count,) and answers.dtype.kind == "i" else None


def _asked(checkpoint: Checkpoint, questions: Quiz, dtype: str, tell: Callable[[Status], None]) -> Answers:
    result = quiz(checkpoint, questions.path, dtype=dtype, progress=tell)
    if not result.complete:
        raise KeyboardInterrupt
    return result.model.answers.total
