"""A recipe applied to one checkpoint: every output array with its exact bytes, before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.blocks import dtypes
from qformat.blocks.descriptor import SchemeRecord, record_to_json
from qformat.blocks.layout import RawBlocks, planes
from qformat.convert.figures import Figures
from qformat.convert.recipe import Recipe, resolve
from qformat.convert.repack import Repacking, repacking
from qformat.convert.riders import riders
from qformat.errors import RecipeError, SchemeError, TargetError
from qformat.files import container as box
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.files.gguf.writing import GGUFLayout
from qformat.files.strict_json import canonical
from qformat.files.writing import Array, FileLayout, lay_out
from qformat.schemes.registry import registry
from qformat.schemes.scheme import Scheme

if TYPE_CHECKING:
    from qformat.convert.importance import Importance
    from qformat.files.imatrix import Imatrix

NO_DIGEST = "0" * 64
QFORMAT, SAFETENSORS, GGUF = "qformat", "safetensors", "gguf"


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of one tensor: encoded by ``scheme``, cast or decoded to ``dtype``, or kept."""

    info: TensorInfo
    arrays: Mapping[str, Array]  # by plane; "" for a plain tensor
    scheme: Scheme | None = None
    record: SchemeRecord | None = None  # of the output
    dtype: str | None = None  # of a plain output whose values change type
    repacking: Repacking | None = None  # of codes and scales that only change their form
    importance: Importance | None = dataclasses.field(default=None, compare=False)

    @property
    def kept(self) -> bool:
        return self.scheme is None and self.dtype is None and self.repacking is None

    @property
    def coding(self) -> str:
        """What the output is, for people: a scheme with its options, or a dtype."""
        if self.scheme is not None:
            return self.scheme.spec()
        if self.record is not None:
            return self.record.id if self.repacking is None else self.record.spec()
        return (self.dtype or self.info.dtype).lower()

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in self.arrays.values())

    @property
    def bpw(self) -> float:
        return self.nbytes * 8 / self.info.elements if self.info.elements else 0.0


@dataclass(frozen=True)
class Outcome:
    """What is known of a tensor once it was written."""

    digests: Mapping[str, str]  # by plane
    source: str | None  # digest of the tensor as it was
    figures: Figures | None


@dataclass(frozen=True)
class FilePlan:
    """One output file."""

    name: str
    tensors: tuple[TensorPlan, ...]
    riders: tuple[str, ...]
    layout: FileLayout | GGUFLayout


@dataclass(frozen=True)
class Plan:
    """Everything about a conversion but its data."""

    source: Checkpoint
    target: Path
    to: str
    folder: bool
    recipe: Recipe
    records: tuple[SchemeRecord, ...]
    files: tuple[FilePlan, ...]
    loose: tuple[str, ...]  # riders written as files of their own
    warnings: tuple[str, ...]
    imatrix: Imatrix | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """Where each file will be, by its name: in the target folder, else beside each other."""
        return {
            f.name: self.target / f.name if self.folder else self.target.with_name(f.name) for f in self.files
        }

    @property
    def tensors(self) -> list[TensorPlan]:
        return [t for f in self.files for t in f.tensors]

    @property
    def nbytes(self) -> int:
        """Bytes of all files that hold tensors."""
        return sum(f.layout.nbytes for f in self.files)

    @property
    def source_bytes(self) -> int:
        return sum(t.info.nbytes for t in self.tensors)

    @property
    def bpw(self) -> float:
        """Bits per weight over all tensors."""
        elements = sum(t.info.elements for t in self.tensors)
        return sum(t.nbytes for t in self.tensors) * 8 / elements if elements else 0.0


def make_plan(
    source: Checkpoint,
    target: Path,
    recipe: Recipe,
    *,
    to: str = QFORMAT,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    imatrix: Imatrix | None = None,
) -> Plan:
    """Decide about every tensor and lay out every file.

    Raises
    ------
    RecipeError, SchemeError
        For a recipe that does not fit.
    TargetError
        If the target cannot hold what was asked for.
    """
    from qformat.convert.importance import weigh  # which knows plans

    folder = target.suffix != ".safetensors"
    if max_shard_size is not None and not folder:
        raise TargetError(
            "a sharded checkpoint is a folder", file=target, hint="name the target without .safetensors"
        )
    tensors = [_plan_tensor(info, recipe, to, dtype) for info in source.tensors.values()]
    notes = list(_warnings(source, tensors, to, folder=folder))
    if imatrix is not None:
        tensors, more = weigh(tensors, imatrix)
        notes += more
    records = tuple(dict.fromkeys(t.record for t in tensors if t.record is not None))
    draft = Plan(
        source=source,
        target=target,
        to=to,
        folder=folder,
        recipe=recipe,
        records=records,
        files=(),
        loose=tuple(source.attachments) if to == SAFETENSORS and folder else (),
        warnings=tuple(notes),
        imatrix=imatrix,
    )
    return dataclasses.replace(draft, files=_files(draft, tensors, max_shard_size))


