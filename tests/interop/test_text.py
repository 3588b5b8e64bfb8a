"""Greedy text against llama.cpp's, token by token."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

import qformat
from qformat.model import open_model
from qformat.model.generate import generate

SAMPLE = Path(__file__).parents[2] / "samples" / "village"
PROMPTS = ("Orla lives in", "Every morning the baker", "The old mill")
COUNT = 200
TIE = 1e-4


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "village.gguf"
    qformat.convert(SAMPLE, target, "f32", to="gguf")
    return target


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_llama_cpps(exported, prompt):
    theirs_model = llama_cpp.Llama(str(exported), n_ctx=512, n_threads=2, verbose=False)
    ids = theirs_model.tokenize(prompt.encode())
    theirs = list(islice(theirs_model.generate(ids, top_k=1, temp=0.0), COUNT))
    theirs_model.close()
    model = open_model(exported)
    ours = list(generate(model, ids, max_new=COUNT))
    if ours != theirs:
        first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        logits = np.asarray(model.logits([[*ids, *ours[:first]]]))[0, -1]
        assert abs(float(logits[ours[first]] - logits[theirs[first]])) < TIE
