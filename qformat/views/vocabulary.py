"""A Hugging Face folder's tokenizer as the key-values of a GGUF; ``vocabulary_json`` goes the other way.

Two kinds of tokenizer are known. ``gpt2`` is byte-level BPE: bytes stand as printable characters, a
named pre-tokenizer cuts the text, merges are listed. ``llama`` is SentencePiece's BPE: spaces stand as
U+2581, bytes that are no token as <0x..>, and the pair whose token has the highest score is merged first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qformat.errors import FormatError
from qformat.families import Typed
from qformat.views import vocabulary_pre, vocabulary_spm
from qformat.views.vocabulary_special import (
    around_keys,
    id_keys,
    listed,
    mapped,
    special_ids,
    template_keys,
)

Files = Mapping[str, bytes]
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
PADDING_SCORE, ADDED_SCORE = -10000.0, -1000.0
MAX_TOKENS = 1 << 24


@dataclass
class Vocabulary:
    """Tokens by their id, with their scores and types, while they are put together."""

    kind: str
    tokens: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    types: dict[int, int] = field(default_factory=dict)
    merges: list[str] = field(default_factory=list)
    pre: str = "default"
    adds_space: bool = True

    def put(self, number: Any, token: Any, kind: int, score: float) -> None:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MAX_TOKENS:
            raise FormatError(f"the token {token!r} has the id {number!r}; expected a number from 0")
        if not isinstance(token, str):
            raise FormatError(f"the token {number} is {token!r}; expected text")
        self.tokens[number], self.types[number], self.scores[number] = token, kind, score


def to_keys(files: Files, vocab_size: int | None = None, pre: str | None = None) -> dict[str, Typed]:
    """The key-values under ``tokenizer.`` that a GGUF of this folder needs.

    Parameters
    ----------
    files
        The folder's small files by name.
    vocab_size
        The rows of the embedding: ids without a token become unused ones.
    pre
        llama.cpp's name for the pre-tokenizer, where it cannot be told from tokenizer.json.

    Raises
    ------
    FormatError
        If there is no tokenizer, it is of a kind that is not known, or it is damaged.
    """
    described = _json(files, "tokenizer.json")
    settings = _json(files, "tokenizer_config.json")
    generation = _json(files, "generation_config.json")
    vocabulary = _vocabulary(files, described, pre)
    _added(vocabulary, files, described, settings)
    count = max(max(vocabulary.tokens) + 1, vocab_size or 0)
    if vocab_size is not None and count > vocab_size:
        what = f"the tokenizer has ids up to {count - 1}, but the model has {vocab_size} tokens"
        raise FormatError(what, hint="the files may be of different models")
    for i in range(count):
        if i not in vocabulary.tokens:
            vocabulary.put(i, f"[PAD{i}]", UNUSED, PADDING_SCORE)
    keys = _tokens(vocabulary, count)
    numbers = {token: number for number, token in vocabulary.tokens.items()}
    ids = special_ids(
        numbers,
        [{**_json(files, "special_tokens_map.json"), **settings}, _json(files, "config.json"), generation],
    )
    if vocabulary.kind == "llama" and "unk" not in ids and UNKNOWN in vocabulary.types.values():
        ids["unk"] = next(i for i, kind in vocabulary.types.items() if kind == UNKNOWN)
    keys |= id_keys(ids, generation, count)
    keys |= around_keys(ids, settings, described, starts=vocabulary.kind == "llama")
    keys |= template_keys(files, settings, _json(files, "chat_template.json"))
    return {f"tokenizer.{key}": value for key, value in keys.items()}


def _json(files: Files, name: str) -> dict[str, Any]:
    raw = files.get(name)
    if raw is None:
        return {}
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"it is not valid JSON: {error}", file=name) from None
    if not isinstance(content, dict):
        raise FormatError("it is not a JSON object", file=name)
    return content


def _vocabulary(files: Files, described: Mapping[str, Any], pre: str | None) -> Vocabulary:
    model = described.get("model")
    if isinstance(model, Mapping) and model.get("type", "BPE") == "BPE" and not model.get("byte_fallback"):
        return _byte_level(described, model, pre)
    if "tokenizer.model" in files:
        return _sentencepiece(files["tokenizer.model"])
    if not isinstance(model, Mapping):
        names = "tokenizer.json or tokenizer.model"
        raise FormatError(f"the folder has no tokenizer: neither {names}")
    if model.get("type", "BPE") != "BPE":
        raise FormatError(f"a tokenizer of the kind {model.get('type')!r} is not known", hint="known is BPE")
    return _scored(described, model)


def _byte_level(described: Mapping[str, Any], model: Mapping[str, Any], pre: str | None) -> Vocabulary:
    vocabulary = Vocabulary("gpt2", merges=[" ".join(pair) for pair in _merges(model)])
    for token, number in _vocab_of(model).items():
        vocabulary.put(number, token, NORMAL, 0.0)
    vocabulary.pre = pre or vocabulary_pre.name_of(
        described.get("pre_tokenizer"),
        ignore_merges=bool(model.get("ignore_merges")),
        nfc=_normalizes(described.get("normalizer")),
    )
    return vocabulary


def _vocab_of(model: Mapping[str, Any]) -> Mapping[str, Any]:
    found = model.get("vocab")
    if not isinstance(found, Mapping) or not found:
        raise FormatError("tokenizer.json lists no tokens")
    return found


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges, which older files have as one text with a space between the parts."""
    pairs = []
    for merge in listed(model.get("merges"), "merges"):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) for p in parts):
            raise FormatError(f"tokenizer.json has a merge of other than two tokens: {merge!r}")
        pairs.append((parts[0], parts[1]))
    return pairs


