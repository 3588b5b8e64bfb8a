"""Tokenizers of checkpoints: folders, GGUFs and containers give the same ids, and give the text back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import qformat as command
from hypothesis import given
from hypothesis import strategies as st
from test_vocabulary import SPM_TOKENS, sentencepiece
from tokenizers import Tokenizer as Engine

import qformat
from qformat.convert.recipe import Rule
from qformat.errors import FormatError
from qformat.model.tokenizer_loading import load_tokenizer
from qformat.model.tokenizer_pieces import TextStream

VILLAGE = Path(__file__).parents[1] / "samples" / "village"
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from("abcd \n<>|'é🦙"))


@pytest.fixture(scope="module")
def village():
    return load_tokenizer(VILLAGE)


@pytest.fixture(scope="module")
def spm(tmp_path_factory):
    return load_tokenizer(spm_folder(tmp_path_factory.mktemp("spm")))


def spm_folder(folder: Path, tokens=SPM_TOKENS, **settings) -> Path:
    """A folder with a SentencePiece vocabulary, and as many weights as it takes to be a checkpoint."""
    shutil.copy(VILLAGE / "model-00001-of-00002.safetensors", folder / "model.safetensors")
    (folder / "tokenizer.model").write_bytes(sentencepiece(tokens))
    settings = {"bos_token": "<s>", "eos_token": "</s>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def copied(folder: Path, **changes) -> Path:
    """The sample's small files with a changed tokenizer.json."""
    for path in VILLAGE.glob("*.json"):
        shutil.copy(path, folder)
    (folder / "model.safetensors.index.json").unlink()
    shutil.copy(VILLAGE / "model-00001-of-00002.safetensors", folder / "model.safetensors")
    described = json.loads((VILLAGE / "tokenizer.json").read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps({**described, **changes}))
    return folder


def test_the_sample(village):
    assert village.size == 1280
    assert (village.bos, village.eos) == (0, {1, 5})
    assert village.adds_bos
    assert not village.adds_eos
    assert village.names["eos_token"] == "<|eos|>"
    assert village.id_of("<|end|>") == 5
    assert village.pieces(village.encode("Orla é")) == [b"<|bos|>", b"O", b"rla", b" ", b"\xc3", b"\xa9"]


@given(TEXTS)
def test_ids_are_those_of_tokenizers(text):
    theirs = Engine.from_file(str(VILLAGE / "tokenizer.json"))
    ours = load_tokenizer(VILLAGE)
    assert ours.encode(text, parse_special=True) == theirs.encode(text).ids
    assert (
        ours.encode(text, add_special=False, parse_special=True)
        == theirs.encode(text, add_special_tokens=False).ids
    )


@given(TEXTS)
def test_text_comes_back(village, spm, text):
    for tokenizer in (village, spm):
        ids = tokenizer.encode(text)
        stream = tokenizer.stream()
        parts = [
            stream.add(p)
            for i, p in zip(ids, tokenizer.pieces(ids), strict=True)
            if i not in tokenizer.controls
        ]
        assert "".join(parts) + stream.end() == tokenizer.decode(ids) == text
        assert not any("\ufffd" in p for p in parts) or "\ufffd" in text


@given(st.binary(max_size=20), st.integers(0, 2))
def test_a_stream_gives_what_the_whole_gives(raw, strips):
    stream = TextStream(strips)
    streamed = "".join(stream.add(bytes([b])) for b in raw) + stream.end()
    whole = TextStream(strips)
    assert streamed == whole.add(raw) + whole.end()


def test_control_tokens_are_taken_only_when_asked(village, spm):
    for tokenizer, text in ((village, "a<|end|>b"), (spm, "a</s>b")):
        control = next(iter(set(tokenizer.encode(text, parse_special=True)) & tokenizer.eos))
        plain = tokenizer.encode(text)
        assert control not in plain
        assert tokenizer.decode(plain) == text
        assert tokenizer.decode([*plain, control]) == text
        shown = tokenizer.decode([*plain, control], special=True)
        assert shown.endswith(text + tokenizer.pieces([control])[0].decode())


@pytest.mark.parametrize("folder", ["village", "spm"])
def test_a_gguf_and_a_container_have_the_folders_tokenizer(folder, village, tmp_path):
    source, known = VILLAGE, village
    if folder == "spm":
        (tmp_path / "spm").mkdir()
        source = spm_folder(tmp_path / "spm")
        for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
            shutil.copy(VILLAGE / name, source)
        shutil.copy(VILLAGE / "model.safetensors.index.json", source)
        (source / "model.safetensors").unlink()
        known = load_tokenizer(source)
    names = ("m.gguf", "box.safetensors", "again.safetensors")
    qformat.convert(source, tmp_path / names[0], "q8_0", to="gguf")
    qformat.convert(source, tmp_path / names[1], "sym8")
    qformat.convert(tmp_path / names[0], tmp_path / names[2], rules=[Rule("*", "keep")])
    for name in names:
        found = load_tokenizer(tmp_path / name)
        assert found.digest == known.digest
        assert (found.bos, found.eos, found.adds_bos) == (known.bos, known.eos, known.adds_bos)
        for text in ("abc adé  \n <|end|></s>", "", " "):
            assert found.encode(text, parse_special=True) == known.encode(text, parse_special=True)


