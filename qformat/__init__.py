"""Convert, inspect and measure block-quantized model checkpoints.

The verbs, each imported when first used::

    qformat.open(path)                          a checkpoint, whatever its format
    qformat.convert(source, target, "asym4")    quantize, or write back as plain numbers
    qformat.diff(a, b)                          how far two checkpoints lie apart
    qformat.verify(path)                        prove that a container is whole
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qformat.convert.diff import diff
    from qformat.convert.verbs import convert
    from qformat.convert.verify import verify
    from qformat.files.opening import open_checkpoint as open  # noqa: A004  the verb's name

from qformat.errors import QFormatError

__all__ = ["QFormatError", "convert", "diff", "open", "verify"]

_VERBS = {
    "open": ("qformat.files.opening", "open_checkpoint"),
    "convert": ("qformat.convert.verbs", "convert"),
    "diff": ("qformat.convert.diff", "diff"),
    "verify": ("qformat.convert.verify", "verify"),
}


class _Package(ModuleType):
    """Importing the floor `qformat.convert` must not hide the verb of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _VERBS or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _VERBS:
            raise AttributeError(f"module 'qformat' has no attribute {name!r}")
        module, attribute = _VERBS[name]
        value = getattr(importlib.import_module(module), attribute)
        setattr(self, name, value)
        return value


sys.modules[__name__].__class__ = _Package