def _normalizes(normalizer: Any) -> bool:
    return isinstance(normalizer, Mapping) and (
        normalizer.get("type") == "NFC"
        or any(_normalizes(inner) for inner in listed(normalizer.get("normalizers"), "normalizers"))
    )


def _scored(described: Mapping[str, Any], model: Mapping[str, Any]) -> Vocabulary:
    """SentencePiece's BPE out of tokenizer.json, which has merges but no scores: the earlier, the higher."""
    vocabulary = Vocabulary("llama", adds_space=_puts_space(described))
    ranks: dict[str, int] = {}
    for left, right in _merges(model):
        ranks.setdefault(left + right, len(ranks))
    for token, number in _vocab_of(model).items():
        score = -float(ranks[token]) if token in ranks else 0.0
        kind = BYTE if BYTE_TOKEN.fullmatch(token) else NORMAL
        if token == model.get("unk_token"):
            kind = UNKNOWN
        elif kind == NORMAL and token not in ranks:
            score = -float(len(ranks))  # single characters and what no merge makes
        vocabulary.put(number, token, kind, score)
    return vocabulary


def _puts_space(described: Mapping[str, Any]) -> bool:
    """Whether a space is put before the text: by a normalizer, or by the Metaspace pre-tokenizer."""
    text = json.dumps([described.get("normalizer"), described.get("pre_tokenizer")])
    if '"Prepend"' in text:
        return True
    return '"Metaspace"' in text and '"never"' not in text and '"add_prefix_space": false' not in text


def _sentencepiece(raw: bytes) -> Vocabulary:
    model = vocabulary_spm.read(raw)
    if model.kind != vocabulary_spm.BPE:
        raise FormatError(
            f"tokenizer.model is of kind {model.kind}; llama.cpp's 'llama' tokenizers are of kind 2, BPE"
        )
    vocabulary = Vocabulary("llama", adds_space=model.adds_space)
    for number, piece in enumerate(model.pieces):
        vocabulary.put(number, piece.text, piece.type, piece.score)
    return vocabulary


def _added(
    vocabulary: Vocabulary, files: Files, described: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Tokens added to the vocabulary, special ones and others; the last to speak of an id wins."""
    found: dict[int, tuple[str, bool]] = {}
    for content, number in _json(files, "added_tokens.json").items():
        found[number] = (content, False)
    for number, token in mapped(settings.get("added_tokens_decoder"), "added_tokens_decoder").items():
        found[int(number) if str(number).isdecimal() else -1] = _content(token)
    for token in listed(described.get("added_tokens"), "added_tokens"):
        found[token.get("id", -1) if isinstance(token, Mapping) else -1] = _content(token)
    for number, (content, special) in found.items():
        known = vocabulary.types.get(number)
        if known in (UNKNOWN, BYTE) and vocabulary.tokens[number] == content:
            continue
        if vocabulary.kind == "llama" and known == CONTROL and vocabulary.tokens[number] == content:
            continue
        kind = CONTROL if special or looks_special(content) else USER
        # Text is compared after spaces have become U+2581 in it, or not: llama.cpp wants it before.
        text = content if kind == CONTROL else content.replace(SPACE, " ")
        score = vocabulary.scores[number] if known is not None else ADDED_SCORE
        score = 0.0 if known is not None and kind == CONTROL else score
        vocabulary.put(number, text, kind, score)


def _content(token: Any) -> tuple[str, bool]:
    if not isinstance(token, Mapping) or not isinstance(token.get("content"), str):
        raise FormatError(f"an added token is {token!r}; expected an object with its content")
    return token["content"], bool(token.get("special"))


def looks_special(token: str) -> bool:
    """Whether an added token that is not marked special must be one: some files forgot to."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith(("<|", "<\uff5c")) and token.endswith(("|>", "\uff5c>")))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def _tokens(vocabulary: Vocabulary, count: int) -> dict[str, Typed]:
    order = range(count)
    keys = {
        "ggml.model": Typed("string", vocabulary.kind),
        "ggml.pre": Typed("string", vocabulary.pre),
        "ggml.tokens": Typed("string", tuple(vocabulary.tokens[i] for i in order), array=True),
    }
    if vocabulary.kind == "llama":
        keys["ggml.scores"] = Typed("f32", tuple(vocabulary.scores[i] for i in order), array=True)
    keys["ggml.token_type"] = Typed("i32", tuple(vocabulary.types[i] for i in order), array=True)
    if vocabulary.kind == "gpt2":
        keys["ggml.merges"] = Typed("string", tuple(vocabulary.merges), array=True)
    else:
        keys["ggml.add_space_prefix"] = Typed("bool", vocabulary.adds_space)
    return keys
