"""How long compiling a model takes, by its depth: layers of a kind share one compiled function.

Each depth runs in a process of its own without a compilation cache: a part of a prompt through all
layers and the head, as an evaluation does it, then one token as generation does. Counted is all that JAX
spends on tracing, lowering and compiling.

Usage: `python benchmarks/compile_time.py [LAYERS …]`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BOUND = 5.0
DEPTHS = (4, 16, 64)
WIDTH, INNER, HEADS, VOCABULARY, LENGTH = 256, 512, 8, 1000, 512
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def write(folder: Path, layers: int) -> None:
    """A random Llama of so many layers as a Hugging Face folder."""
    from safetensors.numpy import save_file

    shapes = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (VOCABULARY, WIDTH))
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (INNER, WIDTH) for part in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (WIDTH, INNER)}
    norms = [
        f"model.layers.{i}.{part}_layernorm.weight"
        for i in range(layers)
        for part in ("input", "post_attention")
    ]
    random = np.random.default_rng(0)
    tensors = {n: random.standard_normal(s, np.float32) / np.float32(s[1] ** 0.5) for n, s in shapes.items()}
    tensors |= {name: np.ones(WIDTH, np.float32) for name in [*norms, "model.norm.weight"]}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))


def spent(folder: Path) -> tuple[float, int]:
    """Seconds that compiling took, and how many functions were compiled."""
    import jax

    from qformat.model import open_model
    from qformat.model.generate import Session

    seconds: list[float] = []
    compiled: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event.startswith("/jax/core/compile/"):
            seconds.append(duration)
            compiled.extend([event] * event.endswith("backend_compile_duration"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    model = open_model(folder)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (1, LENGTH))
    jax.block_until_ready(model.logits(tokens))
    session = Session(model, LENGTH + 1)
    session.feed(tokens[0].tolist())
    session.feed([0])
    return sum(seconds), len(compiled)


def main() -> None:
    for layers in [int(n) for n in sys.argv[1:]] or DEPTHS:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), layers)
            command = [sys.executable, __file__, "--of", name]
            environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        print(f"{layers:3} layers: {done.stdout.strip()} (bound: {BOUND:.0f} s)", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        took, count = spent(Path(sys.argv[2]))
        print(f"{took:.2f} s for {count} functions")
    else:
        main()
