"""Decoding what a file describes: by its layout alone where the vocabulary allows, else by its plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.layout import Layout, RawBlocks
from qformat.schemes.kernels import Kernel, kernel
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme


@dataclass(frozen=True)
class Described(Scheme):
    """A scheme known only from a file's record: it decodes and does not encode."""

    id: ClassVar[str] = "described"
    given: Layout

    def layout(self) -> Layout:
        return self.given


def decoder(record: SchemeRecord) -> Kernel:
    """The kernel that decodes a file's tensors of this scheme.

    Raises
    ------
    SchemeError
        If the scheme is outside the vocabulary and its plugin is not installed.
    """
    if isinstance(record.layout, RawBlocks):
        return kernel(registry().for_record(record))
    return kernel(Described(record.layout))
