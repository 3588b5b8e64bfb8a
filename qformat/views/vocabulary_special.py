"""Special tokens and chat templates of a tokenizer: their ids, and which are put around a text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qformat.errors import FormatError
from qformat.families import Typed

SPECIAL = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",  # llama.cpp's spelling
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}


def listed(value: Any, what: str) -> list[Any]:
    """A list, or an empty one for what is missing."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError(f"{what} is {value!r:.60}; expected a list")
    return value


def mapped(value: Any, what: str) -> dict[str, Any]:
    """An object, or an empty one for what is missing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{what} is {value!r:.60}; expected an object")
    return value


def special_ids(numbers: Mapping[str, int], sources: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The ids of special tokens: by their text, or by number; the first source to say counts.

    ``numbers`` has the id of each token's text.
    """
    ids: dict[str, int] = {}
    known = set(numbers.values())
    for short in SPECIAL:
        for source in sources:
            token = source.get(f"{short}_token")
            token = token.get("content") if isinstance(token, Mapping) else token
            number = numbers.get(token) if isinstance(token, str) else _first(source.get(f"{short}_token_id"))
            if number in known and number is not None:
                ids[short] = number
                break
    return ids


def id_keys(ids: Mapping[str, int], generation: Mapping[str, Any], count: int) -> dict[str, Typed]:
    """The keys of special tokens; a second token that ends a text is the end of a turn."""
    keys = {f"ggml.{SPECIAL[short]}_token_id": Typed("u32", number) for short, number in ids.items()}
    ends = generation.get("eos_token_id")
    for end in ends if isinstance(ends, list) else []:
        if isinstance(end, int) and end != ids.get("eos") and 0 <= end < count:
            keys["ggml.eot_token_id"] = Typed("u32", end)
            break
    return keys


def around_keys(
    ids: Mapping[str, int], settings: Mapping[str, Any], described: Mapping[str, Any], *, starts: bool
) -> dict[str, Typed]:
    """Whether a text gets a token in front and behind.

    By tokenizer_config.json or else by tokenizer.json's template; with neither, ``starts`` says whether
    it gets one in front.
    """
    keys = {}
    for short in ("bos", "eos"):
        adds = settings.get(f"add_{short}_token")
        if not isinstance(adds, bool):
            adds = _adds(described, short, ids.get(short)) if described else starts and short == "bos"
        keys[f"ggml.add_{short}_token"] = Typed("bool", adds)
    return keys


def _first(value: Any) -> int | None:
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _adds(described: Mapping[str, Any], short: str, number: int | None) -> bool:
    """Whether tokenizer.json puts this token before (bos) or after (eos) a text."""
    before, after = edges(described)
    return number is not None and number in (before if short == "bos" else after)


def edges(described: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer.json puts before and after a text."""
    for processor in _processors(described.get("post_processor")):
        kind = processor.get("type")
        if kind == "TemplateProcessing":
            return _template_edges(processor)
        if kind in ("BertProcessing", "RobertaProcessing"):
            return [_second(processor.get("cls"))], [_second(processor.get("sep"))]
    return [], []


def _processors(processor: Any) -> list[Mapping[str, Any]]:
    if not isinstance(processor, Mapping):
        return []
    if processor.get("type") == "Sequence":
        return [t for inner in listed(processor.get("processors"), "processors") for t in _processors(inner)]
    return [processor]


def _second(pair: Any) -> int:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], int):
        raise FormatError(f"a special token of tokenizer.json is {pair!r:.60}; expected its text and id")
    return pair[1]


def _template_edges(template: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    special = mapped(template.get("special_tokens"), "special_tokens")
    before: list[int] = []
    after: list[int] = []
    side = before
    for one in listed(template.get("single"), "the template of tokenizer.json"):
        part = mapped(one, "a part of the template of tokenizer.json")
        if "Sequence" in part:
            side = after
            continue
        name = mapped(part.get("SpecialToken"), "a special token of the template of tokenizer.json").get("id")
        known = mapped(special.get(name) if isinstance(name, str) else None, "a special token")
        side += listed(known.get("ids"), "the ids of a special token")
    return before, after


def template_keys(
    files: Mapping[str, bytes], settings: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Typed]:
    """Chat templates: one, or several by name of which `default` is the one."""
    given = settings.get("chat_template") or own.get("chat_template")
    if "chat_template.jinja" in files:
        try:
            given = files["chat_template.jinja"].decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"it is not UTF-8: {error.reason}", file="chat_template.jinja") from None
    if isinstance(given, str):
        return {"chat_template": Typed("string", given)}
    keys: dict[str, Typed] = {}
    names = []
    for one in listed(given, "chat_template"):
        if not isinstance(one, Mapping) or not isinstance(one.get("template"), str):
            raise FormatError("a chat template is not an object with name and template")
        name = re.sub(r"[^a-z0-9_]", "", str(one.get("name", "")).lower())
        if name == "default":
            keys["chat_template"] = Typed("string", one["template"])
        elif name:
            names.append(name)
            keys[f"chat_template.{name}"] = Typed("string", one["template"])
    if names:
        keys["chat_templates"] = Typed("string", tuple(names), array=True)
    return keys
