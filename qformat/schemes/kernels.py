"""Schemes as compiled kernels over tiles of one fixed shape, so that no tensor causes a new compile.

A tile is small enough to stay in cache, about a million weights. The same compiled code
runs on every tile, whatever the tensor, so results do not depend on shapes or on threads.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.bits import code_range
from qformat.blocks.layout import Codes, Floats, Layout, RawBlocks, block_size, planes, sections
from qformat.blocks.sums import Sums
from qformat.schemes.numerics import materialized
from qformat.schemes.records import Record
from qformat.schemes.scheme import Scheme

TILE = 1 << 20  # weights
FEW = 256  # blocks of a smaller tile, for a row of an embedding
NO_FLOOR = np.float32(-np.inf)
INFINITY = {"F32": 0x7F800000, "BF16": 0x7F80}  # its bits

Items = Mapping[str, NDArray[Any]]


def _cache_folder() -> Path:
    """Compiled code is kept per kind of processor: a shared home must not mix them."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        flags = next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    kind = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:16]
    return base / "qformat" / "xla" / kind


def _configure() -> None:
    """One-time settings, measured to matter on CPU; a user's own cache setting is left alone."""
    # Calls come from our own threads, so JAX's hand-over to another thread only costs.
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))  # type: ignore[no-untyped-call]
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # type: ignore[no-untyped-call]
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)  # type: ignore[no-untyped-call]


