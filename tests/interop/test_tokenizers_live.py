"""Our tokenizers of GGUFs against llama.cpp's own, on its vocabularies and on random text."""

from __future__ import annotations

import os
import random
from pathlib import Path

import llama_cpp
import pytest

from qformat.errors import FormatError
from qformat.model.tokenizer_loading import load_tokenizer

MODELS = Path(os.environ["QFORMAT_LLAMA_VOCABULARIES"])
HELDOUT = Path(__file__).parents[2] / "samples" / "heldout.txt"
KINDS = {"bert-bge": "WordPiece", "nomic-bert-moe": "Unigram", "gemma-4": "gemma4"}
NAMES = sorted(p.stem.removeprefix("ggml-vocab-") for p in MODELS.glob("ggml-vocab-*.gguf"))
# Where llama.cpp takes the text of a normal token for a control token, because it looks like one.
RETYPED = ("</s>", "<|endoftext|>", "<|im_end|>", "<|end|>")

RANGES = [(32, 127)] * 3 + [
    (9, 14), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x500), (0x5D0, 0x6FF), (0x900, 0x980), (0xE00, 0xE80),
    (0x2000, 0x206F), (0x3000, 0x30FF), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0x1F300, 0x1F650), (0xFF00, 0xFFEF),
]  # fmt: skip
CHARACTERS = [chr(c) for r in RANGES for c in range(*r) if chr(c) != "\u017f"]
BITS = (
    "a", "aa", " ", "  ", "\n", "\r\n", "\t", "'s", "'S", "'ll", "1", "12", "123", " 3.14", "é", "e\u0301", "_",
    "..", "<s>", "[PAD1]", "<unk>", "\u2581", "\u00a0",
)  # fmt: skip


def texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    words = HELDOUT.read_text(encoding="utf-8").split(" ")
    makers = [
        lambda: "".join(rng.choices(CHARACTERS, k=rng.randint(1, 40))),
        lambda: "".join(rng.choices(BITS, k=rng.randint(1, 25))),
        lambda: "".join(
            rng.choice(words) + rng.choice([" ", "  ", "\n", ", ", "-", "'t "]) for _ in range(20)
        ),
    ]
    return [rng.choice(makers)() for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_random_text_becomes_llama_cpps_tokens(name):
    path = MODELS / f"ggml-vocab-{name}.gguf"
    if name in KINDS:
        with pytest.raises(FormatError, match=KINDS[name]):
            load_tokenizer(path)
        return
    ours = load_tokenizer(path)
    theirs = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    for text in texts(len(name), 300):
        for special in (False, True):
            wanted = theirs.tokenize(text.encode(), add_bos=True, special=special)
            assert ours.encode(text, parse_special=special) == wanted, text
        assert not any(token in text for token in RETYPED)
        assert ours.decode(wanted).strip() == theirs.detokenize(wanted).decode(errors="replace").strip()
    assert ours.adds_bos == bool(theirs._model.add_bos_token())
    theirs.close()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in KINDS])
def test_the_test_strings_of_the_vocabularies(name):
    path = MODELS / f"ggml-vocab-{name}.gguf"
    given = Path(f"{path}.inp")
    if not given.exists():
        pytest.skip("this vocabulary has none")
    ours = load_tokenizer(path)
    outputs = Path(f"{path}.out").read_text().split("\n")
    for text, ids in zip(given.read_bytes().decode().split("\n__ggml_vocab_test__\n"), outputs, strict=False):
        assert ours.encode(text, add_special=False) == [int(i) for i in ids.split()]
