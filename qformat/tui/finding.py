"""What lies in a folder, as far as it can be opened or walked into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qformat.inspect.listing import natural

ENDINGS = (".gguf", ".safetensors", ".safetensors.index.json")
LOOKED_AT = 2000  # entries of a folder


@dataclass(frozen=True)
class Found:
    """A folder, a model's folder, or a file that may be a model."""

    path: Path
    kind: str  # "folder", "model" or "file"
    nbytes: int = 0


def is_model(folder: Path) -> bool:
    """Whether a folder is a model: weights beside an index or a config."""
    try:
        names = [p.name for p, _ in zip(folder.iterdir(), range(LOOKED_AT), strict=False)]
    except OSError:
        return False
    weights = [n for n in names if n.endswith(".safetensors")]
    index = [n for n in names if n.endswith(".safetensors.index.json")]
    return len(index) == 1 or (len(weights) == 1 and "config.json" in names)


def find(folder: Path) -> list[Found]:
    """What a folder offers: models first, then files, then folders; hidden ones are left out."""
    found = []
    for path, _ in zip(folder.iterdir(), range(LOOKED_AT), strict=False):
        if path.name.startswith("."):
            continue
        try:
            if path.is_dir():
                found.append(Found(path, "model" if is_model(path) else "folder"))
            elif path.name.endswith(ENDINGS):
                found.append(Found(path, "file", path.stat().st_size))
        except OSError:
            continue
    order = {"model": 0, "file": 1, "folder": 2}
    return sorted(found, key=lambda f: (order[f.kind], natural(f.path.name)))
