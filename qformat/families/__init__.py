"""What is known of each model architecture: its config, its tensors, and how both formats store them.

>>> config = {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 8, "intermediate_size": 16,
...           "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10,
...           "max_position_embeddings": 32, "rms_norm_eps": 1e-6, "rope_theta": 1e6}
>>> model = config_from_hf(config)
>>> model.family, model.qkv_bias, model.rope.base
('qwen2', True, 1000000.0)
>>> config_to_gguf(model)["qwen2.rope.freq_base"]
Typed(kind='f32', value=1000000.0, array=False)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families import gguf_keys, gguf_write, hf_config, registry, tensors
from qformat.families.checks import FamilyError
from qformat.families.config import DeltaRule, Experts, ModelConfig, Rope, RopeScaling
from qformat.families.family import Family
from qformat.families.gguf_keys import Reader, Typed
from qformat.families.ops import Constant, Copy, Derived, Drop, Op
from qformat.families.registry import FAMILIES

__all__ = [
    "FAMILIES",
    "Constant",
    "Copy",
    "DeltaRule",
    "Derived",
    "Drop",
    "Experts",
    "Family",
    "FamilyError",
    "ModelConfig",
    "Op",
    "Rope",
    "RopeScaling",
    "Typed",
    "config_from_gguf",
    "config_from_hf",
    "config_to_gguf",
    "config_to_hf",
    "losses",
    "tensor_names",
    "to_gguf",
    "to_hf",
]
Shapes = Mapping[str, tuple[int, ...]]


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """Describe the model of a config.json.

    Raises
    ------
    FamilyError
        If its architecture is not known, or a key is missing or says what cannot be.
    """
    return hf_config.read(hf_config.text_part(config), registry.of_config(config))


def config_to_hf(model: ModelConfig) -> dict[str, Any]:
    """The config.json of a model."""
    return hf_config.write(model, registry.family(model.family))


def config_from_gguf(values: Mapping[str, Any], tensors: Shapes, load: Reader | None = None) -> ModelConfig:
    """Describe the model of a GGUF from its key-values and the shapes (row-major) of its tensors.

    ``load`` gives the values of a tensor by its name; only tables of rotary frequencies are asked for.

    Raises
    ------
    FamilyError
        As ``config_from_hf``.
    """
    return gguf_keys.read(values, registry.of_gguf(values), tensors, load)


def config_to_gguf(model: ModelConfig) -> dict[str, Typed]:
    """The architecture and hyperparameters of a model as key-values; not those of its tokenizer."""
    return gguf_write.write(model, registry.family(model.family))


def losses(model: ModelConfig) -> list[str]:
    """What llama.cpp will not honour of a model's GGUF, in words, to be reported."""
    return gguf_write.losses(model, registry.family(model.family))


def to_gguf(model: ModelConfig, hf_tensors: Shapes, tokens: int | None = None) -> list[Derived]:
    """How the tensors of a GGUF are made from those of a Hugging Face checkpoint, given by shape.

    ``tokens`` is the number of the tokenizer's tokens, where embedding rows beyond them are cut off.

    Raises
    ------
    FamilyError
        If a tensor is missing, unknown or of another shape than the config calls for.
    """
    return tensors.to_gguf(model, registry.family(model.family), hf_tensors, tokens)


def to_hf(model: ModelConfig, gguf_tensors: Shapes) -> list[Derived]:
    """How the tensors of a Hugging Face checkpoint are made from those of a GGUF; else as ``to_gguf``."""
    return tensors.to_hf(model, registry.family(model.family), gguf_tensors)


def tensor_names(model: ModelConfig) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which tensors belong together: Hugging Face's names and GGUF's, part by part."""
    return tensors.names(model, registry.family(model.family))
