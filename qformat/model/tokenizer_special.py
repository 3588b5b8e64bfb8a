"""Which tokens begin and end a text or a reply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qformat.views import vocabulary_special

# Control tokens that end a reply whatever the files say: many say it only for the end of a text.
_ENDS = (
    "</s>", "<eos>", "[EOS]", "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>",
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<turn|>", "<EOT>", "[EOT]",
    "<|END_OF_TURN_TOKEN|>", "<end_of_utterance>", "<|return|>", "<|call|>",
)  # fmt: skip


@dataclass(frozen=True)
class Specials:
    """Ids of special tokens: by short name, put before and after a text, and ending a reply."""

    ids: Mapping[str, int] = field(default_factory=dict)
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    ends: frozenset[int] = frozenset()

    @property
    def bos(self) -> int | None:
        return self.ids.get("bos")


def find(
    numbers: Mapping[str, int],
    controls: Iterable[int],
    described: Mapping[str, Any],
    settings: Mapping[str, Any],
    others: Iterable[Mapping[str, Any]] = (),
) -> Specials:
    """The special tokens of a tokenizer.

    Parameters
    ----------
    numbers
        Every token's id.
    controls
        The ids of control tokens.
    described
        tokenizer.json, of which the post-processor is read.
    settings
        tokenizer_config.json, with special_tokens_map.json under it.
    others
        Files that may name ids too, such as config.json and generation_config.json.
    """
    files = [settings, *others]
    ids = vocabulary_special.special_ids(numbers, files)
    before, after = vocabulary_special.edges(described)
    before = _said(before, settings.get("add_bos_token"), ids.get("bos"), first=True)
    after = _said(after, settings.get("add_eos_token"), ids.get("eos"), first=False)
    inside = set(controls)
    ends = {numbers[t] for t in _ENDS if numbers.get(t) in inside}
    if {"<|return|>", "<|call|>"} <= numbers.keys():  # there <|end|> only ends a part of a reply
        ends.discard(numbers.get("<|end|>", -1))
    for file in files:
        ends |= set(_numbers(file.get("eos_token_id"))) & set(numbers.values())
    if "eos" in ids:
        ends.add(ids["eos"])
    return Specials(ids, tuple(before), tuple(after), frozenset(ends))


def _said(edge: list[int], said: Any, number: int | None, *, first: bool) -> list[int]:
    """An edge of the template, corrected by what the settings say of one token."""
    if not isinstance(said, bool) or number is None or said == (number in edge):
        return edge
    if not said:
        return [i for i in edge if i != number]
    return [number, *edge] if first else [*edge, number]


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
