"""What quantization cost: perplexity and divergence, streamed layer by layer, with honest intervals.

Called, this floor is the verb of its name: ``qformat.evaluate(model, original, text="heldout.txt")``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package that is also a function, as both have the best claim to the name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from qformat.evaluate.verbs import evaluate

        return evaluate(*args, **options)


sys.modules[__name__].__class__ = _Verb
