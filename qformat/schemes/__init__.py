"""What a scheme is, how plugins are found, how kernels are run.

A plugin needs only the names below::

    from qformat.schemes import Affine, Codes, Floats, Scheme, hookimpl, option
"""

from qformat.blocks.equivalent import Equivalent
from qformat.blocks.layout import Affine, Codebook, Codes, Field, Floats, RawBlocks, ScaleMin
from qformat.plugins.hooks import hookimpl
from qformat.schemes.scheme import Scheme, option

__all__ = [
    "Affine",
    "Codebook",
    "Codes",
    "Equivalent",
    "Field",
    "Floats",
    "RawBlocks",
    "ScaleMin",
    "Scheme",
    "hookimpl",
    "option",
]
