"""Against the vocabularies in llama.cpp's own source, with their test strings."""

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import qformat
from qformat.convert.recipe import Rule
from qformat.views import vocabulary_json

MODELS = Path(os.environ["QFORMAT_LLAMA_VOCABULARIES"])
VOCABULARIES = sorted(MODELS.glob("ggml-vocab-*.gguf"))

# Those of the kinds that qformat makes a tokenizer.json of: byte-level BPE and SentencePiece.
TOKENIZED = [
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
]


@pytest.mark.parametrize("name", TOKENIZED)
def test_a_vocabulary_gives_the_tokens_that_llama_cpp_expects(name):
    path = MODELS / f"ggml-vocab-{name}.gguf"
    found = qformat.open(path).keyvalues
    values = {key: found[key].read() for key in found if key.startswith("tokenizer")}
    tokenizer = Tokenizer.from_str(vocabulary_json.to_files(values)["tokenizer.json"].decode())
    texts = Path(f"{path}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    outputs = Path(f"{path}.out").read_text().split("\n")
    for text, ids in zip(texts, outputs, strict=False):
        assert tokenizer.encode(text, add_special_tokens=False).ids == [int(i) for i in ids.split()]


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda p: p.stem)
def test_a_vocabulary_comes_back_from_a_container(path, tmp_path):
    box, back = tmp_path / "box.safetensors", tmp_path / "back.gguf"
    qformat.convert(path, box, rules=[Rule("*", "keep")])
    qformat.convert(box, back, to="gguf")
    assert back.read_bytes() == path.read_bytes()
