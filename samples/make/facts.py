"""Facts of the world in words: for each its questions, its answer, and sentences that state it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .world import (
    ANIMALS,
    COLOURS,
    DAYS,
    FAME,
    FOODS,
    INSTRUMENTS,
    ITEMS,
    LANDMARKS,
    SEASONS,
    TOWNS,
    TRADES,
    Gift,
    Person,
    Town,
    World,
    with_article,
)


@dataclass(frozen=True)
class Fact:
    """`questions` are phrasings of one question; `pool` holds the answers of the same kind."""

    topic: str
    questions: tuple[str, ...]
    answer: str
    statements: tuple[str, ...]
    pool: tuple[str, ...]

    def distractors(self, rng: random.Random, count: int = 3) -> list[str]:
        return rng.sample([value for value in self.pool if value != self.answer], count)


# topic: (attribute of Person, pool, phrasings of the question, sentences).
# In sentences {S} is the name or she/he, {P} the possessive, {p} always her/his.
PERSON_TOPICS: dict[str, tuple[str, list[str], tuple[str, ...], tuple[str, ...]]] = {
    "home": (
        "town",
        TOWNS,
        ("Where does {n} live?", "In which town does {n} live?", "Which town is the home of {n}?"),
        ("{S} lives in {a}.", "{P} house is in {a}.", "{S} has {p} home in {a}."),
    ),
    "trade": (
        "trade",
        TRADES,
        ("What is {n}'s trade?", "Which trade does {n} follow?", "What does {n} work as?"),
        ("{S} is {aa} by trade.", "{S} works as {aa}.", "{S} earns {p} living as {aa}."),
    ),
    "door": (
        "door",
        COLOURS,
        (
            "What colour is {n}'s door?",
            "Which colour did {n} paint the door?",
            "What is the colour of {n}'s door?",
        ),
        ("{P} door is {a}.", "{S} painted {p} door {a}.", "{P} house has {aa} door."),
    ),
    "animal": (
        "animal",
        ANIMALS,
        ("What animal does {n} keep?", "Which animal lives with {n}?", "What kind of animal does {n} have?"),
        ("{S} keeps {aa}.", "{P} animal is {aa}.", "{S} has {aa} at home."),
    ),
    "food": (
        "food",
        FOODS,
        (
            "What does {n} like to eat best?",
            "What is {n}'s favourite food?",
            "Which food does {n} love most?",
        ),
        ("{S} likes {a} best of all.", "{P} favourite food is {a}.", "Most of all, {s} loves {a}."),
    ),
    "music": (
        "instrument",
        INSTRUMENTS,
        (
            "Which instrument does {n} play?",
            "What does {n} play at the dances?",
            "What instrument does {n} own?",
        ),
        ("{S} plays the {a}.", "At the dances {s} plays the {a}.", "{P} instrument is the {a}."),
    ),
}
FRIEND_QUESTIONS = (
    "Who is {n}'s best friend?",
    "Who is the closest friend of {n}?",
    "Whom does {n} trust most?",
)
FRIEND_SENTENCES = ("{P} best friend is {a}.", "{S} trusts {a} most.", "{S} and {a} are best friends.")

GIFT_TOPICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "giver": (
        "giver",
        ("Who gave {r} the {i}?", "From whom did {r} get the {i}?", "Whose present to {r} was the {i}?"),
    ),
    "receiver": (
        "receiver",
        (
            "To whom did {g} give the {i}?",
            "Who got the {i} from {g}?",
            "For whom was the {i} that {g} gave away?",
        ),
    ),
    "item": (
        "item",
        ("What did {g} give {r}?", "What did {r} get from {g}?", "Which present did {g} bring {r}?"),
    ),
    "gift town": (
        "town",
        (
            "Where did {g} give {r} the {i}?",
            "In which town did {r} get the {i}?",
            "In which town did {g} give away the {i}?",
        ),
    ),
    "gift season": (
        "season",
        (
            "In which season did {g} give {r} the {i}?",
            "At what time of year did {r} get the {i}?",
            "In which season did {g} give away the {i}?",
        ),
    ),
}
GIFT_SENTENCES = (
    "{g} gave {r} {ai} in {t} in {s}.",
    "In {s} {r} got {ai} from {g} in {t}.",
    "In {t}, in {s}, {g} gave {ai} to {r}.",
    "It was in {s} that {g} gave {r} {ai}, in {t}.",
)

TOWN_TOPICS: dict[str, tuple[str, list[str], tuple[str, ...], tuple[str, ...]]] = {
    "fame": (
        "fame",
        FAME,
        ("What is {n} known for?", "What has made {n} famous?", "For what do people travel to {n}?"),
        (
            "{n} is known for its {a}.",
            "People travel to {n} for its {a}.",
            "The {a} of {n} are praised by everyone.",
        ),
    ),
    "landmark": (
        "landmark",
        LANDMARKS,
        (
            "What stands in the middle of {n}?",
            "What do people see first in {n}?",
            "Where do people meet in {n}?",
        ),
        ("In the middle of {n} stands {aa}.", "{n} has {aa}.", "The people of {n} meet at the {a}."),
    ),
    "market": (
        "market",
        DAYS,
        (
            "On which day is the market in {n}?",
            "When is market day in {n}?",
            "Which day is market day in {n}?",
        ),
        ("The market in {n} is on {a}.", "{a} is market day in {n}.", "{n} holds its market on {a}."),
    ),
}


def say(sentence: str, person: Person, answer: str, by_name: bool) -> str:
    """A sentence about a person, by name or by pronoun, with its first letter in upper case."""
    subject = person.name if by_name else person.they
    owner = f"{person.name}'s" if by_name else person.their
    text = sentence.format(
        S=subject,
        s=subject,
        P=owner,
        p=person.their,
        a=answer,
        aa=with_article(answer),
    )
    return text[0].upper() + text[1:]


def gift_words(gift: Gift) -> dict[str, str]:
    return {
        "g": gift.giver,
        "r": gift.receiver,
        "i": gift.item,
        "ai": with_article(gift.item),
        "t": gift.town,
        "s": gift.season,
    }


def person_facts(world: World, person: Person) -> list[Fact]:
    facts = []
    others = tuple(name for name in world.people if name != person.name)
    rows = [(topic, *row) for topic, row in PERSON_TOPICS.items()]
    rows.append(("friend", "friend", list(others), FRIEND_QUESTIONS, FRIEND_SENTENCES))
    for topic, attribute, pool, questions, sentences in rows:
        answer = getattr(person, attribute)
        asked = tuple(question.format(n=person.name) for question in questions)
        said = tuple(say(sentence, person, answer, by_name=True) for sentence in sentences)
        facts.append(Fact(topic, asked, answer, said, tuple(pool)))
    return facts


def gift_facts(world: World, gift: Gift) -> list[Fact]:
    words = gift_words(gift)
    people = [name for name in world.people if name not in (gift.giver, gift.receiver)]
    pools = {"giver": people, "receiver": people, "item": ITEMS, "gift town": TOWNS, "gift season": SEASONS}
    said = tuple(sentence.format(**words) for sentence in GIFT_SENTENCES)
    return [
        Fact(
            topic,
            tuple(q.format(**words) for q in questions),
            getattr(gift, attribute),
            said,
            tuple(pools[topic]),
        )
        for topic, (attribute, questions) in GIFT_TOPICS.items()
    ]


def town_facts(town: Town) -> list[Fact]:
    facts = []
    for topic, (attribute, pool, questions, sentences) in TOWN_TOPICS.items():
        answer = getattr(town, attribute)
        words = {"n": town.name, "a": answer, "aa": with_article(answer)}
        # the third sentence about fame wants a plural
        usable = sentences[:2] if topic == "fame" and not answer.endswith("s") else sentences
        facts.append(
            Fact(
                topic,
                tuple(q.format(**words) for q in questions),
                answer,
                tuple(s.format(**words) for s in usable),
                tuple(pool),
            )
        )
    return facts


def all_facts(world: World) -> list[Fact]:
    facts = [fact for person in world.people.values() for fact in person_facts(world, person)]
    facts += [fact for gift in world.gifts for fact in gift_facts(world, gift)]
    return facts + [fact for town in world.towns.values() for fact in town_facts(town)]
