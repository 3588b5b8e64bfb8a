"""Taking values out of a config or a GGUF without trusting their types or sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qformat.errors import FormatError


class FamilyError(FormatError):
    """A model of an unknown architecture, or one that is not what its architecture says."""


MAX_LAYERS = 1 << 14
MAX_SIZE = 1 << 32
MAX_REAL = 3.4e38  # float32's largest, or nearly


def shortest(value: float) -> float:
    """The shortest decimal of the nearest float32: the same number from JSON and from a GGUF.

    >>> shortest(9.999999974752427e-07)
    1e-06
    """
    return float(str(np.float32(value)))


def whole(value: Any, what: str, most: int = MAX_SIZE) -> int:
    """A count: an integer of at least 0, not a bool."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FamilyError(f"{what} is {shown(value)}; expected a whole number of at most {most}")
    return value


def positive(value: Any, what: str, most: int = MAX_SIZE) -> int:
    number = whole(value, what, most)
    if number == 0:
        raise FamilyError(f"{what} is 0; expected at least 1")
    return number


def real(value: Any, what: str) -> float:
    if isinstance(value, np.number):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_REAL:
        raise FamilyError(f"{what} is {shown(value)}; expected a number")
    return shortest(float(value))


def sequence(value: Any, what: str) -> tuple[Any, ...]:
    """The items of a list or array."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise FamilyError(f"{what} is {shown(value)}; expected a list")
    return tuple(value)


def reals(value: Any, what: str) -> tuple[float, ...]:
    return tuple(real(v, f"an item of {what}") for v in sequence(value, what))


def flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise FamilyError(f"{what} is {shown(value)}; expected true or false")
    return bool(value)


def per_layer(value: Any, layers: int, what: str) -> tuple[Any, ...]:
    """A list with one item per layer."""
    items = sequence(value, what)
    if len(items) != layers:
        raise FamilyError(f"{what} has {len(items)} items, but the model has {layers} layers")
    return items


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
