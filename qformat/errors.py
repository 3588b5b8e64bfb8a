"""One family of errors: what was wrong, where, and what to do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class QFormatError(Exception):
    """Base of every error that a user can cause or meet.

    ``where`` names the file, and as far as known the tensor and the byte offset; ``hint`` says
    what to do. ``str(error)`` joins the parts in one line, the hint on a second one.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        tensor: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.tensor = tensor
        self.offset = offset
        self.hint = hint
        super().__init__(what)

    @property
    def where(self) -> str:
        parts = [] if self.file is None else [self.file.replace("\n", "\\n")]
        if self.tensor is not None:
            parts.append(f"tensor {self.tensor!r}")
        if self.offset is not None:
            parts.append(f"byte {self.offset}")
        return ", ".join(parts)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.hint}" if self.hint else text


class FormatError(QFormatError):
    """A file is not what it claims to be: cut short, inconsistent, or of an unknown kind."""


class IntegrityError(QFormatError):
    """A file's bytes do not match the digests it carries."""


class DataError(QFormatError):
    """Values that a scheme cannot represent: NaN, infinity, or a scale that overflows.

    ``at`` is the element at fault, where there is one.
    """

    at: tuple[int, ...] | None = None


class SchemeError(QFormatError):
    """An unknown scheme, a bad option, or a scheme whose parts do not fit together."""


class PluginError(QFormatError):
    """A plugin that was asked for by name could not be loaded."""


class RecipeError(QFormatError):
    """A recipe that cannot be read or that names impossible things."""


class TargetError(QFormatError):
    """The output cannot or must not be written where it was asked for."""


_REMEDIES = {
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "choose a disk that takes files of this size",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "choose a folder to put it in",
}


def unwritable(target: str | Path, error: OSError) -> TargetError:
    """What to raise when writing fails: it names what was asked for, not a draft of it beside it."""
    hint = _REMEDIES.get(error.errno or 0, "choose another place")
    return TargetError(f"cannot be written: {error.strerror or error}", file=target, hint=hint)
