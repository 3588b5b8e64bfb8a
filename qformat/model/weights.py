"""The weights of a model, read and decoded a part at a time from any checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qformat.blocks.tiles import Tile, tiles
from qformat.model.layout import Order, Parameter, Piece, parameters
from qformat.schemes.cores import cores
from qformat.schemes.scratch import aligned
from qformat.views.canonical import Canonical
from qformat.views.source import TensorSource, regions, tensor_source

Dtype = Literal["f32", "bf16"]
Params = Mapping[str, jax.Array]
DTYPES: Mapping[Dtype, Any] = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}


class Weights:
    """Decodes a model's weights to JAX arrays.

    Matrices come in ``dtype``; vectors and the small matrices that decide a lot always in float32.
    """

    def __init__(self, model: Canonical, dtype: Dtype) -> None:
        self.config = model.config
        self.dtype: Dtype = dtype
        self._tensors = model.tensors
        self._shapes = {name: info.shape for name, info in model.tensors.tensors.items()}

    def layer(self, index: int) -> Params:
        """All parameters of a layer, by their name without the layer."""
        return {p.name: self._read(p) for p in parameters(self.config, self._shapes, index)}

    def head(self) -> Params:
        """The last norm and the output matrix, which may be the embedding's."""
        output = "token_embd.weight" if self.config.tied else "output.weight"
        names = {name: name for name in ("output_norm.weight", "output_norm.bias", "output.bias")}
        names["output.weight"] = output
        found = {name: tensor for name, tensor in names.items() if tensor in self._shapes}
        return {name: self._read(self._whole(name, tensor)) for name, tensor in found.items()}

    def _whole(self, name: str, tensor: str) -> Parameter:
        shape = self._shapes[tensor]
        return Parameter(name, shape, (Piece(tensor),), exact=len(shape) == 1)

    def rows(self, name: str, wanted: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Some rows of a matrix, in float32 whatever ``dtype`` is; each row is decoded once."""
        distinct, where = np.unique(wanted, return_inverse=True)
        source = self._source(name)
        out = np.empty((distinct.size, source.cols), np.float32)
        step = max(1, (1 << 19) // source.cols)
        for start in range(0, distinct.size, step):
            out[start : start + step] = source.rows_at(distinct[start : start + step])
        every: NDArray[np.float32] = out[where.reshape(-1)].reshape(*wanted.shape, -1)
        return every

    def _source(self, tensor: str) -> TensorSource:
        return tensor_source(self._tensors, self._tensors.tensors[tensor])

    def _read(self, parameter: Parameter) -> jax.Array:
        if parameter.exact:
            return jnp.asarray(self._exact(parameter))
        out = aligned(parameter.shape, DTYPES[self.dtype])
        rows = out.reshape(-1, out.shape[-1])
        start = 0
        for piece in parameter.pieces:
            source = self._source(piece.tensor)
            _fill(rows[start : start + source.rows], source, piece.order)
            start += source.rows
        return jnp.asarray(out)

    def _exact(self, parameter: Parameter) -> NDArray[np.float32]:
        parts = []
        for piece in parameter.pieces:
            source = self._source(piece.tensor)
            flat = np.asarray(source.region(Tile(0, source.rows, 0, source.cols)), np.float32).reshape(-1)
            parts.append(flat if piece.order is None else flat[piece.order])
        return np.concatenate(parts).reshape(parameter.shape)


def _fill(out: NDArray[Any], source: TensorSource, order: Order | None) -> None:
    """Decode a tensor into the rows of ``out``, region by region on all cores."""
    place = None
    if order is not None:
        place = np.empty_like(order)
        place[order] = np.arange(order.size)

    def work(tile: Tile) -> None:
        rows: Any = slice(tile.row, tile.row + tile.rows)
        if place is not None:
            rows = place[rows]
        out[rows, tile.col : tile.col + tile.cols] = source.region(tile)

    kernel = source.kernel
    cut = tiles(source.rows, source.cols, kernel.block, kernel.blocks) if kernel else None
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(work, regions(source.rows, source.cols) if cut is None else cut))
