"""Tiny random models of every family, from the configs and shapes in golden/families; made by name alone."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

from qformat import families

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(p.stem for p in (GOLDEN / "families").glob("*.json"))
LENGTH = 120  # of a sequence: past all windows (64) and original contexts (32), within the context (128)
VOCABULARY = 96


def golden(case: str) -> dict:
    return json.loads((GOLDEN / "families" / f"{case}.json").read_text())


def tokens(case: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(case.encode())).integers(0, VOCABULARY, LENGTH)


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values that keep activations near 1 through any depth; norms differ from element to element."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = random.integers(-128, 129, shape) / 128
    if len(shape) > 1:
        return (values * (3 / shape[-1]) ** 0.5).astype(np.float32)
    return (values / 4 + ("norm" in name or "ln_" in name)).astype(np.float32)


def tensors(case: str) -> dict[str, np.ndarray]:
    return {name: weights(name, tuple(shape)) for name, shape in golden(case)["hf"].items()}


def write_folder(case: str, folder: Path) -> Path:
    """A Hugging Face folder without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(golden(case)["config"]))
    save_file(tensors(case), folder / "model.safetensors", {"format": "pt"})
    return folder


ADD = {"u32": "uint32", "i32": "int32", "f32": "float32", "bool": "bool", "string": "string"}


def write_gguf(case: str, path: Path) -> Path:
    """The same model as a GGUF without a vocabulary, by gguf-py; tensors as llama.cpp's converter has them."""
    model = families.config_from_hf(golden(case)["config"])
    arrays = tensors(case)
    writer = gguf.GGUFWriter(path, "")
    keys = families.config_to_gguf(model)
    for key, typed in keys.items():
        if key.endswith("rope.dimension_sections"):
            writer.add_array(
                key, [1, 1, 0, 0]
            )  # for text all are one, but llama.cpp wants them to fit the head
        elif typed.array:
            writer.add_array(key, list(typed.value))
        elif key != "general.architecture":
            getattr(writer, f"add_{ADD[typed.kind]}")(key, typed.value)
        else:
            writer.add_string(key, typed.value)
    architecture = keys["general.architecture"].value
    writer.add_string("tokenizer.ggml.model", "none")
    writer.add_uint32(f"{architecture}.vocab_size", model.vocabulary)
    for made in families.to_gguf(model, {name: a.shape for name, a in arrays.items()}):
        if not made.dropped:
            writer.add_tensor(made.name, made.apply([arrays[name] for name in made.sources]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