def _keep_memory() -> None:
    """Let glibc keep what a tile's results took for those of the next tile.

    It would give megabytes back to the system at once and get them again page by page, which costs
    as much time as the arithmetic does. Up to 256 MB stay with the process for it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library
    trim_threshold, mmap_threshold = -1, -3
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 256 << 20)


_configure()
_keep_memory()


def compiler_options(*, short_loops: bool = False) -> dict[str, bool | int | str]:
    """Options for every kernel: a rounding to f16 that is written stays, vectors are wide.

    LLVM writes loops over few elements out before it looks for what to vectorize, and then finds nothing:
    with ``short_loops`` it keeps those of 32 and more. That suits decoders; a search is slower with it.
    """
    options: dict[str, bool | int | str] = {"xla_allow_excess_precision": False}
    if jax.default_backend() == "cpu":
        options["xla_cpu_prefer_vector_width"] = 512
        # Calls come from our own threads, one for each core. XLA would split every loop among its own
        # threads, too, and for each of a kernel's many short loops wait for them to wake up.
        options["xla_disable_hlo_passes"] = "cpu-parallel-task-assigner"
        if short_loops:
            options["xla_backend_optimization_level"] = 2
    return options


def jit(function: Callable[..., Any], *, static: tuple[str, ...] = (), short_loops: bool = False) -> Any:
    """Jit with the options that every kernel shares."""
    options = compiler_options(short_loops=short_loops)
    return jax.jit(function, static_argnames=static, compiler_options=options)


def widen(raw: Any, dtype: str) -> Any:
    """Source values as float32; bfloat16 comes as uint16, which XLA widens faster than its own type."""
    if dtype == "BF16":
        return lax.bitcast_convert_type(raw.astype(jnp.uint32) << 16, jnp.float32)
    return raw.astype(jnp.float32)


@functools.cache
def _widening() -> Any:
    """Widens binary16 in a call of its own: fused into a reduction, it would go one at a time."""
    return jit(lambda raw: raw.astype(jnp.float32))


def narrow(values: Any) -> Any:
    """Float32 values as the bits of bfloat16, halves to even; XLA's conversion takes longer."""
    bits = lax.bitcast_convert_type(values, jnp.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return jnp.where(jnp.isnan(values), 0x7FC0, rounded).astype(jnp.uint16)


def pack(codes: Any, bits: int) -> Any:
    """Codes ``[n, k]`` (k a multiple of 8) packed densely LSB first, ``[n, k * bits / 8]`` bytes."""
    n, k = codes.shape
    if codes.dtype == jnp.int8:
        codes = lax.bitcast_convert_type(codes, jnp.uint8)
    codes = codes.astype(jnp.uint8)
    if bits == 8:
        return codes
    codes = codes & jnp.uint8((1 << bits) - 1)
    # Neighbours are joined inside wider words, which vectorizes; strided slices do not.
    if bits == 4:
        pair = lax.bitcast_convert_type(codes.reshape(n, k // 2, 2), jnp.uint16)
        return (pair | (pair >> 4)).astype(jnp.uint8)
    if bits == 2:
        word = lax.bitcast_convert_type(codes.reshape(n, k // 4, 4), jnp.uint32)
        word = word | (word >> 6)
        return (word | (word >> 12)).astype(jnp.uint8)
    groups = codes.reshape(n, k // 8, 8).astype(jnp.uint32)
    return jnp.stack([_byte(groups, i, bits) for i in range(bits)], axis=-1).reshape(n, k // 8 * bits)


def _byte(groups: Any, i: int, bits: int) -> Any:
    """Byte ``i`` of each group of eight codes."""
    byte = jnp.zeros(groups.shape[:-1], jnp.uint32)
    for j in range(8):
        shift = j * bits - i * 8
        if -bits < shift < 8:
            byte = byte | (groups[..., j] << shift if shift >= 0 else groups[..., j] >> -shift)
    return byte.astype(jnp.uint8)


def unpack(data: Any, bits: int, *, signed: bool) -> Any:
    """Bytes ``[n, m]`` to all their codes ``[n, m * 8 / bits]``, int8 if signed, else uint8."""
    n, size = data.shape
    if bits == 8:
        return lax.bitcast_convert_type(data, jnp.int8) if signed else data
    if bits == 4:
        codes = _nibbles(data)
    elif 8 % bits == 0:
        shifts = jnp.arange(0, 8, bits, dtype=jnp.uint8)
        codes = (data[:, :, None] >> shifts) & jnp.uint8((1 << bits) - 1)
        codes = codes.reshape(n, size * 8 // bits)
    else:
        groups = data.reshape(n, size // bits, bits).astype(jnp.uint32)
        codes = jnp.stack([_code(groups, j, bits) for j in range(8)], axis=-1).reshape(n, size // bits * 8)
    if not signed:
        return codes
    sign = jnp.uint8(1 << bits - 1)
    return lax.bitcast_convert_type((codes ^ sign) - sign, jnp.int8)


def _nibbles(data: Any) -> Any:
    """Bytes ``[n, m]`` (m even) to their halves ``[n, 2 * m]``, low ones first; two bytes become a word."""
    words = lax.bitcast_convert_type(data.reshape(-1, 2), jnp.uint16).astype(jnp.uint32)
    words = (words | (words << 8)) & 0x00FF00FF
    (words,) = materialized((words | (words << 4)) & 0x0F0F0F0F)
    return materialized(lax.bitcast_convert_type(words, jnp.uint8))[0].reshape(len(data), -1)


def _code(groups: Any, j: int, bits: int) -> Any:
    """Code ``j`` of each group of eight."""
    first, shift = divmod(j * bits, 8)
    word = groups[..., first] >> shift
    if shift + bits > 8:
        word = word | (groups[..., first + 1] << (8 - shift))
    return (word & ((1 << bits) - 1)).astype(jnp.uint8)


def _uncontracted(floor: Any) -> Callable[[Any], Any]:
    """A maximum with a run-time -inf: changes nothing, and LLVM cannot fuse across it."""
    return lambda product: jnp.maximum(product, floor)


def _peaks(raw: Any) -> Any:
    """Bits of largest magnitudes, of eight values each; NaN and infinity are above all others.

    A maximum of integers along a row is slow, one over eighths of the tile runs at the speed of memory.
    """
    bits = lax.bitcast_convert_type(raw, f"uint{raw.dtype.itemsize * 8}")
    bits = bits & ((1 << raw.dtype.itemsize * 8 - 1) - 1)
    return jnp.max(bits.reshape(math.gcd(bits.size, 8), -1), axis=0)


def _sums(values: Any, decoded: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
    """Partial sums of v*v, v*e and e*e and maxima of |e|, with e = v - decoded.

    The sums over decoded values follow from these.
    """
    error = values - decoded
    if mask is not None:
        values, error = jnp.where(mask, values, 0), jnp.where(mask, error, 0)
    lanes = math.gcd(values.shape[1], 16)
    found = (values * values, values * error, error * error, jnp.abs(error))
    for _ in range(3):
        found = _eighths(found, lanes)
    return found


def _eighths(found: tuple[Any, ...], lanes: int) -> tuple[Any, ...]:
    """Eight to one, all four together: over a short middle axis this becomes one vector loop."""

    def join(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return a[0] + b[0], a[1] + b[1], a[2] + b[2], jnp.where(a[3] > b[3], a[3], b[3])

    found = tuple(a.reshape(-1) for a in found)
    steps = math.gcd(found[0].size // lanes, 8)
    zeros = (jnp.float32(0),) * 4
    folded: tuple[Any, ...] = lax.reduce(tuple(a.reshape(-1, steps, lanes) for a in found), zeros, join, (1,))
    return folded


def _total(sums: tuple[Any, Any, Any, Any]) -> Sums:
    value2, cross, error2 = (float(np.asarray(a).sum(dtype=np.float64)) for a in sums[:3])
    worst = float(np.asarray(sums[3]).max())
    return Sums(value2, max(0.0, value2 - 2 * cross + error2), value2 - cross, error2, worst)


def _in_kernel(name: str, layout: Layout) -> int | None:
    """Bits of a plane that the kernel itself packs: codes of the elements, eight to the byte group."""
    plane = next(p for p in planes(layout) if p.name == name)
    if isinstance(plane.item, Codes) and plane.span == 1 and block_size(layout) % 8 == 0:
        return plane.item.bits
    return None


def _types(layout: Layout) -> dict[str, tuple[np.dtype[Any], int]]:
    """Type and items per block of each array that an encoder gives."""
    if isinstance(layout, RawBlocks):
        return {s.name: (dtypes.numpy_dtype(s.dtype), s.count) for s in sections(layout)}
    size, found = block_size(layout), {}
    for plane in planes(layout):
        if isinstance(plane.item, Codes):
            dtype = np.dtype(np.int8 if plane.item.signed else np.uint8)
        elif isinstance(plane.item, Floats):
            dtype = dtypes.numpy_dtype(plane.item.dtype)
        found[plane.name] = dtype, size // plane.span
    return found


def _names(given: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, given))) or "nothing"


def _outside(codes: Any, bits: int, *, signed: bool) -> Any:
    """Of each some codes whether one is out of range; None if their type cannot hold one that is."""
    low, high = code_range(bits, signed=signed)
    if codes.dtype.kind in "iu" and low <= np.iinfo(codes.dtype).min and np.iinfo(codes.dtype).max <= high:
        return None
    wrong = ~((codes >= low) & (codes <= high))
    return jnp.max(wrong.reshape(math.gcd(wrong.size, 64), -1).astype(jnp.uint8), axis=0)


def _is_float(dtype: np.dtype[Any]) -> bool:
    return any(dtypes.numpy_dtype(name) == dtype for name in dtypes.FLOATS)


@dataclass(frozen=True)
class EncodedTile:
    """What an encoder made of a tile.

    ``planes`` are as they are stored, ``floats`` the scales and the like within them. ``sums`` are there if
    they were wanted. Whether all values are ``finite`` is true of a scheme whose floats show that.
    """

    planes: dict[str, NDArray[Any]]
    floats: dict[str, NDArray[Any]]
    sums: Sums | None
    finite: bool


class Kernel:
    """The compiled encoder and decoder of one scheme.

    Arrays to encode hold ``blocks`` blocks, in float32 or the dtype of the source; to be decoded they hold
    up to ``decode_blocks``. Planes of element codes go in and out packed (``[n, block * bits / 8]`` bytes),
    raw blocks as bytes ``[n, size]``, all others as items ``[n, items per block]``.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self.layout = scheme.layout()
        self.planes = planes(self.layout)
        self.record = Record(self.layout) if isinstance(self.layout, RawBlocks) else None
        self.block = block_size(self.layout)
        self.types = _types(self.layout)
        items = {plane.name: plane.item for plane in self.planes}
        self.codes = {n: (i.bits, i.signed) for n, i in items.items() if isinstance(i, Codes)}
        self.floats = tuple(name for name, (dtype, _) in self.types.items() if _is_float(dtype))
        self.blocks = max(8, TILE // self.block // 8 * 8)
        self.decode_blocks = self.blocks
        if self.record and self.block >= 256 and scheme.weighted:
            # The types that heed weights search, which goes over a tile again and again; decoding is
            # quick beside a call's own cost.
            self.blocks = max(8, self.blocks // 8)
        self._encode = jit(self._encode_tile, static=("dtype", "figures"))
        self._decode = jit(self._decode_tile, static=("dtype",), short_loops=True)

    def encode(
        self,
        values: NDArray[Any],
        dtype: str = "F32",
        *,
        mask: NDArray[np.bool_] | None = None,
        weights: NDArray[np.float32] | None = None,
        figures: bool = False,
    ) -> EncodedTile:
        """Encode a full tile ``[blocks, block]``; elements where ``mask`` is false are not measured."""
        if dtype == "F16":
            values, dtype = _widening()(values), "F32"
        found = self._encode(values, mask, weights, NO_FLOOR, dtype=dtype, figures=figures)
        planes, within, sums, peaks, outside = found
        for name, faults in outside.items():
            if np.asarray(faults).any():
                bits, signed = self.codes[name]
                low, high = code_range(bits, signed=signed)
                raise self.scheme.fault("encode", f"codes of {name!r} are not all from {low} to {high}")
        planes = {name: np.asarray(array) for name, array in planes.items()}
        floats = planes | {name: np.asarray(array) for name, array in within.items()}
        measured = None if sums is None else _total(sums)
        finite = peaks is None or bool(np.asarray(peaks).max() < INFINITY[dtype])
        return EncodedTile(planes, {name: floats[name] for name in self.floats}, measured, finite)

    def room(self, count: int) -> int:
        """How many blocks a tile to decode has that holds ``count``: one of a few sizes."""
        return next(size for size in (FEW, self.blocks, self.decode_blocks) if count <= size)

    def decode(self, items: Items, dtype: str = "F32") -> NDArray[Any]:
        """Decode a full tile of planes to ``[blocks, block]``.

        ``dtype`` is F32 or BF16, to which the float32 results are rounded.
        """
        found = np.asarray(self._decode(dict(items), NO_FLOOR, dtype=dtype))
        return found.view(dtypes.numpy_dtype(dtype))

    def _encode_tile(
        self, raw: Any, mask: Any, weights: Any, floor: Any, *, dtype: str, figures: bool
    ) -> tuple[dict[str, Any], dict[str, Any], Any, Any, dict[str, Any]]:
        values = widen(raw, dtype)
        peaks = None if self.scheme.bad_values_show and weights is None else _peaks(raw)
        items, outside = self._encoded(values, weights, check=figures)
        sums = None
        if figures:
            names, arrays = zip(*items.items(), strict=True)
            items = dict(zip(names, materialized(*arrays), strict=True))
            decoded = self._decoded(items, floor)
            sums = _sums(values, decoded, mask)
        if self.record is not None:
            floats = {name: items[name] for name in self.floats}
            return {"blocks": self.record.join(items)}, floats, sums, peaks, outside
        return {k: self._packed(k, a) for k, a in items.items()}, {}, sums, peaks, outside

    def _encoded(self, values: Any, weights: Any, *, check: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the scheme's own encoder gives, in its planes' types and shapes.

        With ``check`` also where codes are out of range, which takes a fifth of the time without figures.
        """
        with self.scheme.blamed("encode"):
            given = self.scheme.encode(values, weights)
            if set(given) != set(self.types):
                what = f"it gives {_names(given)}; the layout has {_names(self.types)}"
                raise self.scheme.fault("encode", what)
            arrays = {name: jnp.asarray(given[name]) for name in self.types}
            items = {name: self._item(name, array, len(values)) for name, array in arrays.items()}
        codes = self.codes.items() if check else ()
        outside = {name: _outside(arrays[name], bits, signed=signed) for name, (bits, signed) in codes}
        return items, {name: found for name, found in outside.items() if found is not None}

    def _item(self, name: str, array: Any, count: int) -> Any:
        """An encoder's array as the plane's (or the raw block's section's) own type and shape."""
        dtype, per_block = self.types[name]
        shapes = [(count, per_block), (count,)]
        if array.shape not in shapes[: 2 if per_block == 1 else 1] or array.dtype.kind not in "iufV":
            wanted = f"{'integers' if dtype.kind in 'iu' else 'numbers'} {list(shapes[0])}"
            what = f"it gives {name!r} as {array.dtype}{list(array.shape)}, expected {wanted}"
            raise self.scheme.fault("encode", what)
        array = array.reshape(-1, per_block)
        is_bits = array.dtype == np.uint8 and dtype.itemsize == 1
        if array.dtype != dtype and (is_bits or (array.dtype == np.int8 and dtype == np.uint8)):
            return lax.bitcast_convert_type(array, dtype)
        return array.astype(dtype)

    def _decoded(self, items: dict[str, Any], floor: Any) -> Any:
        """What the scheme's own decoder gives: float32 ``[n, block]``."""
        with self.scheme.blamed("decode"):
            found = jnp.asarray(self.scheme.decode(items, _uncontracted(floor)))
            wanted = len(next(iter(items.values()))), self.block
            if found.shape != wanted or found.dtype != jnp.float32:
                what = f"it gives {found.dtype}{list(found.shape)}, expected float32{list(wanted)}"
                raise self.scheme.fault("decode", what)
            return found

    def _packed(self, name: str, array: Any) -> Any:
        bits = _in_kernel(name, self.layout)
        return array if bits is None else pack(array, bits)

    def _decode_tile(self, items: dict[str, Any], floor: Any, *, dtype: str) -> Any:
        opened = dict(items) if self.record is None else self.record.split(items["blocks"])
        for plane in self.planes if self.record is None else ():
            bits = _in_kernel(plane.name, self.layout)
            if bits is not None and isinstance(plane.item, Codes):
                opened[plane.name] = unpack(items[plane.name], bits, signed=plane.item.signed)
        decoded = self._decoded(opened, floor)
        return narrow(decoded) if dtype == "BF16" else decoded


@functools.lru_cache(maxsize=64)
def kernel(scheme: Scheme) -> Kernel:
    """The kernel of a scheme; one per scheme and options in a process."""
    return Kernel(scheme)
