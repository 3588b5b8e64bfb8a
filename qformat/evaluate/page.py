"""Self-contained pages: a template of ours with JSON data in it, nothing from the network."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

MARK = "/*DATA*/null"


def fill(template: str, data: Any) -> str:
    """A page with its data. The data is JSON inside a script, where no text can end the script."""
    page = files("qformat.evaluate").joinpath("pages", template).read_text(encoding="utf-8")
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return page.replace(MARK, text.replace("<", "\\u003c"))


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write text so that the file appears complete or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
