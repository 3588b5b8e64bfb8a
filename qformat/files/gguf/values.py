"""From a value as a person writes it to one with a GGUF type."""

from __future__ import annotations

import json
import math
from typing import Any

from qformat.errors import TargetError
from qformat.files.edits import Edit
from qformat.files.gguf.building import Typed
from qformat.files.gguf.types import CODES, WIDTHS, ValueType

Kind = tuple[ValueType, bool]  # of a scalar, or with True of an array's items

_NAMES: dict[str, ValueType] = {t.label: t for t in ValueType if t is not ValueType.ARRAY}
_NAMES |= {t.label[0] + str(8 * WIDTHS[t]): t for t in WIDTHS if t is not ValueType.BOOL}  # u32, f32
_NAMES["str"] = ValueType.STRING
_WHOLE = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64)  # the first that fits


def type_label(kind: ValueType, array: bool) -> str:
    """A type as people write it.

    >>> type_label(ValueType.UINT32, False), type_label(ValueType.STRING, True)
    ('uint32', 'string[]')
    """
    return kind.label + ("[]" if array else "")


def parse_type(name: str) -> Kind | None:
    """The type of a name such as ``uint32``, ``f32`` or ``string[]``; None if it is none."""
    found = _NAMES.get(name.removesuffix("[]"))
    return None if found is None else (found, name.endswith("[]"))


def typed(edit: Edit, own: Kind | None) -> Typed:
    """The value of an edit: in the type that it names, else in the key's own, else in a fitting one.

    Raises
    ------
    TargetError
        If the type is none, or the value is not of it.
    """
    kind = own
    if edit.type is not None:
        kind = parse_type(edit.type)
        if kind is None:
            known = ", ".join(t.label for t in ValueType if t is not ValueType.ARRAY)
            raise TargetError(
                f"{edit.type!r} is no type of a key-value", hint=f"known are {known}; with [] an array of it"
            )
    item, array = _inferred(edit) if kind is None else kind
    what = f"the value of key {edit.key!r}"
    if not array:
        return Typed(item, _scalar(edit.value, item, what))
    values = _list(edit.value, what)
    return Typed(item, [_scalar(v, item, f"item {i} of {what}") for i, v in enumerate(values)], array=True)


def _inferred(edit: Edit) -> Kind:
    """The type of a new key: bool, a whole number, float32, or a string."""
    value = _guess(edit.value) if edit.as_text and not _is_text(edit.key) else edit.value
    if isinstance(value, list | tuple):
        if not value:
            raise TargetError(f"key {edit.key!r} is new, and an empty array tells no type")
        return _kind_of(value[0], edit.key, [v for v in value if isinstance(v, int)]), True
    return _kind_of(value, edit.key, [value]), False


def _kind_of(value: Any, key: str, numbers: list[Any]) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, int):
        for kind in _WHOLE:
            low, high = _range(kind)
            if all(low <= n <= high for n in numbers):
                return kind
        raise TargetError(f"the value of key {key!r} has more than 64 bits")
    if isinstance(value, float):
        return ValueType.FLOAT32
    if isinstance(value, str):
        return ValueType.STRING
    raise TargetError(f"GGUF has no type for the value of key {key!r}: {value!r}")


def _guess(text: str) -> Any:
    """What a text is that nobody gave a type: true or false, a number, or text."""
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        try:
            found = read(text)
        except ValueError:
            continue
        if math.isfinite(found) and text.strip() == text and "_" not in text:
            return found
    return text


def _is_text(key: str) -> bool:
    """Whether the specification has a string under a key: ``general.version=1.0`` is no number."""
    counts = key.endswith((".count", "_version", "file_type")) or key.startswith("general.sampling.")
    return (key.startswith("general.") and not counts) or key.startswith("tokenizer.chat_template")


def _range(kind: ValueType) -> tuple[int, int]:
    bits = 8 * WIDTHS[kind]
    return (0, 2**bits - 1) if CODES[kind].isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _list(value: Any, what: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise TargetError(f"{what} must be a JSON array, such as [1, 2]: {error}") from None
    if not isinstance(value, list | tuple):
        raise TargetError(f"{what} must be an array, not {value!r}")
    return list(value)


def _scalar(value: Any, kind: ValueType, what: str) -> Any:
    """A value in a type; text is read as one."""
    if kind is ValueType.STRING:
        return value
    try:
        if kind is ValueType.BOOL:
            return {"true": True, "false": False}[value.lower()] if isinstance(value, str) else value
        if kind in (ValueType.FLOAT32, ValueType.FLOAT64):
            return _finite(value)
        return int(value) if isinstance(value, str) else value
    except (ValueError, KeyError, TypeError):
        raise TargetError(f"{what} must be a {kind.label}, not {value!r}") from None


def _finite(value: Any) -> float:
    found = float(value)
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(value)
    return found
