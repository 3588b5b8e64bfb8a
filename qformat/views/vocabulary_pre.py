"""Pre-tokenizers: how byte-level BPE cuts text into words, by the names that llama.cpp has for them.

A tokenizer.json spells the cutting out; a GGUF only names it. Both are brought to the same list of
steps: ``("split", regex)``, ``("digits", one by one or not)``, ``("punctuation", behaviour)`` and
``("words",)``, GPT-2's own expression, which the byte-level step has built in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qformat.errors import FormatError

Step = tuple[Any, ...]

# The expressions, part by part: contractions, letters with what stands before them, digits, the rest.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{_ENGLISH}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
QWEN2 = rf"{_ENGLISH}|{_LETTERS}|\p{{N}}|{_REST}"
QWEN35 = (
    rf"{_ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_CASED_REST}"
GPT4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_ENGLISH}?|{_BEFORE}{_UPPER}+{_LOWER}*{_ENGLISH}?"
    rf"|\p{{N}}{{1,3}}|{_CASED_REST}"
)
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CJK3 = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_CASED_LETTERS = (  # ranges of code points in hexadecimal: letters that have a case
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 "
    "388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba "
    "1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 "
    "1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec "
    "1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 "
    "213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b "
    "a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f "
    "104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"
)
_MARKS = "21-2f 3a-7e ff01-ff0f ff1a-ff5e 2018-201f 3000-3002"


def _class(ranges: str) -> str:
    """The inside of a character class.

    Made from numbers, since an editor that normalizes text would change some of the characters.
    """
    pairs = (part.split("-") for part in ranges.split())
    return "".join("-".join(chr(int(end, 16)) for end in pair) for pair in pairs)


DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Pre:
    """One way of cutting: its steps, and what llama.cpp ties to the name beside them."""

    name: str
    steps: tuple[Step, ...]
    aliases: tuple[str, ...] = ()
    ignore_merges: bool = False  # a word that is a token is taken whole
    adds_bos: bool = False  # where the GGUF does not say
    nfc: bool = False


def _split(*expressions: str) -> tuple[Step, ...]:
    return tuple(("split", e) for e in expressions)


_WORDS_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
_JAIS_SPACES = (
    "|".join(rf"\s{{{n}}}(?!\S)" for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))
    + r"|\s{1}"
)
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_LIKE_GPT2 = (
    "gpt2 mpt olmo jais trillion gpt-neox phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 "
    "mellum modern-bert exaone4 granite-docling"
)
_LIKE_LLAMA3 = "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"
_LIKE_QWEN2 = "stablelm2 deepseek-r1-qwen hunyuan megrez kormo f2llmv2 solar-open grok-2"

# The first that fits a tokenizer.json gives its name; llama.cpp treats aliases alike.
KNOWN = (
    Pre("gpt-2", (("words",),), tuple(_LIKE_GPT2.split())),
    Pre("llama-bpe", _split(LLAMA3), tuple(_LIKE_LLAMA3.split()), True, True),
    Pre("dbrx", _split(LLAMA3), ("smaug-bpe", "chatglm-bpe")),
    Pre("qwen2", _split(QWEN2), tuple(_LIKE_QWEN2.split()), nfc=True),
    Pre("qwen35", _split(QWEN35)),
    Pre("tekken", _split(TEKKEN), (), True, True),
    Pre("gpt-4o", _split(GPT4O), ("llama4", "kanana2", "talkie", "minimax-m2")),
    Pre(
        "starcoder",
        (("digits", True), ("words",)),
        ("refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"),
    ),
    Pre("command-r", (("digits", True), ("words",)), nfc=True),
    Pre(
        "deepseek-llm",
        (
            *_split("[\r\n]", rf"\s?[{_class(_CASED_LETTERS)}]+", rf"\s?[{_class(_MARKS)}]+", r"\s+$", _CJK),
            ("digits", True),
        ),
    ),
    Pre("deepseek-coder", (*_split("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK), ("digits", True))),
    Pre(
        "deepseek-v3",
        _split(r"\p{N}{1,3}", _CJK3, DEEPSEEK3),
        ("deepseek-r1", "hunyuan-dense", "joyai-llm", "hy_v4"),
    ),
    Pre(
        "falcon",
        (("punctuation", "Contiguous"), ("words",), ("digits", False), ("split", "[0-9][0-9][0-9]")),
    ),
    Pre(
        "default",
        (*_split(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),),
    ),
    Pre("minicpm5", _split(r"\p{N}{1,3}", rf"{_ENGLISH}|{_LETTERS}|\p{{N}}+|{_REST}"), (), True),
    Pre("jais-2", _split(rf"{_ENGLISH}|{_LETTERS}|\p{{N}}{{1,3}}|{_WORDS_REST}|{_JAIS_SPACES}")),
    Pre("bloom", _split(_BLOOM), ("poro-chat", "gpt3-finnish")),
    Pre("viking", _split(_BLOOM, r"\p{N}")),
    Pre("superbpe", _split(r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    Pre(
        "bailingmoe",
        _split(
            rf"'(?i:[sdmt]|ll|ve|re)|{_LETTERS}|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        ),
        ("bailingmoe2", "llada-moe"),
    ),
    Pre(
        "seed-coder",
        _split(rf"{_ENGLISH}|{_LETTERS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"),
    ),
    Pre("ufakzeka", _split(rf"{_LETTERS}|\p{{N}}|{_REST}")),
    Pre("laguna", _split(r"[^\n]+|[\n]+", QWEN2)),
    Pre("tiny_aya", _split(r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O), ("cohere2moe",)),
)
BY_NAME = {name: pre for pre in KNOWN for name in (pre.name, *pre.aliases)}
# These cut as a known one does, with other ties; a tokenizer.json does not tell them apart.
BY_NAME |= {name: replace(BY_NAME["dbrx"], name=name, ignore_merges=True) for name in ("glm4", "glm5")}


def steps_of(json_pre: Any) -> tuple[Step, ...]:
    """The steps of a tokenizer.json's pre-tokenizer.

    Raises
    ------
    FormatError
        If it has a step that byte-level BPE does not.
    """
    if not isinstance(json_pre, Mapping):
        raise FormatError("tokenizer.json has no pre-tokenizer, which byte-level BPE needs")
    kind = json_pre.get("type")
    if kind == "Sequence":
        inside = json_pre.get("pretokenizers")
        if not isinstance(inside, list):
            raise FormatError("a sequence of pre-tokenizers in tokenizer.json is not a list")
        return tuple(s for inner in inside for s in steps_of(inner))
    if kind == "ByteLevel":
        return (("words",),) if json_pre.get("use_regex", True) else ()
    if kind == "Digits":
        return (("digits", bool(json_pre.get("individual_digits"))),)
    if kind == "Punctuation":
        return (("punctuation", json_pre.get("behavior", "Isolated")),)
    if kind == "Split":
        return (_split_step(json_pre),)
    raise FormatError(f"the pre-tokenizer step {kind!r} of tokenizer.json is not known of byte-level BPE")


def _split_step(step: Mapping[str, Any]) -> Step:
    pattern = step.get("pattern")
    text = pattern.get("Regex", pattern.get("String")) if isinstance(pattern, Mapping) else None
    # "Removed" with "invert" keeps what matches, as "Isolated" does where the expression leaves nothing over.
    if (step.get("behavior"), step.get("invert", False)) not in {("Isolated", False), ("Removed", True)}:
        return ("split", text, step.get("behavior"), step.get("invert"))
    return ("split", GPT2 if text is None else text)


def _alike(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """GPT-2's expression is the same step whether it is built in or spelled out."""
    return tuple(("words",) if s == ("split", GPT2) else s for s in steps)


