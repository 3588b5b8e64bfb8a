"""The vectors of specs/container.md: what to accept, to the bit, and what to refuse, with the reason."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from safetensors import safe_open

import qformat
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import FormatError, IntegrityError
from qformat.inspect.values import values

SPEC = Path(__file__).parent / "spec"
sys.path.insert(0, str(SPEC))

from make_vectors import vectors  # noqa: E402

EXPECTED = json.loads((SPEC / "accept/values.json").read_text())
REASONS = json.loads((SPEC / "refuse/reasons.json").read_text())


def decoded(checkpoint, info) -> np.ndarray:
    rows, cols = rows_cols(info.shape)
    return np.asarray(values(checkpoint, info, Tile(0, rows, 0, cols)), np.float32)


def hexadecimal(array: np.ndarray) -> str:
    flat = array.astype(np.float32).reshape(-1)
    return struct.pack(f">{flat.size}f", *flat.tolist()).hex()


def test_the_vectors_are_what_their_script_makes():
    made = vectors()
    committed = {
        p.relative_to(SPEC).as_posix(): p.read_bytes()
        for folder in ("accept", "refuse")
        for p in (SPEC / folder).rglob("*")
        if p.is_file()
    }
    assert sorted(made) == sorted(committed)
    assert [name for name, raw in made.items() if committed[name] != raw] == []
    assert all(
        len(raw) < 6000 for name, raw in made.items() if "safetensors" in name and "nested-json" not in name
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_accepted(name):
    checkpoint = qformat.open(SPEC / "accept" / name)
    assert checkpoint.format == "qformat"
    found = {
        info.name: {"shape": list(info.shape), "bits": hexadecimal(decoded(checkpoint, info))}
        for info in checkpoint.tensors.values()
    }
    assert found == EXPECTED[name]
    assert qformat.verify(SPEC / "accept" / name).faults == ()


@pytest.mark.parametrize("path", sorted((SPEC / "accept").rglob("*.safetensors")), ids=lambda p: p.name)
def test_accepted_by_safetensors(path):
    with safe_open(path, "numpy") as file:
        assert list(file.keys())


@pytest.mark.parametrize("name", REASONS)
def test_refused(name):
    try:
        said = [fault.what for fault in qformat.verify(SPEC / "refuse" / name).faults]
    except (FormatError, IntegrityError) as error:
        said = [str(error)]
    assert said, "it was accepted"
    assert any(REASONS[name] in text for text in said), said


def test_names_are_shown_with_their_escapes_disarmed():
    shown = command("inspect", SPEC / "accept/escapes.safetensors").stdout
    assert "\x1b" not in shown
    assert "red \\x1b[31m\\n\u00e9" in shown
