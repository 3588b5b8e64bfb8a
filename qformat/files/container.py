"""The qformat container: a safetensors file whose metadata says how its tensors are coded.

``specs/container.md`` is normative; this module reads and checks, `writing` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.blocks import dtypes
from qformat.blocks.descriptor import SchemeRecord, record_from_json
from qformat.blocks.layout import planes
from qformat.errors import FormatError
from qformat.files import strict_json
from qformat.files.checkpoint import Stored, TensorInfo
from qformat.files.safetensors import Mapped, SafetensorsFile, is_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
VERSION_KEY = "qformat"
SCHEMES = "qformat.schemes"
TENSORS = "qformat.tensors"
DIGESTS = "qformat.digests"
CONTENT = "qformat.content"
PROVENANCE = "qformat.provenance"
RESERVED = "qformat."  # begins no tensor name of a model
FILE_PREFIX = "qformat.file/"
PAD_PREFIX = "qformat.pad/"
PER_FILE = (TENSORS, DIGESTS)  # what differs between the shards of a set


def claims_container(metadata: Mapping[str, str]) -> bool:
    """Whether metadata is a container's, even one whose first key was damaged."""
    return VERSION_KEY in metadata or any(key.startswith(RESERVED) for key in metadata)


def plane_name(tensor: str, plane: str) -> str:
    """The name under which a file stores a plane."""
    return f"{tensor}/{plane}"


def content_lines(
    metadata: Mapping[str, str],
    notes: Mapping[str, Any],
    stored: Iterable[tuple[str, str, tuple[int, ...], str]],
) -> list[str]:
    """What the content digest covers: shared metadata, descriptors, and (name, dtype, shape, digest)."""
    skip = (*PER_FILE, CONTENT)
    lines = [strict_json.canonical(["metadata", k, v]) for k, v in metadata.items() if k not in skip]
    lines += [strict_json.canonical(["tensor", name, note]) for name, note in notes.items()]
    lines += [strict_json.canonical(["stored", n, d, list(s), h]) for n, d, s, h in stored]
    return lines


def content_digest(lines: Iterable[str]) -> str:
    """One digest of a checkpoint's content, whatever the order or the number of its files."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object that this program wrote itself."""
    return dict(json.loads(text))


@dataclass(frozen=True)
class Part:
    """One file of a container with what its metadata says."""

    file: SafetensorsFile
    schemes: list[SchemeRecord]
    notes: Mapping[str, Any]
    digests: Mapping[str, str]

    @classmethod
    def read(cls, file: SafetensorsFile) -> Part:
        """Parse and check a container file's metadata."""
        version = file.metadata.get(VERSION_KEY)
        if version is None:
            raise FormatError(f"its metadata lacks {VERSION_KEY!r}", file=file.path)
        if version != str(VERSION):
            raise FormatError(
                f"it is a qformat container of version {version[:20]!r}; this program reads {VERSION}",
                file=file.path,
                hint="install a newer qformat",
            )
        schemes = _json(file, SCHEMES, list)
        records = []
        for i, record in enumerate(schemes):
            try:
                records.append(record_from_json(record, f"{SCHEMES}[{i}]"))
            except FormatError as error:
                raise FormatError(error.what, file=file.path) from None
        notes, digests = _json(file, TENSORS, dict), _json(file, DIGESTS, dict)
        _json(file, PROVENANCE, dict)
        if CONTENT not in file.metadata:
            raise FormatError(f"its metadata lacks {CONTENT!r}", file=file.path)
        wanted = {name for name in file.tensors if not name.startswith(PAD_PREFIX)}
        if set(digests) != wanted:
            odd = sorted(set(digests) ^ wanted)[0]
            raise FormatError("tensors and digests do not match", file=file.path, tensor=odd)
        return cls(file, records, notes, digests)

    def tensors(self) -> dict[str, TensorInfo]:
        """The tensors of this file, in the order of their data."""
        coded: dict[str, Any] = {
            name: note for name, note in self.notes.items() if isinstance(note, dict) and "scheme" in note
        }
        first: dict[str, str] = {}
        taken: set[str] = set()
        infos: dict[str, TensorInfo] = {}
        for name, descriptor in coded.items():
            info = self._coded(name, descriptor)
            names = [s.name for s in info.planes.values()]
            first[names[0]] = name
            if name in self.file.tensors:
                raise FormatError("it is stored both coded and plain", file=self.file.path, tensor=name)
            if taken & set(names):
                raise FormatError("a plane of it belongs to two tensors", file=self.file.path, tensor=name)
            taken.update(names)
            infos[name] = info
        ordered: dict[str, TensorInfo] = {}
        for stored in self.file.tensors.values():
            if stored.name in first:
                ordered[first[stored.name]] = infos[first[stored.name]]
            elif stored.name not in taken and not stored.name.startswith(RESERVED):
                note: Any = self.notes.get(stored.name)
                ordered[stored.name] = TensorInfo(
                    stored.name,
                    stored.shape,
                    stored.dtype,
                    {"": stored},
                    note=self._plain_note(stored.name, note),
                )
        lost = [name for name in self.notes if name not in ordered]
        if lost:
            raise FormatError("it is described but not stored", file=self.file.path, tensor=lost[0])
        return ordered

    def _plain_note(self, name: str, note: Any) -> Mapping[str, Any] | None:
        if note is not None and not isinstance(note, dict):
            raise FormatError("its descriptor is not a JSON object", file=self.file.path, tensor=name)
        return note

    def _coded(self, name: str, note: Mapping[str, Any]) -> TensorInfo:
        def bad(what: str) -> FormatError:
            return FormatError(what, file=self.file.path, tensor=name)

        index, shape, dtype = note["scheme"], note.get("shape"), note.get("dtype")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(self.schemes):
            raise bad(f"its scheme must be an index into {SCHEMES}")
        if not isinstance(shape, list) or not all(is_count(n) for n in shape):
            raise bad("its shape must be an array of non-negative integers")
        if not isinstance(dtype, str) or not dtypes.is_quantizable(dtype):
            raise bad("its dtype must be a number type")
        record = self.schemes[index]
        found: dict[str, Stored] = {}
        for plane in planes(record.layout):
            stored = self.file.tensors.get(plane_name(name, plane.name))
            if stored is None:
                raise bad(f"its plane {plane.name!r} is missing")
            wanted = plane.stored(tuple(shape))
            if (stored.dtype, stored.shape) != wanted:
                raise bad(
                    f"its plane {plane.name!r} is {stored.dtype} {list(stored.shape)}; "
                    f"its shape and scheme need {wanted[0]} {list(wanted[1])}"
                )
            found[plane.name] = stored
        return TensorInfo(name, tuple(shape), dtype, found, record, note)


