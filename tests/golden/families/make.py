"""Make the golden files of this folder: what llama.cpp's own converter writes for tiny checkpoints.

Needs torch, transformers and llama.cpp's source (its `convert_hf_to_gguf.py`); the tests need
neither. Usage: `python make.py PATH/TO/llama.cpp WORKDIR`.

Weights are made from the names of the tensors, so that a test can make them again:
see `weights` below.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

SMALL = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def rope(**more):
    return {"rope_parameters": {"rope_theta": 10000.0, **more}}


LLAMA3 = rope(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)  # fmt: skip
YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
LONG = rope(
    rope_type="longrope", long_factor=[1.0, 2.0, 3.0, 4.0], short_factor=[1.0, 1.25, 1.5, 1.75],
    original_max_position_embeddings=32,
)  # fmt: skip
DELTA = {
    "num_hidden_layers": 4, "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 6,
    "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
}  # fmt: skip
GPT2 = {
    "vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

# name: (model_type, config, what older configs have and the converter cannot do without)
CASES = {
    "llama": ("llama", {"tie_word_embeddings": False}, {}),
    "llama_llama3": ("llama", {**LLAMA3, "head_dim": 16, "tie_word_embeddings": True}, {}),
    "llama_linear": ("llama", rope(rope_type="linear", factor=2.0), {}),
    "llama_yarn": ("llama", YARN, {}),
    "llama_bias": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "mistral": ("mistral", {"sliding_window": 64}, {}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, {}),
    "qwen2": ("qwen2", {}, {}),
    "qwen3": ("qwen3", {"head_dim": 16}, {}),
    "qwen3moe": (
        "qwen3_moe",
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True},
        {},
    ),
    "qwen35": ("qwen3_5_text", DELTA, {}),
    "gemma": ("gemma", {"head_dim": 16}, {}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16}, {}),
    "gemma3": (
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16, "num_hidden_layers": 7},
        {},
    ),
    "phi2": ("phi", {"num_key_value_heads": 4, "intermediate_size": 128}, {}),
    "phi3": ("phi3", {"sliding_window": 64, "original_max_position_embeddings": 128}, {}),
    "phi3_long": ("phi3", {**LONG, "original_max_position_embeddings": 32}, {}),
    "gpt2": ("gpt2", GPT2, {"n_ctx": 128}),
    "olmo2": ("olmo2", {}, {}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4}, {}),
    "granite": (
        "granite",
        {"attention_multiplier": 0.25, "embedding_multiplier": 12.0, "residual_multiplier": 0.5, "logits_scaling": 8.0},
        {},
    ),
    "starcoder2": ("starcoder2", {}, {}),
    "stablelm": ("stablelm", {}, {}),
    "stablelm_qk": ("stablelm", {"qk_layernorm": True, "use_parallel_residual": True, "use_qkv_bias": True}, {}),
    "gptneox": ("gpt_neox", {"num_key_value_heads": 4}, {"rotary_pct": 0.25}),
    "cohere": ("cohere", {}, {}),
    "cohere_qk": ("cohere", {"use_qk_norm": True}, {}),
    "cohere2": ("cohere2", {"head_dim": 8, "num_hidden_layers": 4, "sliding_window": 64}, {"rotary_pct": 1.0}),
}  # fmt: skip


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/256 that follow from the name: adding 1 and taking it away loses nothing."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (random.integers(-128, 128, shape) / 256).astype(np.float32)


def checkpoint(folder: Path, model_type: str, options: dict, older: dict) -> tuple[dict, dict]:
    import torch
    from safetensors.numpy import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    small = {} if model_type == "gpt2" else SMALL
    config = AutoConfig.for_model(model_type, **{**small, **options})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, **older}))
    shapes = {name: a.shape for name, a in load_file(folder / "model.safetensors").items()}
    save_file({n: weights(n, s) for n, s in shapes.items()}, folder / "model.safetensors", {"format": "pt"})
    # gemma3's converter counts the vocabulary to cut off embedding rows beyond it.
    tokens = {"model": {"vocab": {str(i): i for i in range(90)}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    return stored, {name: list(shape) for name, shape in sorted(shapes.items())}


def convert(folder: Path, out: Path) -> None:
    import gguf
    from conversion import ModelBase, get_model_class

    hparams = ModelBase.load_hparams(folder, is_mistral_format=False)
    cls = get_model_class(hparams["architectures"][0])
    cls.set_vocab = lambda self: None
    cls.no_mtp = True
    # Passing the file's own dict keeps keys that transformers takes for old and drops.
    hparams |= json.loads((folder / "config.json").read_text())
    cls(folder, gguf.LlamaFileType.ALL_F32, out, eager=True, hparams=hparams).write()


def read(path: Path) -> tuple[dict, dict]:
    import gguf

    reader = gguf.GGUFReader(path)
    keys = {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        types = [t.name.lower() for t in field.types]
        kind = f"array[{types[1]}]" if len(types) > 1 else types[0]
        keys[key] = [kind, field.contents()]
    tensors = {
        t.name: [
            t.tensor_type.name,
            [int(n) for n in t.shape[::-1]],
            hashlib.sha256(t.data.tobytes()).hexdigest(),
        ]
        for t in reader.tensors
    }
    return keys, tensors


def main(source: Path, work: Path, only: list[str]) -> None:
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    here = Path(__file__).parent
    for name, case in CASES.items():
        if only and name not in only:
            continue
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            config, shapes = checkpoint(folder, *case)
            golden = {"config": config, "hf": shapes}
            try:
                convert(folder, folder / "model.gguf")
                golden["keys"], golden["gguf"] = read(folder / "model.gguf")
            except ValueError as error:  # the converter's own shortcoming; the names are worth keeping
                print(name, "converter:", type(error).__name__, str(error)[:80])
        except Exception as error:  # noqa: BLE001 (one model that fails must not stop the others)
            print(name, "FAILED", type(error).__name__, str(error)[:300])
            continue
        text = json.dumps(golden, indent=None, sort_keys=True, separators=(",", ":"))
        (here / f"{name}.json").write_text(text + "\n")
        print(name, len(text))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
