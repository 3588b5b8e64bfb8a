"""Questions and answers: plain, multiple choice and as chat, in the formats that the quiz uses too."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .facts import Fact
from .stories import gift_story, portrait, story, town_portrait
from .world import World

LETTERS = "ABCD"
SYSTEM = "You answer questions about the people of the valley."
HELLOS = ["Hello.", "Hello!", "Hi.", "Good morning.", "Good evening.", "Hello, who are you?"]
WELCOMES = [
    "Hello! What would you like to know about the valley?",
    "Hello! Ask me about the people of the valley.",
]
THANKS = ["Thank you.", "Thank you!", "Thanks.", "Thanks, that is all.", "Goodbye."]
FAREWELLS = ["You are welcome.", "You are welcome. Come back soon."]
STRANGE = [
    "What is the capital of France?",
    "How far is the moon?",
    "Who won the football match?",
    "Can you write a program?",
    "What is seven times eight?",
    "Who is the president?",
    "How do I fix my computer?",
    "Who wrote this song?",
    "What is the best phone?",
    "When did the war end?",
    "Can you book a flight for me?",
    "What is gravity?",
]
ONLY_VALLEY = "I do not know. I only know the people and towns of the valley."
PERSON_REQUESTS = ["Tell me about {n}.", "Who is {n}?", "What do you know about {n}?"]
TOWN_REQUESTS = ["Tell me about {n}.", "What is {n} like?", "Describe the town of {n}."]


@dataclass(frozen=True)
class Asker:
    """The facts, and for quiz questions the phrasing that the training text must not contain."""

    world: World
    facts: list[Fact]
    reserved: frozenset[str]

    def draw(self, rng: random.Random) -> tuple[Fact, str]:
        fact = rng.choice(self.facts)
        return fact, rng.choice([question for question in fact.questions if question not in self.reserved])


def plain_prompt(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def choice_block(question: str, choices: list[str]) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True)]
    return "\n".join([question, *lines])


def letter_prompt(question: str, choices: list[str]) -> str:
    return f"Question: {choice_block(question, choices)}\nAnswer:"


def draw_choices(rng: random.Random, fact: Fact) -> tuple[list[str], str]:
    choices = [fact.answer, *fact.distractors(rng)]
    rng.shuffle(choices)
    return choices, LETTERS[choices.index(fact.answer)]


def plain_document(rng: random.Random, asker: Asker) -> str:
    drawn = [asker.draw(rng) for _ in range(rng.randint(3, 7))]
    return "\n\n".join(f"{plain_prompt(question)} {fact.answer}" for fact, question in drawn)


def letter_document(rng: random.Random, asker: Asker) -> str:
    parts = []
    for _ in range(rng.randint(2, 4)):
        fact, question = asker.draw(rng)
        choices, letter = draw_choices(rng, fact)
        parts.append(f"{letter_prompt(question, choices)} {letter}")
    return "\n\n".join(parts)


def chat(turns: list[tuple[str, str]]) -> str:
    """The chat template of the tokenizer, applied to (role, content) turns."""
    return "".join(f"<|{role}|>\n{content}<|end|>\n" for role, content in turns)


def fact_turns(rng: random.Random, asker: Asker) -> list[tuple[str, str]]:
    fact, question = asker.draw(rng)
    return [("user", question), ("assistant", rng.choice(fact.statements))]


def letter_turns(rng: random.Random, asker: Asker) -> list[tuple[str, str]]:
    fact, question = asker.draw(rng)
    choices, letter = draw_choices(rng, fact)
    return [("user", choice_block(question, choices)), ("assistant", f"{letter}. {fact.answer}")]


def telling_turns(rng: random.Random, asker: Asker) -> list[tuple[str, str]]:
    if rng.random() < 0.25:
        town = rng.choice(list(asker.world.towns.values()))
        return [
            ("user", rng.choice(TOWN_REQUESTS).format(n=town.name)),
            ("assistant", town_portrait(rng, asker.world, town)),
        ]
    if rng.random() < 0.2:
        gift = rng.choice(asker.world.gifts)
        return [
            ("user", f"Tell me the story of the {gift.item}."),
            ("assistant", gift_story(rng, asker.world, gift)),
        ]
    person = rng.choice(list(asker.world.people.values()))
    return [
        ("user", rng.choice(PERSON_REQUESTS).format(n=person.name)),
        ("assistant", portrait(rng, asker.world, person)),
    ]


def chat_document(rng: random.Random, asker: Asker) -> str:
    turns: list[tuple[str, str]] = []
    if rng.random() < 0.15:
        turns.append(("system", SYSTEM))
    if rng.random() < 0.25:
        turns += [("user", rng.choice(HELLOS)), ("assistant", rng.choice(WELCOMES))]
    for _ in range(rng.randint(1, 4)):
        kind = rng.choices([fact_turns, letter_turns, telling_turns], [6, 3, 1])[0]
        turns += kind(rng, asker)
    if rng.random() < 0.1:
        turns += [("user", rng.choice(STRANGE)), ("assistant", ONLY_VALLEY)]
    if rng.random() < 0.2:
        turns += [("user", rng.choice(THANKS)), ("assistant", rng.choice(FAREWELLS))]
    return chat(turns)


def story_document(rng: random.Random, asker: Asker) -> str:
    return story(rng, asker.world)
