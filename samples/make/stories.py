"""Documents in prose: portraits, town descriptions, gift stories, visits, market days, letters."""

from __future__ import annotations

import random

from .facts import (
    FRIEND_SENTENCES,
    GIFT_SENTENCES,
    PERSON_TOPICS,
    gift_words,
    say,
    town_facts,
)
from .phrases import (
    CARRIED,
    EVENINGS,
    GIFT_DAYS,
    GOODS,
    GREETINGS,
    MISHAPS,
    MOODS,
    NUMBERS,
    REASONS,
    REPLIES,
    ROADS,
    TALK,
    THANKS,
    WEATHER,
    WORK,
    WRAPPINGS,
)
from .world import Gift, Person, Town, World, with_article


def person_sentence(rng: random.Random, person: Person, topic: str, by_name: bool) -> str:
    if topic == "friend":
        return say(rng.choice(FRIEND_SENTENCES), person, person.friend, by_name)
    attribute, _, _, sentences = PERSON_TOPICS[topic]
    return say(rng.choice(sentences), person, getattr(person, attribute), by_name)


def gift_sentence(rng: random.Random, gift: Gift) -> str:
    return rng.choice(GIFT_SENTENCES).format(**gift_words(gift))


def portrait(rng: random.Random, world: World, person: Person | None = None) -> str:
    """Several facts about one person; the first sentence names the person."""
    person = person or rng.choice(list(world.people.values()))
    topics = rng.sample([*PERSON_TOPICS, "friend"], rng.randint(3, 7))
    sentences = [
        person_sentence(rng, person, topic, by_name=i == 0 or rng.random() < 0.25)
        for i, topic in enumerate(topics)
    ]
    gifts = (world.given_by(person.name), world.given_to(person.name))
    sentences += [gift_sentence(rng, gift) for gift in gifts if rng.random() < 0.4]
    return " ".join(sentences)


def comparison(rng: random.Random, world: World) -> str:
    """One fact each about several people, all on the same topic."""
    topic = rng.choice([*PERSON_TOPICS, "friend"])
    people = rng.sample(list(world.people.values()), rng.randint(4, 7))
    return " ".join(person_sentence(rng, person, topic, by_name=True) for person in people)


def town_portrait(rng: random.Random, world: World, town: Town | None = None) -> str:
    town = town or rng.choice(list(world.towns.values()))
    sentences = [rng.choice(fact.statements) for fact in town_facts(town)]
    rng.shuffle(sentences)
    residents = [person for person in world.people.values() if person.town == town.name]
    rng.shuffle(residents)
    first, *others = residents
    names = ", ".join(person.name for person in residents[:-1]) + f" and {residents[-1].name}"
    people = [f"{names} live in {town.name}."]
    people += [f"{p.name} is the {p.trade}." for p in others[: rng.randint(0, 2)]]
    people.append(f"The house with the {first.door} door belongs to {first.name}.")
    return " ".join(sentences + people)


def gift_story(rng: random.Random, world: World, gift: Gift | None = None) -> str:
    gift = gift or rng.choice(world.gifts)
    giver, receiver = world.people[gift.giver], world.people[gift.receiver]
    day = rng.choice(GIFT_DAYS).format(s=gift.season)
    thing = with_article(gift.item)
    lines = [
        f"{day} {giver.name} came {rng.choice(ROADS)} to {gift.town} with something {rng.choice(WRAPPINGS)}.",
        f"{rng.choice(WEATHER)}.",
        f'"{rng.choice(GREETINGS)}," said {receiver.name}.' if rng.random() < 0.7 else rng.choice(MISHAPS),
        f"It was {thing}, and {giver.name} gave it to {receiver.name} {rng.choice(REASONS)}.",
        f'"{rng.choice(THANKS)}," said {receiver.name}.',
    ]
    if rng.random() < 0.5:
        lines.append(gift_sentence(rng, gift))
    if rng.random() < 0.5:
        lines.append(f"{receiver.name} still has the {gift.item} from {giver.name}.")
    return " ".join(lines)


def work_lines(rng: random.Random, person: Person) -> list[str]:
    first, second = rng.sample(WORK[person.trade], 2)
    return [
        f"{person.name} the {person.trade} was up early in {person.town}.",
        f"{rng.choice(WEATHER)}.",
        f"First {person.they} {first}, then {person.they} {second}.",
        f"The {person.animal} watched from beside the {person.door} door.",
    ]


