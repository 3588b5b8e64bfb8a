"""What every file format looks like from outside: named tensors that are mapped, never loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qformat.blocks.descriptor import SchemeRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Stored:
    """One array in a file: a plain tensor, or one plane of a quantized one."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    data_offset: int  # from the start of the file
    nbytes: int


@dataclass(frozen=True)
class TensorInfo:
    """A named tensor, described without reading its data.

    ``dtype`` is the logical type: what the tensor was before it was quantized. ``planes`` has one
    entry, under the empty name, for a plain tensor. ``note`` is the file's own record of where
    the tensor came from and what quantization cost, if it has one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    planes: Mapping[str, Stored]
    scheme: SchemeRecord | None = None
    note: Mapping[str, Any] | None = None

    @property
    def elements(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count

    @property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.planes.values())

    @property
    def bpw(self) -> float:
        return self.nbytes * 8 / self.elements if self.elements else 0.0

    @property
    def coding(self) -> str:
        """The scheme's name, or the dtype of a plain tensor."""
        return self.scheme.id if self.scheme else self.dtype.lower()


class Checkpoint(Protocol):
    """An opened model. Opening reads headers only."""

    format: str  # "safetensors", "qformat" or "gguf"
    path: Path
    files: tuple[Path, ...]
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]
    attachments: Mapping[str, int]  # config, tokenizer and the like: name -> bytes
    digests: Mapping[str, str]  # SHA-256 of stored arrays by their name, where the file carries them

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """One array of a tensor, mapped from the file, in its stored shape and dtype."""
        ...

    def read_attachment(self, name: str) -> bytes:
        """The content of a file that rides along."""
        ...
