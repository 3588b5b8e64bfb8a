"""Folders that hold GGUF files: which of them is meant."""

from __future__ import annotations

from pathlib import Path

from qformat.errors import FormatError
from qformat.files.gguf.checkpoint import SHARD

SHOWN = 20  # names in an error


def only_model(folder: Path) -> Path | None:
    """The one GGUF model in a folder, of a split one its first shard; None if there is no GGUF.

    Raises
    ------
    FormatError
        If there are several: it lists them.
    """
    models: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.gguf")):
        match = SHARD.fullmatch(path.name)
        models.setdefault((match["stem"], match["count"]) if match else (path.name, ""), path)
    found = list(models.values())
    if len(found) > 1:
        names = ", ".join(p.name for p in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
        raise FormatError(f"the folder has {len(found)} GGUF models: {names}", file=folder, hint="name one")
    return found[0] if found else None
