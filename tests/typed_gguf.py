"""A GGUF with one tensor of every type that there is, of random bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qformat.files.gguf.building import NewTensor, Typed, lay_out
from qformat.files.gguf.types import BY_NAME, ValueType
from qformat.files.gguf.writing import write_file
from qformat.schemes.registry import registry

ROWS, COLS = 3, 512


def every_type(path: Path) -> Path:
    """Types that a plugin decodes, and plain ones."""
    known = {kind.id for kind, _ in registry().schemes()}
    types = [t for t in BY_NAME.values() if t.name in known or t.dtype is not None]
    rng = np.random.default_rng(5)
    data = {
        f"a.{t.name}": rng.integers(0, 120, ROWS * COLS // t.block * t.size, np.uint8).tobytes()
        for t in types
    }
    pairs = [("general.architecture", Typed(ValueType.STRING, "none"))]
    tensors = [NewTensor(f"a.{t.name}", t, (ROWS, COLS)) for t in types]
    write_file(path, lay_out(pairs, tensors), lambda name: data[name], overwrite=True)
    return path
