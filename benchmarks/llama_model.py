"""A random Llama of 110 million parameters as GGUF files of several types, and llama.cpp to run them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import numpy as np
from llama_cpp import llama_cpp as api

import qformat

WIDTH, INNER, LAYERS, HEADS, KV_HEADS, VOCABULARY = 1024, 2816, 8, 16, 4, 8192
PURE = {"f32": "f32", "bf16": "bf16", "q8_0": "q8_0", "q4_0": "q4_0", "q4_1": "q4_1", "q4_k": "q4_k"}


def write(path: Path) -> None:
    """The float32 model, without words."""
    random = np.random.default_rng(0)
    kv = WIDTH // HEADS * KV_HEADS
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_string("tokenizer.ggml.model", "none")
    shapes = {"token_embd": (VOCABULARY, WIDTH), "output": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm": (WIDTH,),
            f"blk.{i}.ffn_norm": (WIDTH,),
            f"blk.{i}.attn_q": (WIDTH, WIDTH),
            f"blk.{i}.attn_k": (kv, WIDTH),
            f"blk.{i}.attn_v": (kv, WIDTH),
            f"blk.{i}.attn_output": (WIDTH, WIDTH),
            f"blk.{i}.ffn_gate": (INNER, WIDTH),
            f"blk.{i}.ffn_up": (INNER, WIDTH),
            f"blk.{i}.ffn_down": (WIDTH, INNER),
        }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32)
        scaled = 1 + values / 5 if len(shape) == 1 else values / shape[1] ** 0.5
        writer.add_tensor(f"{name}.weight", scaled.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model(folder: Path, kind: str) -> Path:
    """The model with all matrices of one type, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path, wide = folder / f"{kind}.gguf", folder / "f32.gguf"
    if not wide.exists():
        write(wide)
    if not path.exists():
        qformat.convert(wide, path, PURE[kind], to="gguf", pure=True)
    return path


class LlamaCpp:
    """A model in llama.cpp on two threads, its defaults otherwise."""

    def __init__(self, path: Path, context: int, threads: int = 2) -> None:
        self._silent = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self._silent, None)
        self.model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        settings = api.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = context
        settings.n_threads = settings.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, settings)
        self.batch = api.llama_batch_init(context, 0, 1)

    def read(self, ids: np.ndarray, start: int = 0) -> np.ndarray:
        """Logits of the last of these tokens; what came before ``start`` is remembered."""
        if start == 0:
            api.llama_memory_clear(api.llama_get_memory(self.context), False)
        self.batch.n_tokens = len(ids)
        for i, token in enumerate(ids.tolist()):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i] = token, start + i, 1
            self.batch.seq_id[i][0], self.batch.logits[i] = 0, i == len(ids) - 1
        if api.llama_decode(self.context, self.batch):
            raise RuntimeError("llama.cpp could not read the tokens")
        out = ctypes.cast(api.llama_get_logits_ith(self.context, -1), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(out, (VOCABULARY,)).copy()

    def close(self) -> None:
        api.llama_batch_free(self.batch)
        api.llama_free(self.context)
        api.llama_model_free(self.model)
