"""Every family against logits that transformers computed (`tests/golden/logits/make_logits.py`)."""

import numpy as np
import pytest
from golden.logits.make_logits import POSITIONS
from tiny_models import CASES, GOLDEN, tokens, write_folder, write_gguf

from qformat.model import open_model

WANTED = np.load(GOLDEN / "logits" / "logits.npz")
BOUND = 2e-4  # of the logits' standard deviation


def error(case, path, dtype="f32"):
    wanted = WANTED[case]
    logits = np.asarray(open_model(path, dtype).logits(tokens(case)[None]))[0]
    difference = logits[list(POSITIONS)] - wanted
    return np.abs(difference).max() / wanted.std(), np.sqrt((difference**2).mean()) / wanted.std()


def test_there_are_logits_of_every_case():
    assert sorted(WANTED) == CASES


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case, tmp_path):
    assert error(case, write_folder(case, tmp_path / "model"))[0] < BOUND


@pytest.mark.parametrize("case", CASES)
def test_from_gguf_too(case, tmp_path):
    assert error(case, write_gguf(case, tmp_path / "model.gguf"))[0] < BOUND


# A router that is nearly undecided turns with any rounding, and a state that forgets keeps every error.
ROUGH = {"mixtral": 0.2, "qwen3moe": 0.2, "qwen35": 0.2}


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_is_near(case, tmp_path):
    assert error(case, write_folder(case, tmp_path / "model"), "bf16")[1] < ROUGH.get(case, 0.06)
