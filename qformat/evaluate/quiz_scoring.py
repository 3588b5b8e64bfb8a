"""One model's answers: every prompt and choice through its layers, read once for a group of questions.

Sequences are filled up on the right to one of a few lengths, which changes nothing before the filling
because attention looks back only; so each layer is compiled for a few shapes.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.errors import DataError
from qformat.evaluate import measures
from qformat.evaluate.heads import block_tokens
from qformat.evaluate.quiz_files import LETTERS, Question
from qformat.evaluate.quiz_statistics import NONE
from qformat.evaluate.stream import CALL_TOKENS, Model, ahead, together

SHORTEST = 32
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answered:
    """Answers to some questions: indices of choices, `NONE` for no answer.

    ``likelihoods`` has for each question the log-likelihood of each choice's text, and ``lengths``
    its tokens.
    """

    total: NDArray[np.int64]
    mean: NDArray[np.int64]
    letter: NDArray[np.int64]
    likelihoods: list[list[float]]
    lengths: list[list[int]]


@dataclass(frozen=True)
class _Item:
    """A sequence whose tokens from ``start`` on are scored; if there are none, the next one is asked for."""

    ids: tuple[int, ...]
    start: int

    @property
    def places(self) -> range:
        """The positions whose logits matter."""
        return range(self.start - 1, max(self.start, len(self.ids) - 1))


def answer(
    model: Model,
    tokenizer: Any,
    questions: Sequence[Question],
    progress: Callable[[int], None] | None = None,
) -> Answered:
    """Ask one group of questions; ``progress`` gets the tokens that went through a layer.

    Raises
    ------
    DataError
        If the logits are NaN.
    """
    items = [item for q in questions for item in _items(q, tokenizer)]
    nll, top = _scores(model, items, progress)
    total, mean, letter = [], [], []
    likelihoods, lengths = [], []
    at = 0
    for q in questions:
        sums = [-float(nll[at + i].sum()) for i in range(len(q.choices))]
        sizes = [len(nll[at + i]) for i in range(len(q.choices))]
        total.append(int(np.argmax(sums)))
        mean.append(int(np.argmax([s / n for s, n in zip(sums, sizes, strict=True)])))
        letter.append(_letter(tokenizer, int(top[at + len(q.choices)][0]), len(q.choices)))
        likelihoods.append(sums)
        lengths.append(sizes)
        at += len(q.choices) + 1
    return Answered(np.asarray(total), np.asarray(mean), np.asarray(letter), likelihoods, lengths)


def tokens_of(question: Question, tokenizer: Any) -> int:
    """How many tokens a question takes, filling included."""
    return sum(_length(len(item.ids)) for item in _items(question, tokenizer))


def _items(question: Question, tokenizer: Any) -> list[_Item]:
    """Each choice after the plain prompt, and the prompt that asks for a letter."""
    prompt = question.plain_prompt()
    before = tokenizer.encode(prompt)
    found = []
    for choice in question.choices:
        whole = tokenizer.encode(f"{prompt} {choice}")
        if tokenizer.adds_eos:
            whole = whole[:-1]
        # A token may reach over the border: it then belongs to the choice.
        same = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
        found.append(_Item(tuple(whole), max(1, min(same, len(before), len(whole) - 1))))
    asked = tokenizer.encode(question.letter_prompt())
    asked = asked[:-1] if tokenizer.adds_eos else asked
    return [*found, _Item(tuple(asked), len(asked))]


def _letter(tokenizer: Any, token: int, count: int) -> int:
    (piece,) = tokenizer.pieces([token])
    name = piece.decode(errors="replace").strip()
    return LETTERS.index(name) if len(name) == 1 and name in LETTERS[:count] else NONE


def _length(count: int) -> int:
    """32, 48, 64, 96, 128, …: at most half as much again as there is."""
    size = SHORTEST
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


@dataclass
class _Batch:
    """Sequences of one filled length, some of them in each call."""

    numbers: list[int]
    tokens: NDArray[np.int32]
    rows: int
    hidden: Floats | None = None

    def calls(self) -> Iterator[slice]:
        for start in range(0, len(self.tokens), self.rows):
            yield slice(start, start + self.rows)


def _batches(items: Sequence[_Item]) -> list[_Batch]:
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        by_length[_length(len(item.ids))].append(number)
    found = []
    for length, numbers in sorted(by_length.items()):
        rows = max(1, CALL_TOKENS // length)
        tokens = np.zeros((-(-len(numbers) // rows) * rows, length), np.int32)
        for row, number in zip(tokens, numbers, strict=False):
            row[: len(items[number].ids)] = items[number].ids
        found.append(_Batch(numbers, tokens, rows))
    return found


def _scores(
    model: Model, items: Sequence[_Item], progress: Callable[[int], None] | None
) -> tuple[list[Floats], list[NDArray[np.int32]]]:
    """For each item the scored tokens' negative log-likelihoods, and at each place the likeliest token."""
    batches = _batches(items)
    for batch in batches:
        parts = [np.asarray(model.embed(batch.tokens[rows]), np.float32) for rows in batch.calls()]
        batch.hidden = np.concatenate(parts)
    reads = ((k, functools.partial(model.layer, k)) for k in range(int(model.config.layers)))
    for _, layer in ahead(reads):
        for batch in batches:
            assert batch.hidden is not None
            step = functools.partial(_next, layer, batch.hidden)
            for count in together(step, batch.calls()):
                if progress:
                    progress(count)
    states, true, counts = _gathered(items, batches)
    nll, top = _headed(model, states, true)
    cuts = np.cumsum(counts)[:-1]
    scored = np.split(nll, cuts), np.split(top, cuts)
    return list(scored[0]), list(scored[1])


def _next(layer: Callable[[Any], Any], hidden: Floats, rows: slice) -> int:
    """Some sequences through a layer; how many tokens they have."""
    hidden[rows] = np.asarray(layer(hidden[rows]), np.float32)
    return int(np.prod(hidden[rows].shape[:2]))


def _gathered(
    items: Sequence[_Item], batches: Sequence[_Batch]
) -> tuple[Floats, NDArray[np.int32], list[int]]:
    """The states that matter in the items' order, the tokens that follow (0 where none is known)."""
    found: dict[int, Floats] = {}
    for batch in batches:
        assert batch.hidden is not None
        for row, number in zip(batch.hidden, batch.numbers, strict=False):
            found[number] = row[items[number].places.start : items[number].places.stop]
    true = [i for item in items for i in (item.ids[item.start :] or (0,))]
    states = np.concatenate([found[i] for i in range(len(items))])
    return states, np.asarray(true, np.int32), [len(item.places) for item in items]


def _headed(model: Model, states: Floats, true: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32]]:
    head, vocabulary = model.head(), int(model.config.vocabulary)
    measure = measures.alone(measures.bare(head), vocabulary)
    size = block_tokens(vocabulary)
    nll, top = [], []
    for start in range(0, len(states), size):
        part, targets = states[start : start + size], np.resize(true[start : start + size], size)
        filled = np.concatenate([part, np.zeros((size - len(part), part.shape[1]), np.float32)])
        figures = measure(head.params, filled, targets)
        nll.append(np.asarray(figures["nll"])[: len(part)])
        top.append(np.asarray(figures["top"])[: len(part), 0])
    joined = np.concatenate(nll)
    if not np.isfinite(joined).all():
        raise DataError(
            "the logits are not numbers (NaN or infinity)", file=model.checkpoint.path,
            hint="a weight is damaged or overflows: look with `qformat inspect --sort error`",
        )  # fmt: skip
    return joined, np.concatenate(top)
