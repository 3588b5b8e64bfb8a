"""A recipe makes a plan of a checkpoint; the plan is run; a report falls out.

Called, this floor is the verb of its name: ``qformat.convert(source, target, "asym4")``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package that is also a function, as both have the best claim to the name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from qformat.convert.verbs import convert

        return convert(*args, **options)


sys.modules[__name__].__class__ = _Verb
