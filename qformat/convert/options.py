"""What a conversion may be told: one place for the verbs and the skins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qformat.convert.plan import GGUF, QFORMAT, SAFETENSORS
from qformat.convert.recipe import CASTS, Recipe, Rule, combine
from qformat.errors import QFormatError, RecipeError, TargetError

FORMATS = (QFORMAT, SAFETENSORS, GGUF)


@dataclass(frozen=True)
class Options:
    """How to convert; names are taken in any case.

    ``scheme`` with the default policy, or a ``recipe``; ``rules`` come before either. ``to`` is a format of
    `FORMATS`, by default what the target's name says. ``dtype`` is of plain numbers; ``pure``, for GGUF,
    means one type for all matrices. ``imatrix`` names a file of importances. `convert` says more.
    """

    scheme: str | None = None
    recipe: Recipe | None = None
    rules: tuple[Rule, ...] = ()
    to: str | None = None
    dtype: str | None = None
    max_shard_size: int | None = None
    pure: bool = False
    imatrix: str | os.PathLike[str] | None = None

    def format(self, target: Path | None) -> str:
        """The format to write."""
        if self.to is None:
            return format_of(target)
        return _known(self.to.lower(), FORMATS, "a format to convert to")

    def cast(self) -> str | None:
        """The dtype of plain numbers, as files name it."""
        return (
            None if self.dtype is None else CASTS[_known(self.dtype.lower(), CASTS, "a dtype to convert to")]
        )

    def combined(self) -> Recipe:
        """The rules in force."""
        return combine(self.scheme, self.recipe, self.rules)

    def check(self, to: str) -> None:
        """Refuse what does not go together.

        Raises
        ------
        RecipeError, TargetError
            They say which two.
        """
        chosen = self.scheme is not None or self.recipe is not None or bool(self.rules)
        if self.scheme is not None and self.recipe is not None:
            raise RecipeError(
                "give a scheme or a recipe, not both", hint="put the scheme into the recipe's last rule"
            )
        if to == SAFETENSORS and (chosen or self.imatrix is not None):
            what = "a scheme, a recipe or rules" if chosen else "importances"
            raise RecipeError(f"plain safetensors are numbers: they take a dtype, not {what}")
        if to != SAFETENSORS and self.dtype is not None:
            raise TargetError(
                f"a dtype goes with plain safetensors, not with {to}", hint="give a scheme: f16"
            )
        if to != GGUF and self.pure:
            raise TargetError(f"a pure type is for GGUF, not for {to}")


def _known(name: str, known: Iterable[str], what: str) -> str:
    if name not in known:
        raise QFormatError(f"{name!r} is not {what}", hint=f"known: {', '.join(known)}")
    return name


def format_of(target: Path | None) -> str:
    """What a target is to be if nobody says: GGUF by its name, else a container."""
    return GGUF if target is not None and target.suffix == ".gguf" else QFORMAT
