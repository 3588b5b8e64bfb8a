"""A reader written from specs/container.md alone finds the bits that qformat's own decoder finds."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_bf16, weights

import qformat
from qformat.blocks.layout import Codes, RawBlocks, planes
from qformat.blocks.tiles import Tile
from qformat.convert.recipe import Rule
from qformat.schemes.registry import registry
from qformat.views.source import TensorSource

SPEC = Path(__file__).parent / "spec"
SCHEMES_PAGE = SPEC.parent.parent / "specs" / "schemes.md"
sys.path.insert(0, str(SPEC))

from reader import read  # noqa: E402

EXPECTED = json.loads((SPEC / "accept/values.json").read_text())
VOCABULARY = [k.id for k, _ in registry().schemes() if not isinstance(k().layout(), RawBlocks) and k.encodes]
VARIANTS = ["asym4:block=96,scale=bf16,zero=min", "asym2:scale=f32,zero=min", "sym2:block=256,scale=bf16"]


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def words(array: np.ndarray) -> list[int]:
    return np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint32).tolist()


@pytest.mark.parametrize("name", EXPECTED)
def test_vectors(name):
    found = read(files(SPEC / "accept" / name))
    assert found.keys() == EXPECTED[name].keys()
    for tensor, wanted in EXPECTED[name].items():
        count = len(wanted["bits"]) // 8
        assert list(found[tensor].shape) == wanted["shape"]
        assert words(found[tensor]) == list(struct.unpack(f">{count}I", bytes.fromhex(wanted["bits"])))


@pytest.mark.parametrize(
    "name", ["flipped-data", "flipped-metadata", "flipped-descriptor", "flipped-content"]
)
def test_damage(name):
    with pytest.raises(ValueError, match="digest"):
        read([SPEC / "refuse" / f"{name}.safetensors"])


@pytest.mark.parametrize("scheme", [*VOCABULARY, *VARIANTS])
def test_schemes(scheme, tmp_path):
    tensors = {"w": weights(1, (3, 101)), "cube": weights(2, (2, 2, 300)), "norm": weights(3, (7,))}
    save_bf16(tensors, tmp_path / "source.safetensors")
    target = tmp_path / "made.safetensors"
    qformat.convert(tmp_path / "source.safetensors", target, rules=[Rule("norm", "keep"), Rule("*", scheme)])
    checkpoint = qformat.open(target)
    found = read([target])
    assert found.keys() == tensors.keys()
    for name, info in checkpoint.tensors.items():
        source = TensorSource(checkpoint, info)
        wanted = source.region(Tile(0, source.rows, 0, source.cols))
        assert words(found[name]) == words(wanted)


def spec_rows() -> list[str]:
    """The table of planes, as it must stand in the page."""
    rows = []
    for kind, _ in registry().schemes():
        scheme = kind()
        if isinstance(scheme.layout(), RawBlocks):
            continue
        for spec in (scheme, *([kind(zero="min")] if "zero" in scheme.options() else [])):
            for plane in planes(spec.layout()):
                item = plane.item
                if isinstance(item, Codes):
                    shown = f"{item.bits}-bit {'signed' if item.signed else 'unsigned'}"
                else:
                    shown = item.dtype
                rows.append(f"| `{spec.spec()}` | `{plane.name}` | {shown} | {plane.span} | {spec.bpw:g} |")
    return rows


def test_the_table_of_planes_is_true():
    text = SCHEMES_PAGE.read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if re.match(r"\| `\w+[^|]*` \| `[\w.]+` \|", line)]
    assert found == spec_rows()
