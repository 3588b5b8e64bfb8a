"""Text token by token: what was read stays in a cache, and each new token goes through the layers once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qformat.errors import QFormatError
from qformat.families import ModelConfig
from qformat.model import decoder
from qformat.model.attention import Cache
from qformat.model.decoder import Kind
from qformat.model.model import Model
from qformat.model.rope import layer_angles
from qformat.model.sampling import Sampling
from qformat.model.weights import DTYPES

PART = 512  # tokens of a prompt read at once
STEP = 256  # a cache has room for a multiple of it, so that few sizes have to be compiled


class Session:
    """One sequence that grows: feed it tokens, get the logits of what comes next.

    A plain model is in memory as a whole. Of a quantized one the packed matrices are, which single
    tokens go through; for longer parts of a prompt its layers are decoded one after the other.

    Attributes
    ----------
    tokens
        What it has read so far.
    """

    def __init__(self, model: Model, capacity: int) -> None:
        """``capacity`` is the most tokens that the sequence can come to have."""
        config = model.config
        if config.learned_positions:
            capacity = min(capacity, config.context)
        self.model, self.capacity, self.tokens = model, capacity, list[int]()
        room = -(-(capacity + PART) // STEP) * STEP  # a part is filled up beyond its last token
        self._room = room
        self._layers, self._head = model.packed() if model.is_quantized else model.resident()
        self._kinds = [Kind.of(config, i) for i in range(config.layers)]
        self._caches = self._empty()
        self._angles = [layer_angles(config, i, capacity, room) for i in range(config.layers)]

    def keep(self, ids: Sequence[int]) -> int:
        """Forget what is not the beginning of ``ids``; how many of them need not be fed again.

        The last of them always is. A layer of the delta rule cannot go back: then all is forgotten,
        unless all that was read is kept.
        """
        limit = min(len(self.tokens), len(ids) - 1)
        same = next((i for i in range(limit) if self.tokens[i] != ids[i]), max(0, limit))
        if same < len(self.tokens) and any(kind.delta for kind in self._kinds):
            same = 0
            self._caches = self._empty()
        del self.tokens[same:]  # caches hold it still, but a position is seen only after it was read anew
        return same

    def read_ahead(self, ids: Sequence[int]) -> Iterator[int]:
        """Read what is new of a sequence, all but its last part; how much is read of it, after each part."""
        self.keep(ids)
        while len(ids) - len(self.tokens) > PART:
            start = len(self.tokens)
            self._read(ids[start : start + PART])
            yield len(self.tokens)

    def _empty(self) -> list[Cache]:
        dtype = DTYPES[self.model.dtype]
        return [decoder.empty_cache(self.model.config, kind, self._room, dtype) for kind in self._kinds]

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; the logits ``[vocabulary]`` of the token after the last.

        Raises
        ------
        QFormatError
            If there are none, or more than there is room for.
        """
        if not len(ids):
            raise QFormatError("there is no token to go on from")
        if len(self.tokens) + len(ids) > self.capacity:
            what = f"{len(self.tokens) + len(ids)} tokens are more than the {self.capacity} there is room for"
            raise QFormatError(what, file=self.model.checkpoint.path)
        for first in range(0, len(ids), PART):
            hidden = self._read(ids[first : first + PART])
        return np.asarray(self._head.logits(hidden))

    def _read(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Hidden state ``[width]`` of the last token of a part."""
        start, count = len(self.tokens), len(ids)
        hidden = self.model.embed([ids], start)
        filling = _filled(count) - count
        if filling:
            hidden = np.pad(np.asarray(hidden), ((0, 0), (0, filling), (0, 0)))
        at = np.int32(start), np.int32(count)
        reach = min(self._room, _reach(start + hidden.shape[1]))
        step = decoder.step_for(self.model.config, count)
        for i, layer in enumerate(self._layers):
            decoded = count > 1 and self.model.is_quantized
            params = self.model.weights.layer(i) if decoded else layer.params
            hidden, self._caches[i] = step(
                layer.config, self._kinds[i], params, hidden, at, self._angles[i], self._caches[i], reach
            )
        self.tokens += [int(t) for t in ids]
        last: NDArray[np.float32] = np.asarray(hidden[0, count - 1])
        return last


def ample(config: ModelConfig, wanted: int) -> int:
    """Twice the room that is wanted, as far as the model reads and its positions turn alike."""
    rope = config.rope
    ends = [config.context, rope.original_context if rope is not None else None]
    return min([2 * wanted, *(end for end in ends if end and wanted <= end)])


def _reach(length: int) -> int:
    """How much of a cache holds so many tokens: one of few sizes, each of which is compiled once."""
    return STEP << (-(-length // STEP) - 1).bit_length()


def _filled(count: int) -> int:
    """Lengths go up to one of a few, each of which is compiled once."""
    return count if count == 1 else max(8, 1 << (count - 1).bit_length())


def generate(
    model: Model,
    prompt_ids: Sequence[int],
    *,
    max_new: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int = 0,
    stop_ids: Iterable[int] = (),
    session: Session | None = None,
) -> Iterator[int]:
    """Continue a prompt; tokens come as they are made, at most ``max_new`` and none of ``stop_ids``.

    Temperature 0 always takes the likeliest token, the first of equals. Otherwise `Sampling` says
    what the numbers mean, and the same ``seed`` gives the same tokens. Of the prompt a ``session`` reads
    only what it has not read before.

    Raises
    ------
    QFormatError
        For an empty prompt, a token that is not in the vocabulary, or a number outside its range.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p)
    session = session or Session(model, len(prompt_ids) + max_new)
    logits = session.feed(prompt_ids[session.keep(prompt_ids) :])
    return _go_on(session, logits, sampling, max_new, seed, frozenset(stop_ids))


def _go_on(
    session: Session,
    logits: NDArray[np.float32],
    sampling: Sampling,
    max_new: int,
    seed: int,
    stops: frozenset[int],
) -> Iterator[int]:
    random = np.random.default_rng(seed)
    for made in range(1, max_new + 1):
        token = sampling.choose(logits, random)
        if token in stops:
            return
        yield token
        if made < max_new:
            logits = session.feed([token])
