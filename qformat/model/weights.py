"""The weights of a model, read and decoded a part at a time from any checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Any, Literal

import jax
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qformat.blocks.tiles import Tile, tiles
from qformat.errors import QFormatError
from qformat.model.layout import Order, Parameter, Piece, parameters
from qformat.model.packed import Packed, joined, packed
from qformat.schemes.cores import cores
from qformat.schemes.scratch import aligned
from qformat.views.canonical import Canonical
from qformat.views.source import TensorSource, regions, tensor_source

Dtype = Literal["f32", "bf16"]
Params = Mapping[str, jax.Array]
DTYPES: Mapping[Dtype, Any] = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}


def dtype_named(name: str) -> Dtype:
    """What a model can be computed in, by its name in any case.

    Raises
    ------
    QFormatError
        For any other; it lists the known.
    """
    found: Dtype | None = next((dtype for dtype in DTYPES if dtype == name.lower()), None)
    if found is None:
        raise QFormatError(f"a model is not computed in {name!r}", hint=f"known: {', '.join(DTYPES)}")
    return found


class Weights:
    """Decodes a model's weights to JAX arrays.

    Matrices come in ``dtype``; vectors and the small matrices that decide a lot always in float32.
    """

    def __init__(self, model: Canonical, dtype: Dtype) -> None:
        self.config = model.config
        self.dtype: Dtype = dtype
        self._tensors = model.tensors
        self._shapes = {name: info.shape for name, info in model.tensors.tensors.items()}

    def parameters(self, index: int) -> list[Parameter]:
        """What a layer's parameters are made of."""
        return list(parameters(self.config, self._shapes, index))

    def layer(self, index: int) -> Params:
        """All parameters of a layer, by their name without the layer."""
        return self._read(parameters(self.config, self._shapes, index))

    def head(self) -> Params:
        """The last norm and the output matrix, which may be the embedding's."""
        return self._read(self._head_parameters())

    def _head_parameters(self) -> list[Parameter]:
        output = "token_embd.weight" if self.config.tied else "output.weight"
        names = {name: name for name in ("output_norm.weight", "output_norm.bias", "output.bias")}
        names["output.weight"] = output
        found = {name: tensor for name, tensor in names.items() if tensor in self._shapes}
        return [self._whole(name, tensor) for name, tensor in found.items()]

    def packed_layer(self, index: int) -> dict[str, Any]:
        """As `layer`, for products with one row: what is quantized stays so where `packed` can hold it."""
        return self._packed(parameters(self.config, self._shapes, index))

    def packed_head(self) -> dict[str, Any]:
        """As `head`, likewise."""
        return self._packed(self._head_parameters())

    def _packed(self, wanted: Iterable[Parameter]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        plain: list[Parameter] = []
        for parameter in wanted:
            parts = [] if parameter.exact or len(parameter.shape) != 2 else self._packed_parts(parameter)
            if parts:
                groups = tuple(joined(list(same)) for _, same in groupby(parts, lambda part: part.form))
                found[parameter.name] = jax.tree.map(jax.device_put, groups)
            else:
                plain.append(parameter)
        return {**found, **self._read(plain)}

    def _packed_parts(self, parameter: Parameter) -> list[Packed]:
        made = [packed(self._source(piece.tensor), piece.order) for piece in parameter.pieces]
        return [part for part in made if part is not None] if None not in made else []

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

    def _read(self, wanted: Iterable[Parameter]) -> Params:
        """Read parameters, all regions of all of them on all cores."""
        found: dict[str, NDArray[Any]] = {}
        jobs: list[Callable[[], None]] = []
        for parameter in wanted:
            if parameter.exact:
                found[parameter.name] = self._exact(parameter)
                continue
            out = found[parameter.name] = aligned(parameter.shape, DTYPES[self.dtype])
            rows = out.reshape(-1, out.shape[-1])
            start = 0
            for piece in parameter.pieces:
                source = self._source(piece.tensor)
                if source.kernel is not None and self.dtype == "bf16":
                    source.dtype = "BF16"
                jobs += _decoding(rows[start : start + source.rows], source, piece.order)
                start += source.rows
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda job: job(), jobs))
        return {name: jax.device_put(array) for name, array in found.items()}  # not copied

    def _exact(self, parameter: Parameter) -> NDArray[np.float32]:
        parts = []
        for piece in parameter.pieces:
            source = self._source(piece.tensor)
            flat = np.asarray(source.region(Tile(0, source.rows, 0, source.cols)), np.float32).reshape(-1)
            parts.append(flat if piece.order is None else flat[piece.order])
        return np.concatenate(parts).reshape(parameter.shape)


def _decoding(out: NDArray[Any], source: TensorSource, order: Order | None) -> list[Callable[[], None]]:
    """What decodes a tensor into the rows of ``out``, region by region."""
    place: Any = None
    if order is not None:
        place = np.empty_like(order)
        place[order] = np.arange(order.size)

    def decode(tile: Tile) -> None:
        rows: Any = slice(tile.row, tile.row + tile.rows)
        out[rows if place is None else place[rows], tile.slices[1]] = source.region(tile)

    kernel = source.kernel
    cut = regions(source.rows, source.cols)
    if kernel is not None:
        cut = list(tiles(source.rows, source.cols, kernel.block, kernel.decode_blocks))
    return [partial(decode, tile) for tile in cut]
