"""What must not matter: how deep a model is for compiling it, and how many threads compute."""

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CASES, LENGTH, tokens, write_folder

import qformat
from qformat.model import decoder, open_model
from qformat.model.decoder import Kind
from qformat.model.generate import Session
from qformat.schemes.kernels import narrow

VILLAGE = Path(__file__).parents[1] / "samples" / "village"


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_narrowing_rounds_as_bfloat16_does(bits):
    values = np.resize(np.array(bits, np.uint32), 64).view(np.float32)
    found = np.asarray(narrow(values)).view(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(found, values.astype(ml_dtypes.bfloat16).astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("scheme", ["q8_0", "q4_k", "sym8", "asym4", "nf4"])
def test_bfloat16_weights_are_the_float32_ones_rounded(scheme, tmp_path):
    path = tmp_path / "m.safetensors"
    qformat.convert(VILLAGE, path, scheme)
    wide, rough = (open_model(path, dtype).layer(0).params for dtype in ("f32", "bf16"))
    for name, weights in rough.items():
        assert np.array_equal(weights, np.asarray(wide[name]).astype(weights.dtype)), name


@pytest.mark.parametrize("case", ["llama", "gemma3", "qwen35"])
def test_layers_of_a_kind_share_one_compiled_function(case, tmp_path):
    model, ids = open_model(write_folder(case, tmp_path / "model")), tokens(case)
    kinds = {Kind.of(model.config, i) for i in range(model.config.layers)}
    assert len(kinds) < model.config.layers
    steps = [decoder.step_for(model.config, count) for count in (64, 1)]
    for compiled in (decoder.compiled_block, *steps):
        compiled.clear_cache()
    model.logits(ids[None])
    assert decoder.compiled_block._cache_size() == len(kinds)
    session = Session(model, 100)
    session.feed(ids[:64])
    session.feed([1])
    session.feed([2])
    assert [step._cache_size() for step in steps] == [len(kinds)] * 2


@pytest.mark.parametrize("case", CASES)
def test_the_last_states_alone_are_what_they_are_among_all(case, tmp_path):
    model, ids = open_model(write_folder(case, tmp_path / "model")), tokens(case)
    hidden = np.asarray(model.embed([ids, ids[::-1]]))
    for i in {Kind.of(model.config, i): i for i in range(model.config.layers)}.values():
        layer = model.layer(i)
        every = np.asarray(layer(hidden))
        for count in (1, 47, LENGTH, LENGTH + 5):
            found = np.asarray(layer(hidden, last=count))
            assert found.shape == every[:, -count:].shape
            assert np.abs(found - every[:, -count:]).max() < 1e-5 * every.std()


COMPUTE = """
import sys
import numpy as np
from qformat.model import open_model
from qformat.model.generate import Session

found = {}
for dtype in ("f32", "bf16"):
    model = open_model(sys.argv[1], dtype)
    ids = np.random.default_rng(0).integers(2, 1280, (3, 200))
    found[dtype] = model.logits(ids)
    session = Session(model, 201)
    session.feed(ids[0])
    found[f"{dtype}, one by one"] = session.feed([7])
np.savez(sys.argv[2], **found)
"""


def test_one_thread_gives_what_many_give(tmp_path):
    files = [tmp_path / "one.npz", tmp_path / "many.npz"]
    for file, threads in zip(files, ({"NPROC": "1", "PJRT_NPROC": "1"}, {}), strict=True):
        command = [sys.executable, "-c", COMPUTE, VILLAGE, file]
        subprocess.run(command, env=os.environ | threads, check=True, timeout=120)
    one, many = (np.load(file) for file in files)
    assert len(one) == 4
    for name in one:
        assert np.array_equal(one[name], many[name]), name
