"""The headers of a new GGUF in several files, as llama.cpp's own splitter lays them out.

The first file has the model's key-values; all have three that say which of how many they are. Each
tensor is in one file as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qformat.errors import TargetError
from qformat.files.gguf.building import KeyValue, NewTensor, Typed, encode_pair, lay_out
from qformat.files.gguf.checkpoint import MAX_SHARDS, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS
from qformat.files.gguf.types import DEFAULT_ALIGNMENT, ValueType
from qformat.files.gguf.writing import GGUFLayout

SPLIT_KEYS = (SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS)
_COUNT_TYPE = ValueType.UINT16
_MOST = min(MAX_SHARDS, 2**16 - 1)
_HEAD = 256  # bytes that the counts, the three keys and the padding stay below
_INFO = 64  # of a tensor info besides its name


def lay_out_split(
    keyvalues: Iterable[KeyValue], tensors: Sequence[NewTensor], limit: int
) -> tuple[GGUFLayout, ...]:
    """Lay consecutive tensors out in files of at most ``limit`` bytes; one file if all fit.

    A tensor that is larger than that has a file of its own.

    Raises
    ------
    TargetError
        For more files than can be numbered, and whatever `lay_out` refuses.
    """
    pairs = [(key, value) for key, value in keyvalues if key not in SPLIT_KEYS]
    groups = _groups(pairs, tensors, limit)
    if len(groups) == 1:
        return (lay_out(pairs, tensors),)
    if len(groups) > _MOST:
        raise TargetError(
            f"it would be {len(groups):,} files; {_MOST:,} are possible", hint="choose a larger size"
        )
    layouts = []
    for i, group in enumerate(groups):
        place = (
            (SPLIT_NO, Typed(_COUNT_TYPE, i)),
            (SPLIT_COUNT, Typed(_COUNT_TYPE, len(groups))),
            (SPLIT_TENSORS, Typed(ValueType.INT32, len(tensors))),
        )
        layouts.append(lay_out([*pairs, *place] if i == 0 else place, group))
    return tuple(layouts)


def _groups(pairs: list[KeyValue], tensors: Sequence[NewTensor], limit: int) -> list[list[NewTensor]]:
    groups: list[list[NewTensor]] = [[]]
    used = _HEAD + sum(len(encode_pair(key, value)) for key, value in pairs)
    for tensor in tensors:
        need = _INFO + len(tensor.name.encode()) + tensor.nbytes + DEFAULT_ALIGNMENT
        if groups[-1] and used + need > limit:
            groups.append([])
            used = _HEAD
        groups[-1].append(tensor)
        used += need
    return groups
