"""The texts: training documents, held-out documents that are not among them, and the quiz."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .facts import Fact, all_facts
from .talk import LETTERS, Asker, chat_document, letter_document, plain_document, story_document
from .world import World, build_world

QUIZ_SIZE = 300
KINDS = [story_document, plain_document, letter_document, chat_document]
TRAIN_WEIGHTS = [38, 22, 20, 20]  # how often each kind is drawn
HELDOUT_WEIGHTS = [88, 6, 6, 0]  # mostly prose, and no chat: a plain text file holds no special tokens


@dataclass(frozen=True)
class QuizQuestion:
    id: str
    question: str
    choices: list[str]
    answer: int
    topic: str


@dataclass(frozen=True)
class Corpus:
    world: World
    quiz: list[QuizQuestion]
    train: list[str]
    heldout: list[str]


def draw_quiz(rng: random.Random, facts: list[Fact]) -> list[QuizQuestion]:
    """One question each about QUIZ_SIZE facts; every position holds the answer equally often."""
    positions = [i % len(LETTERS) for i in range(QUIZ_SIZE)]
    rng.shuffle(positions)
    quiz = []
    for number, (fact, position) in enumerate(zip(rng.sample(facts, QUIZ_SIZE), positions, strict=True)):
        choices = fact.distractors(rng)
        choices.insert(position, fact.answer)
        quiz.append(QuizQuestion(f"q{number:03d}", rng.choice(fact.questions), choices, position, fact.topic))
    return quiz


def documents(rng: random.Random, asker: Asker, weights: list[int], count: int, taken: set[str]) -> list[str]:
    """`count` documents, none of them twice and none of those in `taken`."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = rng.choices(KINDS, weights)[0](rng, asker)
        if text not in taken:
            texts[text] = None
    return list(texts)


def pages(rng: random.Random, texts: list[str]) -> list[str]:
    """Documents for training: up to three texts with empty lines between, as in the held-out file.

    A chat is a document of its own.
    """
    result: list[str] = []
    room = 0
    for text in texts:
        if text.startswith("<|"):
            result.append(text)
            room = 0
        elif room:
            result[-1] += "\n\n" + text
            room -= 1
        else:
            result.append(text)
            room = rng.randint(0, 2)
    return result


def build_corpus(seed: int, train_documents: int, heldout_documents: int) -> Corpus:
    world = build_world(seed)
    facts = all_facts(world)
    quiz = draw_quiz(random.Random(f"quiz {seed}"), facts)
    asker = Asker(world, facts, frozenset(question.question for question in quiz))
    rng = random.Random(f"train {seed}")
    train = documents(rng, asker, TRAIN_WEIGHTS, train_documents, set())
    held = documents(random.Random(f"held-out {seed}"), asker, HELDOUT_WEIGHTS, heldout_documents, set(train))
    return Corpus(world, quiz, pages(rng, train), held)
