"""Plain safetensors: a single file, a sharded set, or a Hugging Face folder with its small files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError
from qformat.files import strict_json
from qformat.files.checkpoint import Stored, TensorInfo
from qformat.files.safetensors import Mapped, SafetensorsFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What belongs to a model besides its weights, by name; anything else in a folder stays there.
RIDERS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.json",
    "chat_template.jinja",
)
MAX_RIDER = 100_000_000


class PlainCheckpoint:
    """Safetensors files without a container's descriptors."""

    format = "safetensors"

    def __init__(self, path: Path, parts: list[SafetensorsFile], folder: Path | None) -> None:
        self.path = path
        self.files = tuple(p.path for p in parts)
        self.metadata: Mapping[str, str] = dict(parts[0].metadata) if parts else {}
        self.tensors: Mapping[str, TensorInfo] = {
            s.name: TensorInfo(s.name, s.shape, s.dtype, {"": s}) for p in parts for s in p.tensors.values()
        }
        self.digests: Mapping[str, str] = {}
        self._folder = folder
        self.attachments: Mapping[str, int] = riders(folder) if folder else {}
        self._mapped = Mapped()

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """The tensor itself: a plain tensor has one plane, with an empty name."""
        return self._mapped.array(self.tensors[tensor].planes[plane])

    def read_attachment(self, name: str) -> bytes:
        """A small file of the folder."""
        assert self._folder is not None
        return (self._folder / name).read_bytes()


def riders(folder: Path) -> dict[str, int]:
    """The model's small files in a folder, with their sizes."""
    found = {}
    for name in RIDERS:
        path = folder / name
        if path.is_file():
            size = path.stat().st_size
            if size > MAX_RIDER:
                raise FormatError(f"the file is larger than {MAX_RIDER:,} bytes", file=path)
            found[name] = size
    return found


def parts_of_index(index: Path) -> list[SafetensorsFile]:
    """The files of a sharded set, each checked against the index."""
    value = strict_json.parse_file(index, "the index")
    weight_map = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise FormatError("the index has no weight_map of tensor names to file names", file=index)
    names = sorted(set(weight_map.values()))
    for name in names:
        if name != Path(name).name or name in ("", ".", ".."):
            raise FormatError(f"the index names {name!r}, which is not a plain file name", file=index)
        if not (index.parent / name).is_file():
            raise FormatError(
                f"the shard {name!r} is missing", file=index, hint="put all shards beside the index"
            )
    parts = [SafetensorsFile.open(index.parent / name) for name in names]
    _check_index(weight_map, parts, index)
    return parts


def _check_index(weight_map: Mapping[str, str], parts: list[SafetensorsFile], index: Path) -> None:
    held: dict[str, Stored] = {}
    for part in parts:
        for name, stored in part.tensors.items():
            if name in held and not name.startswith("qformat.pad/"):
                raise FormatError(f"also in {held[name].file.name}", file=part.path, tensor=name)
            held[name] = stored
    for name, file in weight_map.items():
        if name not in held or held[name].file.name != file:
            raise FormatError(
                f"the index says that {file} holds it, but it does not", file=index, tensor=name
            )


def parts_of_folder(folder: Path) -> list[SafetensorsFile]:
    """The weights of a Hugging Face folder: by its index, or its only safetensors file."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if len(indexes) > 1:
        names = ", ".join(i.name for i in indexes)
        raise FormatError(f"the folder has several indexes: {names}", file=folder, hint="open one of them")
    if indexes:
        return parts_of_index(indexes[0])
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        some = f"{len(found)} safetensors files and no index"
        what = some if found else "neither a safetensors file nor a GGUF"
        raise FormatError(f"the folder has {what}", file=folder, hint="name one file, or add the index")
    return [SafetensorsFile.open(found[0])]