def _plan_tensor(info: TensorInfo, recipe: Recipe, to: str, dtype: str | None) -> TensorPlan:
    if info.name.startswith(box.RESERVED):
        raise RecipeError(f"its name begins with {box.RESERVED!r}, which is reserved", tensor=info.name)
    if to == SAFETENSORS:
        wanted = dtype if dtype is not None and info.dtype in dtypes.FLOATS else info.dtype
        changed = wanted if info.scheme is not None or wanted != info.dtype else None
        check_decodes(info, "a container keeps it: leave --to away")
        return TensorPlan(info, {"": Array(info.name, wanted, info.shape)}, dtype=changed)
    chosen = resolve(recipe.scheme_for(info))
    if isinstance(chosen, Scheme):
        if not chosen.encodes:
            raise SchemeError(f"{chosen.id} can be decoded but not encoded", tensor=info.name)
        check_decodes(info)
        record = registry().record(chosen)
        arrays = {
            p.name: Array(box.plane_name(info.name, p.name), *p.stored(info.shape))
            for p in planes(record.layout)
        }
        if (same := repacking(info, chosen)) is not None:
            return TensorPlan(info, arrays, record=record, repacking=same)
        return TensorPlan(info, arrays, scheme=chosen, record=record)
    if chosen is not None and (info.scheme is not None or chosen != info.dtype):
        check_decodes(info)
        return TensorPlan(info, {"": Array(info.name, chosen, info.shape)}, dtype=chosen)
    arrays = {
        plane: Array(box.plane_name(info.name, plane) if plane else info.name, s.dtype, s.shape)
        for plane, s in info.planes.items()
    }
    return TensorPlan(info, arrays, record=info.scheme)


def check_decodes(info: TensorInfo, instead: str = "") -> None:
    """Refuse to decode a tensor whose scheme is neither described nor installed.

    Raises
    ------
    SchemeError
        It names the tensor and says how to keep it.
    """
    if info.scheme is None or not isinstance(info.scheme.layout, RawBlocks):
        return
    try:
        registry().for_record(info.scheme)
    except SchemeError as error:
        raise SchemeError(
            f"{info.scheme.id} cannot be decoded here, so the tensor can only be kept as it is",
            tensor=info.name,
            hint=(instead or f"add --keep {info.name!r}")
            + (f", or {error.hint}" if _is_anyones(info.scheme) else ""),
        ) from None


def _is_anyones(record: SchemeRecord) -> bool:
    """Whether a plugin provides a scheme; a type that only has a number is nobody's."""
    return record.provider.distribution != "qformat"


def _warnings(source: Checkpoint, tensors: list[TensorPlan], to: str, *, folder: bool) -> Iterable[str]:
    twice = [t.info.name for t in tensors if t.info.scheme is not None and t.scheme is not None]
    if twice:
        many = f"{len(twice)} tensors ({twice[0]} and others) are" if len(twice) > 1 else f"{twice[0]} is"
        cost = "which costs more than quantizing the original"
        yield f"{many} quantized already and will be quantized again, {cost}"
    if to == SAFETENSORS and not folder and source.attachments:
        yield (
            f"a single file holds tensors only: {', '.join(source.attachments)} are left out "
            "(name a folder to have them)"
        )


def _files(plan: Plan, tensors: list[TensorPlan], limit: int | None) -> tuple[FilePlan, ...]:
    groups = _split(plan, tensors, limit)
    names = [plan.target.name] if not plan.folder else _shard_names(len(groups))
    files, pads, seen = [], 0, set[str]()
    for i, (name, group) in enumerate(zip(names, groups, strict=True)):
        carried = tuple(riders(plan.source)) if plan.to == QFORMAT and i == 0 else ()
        arrays = [a for t in group for a in t.arrays.values()]
        arrays += [_rider(plan, r) for r in carried]
        for array in arrays:
            if array.name in seen:
                raise RecipeError(
                    "two arrays would get this name", tensor=array.name, hint="rename the tensor"
                )
            seen.add(array.name)
        layout = lay_out(
            arrays,
            metadata(plan, group, carried),
            align=plan.to == QFORMAT,
            first_pad=pads,
            where=plan.target,
        )
        pads += sum(e[0].startswith(box.PAD_PREFIX) for e in layout.entries)
        files.append(FilePlan(name, tuple(group), carried, layout))
    return tuple(files)


