"""JSON that two parsers cannot read differently: no duplicate keys, half characters, NaN, runaway depth."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qformat.errors import FormatError

MAX_FILE = 200_000_000
# An escape that another one has to complete, or that completes none: strict parsers refuse it.
_D, _HIGH, _LOW = r"\\u[dD]", "[89abAB][0-9a-fA-F]{2}", "[c-fC-F][0-9a-fA-F]{2}"
_MAYBE_LONE = re.compile(f"{_D}(?:{_HIGH}(?!{_D}{_LOW})|(?<!{_D}{_HIGH}{_D}){_LOW})")


def parse(text: str | bytes, *, file: str | Path, what: str) -> Any:
    """Parse JSON; raises FormatError that says what is wrong and where."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        if _MAYBE_LONE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise FormatError(f"{what} is nested too deeply", file=file) from None
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{what} is not valid UTF-8: {error.reason}", file=file, offset=error.start
        ) from None
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise FormatError(f"{what} has half of a surrogate pair, {lone!r}, in a text", file=file) from None
    except ValueError as error:
        told = "a number has too many digits" if "int_max_str_digits" in str(error) else error
        raise FormatError(f"{what} is not valid JSON: {told}", file=file) from None
    return value


def parse_file(path: Path, what: str) -> Any:
    """Parse a JSON file of sane size."""
    if path.stat().st_size > MAX_FILE:
        raise FormatError(f"{what} is larger than {MAX_FILE:,} bytes", file=path)
    return parse(path.read_bytes(), file=path, what=what)


def canonical(value: Any) -> str:
    """The one form of a value without floats: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