def _json(file: SafetensorsFile, key: str, kind: type) -> Any:
    if key not in file.metadata:
        raise FormatError(f"its metadata lacks {key!r}", file=file.path)
    value = strict_json.parse(file.metadata[key], file=file.path, what=f"metadata {key!r}")
    if not isinstance(value, kind):
        raise FormatError(f"metadata {key!r} has the wrong type", file=file.path)
    return value


class Container:
    """An opened qformat container, of one file or many."""

    format = "qformat"

    def __init__(self, path: Path, files: list[SafetensorsFile]) -> None:
        self.path = path
        self.parts = [Part.read(f) for f in files]
        self.files = tuple(f.path for f in files)
        self.metadata: Mapping[str, str] = files[0].metadata
        for part in self.parts[1:]:
            self._check_same_set(part)
        tensors: dict[str, TensorInfo] = {}
        for part in self.parts:
            found = part.tensors()
            if both := tensors.keys() & found:
                raise FormatError("another shard has it too", file=part.file.path, tensor=min(both))
            tensors.update(found)
        self.tensors: Mapping[str, TensorInfo] = tensors
        self._attached = {
            s.name.removeprefix(FILE_PREFIX): s
            for f in files
            for s in f.tensors.values()
            if s.name.startswith(FILE_PREFIX)
        }
        for name in self._attached:
            if name != Path(name).name or name in (".", "..") or "\\" in name:
                raise FormatError(f"the attached file {name!r} has no plain file name", file=path)
        self.attachments: Mapping[str, int] = {name: s.nbytes for name, s in self._attached.items()}
        self.digests: Mapping[str, str] = {
            name: digest for part in self.parts for name, digest in part.digests.items()
        }
        self._mapped = Mapped()

    def _check_same_set(self, part: Part) -> None:
        for key in {*self.metadata, *part.file.metadata} - set(PER_FILE):
            if part.file.metadata.get(key) != self.metadata.get(key):
                raise FormatError(
                    f"its metadata {key!r} differs from the first shard's", file=part.file.path,
                    hint="the shards are of two different conversions",
                )  # fmt: skip

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """One array of a tensor, mapped; a plain tensor's only one has an empty name."""
        return self._mapped.array(self.tensors[tensor].planes[plane])

    def read_attachment(self, name: str) -> bytes:
        """A file that rides along."""
        return self._mapped.bytes_of(self._attached[name]).tobytes()

    def stored_bytes(self, stored: Stored) -> NDArray[Any]:
        """The bytes of any stored array, for checking and copying."""
        return self._mapped.bytes_of(stored)
