"""Writes the Hugging Face folder: bf16 weights in two shards with an index, and the configuration."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from .model import ModelConfig, Params, weight_shapes
from .tokenizer import write_json

SHARDS = 2


def split_names(config: ModelConfig) -> list[list[str]]:
    """Names in file order, cut where half of the elements are reached."""
    shapes = weight_shapes(config)
    half = sum(int(np.prod(shape)) for shape in shapes.values()) / SHARDS
    shards: list[list[str]] = [[] for _ in range(SHARDS)]
    seen = 0
    for name, shape in shapes.items():
        shards[min(int(seen // half), SHARDS - 1)].append(name)
        seen += int(np.prod(shape))
    return shards


def save_weights(params: Params, config: ModelConfig, folder: Path) -> None:
    weight_map: dict[str, str] = {}
    total = 0
    for number, names in enumerate(split_names(config), start=1):
        file = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        # numpy's cast to bfloat16 rounds to nearest even
        tensors = {name: np.asarray(params[name], np.float32).astype(ml_dtypes.bfloat16) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def save_config(config: ModelConfig, folder: Path, bos: int, stops: list[int]) -> None:
    """`stops`: the token that ends a document, then those that end a turn of a chat."""
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": stops[0],
            "head_dim": config.head_dim,
            "hidden_act": "silu",
            "hidden_size": config.hidden,
            "initializer_range": 0.02,
            "intermediate_size": config.ffn,
            "max_position_embeddings": config.context,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": config.heads,
            "num_hidden_layers": config.layers,
            "num_key_value_heads": config.kv_heads,
            "pretraining_tp": 1,
            "rms_norm_eps": config.norm_eps,
            "rope_scaling": None,
            "rope_theta": config.rope_theta,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": config.vocab,
        },
    )
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": stops,
            "do_sample": False,
            "max_new_tokens": 128,
        },
    )
