"""The speed of a sweep's models: each takes turns with the original, so that both meet the same machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qformat.convert.verbs import convert
from qformat.evaluate.page import write_whole
from qformat.evaluate.runners import LLAMA_CPP
from qformat.evaluate.speed import Spread, speed
from qformat.evaluate.stage import Stage
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import open_checkpoint

PROMPT, NEW, REPEATS = 16, 32, 5


@dataclass(frozen=True)
class Fast:
    """New tokens a second, and how many times the original's, round by round."""

    tokens: Spread
    times: Spread

    def to_json(self) -> dict[str, Any]:
        return {"decode_tokens_per_second": self.tokens.to_json(), "decode_ratio": self.times.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> Fast:
        return cls(Spread(**value["decode_tokens_per_second"]), Spread(**value["decode_ratio"]))


def timed(
    checkpoints: Sequence[Checkpoint],
    keys: Sequence[str],
    engine: str,
    dtype: str,
    folder: Path,
    progress: Callable[[Stage], None] | None,
) -> list[Fast | None]:
    """Speeds, the original's first. None stands for files that the engine does not read.

    What an earlier sweep measured in ``folder``, under ``keys``, is taken as it is.
    """
    original = partial(_readable, checkpoints[0], engine, folder / f"original-{keys[0]}.gguf")
    bases: list[Fast] = []
    found: list[Fast | None] = []
    for i, (checkpoint, key) in enumerate(zip(checkpoints[1:], keys[1:], strict=True)):
        if progress:
            progress(Stage(f"timing in {engine}", i / (len(checkpoints) - 1)))
        if engine == LLAMA_CPP and checkpoint.format != "gguf":
            found.append(None)
            continue
        kept = folder / f"speed-{engine}-{key}.json"
        pair = _known(kept) or _pair(original(), checkpoint, engine, dtype)
        write_whole(kept, [json.dumps([one.to_json() for one in pair])])
        bases.append(pair[0])
        found.append(pair[1])
    return [bases[0], *found] if bases else []


def _pair(original: Checkpoint, other: Checkpoint, engine: str, dtype: str) -> tuple[Fast, Fast]:
    both = speed([original, other], [engine], prompt=PROMPT, new=NEW, repeats=REPEATS, dtype=dtype)
    if not both.complete:
        raise KeyboardInterrupt
    base, one = both.timed
    return Fast(base.decode, base.times(base)), Fast(one.decode, one.times(base))


def _known(kept: Path) -> tuple[Fast, Fast] | None:
    """What a file holds; None if there is none, or a damaged one."""
    try:
        base, one = json.loads(kept.read_text(encoding="utf-8"))
        return Fast.from_json(base), Fast.from_json(one)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _readable(original: Checkpoint, engine: str, target: Path) -> Checkpoint:
    """The original, for llama.cpp as a GGUF of the same numbers."""
    if engine != LLAMA_CPP or original.format == "gguf":
        return original
    if not target.exists():
        convert(original.path, target, to="gguf")
    return open_checkpoint(target)
