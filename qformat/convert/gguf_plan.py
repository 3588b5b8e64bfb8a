"""Plans whose output is GGUF: the same file back, or a new one with other types."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path

from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.layout import RawBlocks, rows_cols
from qformat.convert.importance import weigh
from qformat.convert.plan import GGUF, FilePlan, Plan, TensorPlan, check_decodes
from qformat.convert.recipe import CASTS, KEEP, Recipe, Rule, resolve
from qformat.convert.repack import repacking, smallest_equivalent
from qformat.errors import SchemeError, TargetError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.files.gguf import building, raw
from qformat.files.gguf.building import KeyValue, NewTensor, Typed
from qformat.files.gguf.file import UNKNOWN
from qformat.files.gguf.keyvalues import Value
from qformat.files.gguf.splitting import SPLIT_KEYS, lay_out_split
from qformat.files.gguf.types import BY_NAME, TensorType, ValueType
from qformat.files.gguf.writing import GGUFLayout
from qformat.files.imatrix import Imatrix
from qformat.files.writing import Array
from qformat.schemes.mixture import ModelFacts
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme
from qformat.views.gguf_view import GgufView

FILE_TYPE, QUANTIZATION_VERSION = "general.file_type", "general.quantization_version"
SUFFIX = ".gguf"
_DTYPES = {t.dtype: t for t in BY_NAME.values() if t.dtype is not None}


def gguf_recipe(
    view: GgufView, scheme: str, rules: Iterable[Rule], *, pure: bool, importance: bool = False
) -> tuple[Recipe, int | None]:
    """The recipe for a name that llama.cpp's users know, and the file type that it stands for.

    A mixture becomes one rule for each tensor; ``pure`` gives all matrices the one type.
    """
    mixture = registry().mixture(scheme)
    if mixture is None or pure:
        base = _pure(view.tensors, _one_type(scheme))
        number = mixture.file_type if mixture else None
    else:
        shapes = {name: info.shape for name, info in view.tensors.tensors.items()}
        chosen = mixture.choose(shapes, dataclasses.replace(view.facts, importance=importance))
        base, number = [Rule(_literal(name), what) for name, what in chosen.items()], mixture.file_type
    return Recipe((*rules, *base)), number


def _one_type(name: str) -> str:
    """The scheme of a name: of a mixture such as ``q4_k_m`` the type that it is a mixture of.

    Raises
    ------
    SchemeError
        For a name that is neither; the nearest mixtures and types are named.
    """
    known = {kind.id for kind, _ in registry().schemes()} | CASTS.keys()
    name = name if name.partition(":")[0] in known else name.lower()
    base = name.rpartition("_")[0]
    if registry().mixture(name) is not None and name not in known and base in known:
        return base
    if name.partition(":")[0] not in known:
        names = [m.id for m in registry().mixtures()] + [n for n in BY_NAME if n in known]
        near = difflib.get_close_matches(name, dict.fromkeys(names), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`qformat schemes` lists types and mixtures"
        raise SchemeError(f"there is no type or mixture {name!r} for GGUF", hint=hint)
    return name


def _pure(source: Checkpoint, scheme: str) -> list[Rule]:
    """One type for every matrix that llama-quantize would touch."""
    f16 = registry().mixture("f16")
    shapes = {name: info.shape for name, info in source.tensors.items()}
    touched = f16.choose(shapes, ModelFacts(1)) if f16 else dict.fromkeys(shapes, scheme)
    return [Rule(_literal(name), KEEP if what == KEEP else scheme) for name, what in touched.items()]


def _literal(name: str) -> str:
    """A glob that matches this name only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def make_gguf_plan(
    view: GgufView,
    target: Path,
    recipe: Recipe,
    file_type: int | None = None,
    *,
    max_shard_size: int | None = None,
    imatrix: Imatrix | None = None,
) -> Plan:
    """Decide about every tensor and lay the files out.

    Without rules the file is the one that the source came from, byte for byte; of a split model,
    those that it came from if the target is a folder, and one if it ends in ``.gguf``.

    Raises
    ------
    TargetError
        For a tensor that GGUF has no type for.
    """
    source = view.tensors
    stand_ins: dict[str, list[str]] = {}
    tensors = [
        _plan_tensor(info, recipe, stand_ins, needs_f32=view.needs_f32(info.name))
        for info in source.tensors.values()
    ]
    notes = [*view.notes, *(f"{_several(names)}: {why}" for why, names in stand_ins.items())]
    if imatrix is not None:
        tensors, more = weigh(tensors, imatrix)
        notes += more
    kept = all(t.kept for t in tensors) and not recipe.rules and max_shard_size is None
    if view.headers and kept and (len(view.headers) == 1 or target.suffix != SUFFIX):
        sizes = {t.info.name: t.nbytes for t in tensors}
        layouts = tuple(raw.layout(part, sizes, source.path) for part in view.headers)
    else:
        new = [NewTensor(t.info.name, _type(t), t.info.shape) for t in tensors]
        pairs = _updated(view, tensors, file_type, imatrix)
        layouts = (
            lay_out_split(pairs, new, max_shard_size) if max_shard_size else (building.lay_out(pairs, new),)
        )
    return Plan(
        source=source,
        target=target,
        to=GGUF,
        folder=len(layouts) > 1 and target.suffix != SUFFIX,
        recipe=recipe,
        records=(),
        files=_files(target, tensors, layouts),
        loose=(),
        warnings=tuple(notes),
        imatrix=imatrix,
    )


