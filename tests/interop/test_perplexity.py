"""Live against llama.cpp: its perplexity of the same windows, by its own forward pass."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np
import pytest

import qformat
from qformat.evaluate.text import read_text, windows_of
from qformat.evaluate.windows import LLAMA_CPP, Windows
from qformat.model import open_model
from qformat.model.tokenizer_loading import load_tokenizer

SAMPLES = Path(__file__).parents[2] / "samples"
CTX = 256


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The sample as GGUF by type, made when first asked for; ``q4_0 as f32`` is that file's weights in float32."""
    folder = tmp_path_factory.mktemp("gguf")

    def make(name: str) -> Path:
        target = folder / f"{name.replace(' ', '-')}.gguf"
        if not target.exists():
            base, _, cast = name.partition(" as ")
            source = make(base) if cast else SAMPLES / "village"
            qformat.convert(source, target, cast or base, to="gguf", pure=bool(cast))
        return target

    return make


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "excerpt.txt"
    path.write_text((SAMPLES / "heldout.txt").read_text(encoding="utf-8")[:30_000], encoding="utf-8")
    return path


def llama_perplexity(path: Path, windows: Windows) -> float:
    """As llama-perplexity computes it, with a KV cache in float32 and without flash attention."""
    model = llama_cpp.Llama(
        str(path),
        n_ctx=windows.ctx,
        n_batch=windows.ctx,
        n_ubatch=windows.ctx,
        logits_all=True,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        n_threads=2,
        verbose=False,
    )
    found = []
    for tokens, scored in zip(windows.tokens, windows.scored, strict=True):
        model.reset()
        model.eval(tokens.tolist())
        at = np.flatnonzero(scored)
        logits = np.asarray(model.scores[at - 1], np.float64)
        ln = logits - logits.max(axis=1, keepdims=True)
        ln -= np.log(np.exp(ln).sum(axis=1, keepdims=True))
        found.append(-ln[np.arange(len(at)), tokens[at]])
    model.close()
    return float(np.exp(np.concatenate(found).mean()))


def windows(path: Path, text: Path) -> Windows:
    tokenizer, config = load_tokenizer(path), open_model(path).config
    return windows_of(read_text(text), tokenizer, config, protocol=LLAMA_CPP, ctx=CTX, stride=None)[1]


def test_the_windows_are_llama_perplexitys(files, excerpt):
    path = files("f32")
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    tokens = model.tokenize(excerpt.read_bytes(), add_bos=True, special=False)
    model.close()
    body = np.asarray(tokens[: len(tokens) // CTX * CTX]).reshape(-1, CTX)
    body[:, 0] = tokens[0]  # this vocabulary has a beginning-of-text token
    ours = windows(path, excerpt)
    assert np.array_equal(ours.tokens, body)
    assert (ours.scored.sum(axis=1) == CTX - CTX // 2 - 1).all()


@pytest.mark.parametrize("name", ["f32", "q8_0 as f32", "q4_0 as f32", "q4_k_m as f32", "q2_k as f32"])
def test_perplexity_on_f32_files_is_llama_cpps_to_a_ten_thousandth(files, excerpt, name):
    ours = qformat.evaluate(files(name), text=excerpt, protocol="llama.cpp", ctx=CTX)
    theirs = llama_perplexity(files(name), windows(files(name), excerpt))
    assert ours.model.alone.perplexity.value == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_k_m", "q2_k"])
def test_perplexity_of_quantized_files_is_that_of_their_weights(files, excerpt, name):
    ours = qformat.evaluate(
        files(name), text=excerpt, protocol="llama.cpp", ctx=CTX
    ).model.alone.perplexity.value
    decoded = llama_perplexity(files(f"{name} as f32"), windows(files(name), excerpt))
    native = llama_perplexity(files(name), windows(files(name), excerpt))
    print(
        f"{name}: {ours:.5f}; llama.cpp on the decoded weights {decoded:.5f} ({ours / decoded - 1:+.6%}), native {native:.5f} ({native / decoded - 1:+.3%})"
    )
    assert ours == pytest.approx(decoded, rel=1e-3)
    assert native == pytest.approx(decoded, rel=0.05)  # llama.cpp rounds activations to 8 bits, too
