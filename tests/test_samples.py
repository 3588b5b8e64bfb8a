"""The sample model is what its README says, and the files around it fit it."""

from __future__ import annotations

import collections
import json
from pathlib import Path

from safetensors import safe_open
from tokenizers import Tokenizer

import qformat

SAMPLES = Path(__file__).parent.parent / "samples"
MODEL = SAMPLES / "village"


def test_the_folder_is_small_and_sharded_with_rows_for_superblocks():
    assert sum(f.stat().st_size for f in MODEL.iterdir()) <= 10_000_000
    checkpoint = qformat.open(MODEL)
    assert len(checkpoint.files) == 2
    for info in checkpoint.tensors.values():
        assert info.dtype == "BF16"
        assert info.shape[-1] % 256 == 0


def test_names_and_shapes_follow_the_config():
    config = json.loads((MODEL / "config.json").read_text())
    hidden, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    tensors = qformat.open(MODEL).tensors
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert tensors["model.embed_tokens.weight"].shape == (vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        assert tensors[f"model.layers.{i}.mlp.down_proj.weight"].shape == (hidden, ffn)
    for shard in MODEL.glob("*.safetensors"):
        with safe_open(shard, "numpy") as file:
            assert set(file.keys()) <= set(tensors)


def test_the_tokenizer_gives_every_text_back():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert tokenizer.get_vocab_size() <= 2048
    text = (SAMPLES / "heldout.txt").read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) >= 30_000
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    odd = "naïve 漢字 🙂 \t\n"
    assert tokenizer.decode(tokenizer.encode(odd).ids[1:], skip_special_tokens=False) == odd
    assert tokenizer.encode("x").tokens[0] == "<|bos|>"


def test_the_quiz_is_balanced():
    quiz = [json.loads(line) for line in (SAMPLES / "quiz.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(quiz) >= 200
    assert len({q["id"] for q in quiz}) == len(quiz)
    assert all(len(set(q["choices"])) == 4 for q in quiz)
    counts = collections.Counter(q["answer"] for q in quiz)
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) - min(counts.values()) <= 1
