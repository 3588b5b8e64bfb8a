"""Raw blocks taken apart into the sections that a kernel works on, and put together again.

XLA interleaves arrays of different widths slowly; NumPy copies sections as opaque bytes of a
structured type, at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import RawBlocks, Section, sections
from qformat.schemes.scratch import scratch


class Record:
    """The sections of a raw block as a structured type."""

    def __init__(self, layout: RawBlocks) -> None:
        self.sections = sections(layout)
        self.size = layout.size
        self.dtype = np.dtype([(s.name, _whole(s)) for s in self.sections])

    def join(
        self, parts: Mapping[str, NDArray[Any]], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Sections ``[n, count]`` as the bytes of ``n`` records; those of ``out``, where it is given."""
        n = next(iter(parts.values())).shape[0]
        data = np.empty(n * self.size, np.uint8) if out is None else out
        records = data.view(self.dtype)
        for section in self.sections:
            part = np.ascontiguousarray(parts[section.name])
            records[section.name] = part.reshape(-1).view(_whole(section))
        return data

    def opened(self, records: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Records ``[n, size]`` as sections ``[n, count]``."""
        rows = np.ascontiguousarray(records).reshape(-1).view(self.dtype)
        return {
            s.name: np.ascontiguousarray(rows[s.name]).view(dtypes.numpy_dtype(s.dtype)).reshape(-1, s.count)
            for s in self.sections
        }

    def split(self, records: NDArray[np.uint8], room: int) -> dict[str, NDArray[Any]]:
        """Records ``[n, size]`` as aligned sections ``[room, count]``, in this thread's buffers.

        Rows from ``n`` on hold whatever was there before.
        """
        n = records.shape[0]
        rows = np.ascontiguousarray(records).reshape(-1).view(self.dtype)
        parts = {}
        for section in self.sections:
            part = scratch(
                f"section {section.name}", (room, section.count), dtypes.numpy_dtype(section.dtype)
            )
            part.reshape(-1).view(_whole(section))[:n] = rows[section.name]
            parts[section.name] = part
        return parts


def _whole(section: Section) -> np.dtype[Any]:
    """A section as one item that NumPy copies without looking: an integer or opaque bytes."""
    return np.dtype(f"<u{section.size}" if section.size in (1, 2, 4, 8) else f"V{section.size}")