def test_where_two_vocabularies_part_is_said(village, tmp_path):
    described = json.loads((VILLAGE / "tokenizer.json").read_bytes())
    vocab = dict(described["model"]["vocab"])
    first, second = (t for t, i in vocab.items() if i in (700, 701))
    vocab[first], vocab[second] = vocab[second], vocab[first]
    other = load_tokenizer(copied(tmp_path, model={**described["model"], "vocab": vocab}))
    assert not village.same_as(other)
    assert "token 700 is" in village.difference(other)
    assert village.difference(load_tokenizer(VILLAGE)) is None


def test_padding_up_to_the_embedding_is_no_difference(village, tmp_path):
    from qformat.model.tokenizer_loading import _from_keys
    from qformat.views import vocabulary

    files = {p.name: p.read_bytes() for p in VILLAGE.glob("*.json")}
    longer = _from_keys({k: v.value for k, v in vocabulary.to_keys(files, 1290).items()}, tmp_path)
    assert longer.size == 1290
    assert longer.same_as(village)
    assert longer.pieces([1285, 99999, -1]) == [b"", b"", b""]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [0, 64, 1]), ({"add_bos_token": False}, [64, 1]), ({"add_eos_token": False}, [0, 64])],
)
def test_settings_overrule_the_template(settings, expected, tmp_path):
    part = {"Sequence": {"id": "A", "type_id": 0}}
    edge = [{"SpecialToken": {"id": f"<|{s}os|>", "type_id": 0}} for s in "be"]
    special = {
        f"<|{s}os|>": {"id": f"<|{s}os|>", "ids": [i], "tokens": [f"<|{s}os|>"]} for i, s in enumerate("be")
    }
    template = {
        "type": "TemplateProcessing",
        "single": [edge[0], part, edge[1]],
        "pair": [part, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    folder = copied(tmp_path, post_processor=template)
    stored = json.loads((folder / "tokenizer_config.json").read_bytes())
    stored.pop("add_bos_token", None)
    stored.pop("add_eos_token", None)
    (folder / "tokenizer_config.json").write_text(json.dumps({**stored, **settings}))
    assert load_tokenizer(folder).encode("[") == expected


def test_an_added_token_is_text_even_if_its_characters_could_be_bytes(tmp_path):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    described = json.loads((VILLAGE / "tokenizer.json").read_bytes())
    added = [*described["added_tokens"], {"id": 1280, "content": "ÿ", **flags}]
    tokenizer = load_tokenizer(copied(tmp_path, added_tokens=added))
    ids = tokenizer.encode("aÿb")
    assert tokenizer.decode(ids) == "aÿb"


def test_truncation_in_a_file_does_not_cut_texts(tmp_path):
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    assert len(load_tokenizer(copied(tmp_path, truncation=cut)).encode("a b c d e f g h")) > 8


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "cannot be built"),
        ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}', "cannot be built"),
        ('{"model": {"type": "Nonsense"}}', "cannot be built"),
    ],
)
def test_a_damaged_tokenizer_is_an_error_that_names_the_file(raw, message, tmp_path):
    folder = copied(tmp_path)
    (folder / "tokenizer.json").write_text(raw)
    with pytest.raises(FormatError, match=message) as caught:
        load_tokenizer(folder)
    assert caught.value.file == str(folder)


def test_weights_alone_have_no_tokenizer():
    with pytest.raises(FormatError, match="no tokenizer"):
        load_tokenizer(VILLAGE / "model-00001-of-00002.safetensors")


def test_half_a_surrogate_pair_is_an_error(village):
    with pytest.raises(FormatError, match="not valid Unicode"):
        village.encode("a\ud800")


def test_the_command_shows_tokens_and_no_escape_sequence(tmp_path):
    out = command("tokenize", VILLAGE, "Orla \x1b[31m\n é <|end|>").stdout
    assert "\x1b" not in out
    assert "' \\x1b'" in out or "'\\x1b'" in out
    assert "'\\xc3'" in out
    assert "22 bytes" in out
    (tmp_path / "t.txt").write_text("Orla <|end|>")
    assert (
        command("tokenize", VILLAGE, "-f", tmp_path / "t.txt", "--special", "--ids").stdout.split()[-1] == "5"
    )
    found = json.loads(command("tokenize", VILLAGE, "Orla", "--plain", "--json").stdout)
    assert [t["piece"] for t in found["tokens"]] == ["O", "rla"]
    assert found["bytes_per_token"] == 2
    (tmp_path / "t.txt").write_bytes(b"ab\xff")
    assert "byte 2" in command("tokenize", VILLAGE, "-f", tmp_path / "t.txt", check=False).stderr
