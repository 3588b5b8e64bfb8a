"""Raw blocks taken apart into the sections that a scheme works on, and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import RawBlocks, Section, sections
from qformat.schemes.numerics import materialized


class Record:
    """The sections of a raw block."""

    def __init__(self, layout: RawBlocks) -> None:
        self.sections = sections(layout)
        self.size = layout.size

    def opened(self, records: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Records ``[n, size]`` as sections ``[n, count]``, by NumPy."""
        return {
            s.name: np.ascontiguousarray(records[:, s.at : s.at + s.size]).view(dtypes.numpy_dtype(s.dtype))
            for s in self.sections
        }

    def split(self, records: Any) -> dict[str, Any]:
        """Records ``[n, size]`` as sections ``[n, count]``, in a kernel."""
        return {s.name: _numbers(records[:, s.at : s.at + s.size], s) for s in self.sections}

    def join(self, parts: Mapping[str, Any]) -> Any:
        """Sections ``[n, count]`` as records ``[n, size]``, in a kernel.

        What is written to memory already is copied together; XLA would compute it byte by byte.
        """
        data = materialized(*(_bytes(parts[s.name]) for s in self.sections))
        return jnp.concatenate(data, axis=1)


def _numbers(data: Any, section: Section) -> Any:
    dtype = dtypes.numpy_dtype(section.dtype)
    if dtype.itemsize > 1:
        data = data.reshape(-1, section.count, dtype.itemsize)
    return lax.bitcast_convert_type(data, dtype)


def _bytes(part: Any) -> Any:
    return lax.bitcast_convert_type(part, jnp.uint8).reshape(part.shape[0], -1)
