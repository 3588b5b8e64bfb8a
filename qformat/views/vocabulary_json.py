"""The tokenizer's key-values of a GGUF as the tokenizer files of a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qformat.errors import FormatError
from qformat.views import vocabulary_pre
from qformat.views.vocabulary import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER
from qformat.views.vocabulary_special import SPECIAL

PREFIX = "tokenizer.ggml."
_OTHERS = {"bert": "WordPiece", "t5": "Unigram", "rwkv": "RWKV's trie", "plamo2": "PLaMo 2's trie"}


def to_files(values: Mapping[str, Any]) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json of a GGUF's key-values (arrays as sequences).

    Raises
    ------
    FormatError
        If the GGUF has no tokenizer, or one of a kind that is not known.
    """
    described, settings = describe(values)
    return {
        "tokenizer.json": json.dumps(described, ensure_ascii=False).encode(),
        "tokenizer_config.json": json.dumps(settings, ensure_ascii=False, indent=2).encode(),
    }


def describe(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two files hold, before it becomes text."""
    kind = values.get(PREFIX + "model")
    tokens = [_text(t) for t in values.get(PREFIX + "tokens") or ()]
    if not tokens:
        raise FormatError("the GGUF lists no tokens")
    types = [int(t) for t in values.get(PREFIX + "token_type") or [NORMAL] * len(tokens)]
    if len(types) != len(tokens):
        raise FormatError(f"the GGUF has {len(tokens)} tokens, but {len(types)} types of tokens")
    if kind == "gpt2":
        described = _byte_level(values, tokens, types)
    elif kind == "llama":
        described = _sentencepiece(values, tokens, types)
    else:
        name = f" ({_OTHERS[kind]})" if kind in _OTHERS else ""
        raise FormatError(
            f"a tokenizer of the kind {kind!r}{name} is not known", hint="known are 'gpt2' and 'llama'"
        )
    ids = _special_ids(values, len(tokens))
    described["post_processor"] = _post_processor(values, tokens, ids, kind)
    return described, _settings(values, tokens, ids, described["added_tokens"], kind)


def _text(token: Any) -> str:
    return token.decode(errors="replace") if isinstance(token, bytes) else str(token)


def _frame(
    tokens: Sequence[str], types: Sequence[int], model: dict[str, Any], **parts: Any
) -> dict[str, Any]:
    """A tokenizer.json around a model; ids that only fill up the vocabulary are left out of it."""
    left_out = {i for i, kind in enumerate(types) if kind == UNUSED and tokens[i] == f"[PAD{i}]"}
    listed: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if i not in left_out and types[i] != USER:
            listed.setdefault(token, i)
    added: list[dict[str, Any]] = [
        {
            "id": i,
            "content": tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": types[i] != USER,
        }
        for i in range(len(tokens))
        if types[i] in (CONTROL, USER, UNKNOWN)
    ]
    for one in added:
        listed.setdefault(one["content"], one["id"])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        **parts,
        "model": {
            "type": "BPE",
            "dropout": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            **model,
            "vocab": listed,
        },
    }


def _pre(values: Mapping[str, Any]) -> vocabulary_pre.Pre:
    name = values.get(PREFIX + "pre") or "default"
    pre = vocabulary_pre.BY_NAME.get(name)
    if pre is None:
        known = ", ".join(sorted(vocabulary_pre.BY_NAME))
        raise FormatError(f"the pre-tokenizer {name!r} of the GGUF is not known", hint=f"known are {known}")
    return pre


def _byte_level(values: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]) -> dict[str, Any]:
    pre = _pre(values)
    merges = [_text(m).split(" ") for m in values.get(PREFIX + "merges") or ()]
    bad = next((m for m in merges if len(m) != 2), None)
    if bad is not None:
        raise FormatError(f"the GGUF has a merge of other than two tokens: {' '.join(bad)!r}")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _frame(
        tokens,
        types,
        {
            "unk_token": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.ignore_merges,
            "merges": merges,
        },
        normalizer={"type": "NFC"} if pre.nfc else None,
        pre_tokenizer=vocabulary_pre.to_json(pre),
        decoder=byte_level,
    )


def _sentencepiece(values: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]) -> dict[str, Any]:
    scores = [float(s) for s in values.get(PREFIX + "scores") or ()]
    if len(scores) != len(tokens):
        raise FormatError(f"the GGUF has {len(tokens)} tokens, but {len(scores)} scores")
    adds_space = values.get(PREFIX + "add_space_prefix")
    spaced = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    before = [{"type": "Prepend", "prepend": SPACE}] if adds_space is not False else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if before else []
    unspaced = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    unknown = next((tokens[i] for i, kind in enumerate(types) if kind == UNKNOWN), None)
    return _frame(
        tokens,
        types,
        {
            "unk_token": unknown,
            "fuse_unk": True,
            "byte_fallback": BYTE in types,
            "ignore_merges": False,
            "merges": _merges(tokens, types, scores),
        },
        normalizer={"type": "Sequence", "normalizers": [*before, spaced]},
        pre_tokenizer=None,
        decoder={
            "type": "Sequence",
            "decoders": [unspaced, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
    )


def _merges(tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]) -> list[list[str]]:
    """Every way to make a token of two others, the token with the highest score first."""
    numbers = {t: i for i, t in enumerate(tokens) if types[i] == NORMAL}
    found = []
    for token, i in numbers.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in numbers and right in numbers:
                found.append((-scores[i], i, numbers[left], numbers[right], left, right))
    found.sort()
    return [[left, right] for *_, left, right in found]


def _special_ids(values: Mapping[str, Any], count: int) -> dict[str, int]:
    ids = {}
    for short, long in SPECIAL.items():
        number = values.get(f"{PREFIX}{long}_token_id")
        if number is not None and 0 <= int(number) < count:
            ids[short] = int(number)
    return ids


def _adds(values: Mapping[str, Any], short: str, kind: str) -> bool:
    """Whether a token is put around a text; where the GGUF does not say, as llama.cpp does."""
    said = values.get(f"{PREFIX}add_{short}_token")
    if said is not None:
        return bool(said)
    return short == "bos" and (kind == "llama" or _pre(values).adds_bos)


def _post_processor(
    values: Mapping[str, Any], tokens: Sequence[str], ids: Mapping[str, int], kind: str
) -> dict[str, Any] | None:
    around = {s: tokens[ids[s]] for s in ("bos", "eos") if s in ids and _adds(values, s, kind)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if not around:
        return byte_level if kind == "gpt2" else None

    def part(sequence: str, number: int) -> list[dict[str, Any]]:
        edges = {s: [{"SpecialToken": {"id": t, "type_id": number}}] for s, t in around.items()}
        middle = {"Sequence": {"id": sequence, "type_id": number}}
        return [*edges.get("bos", []), middle, *edges.get("eos", [])]

    template = {
        "type": "TemplateProcessing",
        "single": part("A", 0),
        "pair": part("A", 0) + part("B", 1),
        "special_tokens": {t: {"id": t, "ids": [ids[s]], "tokens": [t]} for s, t in around.items()},
    }
    return {"type": "Sequence", "processors": [byte_level, template]} if kind == "gpt2" else template


def _settings(
    values: Mapping[str, Any],
    tokens: Sequence[str],
    ids: Mapping[str, int],
    added: Sequence[Mapping[str, Any]],
    kind: str,
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{short}_token": tokens[number] for short, number in ids.items()},
        **{f"add_{s}_token": _adds(values, s, kind) for s in ("bos", "eos")},
        "added_tokens_decoder": {
            str(t["id"]): {key: value for key, value in t.items() if key != "id"} for t in added
        },
    }
    template = values.get("tokenizer.chat_template")
    named = [
        {"name": str(name), "template": values[f"tokenizer.chat_template.{name}"]}
        for name in values.get("tokenizer.chat_templates") or ()
        if f"tokenizer.chat_template.{name}" in values
    ]
    if named and template is not None:
        settings["chat_template"] = [{"name": "default", "template": template}, *named]
    elif named or template is not None:
        settings["chat_template"] = named or template
    return settings
