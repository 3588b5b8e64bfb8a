"""Decoding on packed planes gives what the decoded weights give, in a fraction of the memory."""

from pathlib import Path

import jax
import numpy as np
import pytest

import qformat
from qformat.model import open_model
from qformat.model.generate import Session
from qformat.model.packed import Packed

VILLAGE = Path(__file__).parents[1] / "samples" / "village"
IDS = [5, 900, 31, 7, 40, 41]


def matrices(layer):
    return [p for p in layer.params.values() if isinstance(p, Packed)]


@pytest.mark.parametrize("scheme", ["sym8", "asym8", "sym4", "asym4", "asym2", "q8_0", "q4_0", "q4_1"])
def test_single_tokens_through_packed_matrices(tmp_path, scheme):
    qformat.convert(VILLAGE, tmp_path / "m.safetensors", scheme)
    model = open_model(tmp_path / "m.safetensors")
    wanted = np.asarray(model.logits([IDS]))[0]
    session = Session(model, 16)
    for i, token in enumerate(IDS):
        assert np.abs(session.feed([token]) - wanted[i]).max() < 2e-4 * wanted.std()
    layer = model.packed()[0][0]
    assert len(matrices(layer)) == 4
    plain = sum(a.nbytes for a in jax.tree.leaves(model.resident()[0][0].params))
    assert sum(a.nbytes for a in jax.tree.leaves(layer.params)) < plain / 3
