"""Layout leaves in words."""

from __future__ import annotations

from qformat.blocks.layout import Codes, Floats, Leaf


def describe_leaf(item: Leaf) -> str:
    """What one item of a plane is.

    >>> describe_leaf(Codes(4, signed=True))
    '4-bit signed code'
    """
    match item:
        case Codes(bits=bits, signed=signed):
            return f"{bits}-bit {'signed' if signed else 'unsigned'} code"
        case Floats(dtype=dtype):
            return dtype
    return f"record of {item.size} bytes"