def talk_lines(rng: random.Random, speaker: Person, listener: Person) -> list[str]:
    remark, reply = rng.choice(TALK), rng.choice(REPLIES)
    mark = "?" if remark.startswith("Have you") else ","
    return [f'"{remark}{mark}" said {speaker.name}.', f'"{reply}," said {listener.name}.']


def visit(rng: random.Random, world: World) -> str:
    """One friend calls on the other: food, music and small talk."""
    guest = rng.choice(list(world.people.values()))
    host = world.people[guest.friend]
    lines = [
        f"{guest.name} of {guest.town} went {rng.choice(ROADS)} to see {host.name}"
        + (", who lives in the same town." if guest.town == host.town else f" in {host.town}."),
        rng.choice([f"{rng.choice(WEATHER)}.", rng.choice(MISHAPS)]),
        f"{guest.name} carried {rng.choice(CARRIED)} and was {rng.choice(MOODS)}.",
        f'"{rng.choice(GREETINGS)}," said {host.name} at the {host.door} door.',
        *talk_lines(rng, *rng.sample([guest, host], 2)),
    ]
    present = world.given_to(host.name)
    extras = [
        f"They ate {host.food}, because {host.name} likes nothing better.",
        f"{host.name} played the {host.instrument}, and {guest.name} played the {guest.instrument}.",
        f"The {host.animal} slept through it all.",
        f"They spoke of the {present.item} that {present.giver} had given {host.name}.",
    ]
    lines += rng.sample(extras, rng.randint(1, 3))
    return " ".join([*lines, rng.choice(EVENINGS)])


def market_day(rng: random.Random, world: World) -> str:
    town = rng.choice(list(world.towns.values()))
    people = rng.sample(list(world.people.values()), rng.randint(2, 3))
    lines = [f"It was {town.market}, the day of the market in {town.name}.", f"{rng.choice(WEATHER)}."]
    for person in people:
        goods, count = rng.choice(GOODS), rng.choice(NUMBERS)
        lines.append(
            rng.choice(
                [
                    f"{person.name} the {person.trade} bought {count} {goods}.",
                    f"{person.name} from {person.town} sold {count} {goods}.",
                    f"By the {town.landmark} stood {person.name} with {person.their} {person.animal}.",
                    f"{person.name} played the {person.instrument} and got {count} pennies.",
                    f"{person.name} asked for {person.food}, but there was none left.",
                ]
            )
        )
    lines += talk_lines(rng, people[0], people[1])
    return " ".join([*lines, rng.choice(EVENINGS)])


def letter(rng: random.Random, world: World) -> str:
    writer = rng.choice(list(world.people.values()))
    got, gave = world.given_to(writer.name), world.given_by(writer.name)
    parts = [
        f"{rng.choice(WEATHER)} here in {writer.town}.",
        f"Today I {rng.choice(WORK[writer.trade])}, as {with_article(writer.trade)} must.",
        f"I still use the {got.item} that {got.giver} gave me in {got.town}.",
        f"Do you remember the {gave.season} when I gave {gave.receiver} the {gave.item}?",
        f"My {writer.animal} is well and sends its regards.",
        f"I have painted the door {writer.door} once more.",
        f"If you come, there will be {writer.food}, and I shall play the {writer.instrument}.",
        f"I was {rng.choice(MOODS)} all week.",
    ]
    body = " ".join(rng.sample(parts, rng.randint(3, 5)))
    return f"Dear {writer.friend},\n{body}\nYour friend {writer.name}"


def working_day(rng: random.Random, world: World) -> str:
    person, other = rng.sample(list(world.people.values()), 2)
    lines = work_lines(rng, person)
    lines += [
        f"At noon {other.name} the {other.trade} came in from {other.town}.",
        *talk_lines(rng, *rng.sample([person, other], 2)),
        f"{other.name} bought {rng.choice(NUMBERS)} {rng.choice(GOODS)} and went home {rng.choice(ROADS)}.",
    ]
    if rng.random() < 0.5:
        lines.append(f"In the evening {person.name} ate {person.food} and played the {person.instrument}.")
    return " ".join(lines)


STORIES = [
    portrait,
    portrait,
    comparison,
    town_portrait,
    gift_story,
    gift_story,
    visit,
    market_day,
    letter,
    working_day,
]


def story(rng: random.Random, world: World) -> str:
    return rng.choice(STORIES)(rng, world)
