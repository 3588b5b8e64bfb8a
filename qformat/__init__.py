"""Convert, inspect and measure block-quantized model checkpoints.

The verbs, each imported when first used::

    qformat.open(path)                          a checkpoint, whatever its format
    qformat.convert(source, target, "asym4")    quantize, or write back as plain numbers
    qformat.diff(a, b)                          how far two checkpoints lie apart
    qformat.verify(path)                        prove that a container is whole
    qformat.edit(path, {"general.name": "…"})   change metadata
    qformat.evaluate(model, original, text=…)   what quantization cost, on a text
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qformat.convert.diff import diff
    from qformat.convert.verbs import convert
    from qformat.convert.verify import verify
    from qformat.evaluate.verbs import evaluate
    from qformat.files.editing import edit
    from qformat.files.opening import open_checkpoint as open  # noqa: A004  the verb's name

from qformat.errors import QFormatError

__all__ = ["QFormatError", "convert", "diff", "edit", "evaluate", "open", "verify"]

_VERBS = {
    "open": ("qformat.files.opening", "open_checkpoint"),
    "diff": ("qformat.convert.diff", "diff"),
    "edit": ("qformat.files.editing", "edit"),
    "verify": ("qformat.convert.verify", "verify"),
}


def __getattr__(name: str) -> Any:
    if name in ("convert", "evaluate"):  # the floors of those names, which can be called
        return importlib.import_module(f"qformat.{name}")
    if name not in _VERBS:
        raise AttributeError(f"module 'qformat' has no attribute {name!r}")
    module, attribute = _VERBS[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