def name_of(json_pre: Any, *, ignore_merges: bool, nfc: bool) -> str:
    """llama.cpp's name for a tokenizer.json's pre-tokenizer.

    Raises
    ------
    FormatError
        If it has none that is known; what it is made of is named.
    """
    steps = _alike(steps_of(json_pre))
    fitting = [pre for pre in KNOWN if _alike(pre.steps) == steps]
    if not fitting:
        shown = "; ".join(" ".join(map(str, s)) for s in steps) or "nothing"
        raise FormatError(
            f"the pre-tokenizer of tokenizer.json has no name in llama.cpp that is known: {shown[:400]}",
            hint="name one that cuts alike; 'default' is llama.cpp's fallback, and not the same",
        )
    best = [p for p in fitting if p.ignore_merges == ignore_merges and p.nfc == nfc]
    near = [p for p in fitting if p.ignore_merges == ignore_merges]
    return (best or near or fitting)[0].name


def to_json(pre: Pre) -> dict[str, Any]:
    """The pre-tokenizer of a tokenizer.json that cuts as ``pre`` does.

    Where GPT-2's expression stands, the text becomes byte-level characters; later steps see those.
    """
    steps = [_json_step(s) for s in pre.steps]
    if ("words",) not in pre.steps:
        steps.append(_byte_level(use_regex=False))
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _json_step(step: Step) -> dict[str, Any]:
    if step[0] == "words":
        return _byte_level(use_regex=True)
    if step[0] == "digits":
        return {"type": "Digits", "individual_digits": step[1]}
    if step[0] == "punctuation":
        return {"type": "Punctuation", "behavior": step[1]}
    return {"type": "Split", "pattern": {"Regex": step[1]}, "behavior": "Isolated", "invert": False}
