"""Self-contained pages: a template of ours with JSON data in it, nothing from the network."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from qformat.errors import TargetError, unwritable

MARK = "/*DATA*/null"


def fill(template: str, data: Any) -> str:
    """A page with its data. The data is JSON inside a script, where no text can end the script."""
    page = files("qformat.evaluate").joinpath("pages", template).read_text(encoding="utf-8")
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return page.replace(MARK, text.replace("<", "\\u003c"))


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written later, before hours are spent on what goes into it.

    Raises
    ------
    TargetError
        If it exists, its folder does not, or no file can be made there.
    """
    try:
        if path.exists() and not overwrite:
            raise TargetError("it exists already", file=path, hint="choose another name, or add --overwrite")
        if not path.absolute().parent.is_dir():
            raise TargetError("its folder does not exist", file=path, hint="make its folder first")
        draft = _draft(path)
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write text so that the file appears complete or not at all.

    Raises
    ------
    TargetError
        If the disk is full, or the file cannot be written for another reason.
    """
    draft = _draft(path)
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
