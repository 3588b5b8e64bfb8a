"""A measurement that keeps what is done on disk, by group of windows and by route, and goes on from there."""

from __future__ import annotations

import contextlib
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qformat.evaluate.engine import Engine
from qformat.evaluate.heads import Arrays
from qformat.evaluate.windows import Windows, token_digest


@dataclass
class CachedEngine(Engine):
    """Measures only the routes whose figures of a group are not in ``folder`` yet.

    ``keys`` name each route by what decides about its figures: the digests of its files and so on.
    """

    folder: Path = Path()
    keys: tuple[str, ...] = ()

    def group(self, windows: Windows) -> list[Arrays]:
        mark = token_digest(windows)[:16]
        paths = [self.folder / f"{key}-{mark}.npz" for key in self.keys]
        found = [_load(p) for p in paths]
        missing = [i for i, arrays in enumerate(found) if arrays is None]
        if missing:
            wanted = sorted({0, *missing})
            part = replace(self, routes=[self.routes[i] for i in wanted])
            for i, arrays in zip(wanted, Engine.group(part, windows), strict=True):
                found[i] = arrays
                _save(paths[i], arrays)
        return [arrays for arrays in found if arrays is not None]


def _load(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # not there, or cut short by a crash: made anew


def _save(path: Path, arrays: Arrays) -> None:
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        np.savez(draft, **arrays)  # type: ignore[arg-type]  # numpy takes allow_pickle for one of them
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
