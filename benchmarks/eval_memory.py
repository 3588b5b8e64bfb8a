"""Peak memory of an evaluation: what ``qformat eval`` holds of a model much larger than that.

Makes a synthetic bfloat16 Llama (8 GB by default, random weights) with a small byte vocabulary in a
temporary folder, evaluates it on 2,048 tokens in a process of its own, and samples that process's
anonymous resident memory (RssAnon: everything but file-backed pages) every 20 ms. With ``--against``
the model is measured against itself, which holds both at once.

    python benchmarks/eval_memory.py [--gb 8] [--dtype f32] [--against] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from memory import anonymous

WIDTH, FF, HEADS, KV, VOCABULARY = 4096, 14_336, 32, 8, 32_000
BOUND_MB = 2500


def layer_shapes(i: int) -> dict[str, tuple[int, ...]]:
    at, kv = f"model.layers.{i}.", WIDTH * KV // HEADS
    return {
        f"{at}input_layernorm.weight": (WIDTH,),
        f"{at}self_attn.q_proj.weight": (WIDTH, WIDTH),
        f"{at}self_attn.k_proj.weight": (kv, WIDTH),
        f"{at}self_attn.v_proj.weight": (kv, WIDTH),
        f"{at}self_attn.o_proj.weight": (WIDTH, WIDTH),
        f"{at}post_attention_layernorm.weight": (WIDTH,),
        f"{at}mlp.gate_proj.weight": (FF, WIDTH),
        f"{at}mlp.up_proj.weight": (FF, WIDTH),
        f"{at}mlp.down_proj.weight": (WIDTH, FF),
    }


def make_model(folder: Path, gigabytes: float) -> None:
    """A Hugging Face folder; every matrix repeats the same random numbers, as their values do not matter."""
    ends = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (VOCABULARY, WIDTH),
    }
    per_layer = sum(int(np.prod(s)) for s in layer_shapes(0).values()) * 2
    layers = max(1, round((gigabytes * 1e9 - VOCABULARY * WIDTH * 4) / per_layer))
    shapes = {**ends, **{n: s for i in range(layers) for n, s in layer_shapes(i).items()}}
    write_weights(folder / "model.safetensors", shapes)
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": WIDTH,
                "intermediate_size": FF,
                "num_hidden_layers": layers,
                "num_attention_heads": HEADS,
                "num_key_value_heads": KV,
                "vocab_size": VOCABULARY,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0,
                "tie_word_embeddings": False,
            }
        )
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))


def tokenizer() -> dict[str, object]:
    """Bytes as tokens, by the usual stand-ins, filled up to the vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary |= {f"<unused{i}>": i for i in range(len(vocabulary), VOCABULARY)}
    return {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(1 << 24, dtype=np.float32) / 64).astype(ml_dtypes.bfloat16).tobytes()
    ones = np.ones(WIDTH, ml_dtypes.bfloat16).tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            left = int(np.prod(shape)) * 2
            if len(shape) == 1:
                file.write(ones)
                continue
            while left:
                left -= file.write(values[: min(left, len(values))])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=8)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--against", action="store_true")
    parser.add_argument("--folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make_model(folder, args.gb)
        text = folder / "text.txt"
        text.write_text("".join(chr(97 + i % 26) for i in range(2048)))
        command = [sys.executable, "-m", "qformat", "eval", folder, "--text", text, "--dtype", args.dtype]
        command += ["--against", folder] if args.against else []
        start, peak = time.perf_counter(), 0
        with subprocess.Popen(command, env=os.environ) as process:
            while process.poll() is None:
                peak = max(peak, anonymous(process.pid))
                time.sleep(0.02)
        assert process.returncode == 0
        seconds = time.perf_counter() - start
        nbytes = (folder / "model.safetensors").stat().st_size
    how = f"{args.dtype}, against itself" if args.against else args.dtype
    print(f"model {nbytes / 1e9:.2f} GB, {how}, {seconds:.0f} s")
    print(f"anonymous memory: peak {peak / 1024:.0f} MB (bound: {BOUND_MB} MB)")


if __name__ == "__main__":
    main()
