"""An opened model: embedding, layers and head, each read when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qformat.errors import QFormatError
from qformat.families import ModelConfig
from qformat.files.checkpoint import Checkpoint
from qformat.model import decoder
from qformat.model.decoder import Kind
from qformat.model.rope import layer_angles
from qformat.model.weights import Dtype, Params, Weights, dtype_named
from qformat.views.canonical import canonical


@dataclass(frozen=True)
class Layer:
    """One layer with its weights; call it on hidden states ``[b, t, width]``."""

    config: ModelConfig
    index: int
    params: Params

    def __call__(self, hidden: Any, start: int = 0, last: int | None = None) -> Any:
        """The next hidden states; positions count from ``start``, and nothing before it is seen.

        With ``last`` those of so many last positions, which takes as much less work.
        """
        length = hidden.shape[1]
        angles = layer_angles(self.config, self.index, start + length)
        kind = Kind.of(self.config, self.index)
        last = None if last is None or last >= length else last
        return decoder.compiled_block(self.config, kind, self.params, hidden, np.int32(start), angles, last)


@dataclass(frozen=True)
class Head:
    """The last norm and the output projection, with their weights."""

    config: ModelConfig
    params: Params

    def apply(self, params: Params, hidden: Any) -> Any:
        """Float32 logits ``[n, vocabulary]`` of hidden states ``[n, width]``: pure, so it can be jitted."""
        return decoder.logits(self.config, params, hidden)

    def logits(self, hidden: Any) -> Any:
        """Float32 logits ``[..., vocabulary]`` of hidden states ``[..., width]``."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        out = decoder.compiled_logits(self.config, self.params, flat)
        return out.reshape(*hidden.shape[:-1], -1)


class Model:
    """A model of any known architecture, from any checkpoint; opening reads headers only."""

    def __init__(self, checkpoint: Checkpoint, dtype: Dtype) -> None:
        dtype = dtype_named(dtype)
        seen = canonical(checkpoint)
        self.checkpoint = checkpoint
        self.config = seen.config
        self.dtype = dtype
        self.weights = Weights(seen, dtype)
        self._resident: tuple[list[Layer], Head] | None = None
        self._packed: tuple[list[Layer], Head] | None = None

    def embed(self, tokens: ArrayLike, start: int = 0) -> Any:
        """The first hidden states, float32 ``[b, t, width]``, of tokens ``[b, t]``.

        Raises
        ------
        QFormatError
            For a token that is not in the vocabulary, or a position that the model has not learned.
        """
        ids = np.asarray(tokens, np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.config.vocabulary:
            bad = ids[(ids < 0) | (ids >= self.config.vocabulary)].flat[0]
            raise QFormatError(f"token {bad} is not among the {self.config.vocabulary} of the vocabulary")
        positions = self._positions(start, ids.shape[-1]) if self.config.learned_positions else None
        return decoder.embedded(self.config, self.weights.rows("token_embd.weight", ids), positions)

    def _positions(self, start: int, length: int) -> NDArray[np.float32]:
        if start + length > self.config.context:
            what = f"the model has learned {self.config.context} positions; {start + length} are asked for"
            raise QFormatError(what, file=self.checkpoint.path)
        return self.weights.rows("position_embd.weight", np.arange(start, start + length))

    def layer(self, index: int) -> Layer:
        """Read and decode one layer."""
        return Layer(self.config, index, self.weights.layer(index))

    def head(self) -> Head:
        """Read and decode the head."""
        return Head(self.config, self.weights.head())

    def resident(self) -> tuple[list[Layer], Head]:
        """All layers and the head; they stay in memory from the first call on."""
        if self._resident is None:
            self._resident = [self.layer(i) for i in range(self.config.layers)], self.head()
        return self._resident

    def packed(self) -> tuple[list[Layer], Head]:
        """As `resident`, with quantized matrices as they are: for one token at a time."""
        if self._packed is None:
            params = [self.weights.packed_layer(i) for i in range(self.config.layers)]
            layers = [Layer(self.config, i, p) for i, p in enumerate(params)]
            self._packed = layers, Head(self.config, self.weights.packed_head())
        return self._packed

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor is."""
        return any(info.scheme is not None for info in self.checkpoint.tensors.values())

    def logits(self, tokens: ArrayLike) -> Any:
        """Float32 logits ``[b, t, vocabulary]``; all weights stay in memory from the first call on."""
        layers, head = self.resident()
        hidden = self.embed(tokens)
        for layer in layers:
            hidden = layer(hidden)
        return head.logits(hidden)
