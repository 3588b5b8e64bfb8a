"""Importances of a file to the tensors that are encoded by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qformat import families
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile
from qformat.convert.plan import TensorPlan
from qformat.errors import FormatError
from qformat.files.checkpoint import Checkpoint
from qformat.files.imatrix import Imatrix
from qformat.files.strict_json import parse
from qformat.views.gguf_keys import gguf_keyvalues

# What no tool measures unless asked to: it is looked up, or follows the last layer.
_UNMEASURED = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")


@dataclass(frozen=True)
class Importance:
    """The importances of a tensor's columns, for each of its stacked matrices: ``[experts, cols]``."""

    means: NDArray[np.float32]
    rows: int  # of one matrix

    def of(self, tile: Tile) -> NDArray[np.float32]:
        """Those of a region, ``[rows, cols]`` or, alike in all rows, ``[1, cols]``."""
        cols = slice(tile.col, tile.col + tile.cols)
        first, last = tile.row // self.rows, (tile.row + tile.rows - 1) // self.rows
        if first == last:
            return self.means[first : first + 1, cols]
        return self.means[np.arange(tile.row, tile.row + tile.rows) // self.rows, cols]


def weigh(tensors: Sequence[TensorPlan], imatrix: Imatrix) -> tuple[list[TensorPlan], list[str]]:
    """The plans, with importances where a scheme heeds them; and what is to be said of those without.

    Raises
    ------
    FormatError
        If none of the tensors is in the file, or one has another number of columns or matrices there.
    """
    heeding = [t for t in tensors if _heeds(t)]
    absent = [t.info.name for t in heeding if t.info.name not in imatrix.entries]
    if heeding and len(absent) == len(heeding):
        raise FormatError(
            f"it holds none of the {len(heeding)} tensors to be encoded by importance, such as "
            f"{absent[0]!r}; it has {next(iter(imatrix.entries))!r}",
            file=imatrix.path,
            hint="is it of this model, and of this one's names (GGUF's)?",
        )
    return [_weighed(t, imatrix) for t in tensors], _notes(heeding, absent, imatrix)


def _heeds(tensor: TensorPlan) -> bool:
    return tensor.scheme is not None and tensor.scheme.weighted


def _weighed(tensor: TensorPlan, imatrix: Imatrix) -> TensorPlan:
    if not _heeds(tensor) or tensor.info.name not in imatrix.entries:
        return tensor
    rows, cols = rows_cols(tensor.info.shape)
    matrices = tensor.info.shape[0] if len(tensor.info.shape) > 2 else 1
    means = imatrix.entries[tensor.info.name]
    if means.size != matrices * cols:
        shape = f"{matrices} matrices of {cols} columns" if matrices > 1 else f"{cols} columns"
        raise FormatError(
            f"it has {means.size} values for this tensor, whose shape calls for {shape}",
            file=imatrix.path,
            tensor=tensor.info.name,
            hint="it was made of another model: make it again, from this one",
        )
    importance = Importance(means.reshape(matrices, cols), max(1, rows // matrices))
    return dataclasses.replace(tensor, importance=importance)


def _notes(heeding: list[TensorPlan], absent: list[str], imatrix: Imatrix) -> list[str]:
    """What is encoded without importance although it could be with."""
    if not heeding:
        return [f"none of the schemes heeds importances: {imatrix.path.name} changes nothing"]
    odd = [name for name in absent if name not in _UNMEASURED]
    if not odd:
        return []
    many = f"{len(odd)} tensors ({odd[0]} and others) are" if len(odd) > 1 else f"{odd[0]} is"
    return [f"{many} not in {imatrix.path.name} and will be encoded without importance"]


# --- a model under Hugging Face's names -----------------------------------------------------------


def under_names_of(source: Checkpoint, imatrix: Imatrix) -> Imatrix:
    """The importances under the names of a checkpoint's tensors, where those are not GGUF's.

    Columns are the same for both as long as an operation of the family only moves rows.
    """
    if gguf_keyvalues(source) is not None or "config.json" not in source.attachments:
        return imatrix
    given = parse(source.read_attachment("config.json"), file=source.path, what="config.json")
    shapes = {name: info.shape for name, info in source.tensors.items()}
    made = families.to_gguf(families.config_from_hf(given), shapes)
    entries: dict[str, NDArray[np.float32]] = {}
    for derived in made:
        means = imatrix.entries.get(derived.name)
        if means is None or derived.dropped or not derived.op.rows_only:
            continue
        table = means.reshape(-1, derived.shape[-1]) if means.size % derived.shape[-1] == 0 else means
        each = len(table) == len(derived.sources) > 1
        for i, name in enumerate(derived.sources):
            entries[name] = table[i : i + 1] if each else table
    return dataclasses.replace(imatrix, entries=entries)
