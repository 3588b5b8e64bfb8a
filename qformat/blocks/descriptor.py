"""The JSON by which a file describes how its tensors are coded; strict in what it accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qformat.blocks.layout import (
    PLANE_FLOATS,
    Affine,
    Codebook,
    Codes,
    Field,
    Floats,
    Layout,
    Part,
    RawBlocks,
    ScaleMin,
    Vocabulary,
    block_size,
    parts,
)
from qformat.errors import FormatError

MAX_BLOCK = 1 << 20
MAX_DEPTH = 4
LARGEST = (2 - 2**-23) * 2.0**127  # of binary32


@dataclass(frozen=True)
class Provider:
    """The distribution that a scheme came from."""

    distribution: str
    version: str


@dataclass(frozen=True)
class SchemeRecord:
    """A scheme as a file names it: everything needed to decode, or to say what to install."""

    id: str
    version: int
    options: Mapping[str, int | float | str | bool] = field(hash=False)
    provider: Provider
    layout: Layout

    @property
    def block(self) -> int:
        return block_size(self.layout)

    def spec(self) -> str:
        """The scheme with all its options, as a user would type it."""
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.id}:{options}" if options else self.id


# --- to JSON ------------------------------------------------------------------------------------


def record_to_json(record: SchemeRecord) -> dict[str, Any]:
    """A scheme record as JSON-ready values."""
    return {
        "id": record.id,
        "version": record.version,
        "options": dict(record.options),
        "provider": {"distribution": record.provider.distribution, "version": record.provider.version},
        "layout": layout_to_json(record.layout),
    }


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """A layout as JSON-ready values."""
    if isinstance(layout, RawBlocks):
        fields = [_field_to_json(f) for f in layout.fields]
        out = {"kind": "raw", "plane": "blocks", "block": layout.block, "bytes": layout.size}
        return out | ({"fields": fields} if fields else {})
    return _node_to_json(layout, "")


def _field_to_json(field: Field) -> dict[str, Any]:
    out = {"name": field.name, "at": field.at, "bits": field.bits, "count": field.count, "kind": field.kind}
    return out | ({"step": field.step} if field.step else {})


_KIND = {Affine: "affine", ScaleMin: "scale-min", Codebook: "codebook"}
_ROLE = {"scales": "scale", "zero_points": "zero_point", "mins": "min"}


def _node_to_json(node: Vocabulary, prefix: str) -> dict[str, Any]:
    out = {
        "kind": _KIND[type(node)],
        "block": node.block,
        "codes": _part_to_json(node.codes, prefix + "codes"),
    }
    for name, part in parts(node):
        out[_ROLE[name]] = _part_to_json(part, prefix + name)
    if isinstance(node, Codebook):
        out["table"] = list(node.table)
    return out


def _part_to_json(part: Part, name: str) -> dict[str, Any]:
    match part:
        case Codes(bits=bits, signed=signed):
            return {"plane": name, "bits": bits, "signed": signed}
        case Floats(dtype=dtype):
            return {"plane": name, "dtype": dtype}
    return _node_to_json(part, name + ".")


# --- from JSON ----------------------------------------------------------------------------------


class _Reader:
    """One JSON object being read: every key is taken with a check, none may be left over."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{where} must be a JSON object")
        self.left = dict(value)
        self.where = where

    def take(self, key: str, check: Callable[[Any], bool], wanted: str) -> Any:
        if key not in self.left:
            raise FormatError(f"{self.where} lacks {key!r}")
        value = self.left.pop(key)
        if not check(value):
            raise FormatError(f"{self.where}.{key} must be {wanted}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        def check(v: Any) -> bool:
            return isinstance(v, int) and not isinstance(v, bool) and low <= v <= high

        return int(self.take(key, check, f"an integer from {low} to {high}"))

    def text(self, key: str, limit: int = 256) -> str:
        return str(self.take(key, lambda v: isinstance(v, str) and len(v) <= limit, "a short string"))

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        return str(self.take(key, lambda v: v in allowed, f"one of {', '.join(allowed)}"))

    def done(self) -> None:
        if self.left:
            raise FormatError(f"{self.where} has unknown members: {', '.join(sorted(self.left))}")


def record_from_json(value: Any, where: str) -> SchemeRecord:
    """Read a scheme record; raises FormatError that names the member at fault."""
    top = _Reader(value, where)
    provider = _Reader(top.take("provider", lambda v: isinstance(v, dict), "an object"), where + ".provider")
    options = top.take("options", _plain_options, "an object of numbers and short strings")
    record = SchemeRecord(
        id=top.text("id"),
        version=top.integer("version", 1, 1 << 31),
        options=options,
        provider=Provider(provider.text("distribution"), provider.text("version")),
        layout=_layout_from_json(top.left.pop("layout", None), where + ".layout"),
    )
    provider.done()
    top.done()
    return record


def _plain_options(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(v, int | float | bool) or (isinstance(v, str) and len(v) <= 256) for v in value.values()
    )


def _layout_from_json(value: Any, where: str) -> Layout:
    if isinstance(value, dict) and value.get("kind") == "raw":
        return _raw_from_json(_Reader(value, where))
    layout = _node_from_json(value, "", where, 1)
    if block_size(layout) > MAX_BLOCK:
        raise FormatError(f"{where}: blocks of more than {MAX_BLOCK} elements")
    return layout


def _raw_from_json(raw: _Reader) -> RawBlocks:
    raw.one_of("kind", ("raw",))
    raw.one_of("plane", ("blocks",))
    block = raw.integer("block", 1, MAX_BLOCK)
    size = raw.integer("bytes", 1, MAX_BLOCK * 8)
    entries = raw.left.pop("fields", [])
    if not isinstance(entries, list) or len(entries) > 64:
        raise FormatError(f"{raw.where}.fields must be a short array")
    raw.done()
    return RawBlocks(size, block, tuple(_field_from_json(e, size, raw.where) for e in entries))


def _field_from_json(value: Any, size: int, where: str) -> Field:
    entry = _Reader(value, where + ".fields")
    found = Field(
        name=entry.text("name"),
        at=entry.integer("at", 0, size * 8),
        bits=entry.integer("bits", 1, 64),
        count=entry.integer("count", 1, size * 8),
        kind=entry.one_of("kind", ("uint", "int", *PLANE_FLOATS)),
        step=entry.integer("step", 1, size * 8) if "step" in entry.left else 0,
    )
    entry.done()
    if found.end > size * 8:
        raise FormatError(f"{where}.fields: {found.name!r} reaches past the block's {size} bytes")
    return found


def _codes_from_json(value: Any, plane: str, where: str) -> Codes:
    leaf = _Reader(value, where)
    leaf.one_of("plane", (plane,))
    codes = Codes(
        leaf.integer("bits", 1, 8),
        bool(leaf.take("signed", lambda v: isinstance(v, bool), "true or false")),
    )
    leaf.done()
    return codes


def _part_from_json(value: Any, plane: str, where: str, depth: int) -> Part:
    if isinstance(value, dict) and "kind" in value:
        return _node_from_json(value, plane + ".", where, depth + 1)
    if isinstance(value, dict) and "bits" in value:
        return _codes_from_json(value, plane, where)
    leaf = _Reader(value, where)
    leaf.one_of("plane", (plane,))
    part = Floats(leaf.one_of("dtype", PLANE_FLOATS))
    leaf.done()
    return part


def _node_from_json(value: Any, prefix: str, where: str, depth: int) -> Vocabulary:
    if depth > MAX_DEPTH:
        raise FormatError(f"{where}: scales nested more than {MAX_DEPTH} deep")
    node = _Reader(value, where)
    kind = node.one_of("kind", tuple(_KIND.values()))
    block = node.integer("block", 1, MAX_BLOCK)
    codes = _codes_from_json(node.left.pop("codes", None), prefix + "codes", where + ".codes")

    def part(role: str, plane: str) -> Part:
        return _part_from_json(node.left.pop(role, None), prefix + plane, f"{where}.{role}", depth)

    scale = part("scale", "scales")
    layout: Vocabulary
    if kind == "affine":
        zero = part("zero_point", "zero_points") if "zero_point" in node.left else None
        layout = Affine(codes, scale, zero, block)
    elif kind == "scale-min":
        layout = ScaleMin(codes, scale, part("min", "mins"), block)
    else:
        layout = Codebook(codes, scale, _table(node, codes.bits), block)
    node.done()
    if isinstance(layout, Codebook) and codes.signed:
        raise FormatError(f"{where}: the codes of a codebook must be unsigned")
    return layout


def _table(node: _Reader, bits: int) -> tuple[float, ...]:
    def check(v: Any) -> bool:
        return isinstance(v, list) and len(v) == 1 << bits and all(_is_number(x) for x in v)

    return tuple(float(x) for x in node.take("table", check, f"an array of {1 << bits} numbers"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