def _files(
    target: Path, tensors: Iterable[TensorPlan], layouts: tuple[GGUFLayout, ...]
) -> tuple[FilePlan, ...]:
    by_name = {t.info.name: t for t in tensors}
    names = [target.name] if len(layouts) == 1 else [t.name for t in raw.targets(target, len(layouts))]
    return tuple(
        FilePlan(name, tuple(by_name[n] for n in layout.tensors), (), layout)
        for name, layout in zip(names, layouts, strict=True)
    )


def _several(names: list[str]) -> str:
    return f"{len(names)} tensors ({names[0]} and others)" if len(names) > 1 else names[0]


def _plan_tensor(
    info: TensorInfo, recipe: Recipe, stand_ins: dict[str, list[str]], *, needs_f32: bool
) -> TensorPlan:
    chosen = "F32" if needs_f32 else resolve(recipe.scheme_for(info))
    if chosen is None and info.scheme is not None and not isinstance(info.scheme.layout, RawBlocks):
        chosen = smallest_equivalent(info.scheme.layout, BY_NAME)
    if isinstance(chosen, Scheme):
        chosen = _fitting(info, chosen, stand_ins)
    if isinstance(chosen, Scheme):
        if info.scheme is not None and info.scheme.id == chosen.id:
            return _kept(info)
        return _coded(info, chosen)
    if chosen is not None and (info.scheme is not None or chosen != info.dtype):
        check_decodes(info)
        return TensorPlan(info, {"": Array(info.name, chosen, info.shape)}, dtype=chosen)
    return _kept(info)


def _coded(info: TensorInfo, scheme: Scheme) -> TensorPlan:
    record = registry().record(scheme)
    arrays = {"blocks": Array(info.name, "U8", (Array("", *_raw_array(info, scheme)).nbytes,))}
    if (same := repacking(info, scheme)) is not None:
        return TensorPlan(info, arrays, record=record, repacking=same)
    if not scheme.encodes:
        raise SchemeError(f"{scheme.id} can be decoded but not encoded", tensor=info.name)
    check_decodes(info)
    return TensorPlan(info, arrays, scheme=scheme, record=record)


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
        like = None if isinstance(layout, RawBlocks) else smallest_equivalent(layout, BY_NAME)
        raise TargetError(
            f"GGUF has no type for {scheme.spec()}",
            tensor=info.name,
            hint=f"{like.id} means the same" if like else "choose one of GGUF's own, such as q4_1",
        )
    rows, cols = rows_cols(info.shape)
    return "U8", (rows, cols // layout.block, layout.size)


def _fitting(info: TensorInfo, scheme: Scheme, stand_ins: dict[str, list[str]]) -> Scheme | str | None:
    """The scheme, or what stands in for it where its block does not divide the rows: reported, by reason."""
    cols = rows_cols(info.shape)[1]
    wanted: Scheme | str | None = scheme
    while isinstance(wanted, Scheme) and cols % wanted.block_size:
        wanted = resolve(wanted.fallback())
    if wanted is not scheme:
        name = wanted.id if isinstance(wanted, Scheme) else str(wanted).lower()
        why = (
            f"rows of {cols} do not divide into blocks of {scheme.block_size}: {name} instead of {scheme.id}"
        )
        stand_ins.setdefault(why, []).append(info.name)
    return wanted


def _type(tensor: TensorPlan) -> TensorType:
    if tensor.record is not None:
        return BY_NAME.get(tensor.record.id) or _unknown_type(tensor.record)
    dtype = tensor.arrays[""].dtype
    if dtype not in _DTYPES:
        raise TargetError(
            f"GGUF has no type for {dtype}", tensor=tensor.info.name, hint="cast it: --set 'NAME=f32'"
        )
    return _DTYPES[dtype]


def _unknown_type(record: SchemeRecord) -> TensorType:
    """A type that is only known by its number and by the size of its rows."""
    number = record.id.removeprefix(UNKNOWN)
    assert number.isdecimal()
    assert isinstance(record.layout, RawBlocks)
    return TensorType(int(number), record.id, record.layout.block, record.layout.size)


def _updated(
    view: GgufView, tensors: Iterable[TensorPlan], file_type: int | None, imatrix: Imatrix | None
) -> list[KeyValue]:
    """The view's key-values, with what says how the tensors are coded."""
    out: dict[str, Typed | Value] = {k: v for k, v in view.keyvalues.items() if k not in SPLIT_KEYS}
    if any(t.record is not None for t in tensors):
        out[QUANTIZATION_VERSION] = Typed(ValueType.UINT32, 2)
    if file_type is not None:
        out[FILE_TYPE] = Typed(ValueType.UINT32, file_type)
    if imatrix is not None:
        out |= _imatrix_keys(imatrix)
    return list(out.items())


def _imatrix_keys(imatrix: Imatrix) -> dict[str, Typed]:
    """What llama-quantize writes of the importances: the file, its first text, and how much is in it."""
    keys = {"file": Typed(ValueType.STRING, str(imatrix.path))}
    if imatrix.datasets:
        keys["dataset"] = Typed(ValueType.STRING, imatrix.datasets[0])
    keys["entries_count"] = Typed(ValueType.UINT32, len(imatrix.entries))
    if imatrix.chunks > 0:
        keys["chunks_count"] = Typed(ValueType.UINT32, imatrix.chunks)
    return {f"quantize.imatrix.{name}": value for name, value in keys.items()}
