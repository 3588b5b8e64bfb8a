"""Plans whose output is GGUF: the same file back, or a new one with other types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qformat.blocks.layout import RawBlocks, rows_cols
from qformat.convert.plan import GGUF, FilePlan, Plan, TensorPlan
from qformat.convert.recipe import KEEP, Recipe, Rule, resolve
from qformat.errors import SchemeError, TargetError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.files.gguf import building, header, raw
from qformat.files.gguf.building import KeyValue, NewTensor, Typed
from qformat.files.gguf.checkpoint import GGUFCheckpoint
from qformat.files.gguf.keyvalues import KeyValues
from qformat.files.gguf.types import BY_NAME, TensorType, ValueType
from qformat.files.writing import Array
from qformat.schemes.mixture import ModelFacts
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme

FILE_TYPE, QUANTIZATION_VERSION = "general.file_type", "general.quantization_version"
_DROPPED = ("split.no", "split.count", "split.tensors.count")
_DTYPES = {t.dtype: t for t in BY_NAME.values() if t.dtype is not None}


def gguf_recipe(
    source: Checkpoint, scheme: str, rules: Iterable[Rule], *, pure: bool
) -> tuple[Recipe, int | None]:
    """The recipe for a name that llama.cpp's users know, and the file type that it stands for.

    A mixture becomes one rule for each tensor; ``pure`` gives all matrices the one type.
    """
    mixture = registry().mixture(scheme)
    if mixture is None or pure:
        base = _pure(source, scheme)
        number = mixture.file_type if mixture else None
    else:
        shapes = {name: info.shape for name, info in source.tensors.items()}
        chosen = mixture.choose(shapes, _facts(keyvalues(source)))
        base, number = [Rule(_literal(name), what) for name, what in chosen.items()], mixture.file_type
    return Recipe((*rules, *base)), number


def _pure(source: Checkpoint, scheme: str) -> list[Rule]:
    """One type for every matrix that llama-quantize would touch."""
    f16 = registry().mixture("f16")
    shapes = {name: info.shape for name, info in source.tensors.items()}
    touched = f16.choose(shapes, ModelFacts(1)) if f16 else dict.fromkeys(shapes, scheme)
    return [Rule(_literal(name), KEEP if what == KEEP else scheme) for name, what in touched.items()]


def _literal(name: str) -> str:
    """A glob that matches this name only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def keyvalues(source: Checkpoint) -> KeyValues:
    """The GGUF key-values that a checkpoint has or carries.

    Raises
    ------
    TargetError
        If it has none: it did not come from a GGUF.
    """
    if isinstance(source, GGUFCheckpoint):
        return source.keyvalues
    parts = raw.find(source.attachments)
    if not parts:
        raise TargetError(
            "the source has no GGUF header, and writing one for other checkpoints is not possible yet",
            file=source.path,
            hint="start from a GGUF, or from a container that was made of one",
        )
    import numpy as np

    data = np.frombuffer(source.read_attachment(parts[0]), np.uint8)
    return header.parse(data, source.path).keyvalues


