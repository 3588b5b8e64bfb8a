"""A panel that says how a block's numbers are made, with the numbers of its first element."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qformat.blocks.layout import Affine, Codebook, RawBlocks, ScaleMin
from qformat.inspect.panel import Panel
from qformat.plugins import hookimpl

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qformat.files.checkpoint import Checkpoint, TensorInfo
    from qformat.inspect.block import BlockView


def render(checkpoint: Checkpoint, info: TensorInfo, block: BlockView | None) -> RenderableType | None:
    """The rule in words, and for a block the sum behind its first value."""
    from rich.text import Text

    del checkpoint  # the descriptor and the block say it all
    if info.scheme is None:
        return None
    lines = [_rule(info)]
    if block is not None and not isinstance(info.scheme.layout, RawBlocks):
        lines.append(_example(info, block))
    return Text("\n".join(lines))


def _rule(info: TensorInfo) -> str:
    assert info.scheme is not None
    match info.scheme.layout:
        case ScaleMin():
            return "value = scale × code + min"
        case Codebook():
            return "value = scale × table[code]"
        case Affine(zero_point=None):
            return "value = scale × code"
        case Affine():
            return "value = scale × (code − zero point)"
    provider = info.scheme.provider
    return f"by code of the plugin ({provider.distribution} {provider.version}), not by a formula in the file"


def _example(info: TensorInfo, block: BlockView) -> str:
    assert info.scheme is not None
    first = {field.name: field.items[0] for field in block.fields if field.items}
    code, scale = first["codes"], first.get("scales")
    shown = "scale" if scale is None else f"{scale:g}"  # a scale that is coded itself has no field of its own
    low = first.get("mins")
    zero = first.get("zero_points")
    match info.scheme.layout:
        case ScaleMin():
            middle = f"{shown} × {code} + {'min' if low is None else f'{low:g}'}"
        case Codebook(table=table):
            middle = f"{shown} × {table[int(code)]:g}"
        case Affine(zero_point=None):
            middle = f"{shown} × {code}"
        case _:
            middle = f"{shown} × ({code} − {'zero point' if zero is None else f'{zero:g}'})"
    return f"column {block.first}: {middle} = {block.values[0]:g}"


@hookimpl
def qformat_panels() -> Iterable[Panel]:
    return (Panel("How it decodes", render),)
