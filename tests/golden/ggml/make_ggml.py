"""Make the vectors in this folder with ggml itself: `python tests/golden/ggml/make_ggml.py`.

Needs llama-cpp-python installed, or GGML_LIBDIR naming the folder of libggml-base.so. Its build
must not contract a * b + c into one rounding; the wheels' plain SSE2 code does not.

Per type a file with ``records``: what ggml encodes of `ggml_inputs.values` (for types that it encodes
only with importance weights: random bytes), and ``decoded``: the CRC-32 of what it decodes them to.
Where the encoder heeds importances, ``weighted`` is what it makes of the same with `ggml_inputs.importance`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import zlib
from pathlib import Path

import gguf
import numpy as np
from ggml_inputs import DECODE_ONLY, ENCODED, WEIGHTED, importance, records, values

HERE = Path(__file__).parent


def library() -> ctypes.CDLL:
    folder = os.environ.get("GGML_LIBDIR")
    if folder is None:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            raise SystemExit("install llama-cpp-python or set GGML_LIBDIR")
        folder = str(Path(spec.origin).parent / "lib")
    found = ctypes.CDLL(str(Path(folder) / "libggml-base.so"))
    found.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, integer, integer, integer, pointer]
    return found


def encode(ggml: ctypes.CDLL, name: str, rows: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    kind = gguf.GGMLQuantizationType[name.upper()]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((rows.size // block, size), np.uint8)
    heed = None if weights is None else weights.ctypes.data
    ggml.ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, len(rows), rows.shape[1], heed)
    return out


def decode(ggml: ctypes.CDLL, name: str, data: np.ndarray) -> np.ndarray:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]]
    out = np.empty(data.size // size * block, np.float32)
    call = getattr(ggml, f"dequantize_row_{name.replace('_k', '_K')}")
    call.restype, call.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    call(data.ctypes.data, out.ctypes.data, out.size)
    return out


def main() -> None:
    ggml = library()
    for name in (*ENCODED, *DECODE_ONLY):
        data = encode(ggml, name, values(name)) if name in ENCODED else records(name)
        decoded = zlib.crc32(decode(ggml, name, data).tobytes())
        made = {"records": data, "decoded": np.uint32(decoded)}
        if name in WEIGHTED:
            rows = values(name)
            made["weighted"] = encode(ggml, name, rows, importance(rows.shape[1]))
        np.savez_compressed(HERE / f"{name}.npz", **made)


if __name__ == "__main__":
    main()
