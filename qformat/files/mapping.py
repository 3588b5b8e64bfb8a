"""A file mapped for reading, whose length is looked at again before each array.

Memory that is mapped past the end of a file is no error that Python could catch: the process dies of
SIGBUS. A file that another program cuts short while it is read is therefore noticed here, unless that
happens while an array is being read.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qformat.files.checkpoint import Stored


class Map:
    """The bytes of a file, ``data``; read-only."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.data: NDArray[Any] = np.frombuffer(self._map, np.uint8)

    def bytes_of(self, stored: Stored) -> NDArray[Any]:
        """An array's bytes, as they are in the file.

        Raises
        ------
        FormatError
            If the file has become too short for it since it was opened.
        """
        end = stored.data_offset + stored.nbytes
        if (size := self._map.size()) < end:
            raise FormatError(
                f"the file was cut short while it was read: it has {size:,} bytes, had {self.data.size:,}",
                file=self.path,
                tensor=stored.name,
                offset=stored.data_offset,
                hint="another program is writing it: try again when that is done",
            )
        return self.data[stored.data_offset : end]
