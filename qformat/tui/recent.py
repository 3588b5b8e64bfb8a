"""Which files were opened lately, and the reader's settings."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEPT = 20


def _home(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "qformat"


class Recent:
    """A list of paths, the latest first, kept in the state folder; losing it is no error."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _home("XDG_STATE_HOME", ".local/state") / "recent.json"

    def paths(self) -> list[Path]:
        """Those that still exist."""
        try:
            value = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        found = [Path(p) for p in value if isinstance(p, str)] if isinstance(value, list) else []
        return [p for p in found if p.exists()]

    def add(self, path: Path) -> None:
        """Put a path first."""
        path = path.absolute()
        paths = [path, *(p for p in self.paths() if p != path)][:KEPT]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps([str(p) for p in paths]), encoding="utf-8")
        except OSError:
            return


@dataclass(frozen=True)
class Settings:
    """``tui.toml`` in the configuration folder: ``theme``, ``[keys]`` such as ``"browser.sort" = "z"``."""

    theme: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    @classmethod
    def read(cls, path: Path | None = None) -> Settings:
        """Read the file if there is one; a bad one is said, not obeyed."""
        path = path or _home("XDG_CONFIG_HOME", ".config") / "tui.toml"
        try:
            value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError:
            return cls()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            return cls(fault=f"{path} is not valid TOML: {error}")
        theme, keys = value.get("theme"), value.get("keys", {})
        good = isinstance(keys, dict) and all(isinstance(v, str) for v in keys.values())
        if not good or not isinstance(theme, str | None):
            return cls(fault=f"{path}: theme is a string, [keys] a table of action = key")
        return cls(theme, keys)
