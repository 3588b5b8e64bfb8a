"""What must not matter: how deep a model is for compiling it, and how many threads compute."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tokens, write_folder

from qformat.model import decoder, open_model
from qformat.model.decoder import Kind
from qformat.model.generate import Session

VILLAGE = Path(__file__).parents[1] / "samples" / "village"


@pytest.mark.parametrize("case", ["llama", "gemma3", "qwen35"])
def test_layers_of_a_kind_share_one_compiled_function(case, tmp_path):
    model, ids = open_model(write_folder(case, tmp_path / "model")), tokens(case)
    kinds = {Kind.of(model.config, i) for i in range(model.config.layers)}
    assert len(kinds) < model.config.layers
    for compiled in (decoder.compiled_block, decoder.compiled_step):
        compiled.clear_cache()
    model.logits(ids[None])
    assert decoder.compiled_block._cache_size() == len(kinds)
    session = Session(model, 100)
    session.feed(ids[:64])
    session.feed([1])
    session.feed([2])
    assert decoder.compiled_step._cache_size() == 2 * len(kinds)  # of a part and of one token


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