def _rider(plan: Plan, name: str) -> Array:
    return Array(box.FILE_PREFIX + name, "U8", (riders(plan.source)[name],))


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def _split(plan: Plan, tensors: list[TensorPlan], limit: int | None) -> list[list[TensorPlan]]:
    """Consecutive tensors into files of at most ``limit`` bytes; a larger tensor gets its own."""
    if limit is None or not tensors:
        return [tensors]
    groups: list[list[TensorPlan]] = [[]]
    fixed = len(canonical(metadata(plan, [], ()))) + 4096
    carried = sum(riders(plan.source).values()) if plan.to == QFORMAT else 0
    room = limit - fixed - carried
    for tensor in tensors:
        need = tensor.nbytes + sum(len(a.name) * 2 + 450 for a in tensor.arrays.values()) + 400
        if groups[-1] and need > room:
            groups.append([])
            room = limit - fixed
        groups[-1].append(tensor)
        room -= need
    return groups


# --- what a container says of itself ------------------------------------------------------------


def metadata(
    plan: Plan,
    tensors: Iterable[TensorPlan],
    carried: Iterable[str],
    outcomes: Mapping[str, Outcome] | None = None,
    rider_digests: Mapping[str, str] | None = None,
    shared: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Header metadata of one file; without outcomes, a stand-in that is at least as long."""
    # A GGUF's own key-values ride along as they are, in its header.
    told = {} if plan.source.format == GGUF else plan.source.metadata
    kept = {k: v for k, v in told.items() if not k.startswith(box.VERSION_KEY)}
    if plan.to == SAFETENSORS:
        return {"format": "pt", **kept}
    known = outcomes or {}
    notes, digests = {}, {}
    for tensor in tensors:
        outcome = known.get(tensor.info.name)
        note = _note(plan, tensor, outcome)
        if note:
            notes[tensor.info.name] = note
        for plane, array in tensor.arrays.items():
            digests[array.name] = outcome.digests[plane] if outcome else NO_DIGEST
    for name in carried:
        digests[box.FILE_PREFIX + name] = (rider_digests or {}).get(name, NO_DIGEST)
    return {
        **kept,
        **(shared or shared_metadata(plan, NO_DIGEST)),
        box.TENSORS: canonical(notes),
        box.DIGESTS: canonical(digests),
    }


def shared_metadata(plan: Plan, source_digest: str, content: str = NO_DIGEST) -> dict[str, str]:
    """What all files of a set say alike."""
    import json

    records = [record_to_json(r) for r in plan.records]
    provenance: dict[str, Any] = {
        "tools": {name: version(name) for name in ("jax", "numpy", "qformat")},
        "recipe": plan.recipe.to_toml(),
        "source": {"format": plan.source.format, "content": source_digest},
    }
    if plan.imatrix is not None:
        provenance["importance"] = plan.imatrix.origin()
    return {
        box.VERSION_KEY: str(box.VERSION),
        box.SCHEMES: json.dumps(records, separators=(",", ":"), ensure_ascii=True),
        box.PROVENANCE: canonical(provenance),
        box.CONTENT: content,
    }


def _note(plan: Plan, tensor: TensorPlan, outcome: Outcome | None) -> dict[str, Any]:
    """A tensor's descriptor."""
    note: dict[str, Any] = dict(tensor.info.note or {}) if tensor.kept else {}
    if tensor.record is not None:
        index = plan.records.index(tensor.record)
        note |= {"scheme": index, "shape": list(tensor.info.shape), "dtype": tensor.info.dtype}
    if tensor.kept:
        return note
    if tensor.record is None:
        note["from"] = tensor.info.dtype
    if tensor.info.scheme is None:
        note["source"] = outcome.source if outcome else NO_DIGEST
    if tensor.repacking is not None:
        return note
    note["error"] = outcome.figures.to_json() if outcome and outcome.figures else Figures.placeholder()
    return note
