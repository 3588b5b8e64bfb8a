"""Logits live against transformers and llama.cpp, at every position of tiny models of every family."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from golden.logits.make_logits import reference
from llama_cpp import llama_cpp as api
from tiny_models import CASES, tokens, write_folder, write_gguf

from qformat.model import open_model

BOUND = 2e-4  # of the logits' standard deviation


def ours(path: Path, ids: np.ndarray) -> np.ndarray:
    return np.asarray(open_model(path).logits(ids[None]))[0]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / wanted.std())


@pytest.mark.parametrize("case", CASES)
def test_transformers(case, tmp_path):
    folder, ids = write_folder(case, tmp_path / "model"), tokens(case)
    assert error(ours(folder, ids), reference(folder, ids)) < BOUND


def llama_logits(path: Path, ids: np.ndarray) -> np.ndarray:
    """Float32 logits of every position by llama.cpp: float32 cache, no flash attention."""
    params = api.llama_model_default_params()
    model = api.llama_model_load_from_file(str(path).encode(), params)
    assert model
    settings = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 256
    settings.n_threads = settings.n_threads_batch = 2
    settings.type_k = settings.type_v = 0  # F32
    settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = api.llama_init_from_model(model, settings)
    batch = api.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, True
        batch.seq_id[i][0] = 0
    assert api.llama_decode(context, batch) == 0
    count = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    out = api.llama_get_logits(context)
    logits = np.ctypeslib.as_array(ctypes.cast(out, ctypes.POINTER(ctypes.c_float)), (len(ids), count)).copy()
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)
    return logits


# llama.cpp has no windows for these, so they part where those end; it looks GELU up in a table of
# binary16, for all kinds of GELU the one by tanh; it takes norms of single heads from 64 layers on.
WITHOUT_WINDOWS = {"mistral": 64, "phi3": 64}
BY_TABLE = {"gemma", "gemma2", "gemma3", "gpt2", "gptneox", "phi2", "starcoder2"}
REFUSED = {"cohere_qk"}


@pytest.mark.parametrize("case", [c for c in CASES if c not in REFUSED])
def test_llama_cpp(case, tmp_path):
    path, ids = write_gguf(case, tmp_path / "model.gguf"), tokens(case)[: WITHOUT_WINDOWS.get(case)]
    bound = 2e-2 if case in BY_TABLE else BOUND
    assert error(ours(path, ids), llama_logits(path, ids)) < bound
