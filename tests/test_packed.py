"""Decoding on packed planes gives what the decoded weights give, in a fraction of the memory."""

from pathlib import Path

import jax
import numpy as np
import pytest

import qformat
from qformat.blocks.decode import decode_blocks
from qformat.model import open_model
from qformat.model.generate import Session
from qformat.model.packed import Packed
from qformat.schemes.coder import decode, encode
from qformat.schemes.records import Record
from qformat.schemes.registry import registry

VILLAGE = Path(__file__).parents[1] / "samples" / "village"
IDS = [5, 900, 31, 7, 40, 41]


AFFINE = ["sym8", "asym8", "sym6", "sym4", "asym4", "asym2", "asym4:scale=bf16,zero=point", "mse3"]
SUPERBLOCKS = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]


def matrices(layer):
    return [p for p in layer.params.values() if isinstance(p, tuple)]


@pytest.mark.parametrize("scheme", [*AFFINE, "q8_0", "q4_0", "q4_1", *SUPERBLOCKS])
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


def test_matrices_of_several_types_stay_packed(tmp_path):
    qformat.convert(VILLAGE, tmp_path / "m.gguf", "q4_k_m")
    model = open_model(tmp_path / "m.gguf")
    wanted = np.asarray(model.logits([IDS]))[0]
    session = Session(model, 16)
    for i, token in enumerate(IDS):
        assert np.abs(session.feed([token]) - wanted[i]).max() < 2e-4 * wanted.std()
    kinds = {len(matrix) for layer in model.packed()[0] for matrix in matrices(layer)}
    assert max(kinds) > 1  # queries and keys are of one type, values of another
    assert all(isinstance(part, Packed) for layer in model.packed()[0] for m in matrices(layer) for part in m)


@pytest.mark.parametrize("name", SUPERBLOCKS)
def test_superblocks_as_planes_decode_to_the_same_bits(name):
    scheme = registry().parse(name)
    values = np.random.default_rng(0).standard_normal((64, scheme.block_size)).astype(np.float32)
    records = encode(scheme, values).planes["blocks"].reshape(len(values), -1)
    layout, items = scheme.as_planes(Record(scheme.layout()).opened(records))
    assert np.array_equal(decode_blocks(layout, items), decode(scheme, {"blocks": records}, values.shape))
