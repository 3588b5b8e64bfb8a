"""The forward pass: what it refuses, and what must not change its result."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import qformat
from qformat.errors import FormatError, QFormatError
from qformat.model import open_model

VILLAGE = Path(__file__).parents[1] / "samples" / "village"
TOKENS = np.random.default_rng(0).integers(2, 1280, (3, 40))


@pytest.fixture(scope="module")
def model():
    return open_model(VILLAGE)


@pytest.fixture(scope="module")
def logits(model):
    return np.asarray(model.logits(TOKENS))


def editable(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The sample in one file, to be damaged."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(VILLAGE / "config.json", folder)
    tensors = {}
    for part in sorted(VILLAGE.glob("*.safetensors")):
        tensors |= load_file(part)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder, tensors


def test_layers_one_by_one_give_what_the_resident_model_gives(model, logits):
    hidden = model.embed(TOKENS)
    for i in range(model.config.layers):
        hidden = model.layer(i)(hidden)
    head = model.head()
    assert np.array_equal(head.logits(hidden), logits)
    flat = hidden.reshape(-1, hidden.shape[-1])
    assert np.allclose(head.apply(head.params, flat).reshape(logits.shape), logits, atol=1e-5)


def test_windows_do_not_see_each_other(model, logits):
    turned = np.asarray(model.logits(TOKENS[::-1]))
    assert np.abs(turned[::-1] - logits).max() < 1e-4
    alone = np.asarray(model.logits(TOKENS[1:2]))
    assert np.abs(alone[0] - logits[1]).max() < 1e-4


def test_later_tokens_do_not_change_earlier_logits(model, logits):
    changed = TOKENS.copy()
    changed[:, 30:] = 7
    assert np.abs(np.asarray(model.logits(changed))[:, :30] - logits[:, :30]).max() < 1e-4


def test_bf16_is_near_f32(logits):
    rough = np.asarray(open_model(VILLAGE, dtype="bf16").logits(TOKENS))
    error = np.sqrt(((rough - logits) ** 2).mean()) / logits.std()
    assert 1e-4 < error < 2e-2


def test_a_gguf_gives_the_same(tmp_path, logits):
    qformat.convert(VILLAGE, tmp_path / "m.gguf", "f32", to="gguf")
    assert np.abs(np.asarray(open_model(tmp_path / "m.gguf").logits(TOKENS)) - logits).max() < 1e-5


@pytest.mark.parametrize("scheme", ["sym8", "asym4", "q8_0", "q4_k"])
def test_a_container_is_its_decoded_self(tmp_path, scheme):
    qformat.convert(VILLAGE, tmp_path / "m.safetensors", scheme)
    qformat.convert(tmp_path / "m.safetensors", tmp_path / "plain", to="safetensors", dtype="F32")
    ours = np.asarray(open_model(tmp_path / "m.safetensors").logits(TOKENS))
    assert np.abs(ours - np.asarray(open_model(tmp_path / "plain").logits(TOKENS))).max() < 1e-5


def test_a_missing_tensor_is_named_before_anything_is_read(tmp_path):
    folder, tensors = editable(tmp_path)
    del tensors["model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(FormatError, match=r"model\.layers\.2\.mlp\.up_proj\.weight.*llama"):
        open_model(folder)


def test_a_wrong_shape_is_named(tmp_path):
    folder, tensors = editable(tmp_path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:100]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(FormatError, match=r"model\.norm\.weight.*\[100\].*llama.*\[256\]"):
        open_model(folder)


def test_an_unknown_architecture_is_named(tmp_path):
    folder, _ = editable(tmp_path)
    (folder / "config.json").write_text(json.dumps({"architectures": ["NewForCausalLM"]}))
    with pytest.raises(FormatError, match="NewForCausalLM"):
        open_model(folder)


def test_weights_alone_are_not_a_model():
    with pytest.raises(FormatError, match=r"no config\.json"):
        open_model(VILLAGE / "model-00001-of-00002.safetensors")


def test_bad_requests_are_refused(model):
    with pytest.raises(QFormatError, match="token 1280"):
        model.embed([[3, 1280]])
    with pytest.raises(QFormatError, match="f64"):
        open_model(VILLAGE, dtype="f64")


def test_rows_of_the_embedding_are_those_of_the_tensor(model):
    table = model.weights.rows("token_embd.weight", np.arange(1280))
    tokens = jnp.array([[5, 5, 1279], [0, 5, 2]])
    assert np.array_equal(np.asarray(model.embed(tokens)), table[np.asarray(tokens)])
