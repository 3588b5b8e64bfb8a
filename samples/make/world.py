"""The world of the sample model: a small invented valley whose facts are drawn once, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

WOMEN = [
    "Alda",
    "Berit",
    "Clova",
    "Dessa",
    "Edda",
    "Fenna",
    "Hilde",
    "Isa",
    "Junia",
    "Kirrin",
    "Linnet",
    "Maren",
    "Nessa",
    "Orla",
    "Petra",
    "Tansy",
]
MEN = [
    "Alder",
    "Bram",
    "Corin",
    "Dorrin",
    "Egil",
    "Finn",
    "Garth",
    "Hollis",
    "Ivo",
    "Jory",
    "Kester",
    "Lorcan",
    "Milo",
    "Osric",
    "Perrin",
    "Tobin",
]
TOWNS = ["Ashwick", "Brambleford", "Corriden", "Dunmere", "Elderby", "Fennhollow", "Greywater", "Hartsel"]
TRADES = [
    "baker",
    "smith",
    "weaver",
    "potter",
    "carpenter",
    "miller",
    "saddler",
    "fisher",
    "shepherd",
    "gardener",
    "healer",
    "glazier",
    "mason",
    "cooper",
    "brewer",
    "tailor",
]
COLOURS = ["red", "green", "blue", "yellow", "white", "black", "orange", "purple"]
ANIMALS = ["cat", "dog", "goat", "pony", "goose", "donkey", "rabbit", "owl"]
FOODS = [
    "plum cake",
    "onion soup",
    "barley bread",
    "pear tart",
    "mushroom pie",
    "baked apples",
    "smoked trout",
    "leek stew",
]
INSTRUMENTS = ["fiddle", "flute", "drum", "harp", "horn", "lute", "whistle", "bagpipe"]
SEASONS = ["spring", "summer", "autumn", "winter"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FAME = [
    "blue cheese",
    "church bells",
    "wild honey",
    "fast horses",
    "rose gardens",
    "hot springs",
    "fine lace",
    "old songs",
]
LANDMARKS = [
    "stone bridge",
    "tall oak",
    "round well",
    "white mill",
    "clock tower",
    "bronze horse",
    "long barn",
    "marble fountain",
]
ITEMS = [
    "copper kettle",
    "silver spoon",
    "wool blanket",
    "brass lamp",
    "oak chest",
    "clay jug",
    "leather belt",
    "straw hat",
    "bone comb",
    "silk scarf",
    "iron key",
    "glass bottle",
    "walking stick",
    "pocket knife",
    "velvet cushion",
    "wooden bowl",
    "riding saddle",
    "fishing net",
    "garden spade",
    "painted plate",
    "music box",
    "feather pillow",
    "wicker basket",
    "hand mirror",
    "winter coat",
    "pewter cup",
    "book of poems",
    "sewing box",
    "map of the valley",
    "bag of walnuts",
    "jar of ink",
    "pair of gloves",
]


@dataclass(frozen=True)
class Person:
    name: str
    woman: bool
    town: str
    trade: str
    door: str
    animal: str
    food: str
    instrument: str
    friend: str

    @property
    def they(self) -> str:
        return "she" if self.woman else "he"

    @property
    def their(self) -> str:
        return "her" if self.woman else "his"


@dataclass(frozen=True)
class Town:
    name: str
    fame: str
    landmark: str
    market: str


@dataclass(frozen=True)
class Gift:
    giver: str
    receiver: str
    item: str
    town: str
    season: str


@dataclass(frozen=True)
class World:
    people: dict[str, Person]
    towns: dict[str, Town]
    gifts: list[Gift]

    def given_by(self, name: str) -> Gift:
        return next(gift for gift in self.gifts if gift.giver == name)

    def given_to(self, name: str) -> Gift:
        return next(gift for gift in self.gifts if gift.receiver == name)


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def spread(rng: random.Random, values: list[str], count: int) -> list[str]:
    """`count` values in random order, each of them used equally often (or once more)."""
    shuffled = rng.sample(values, len(values))
    repeated = [shuffled[i % len(shuffled)] for i in range(count)]
    rng.shuffle(repeated)
    return repeated


def friendships(rng: random.Random, names: list[str]) -> dict[str, str]:
    """Best friends come in pairs, so the fact holds in both directions."""
    order = rng.sample(names, len(names))
    pairs = list(zip(order[::2], order[1::2], strict=True))
    return dict(pairs) | {second: first for first, second in pairs}


def draw_gifts(rng: random.Random, names: list[str]) -> list[Gift]:
    """Everybody gives one thing and gets another: the gifts run round one big circle."""
    circle = rng.sample(names, len(names))
    items = rng.sample(ITEMS, len(names))
    towns = spread(rng, TOWNS, len(names))
    seasons = spread(rng, SEASONS, len(names))
    receivers = circle[1:] + circle[:1]
    return [Gift(*fields) for fields in zip(circle, receivers, items, towns, seasons, strict=True)]


def build_world(seed: int) -> World:
    rng = random.Random(f"world {seed}")
    names = sorted(WOMEN + MEN)
    friend = friendships(rng, names)
    pools = [TOWNS, TRADES, COLOURS, ANIMALS, FOODS, INSTRUMENTS]
    columns = [spread(rng, pool, len(names)) for pool in pools]
    people = {
        name: Person(name, name in WOMEN, town, trade, door, animal, food, instrument, friend[name])
        for name, town, trade, door, animal, food, instrument in zip(names, *columns, strict=True)
    }
    town_columns = [spread(rng, pool, len(TOWNS)) for pool in (FAME, LANDMARKS, DAYS)]
    towns = {name: Town(name, *values) for name, *values in zip(TOWNS, *town_columns, strict=True)}
    return World(people, towns, draw_gifts(rng, names))