def _facts(values: KeyValues) -> ModelFacts:
    arch = values.read("general.architecture")

    def number(key: str, default: int) -> int:
        found: Any = values.read(f"{arch}.{key}", default)
        return int(found) if isinstance(found, int) else int(max(found))  # one for each layer

    heads, kv = number("attention.head_count", 1), number("attention.head_count_kv", 0)
    return ModelFacts(number("block_count", 1), number("expert_count", 0), heads // kv if kv else 1)


def make_gguf_plan(source: Checkpoint, target: Path, recipe: Recipe, file_type: int | None = None) -> Plan:
    """Decide about every tensor and lay the file out.

    Without rules the file is the one that the source came from, byte for byte.

    Raises
    ------
    TargetError
        For a tensor that GGUF has no type for.
    """
    values = keyvalues(source)
    notes: list[str] = []
    tensors = tuple(_plan_tensor(info, recipe, notes) for info in source.tensors.values())
    parts = _same_file(source) if all(t.kept for t in tensors) and not recipe.rules else None
    if parts is not None:
        files = _rebuilt(source, target, tensors, parts)
    else:
        new = [NewTensor(t.info.name, _type(t), t.info.shape) for t in tensors]
        layout = building.lay_out(_updated(values, tensors, file_type), new)
        files = (FilePlan(target.name, tensors, (), layout),)
    return Plan(
        source=source,
        target=target,
        to=GGUF,
        folder=len(files) > 1,
        recipe=recipe,
        records=(),
        files=files,
        loose=(),
        warnings=tuple(notes),
    )


def _same_file(source: Checkpoint) -> list[bytes] | None:
    """The headers to write back, if the tensors are still those that they describe."""
    if isinstance(source, GGUFCheckpoint):
        return list(raw.skeletons(source).values())
    return [source.read_attachment(name) for name in raw.find(source.attachments)]


def _rebuilt(
    source: Checkpoint, target: Path, tensors: tuple[TensorPlan, ...], parts: list[bytes]
) -> tuple[FilePlan, ...]:
    sizes = {t.info.name: t.nbytes for t in tensors}
    by_name = {t.info.name: t for t in tensors}
    names = [t.name for t in raw.targets(target.with_suffix(".gguf"), len(parts))]
    layouts = [raw.layout(part, sizes, source.path) for part in parts]
    if len(parts) == 1:
        names = [target.name]
    return tuple(
        FilePlan(name, tuple(by_name[n] for n in layout.tensors), (), layout)
        for name, layout in zip(names, layouts, strict=True)
    )


def _plan_tensor(info: TensorInfo, recipe: Recipe, notes: list[str]) -> TensorPlan:
    chosen = resolve(recipe.scheme_for(info))
    if isinstance(chosen, Scheme):
        chosen = _fitting(info, chosen, notes)
    if isinstance(chosen, Scheme):
        if info.scheme is not None and info.scheme.id == chosen.id:
            return _kept(info)
        if not chosen.encodes:
            raise SchemeError(f"{chosen.id} can be decoded but not encoded", tensor=info.name)
        record = registry().record(chosen)
        nbytes = Array("", *_raw_array(info, chosen)).nbytes
        return TensorPlan(info, {"blocks": Array(info.name, "U8", (nbytes,))}, scheme=chosen, record=record)
    if chosen is not None and (info.scheme is not None or chosen != info.dtype):
        return TensorPlan(info, {"": Array(info.name, chosen, info.shape)}, dtype=chosen)
    return _kept(info)


def _kept(info: TensorInfo) -> TensorPlan:
    arrays = {plane: Array(info.name, s.dtype, s.shape) for plane, s in info.planes.items()}
    if len(arrays) != 1:
        raise TargetError(
            f"GGUF has no type for {info.coding}", tensor=info.name, hint="give it one: -s q8_0, or --set"
        )
    return TensorPlan(info, arrays, record=info.scheme)


def _raw_array(info: TensorInfo, scheme: Scheme) -> tuple[str, tuple[int, ...]]:
    layout = scheme.layout()
    if not isinstance(layout, RawBlocks) or scheme.id not in BY_NAME:
        raise TargetError(
            f"GGUF has no type for {scheme.id}",
            tensor=info.name,
            hint="choose one of GGUF's own, such as q4_1",
        )
    rows, cols = rows_cols(info.shape)
    return "U8", (rows, cols // layout.block, layout.size)


def _fitting(info: TensorInfo, scheme: Scheme, notes: list[str]) -> Scheme | str | None:
    """The scheme, or what stands in for it where its block does not divide the rows: reported."""
    cols = rows_cols(info.shape)[1]
    wanted: Scheme | str | None = scheme
    while isinstance(wanted, Scheme) and cols % wanted.block_size:
        wanted = resolve(wanted.fallback())
    if wanted is not scheme:
        name = wanted.id if isinstance(wanted, Scheme) else str(wanted).lower()
        notes.append(
            f"{info.name}: rows of {cols} do not divide into blocks of {scheme.block_size}: "
            f"{name} instead of {scheme.id}"
        )
    return wanted


def _type(tensor: TensorPlan) -> TensorType:
    if tensor.record is not None:
        return BY_NAME[tensor.record.id]
    dtype = tensor.arrays[""].dtype
    if dtype not in _DTYPES:
        raise TargetError(
            f"GGUF has no type for {dtype}", tensor=tensor.info.name, hint="cast it: --set 'NAME=f32'"
        )
    return _DTYPES[dtype]


def _updated(values: KeyValues, tensors: Iterable[TensorPlan], file_type: int | None) -> list[KeyValue]:
    """The source's key-values, with what says how the tensors are coded."""
    out: dict[str, object] = {k: v for k, v in values.items() if k not in _DROPPED}
    if any(t.record is not None for t in tensors):
        out[QUANTIZATION_VERSION] = Typed(ValueType.UINT32, 2)
    if file_type is not None:
        out[FILE_TYPE] = Typed(ValueType.UINT32, file_type)
    return list(out.items())  # type: ignore[arg-type]
