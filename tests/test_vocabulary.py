"""Tokenizers from a folder's files to a GGUF's key-values and back."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qformat.errors import FormatError
from qformat.views import vocabulary, vocabulary_json, vocabulary_pre, vocabulary_spm

VILLAGE = Path(__file__).parent.parent / "samples" / "village"
TEXT = "Hello, world! It's 3 33 333 3.3\n\n\tnaïve café 🦙 你好  and   more…\r\n"


def folder(path=VILLAGE):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.suffix in (".json", ".model", ".jinja")}


def plain(keys):
    return {k: list(t.value) if t.array else t.value for k, t in keys.items()}


def described(**changes):
    return {**json.loads(folder()["tokenizer.json"]), **changes}


def files(tokenizer, **settings):
    return {
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


def test_the_sample_becomes_gpt2_and_comes_back():
    keys = plain(vocabulary.to_keys(folder(), 1280))
    assert keys["tokenizer.ggml.model"] == "gpt2"
    assert keys["tokenizer.ggml.pre"] == "gpt-2"
    assert keys["tokenizer.ggml.tokens"][:2] == ["<|bos|>", "<|eos|>"]
    assert keys["tokenizer.ggml.token_type"][:7] == [3, 3, 3, 3, 3, 3, 1]
    assert keys["tokenizer.ggml.merges"][:2] == ["e r", "Ġ t"]
    assert keys["tokenizer.ggml.add_bos_token"] is True
    assert keys["tokenizer.ggml.add_eos_token"] is False
    assert (keys["tokenizer.ggml.eos_token_id"], keys["tokenizer.ggml.eot_token_id"]) == (1, 5)
    assert keys["tokenizer.chat_template"].startswith("{{ bos_token }}")
    back = vocabulary_json.to_files(keys)
    ours, theirs = (Tokenizer.from_str(f["tokenizer.json"].decode()) for f in (back, folder()))
    for text in (TEXT, "", " ", "<|user|>hello<|end|>"):
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs.encode(text).ids)
    again = plain(vocabulary.to_keys(back, 1280))
    del keys["tokenizer.ggml.eot_token_id"]  # that stands in generation_config.json
    assert again == keys


def test_the_vocabulary_is_filled_up_to_the_embedding():
    keys = plain(vocabulary.to_keys(folder(), 1290))
    assert keys["tokenizer.ggml.tokens"][1280:] == [f"[PAD{i}]" for i in range(1280, 1290)]
    assert keys["tokenizer.ggml.token_type"][1280:] == [5] * 10
    back = json.loads(vocabulary_json.to_files(keys)["tokenizer.json"])
    assert len(back["model"]["vocab"]) == 1280
    with pytest.raises(FormatError, match="ids up to 1279, but the model has 1000"):
        vocabulary.to_keys(folder(), 1000)


@pytest.mark.parametrize("pre", vocabulary_pre.KNOWN, ids=lambda p: p.name)
def test_each_pre_tokenizer_is_found_again(pre):
    step = vocabulary_pre.to_json(pre)
    name = vocabulary_pre.name_of(step, ignore_merges=pre.ignore_merges, nfc=pre.nfc)
    assert name == pre.name
    tokenizer = Tokenizer.from_str(json.dumps(described(pre_tokenizer=step)))
    assert tokenizer.decode(tokenizer.encode(TEXT, add_special_tokens=False).ids) == TEXT


def test_an_unknown_pre_tokenizer_is_an_error_unless_one_is_named():
    odd = {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": False}
    stored = files(described(pre_tokenizer=odd))
    with pytest.raises(FormatError, match=r"split x\+"):
        vocabulary.to_keys(stored)
    assert vocabulary.to_keys(stored, pre="gpt-2")["tokenizer.ggml.pre"].value == "gpt-2"
    with pytest.raises(FormatError, match="'Whitespace'"):
        vocabulary.to_keys(files(described(pre_tokenizer={"type": "Whitespace"})))


SPM_TOKENS = [
    ("<unk>", 0.0, 2),
    ("<s>", 0.0, 3),
    ("</s>", 0.0, 3),
    *((f"<0x{i:02X}>", 0.0, 6) for i in range(256)),
    ("▁a", -0.0, 1),
    ("bc", -1.0, 1),
    ("▁abc", -2.0, 1),
    *((c, -10.0 - i, 1) for i, c in enumerate("▁abcd")),
]


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def message(number, raw):
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def sentencepiece(tokens=SPM_TOKENS, kind=2, space=1):
    raw = b"".join(
        message(1, message(1, t.encode()) + b"\x15" + struct.pack("<f", s) + b"\x18" + bytes([k]))
        for t, s, k in tokens
    )
    return raw + message(2, b"\x18" + bytes([kind])) + message(3, b"\x18" + bytes([space]))


def test_sentencepiece_is_read():
    keys = plain(vocabulary.to_keys({"tokenizer.model": sentencepiece()}))
    assert keys["tokenizer.ggml.model"] == "llama"
    assert keys["tokenizer.ggml.tokens"] == [t for t, _, _ in SPM_TOKENS]
    assert keys["tokenizer.ggml.scores"] == [s for _, s, _ in SPM_TOKENS]
    assert keys["tokenizer.ggml.token_type"] == [k for _, _, k in SPM_TOKENS]
    assert keys["tokenizer.ggml.add_space_prefix"] is True
    assert keys["tokenizer.ggml.add_bos_token"] is True
    assert keys["tokenizer.ggml.unknown_token_id"] == 0


def test_sentencepiece_comes_back_by_way_of_tokenizer_json():
    settings = json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True})
    given = {"tokenizer.model": sentencepiece(), "tokenizer_config.json": settings.encode()}
    keys = plain(vocabulary.to_keys(given))
    back = vocabulary_json.to_files(keys)
    tokenizer = Tokenizer.from_str(back["tokenizer.json"].decode())
    encoded = tokenizer.encode("abc adé")
    assert encoded.tokens == ["<s>", "▁abc", "▁a", "d", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(encoded.ids) == "abc adé"
    again = plain(vocabulary.to_keys(back))
    scores = again.pop("tokenizer.ggml.scores")
    assert scores[259:262] == keys.pop("tokenizer.ggml.scores")[259:262] == [0.0, -1.0, -2.0]
    assert again == keys


def test_added_tokens():
    settings = {
        "added_tokens_decoder": {
            "270": {"content": "<|im_end|>", "special": False},
            "271": {"content": "▁word", "special": False},
            "272": {"content": "[X]", "special": True},
        }
    }
    given = {"tokenizer.model": sentencepiece(), "tokenizer_config.json": json.dumps(settings).encode()}
    keys = plain(vocabulary.to_keys(given, 274))
    assert keys["tokenizer.ggml.tokens"][267:] == [
        "[PAD267]", "[PAD268]", "[PAD269]", "<|im_end|>", " word", "[X]", "[PAD273]",
    ]  # fmt: skip
    assert keys["tokenizer.ggml.token_type"][267:] == [5, 5, 5, 3, 4, 3, 5]


def test_several_chat_templates():
    templates = [{"name": "default", "template": "A"}, {"name": "Tool_Use", "template": "B"}]
    keys = plain(vocabulary.to_keys(files(described(), chat_template=templates)))
    assert keys["tokenizer.chat_template"] == "A"
    assert keys["tokenizer.chat_template.tool_use"] == "B"
    assert keys["tokenizer.chat_templates"] == ["tool_use"]
    settings = json.loads(vocabulary_json.to_files(keys)["tokenizer_config.json"])
    assert settings["chat_template"][1] == {"name": "tool_use", "template": "B"}
    own = {**files(described()), "chat_template.jinja": b"{{ x }}"}
    assert vocabulary.to_keys(own)["tokenizer.chat_template"].value == "{{ x }}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no tokenizer"),
        ({"tokenizer.json": b"{"}, "not valid JSON"),
        ({"tokenizer.json": b"[]"}, "not a JSON object"),
        ({"tokenizer.json": b'{"model": {"type": "Unigram"}}'}, "'Unigram'"),
        ({"tokenizer.json": b'{"model": {"type": "BPE", "vocab": {}}}'}, "no tokens"),
        ({"tokenizer.json": b'{"model": {"vocab": {"a": -1}, "byte_fallback": true}}'}, "id -1"),
        ({"tokenizer.json": b'{"model": {"vocab": {"a": 0}, "merges": ["a b c"]}}'}, "merge"),
        ({"tokenizer.model": sentencepiece(kind=1)}, "kind 1"),
        ({"tokenizer.model": sentencepiece([("a", 0.0, 9)])}, "type 9"),
        ({"tokenizer.model": b""}, "no tokens"),
        ({"tokenizer.model": sentencepiece()[:100]}, "claims"),
        ({"tokenizer.model": b"\xff" * 20}, "too long"),
    ],
)
def test_what_is_no_tokenizer_is_refused(given, message):
    with pytest.raises(FormatError, match=message):
        vocabulary.to_keys(given)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_an_error(raw):
    try:
        vocabulary_spm.read(raw)
    except FormatError:
        return


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "'bert'"),
        ({"tokenizer.ggml.tokens": None}, "no tokens"),
        ({"tokenizer.ggml.token_type": [1]}, "1 types"),
        ({"tokenizer.ggml.pre": "klingon"}, "'klingon'"),
        ({"tokenizer.ggml.merges": ["abc"]}, "'abc'"),
        ({"tokenizer.ggml.model": "llama"}, "0 scores"),
    ],
)
def test_a_gguf_without_a_known_tokenizer_is_refused(changes, message):
    keys = plain(vocabulary.to_keys(folder()))
    with pytest.raises(FormatError, match=message):
        vocabulary_json.to_files({**keys, **changes})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
SMALL = {
    **described(),
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": [["a", "b"]],
        "byte_fallback": False,
    },
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_files_are_a_tokenizer_or_an_error(data):
    tokenizer = {**SMALL, "model": dict(SMALL["model"])}
    for key in data.draw(st.lists(st.sampled_from(sorted(tokenizer)), max_size=2)):
        tokenizer[key] = data.draw(JSON)
    if isinstance(tokenizer["model"], dict) and "vocab" in tokenizer["model"]:
        for key in data.draw(st.lists(st.sampled_from(sorted(tokenizer["model"])), max_size=2)):
            tokenizer["model"][key] = data.draw(JSON)
    options = st.dictionaries(
        st.sampled_from(["bos_token", "added_tokens_decoder", "chat_template", "add_bos_token"]), JSON
    )
    try:
        vocabulary_json.to_files(plain(vocabulary.to_keys(files(tokenizer, **data.draw(options)))))
    except FormatError:
        return
