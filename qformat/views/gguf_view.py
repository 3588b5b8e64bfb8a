"""A checkpoint as GGUF sees it: its tensors under GGUF's names and storage, and its key-values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qformat import families
from qformat.errors import TargetError
from qformat.files.checkpoint import Checkpoint
from qformat.files.gguf import raw
from qformat.files.gguf.building import Typed
from qformat.files.gguf.checkpoint import GGUFCheckpoint
from qformat.files.gguf.keyvalues import KeyValues, Value
from qformat.files.gguf.types import ValueType
from qformat.files.strict_json import parse
from qformat.schemes.mixture import ModelFacts
from qformat.views.derived import DerivedCheckpoint
from qformat.views.gguf_keys import gguf_keyvalues

_KINDS = {
    "u32": ValueType.UINT32,
    "i32": ValueType.INT32,
    "f32": ValueType.FLOAT32,
    "bool": ValueType.BOOL,
    "string": ValueType.STRING,
}


@dataclass(frozen=True)
class GgufView:
    """What a GGUF of a checkpoint is written from.

    ``headers`` are those of the files that it came from, if it did come from a GGUF.
    """

    tensors: Checkpoint
    keyvalues: Mapping[str, Typed | Value]
    facts: ModelFacts
    headers: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = ()

    def needs_f32(self, name: str) -> bool:
        """Whether llama.cpp takes this tensor in float32 only."""
        return isinstance(self.tensors, DerivedCheckpoint) and name in self.tensors.keep_f32


def gguf_view(source: Checkpoint) -> GgufView:
    """See a GGUF, a container made of one, or a Hugging Face model as GGUF.

    Raises
    ------
    TargetError
        If it has neither a GGUF's header nor a config.json.
    FormatError
        If its architecture is not known, or its tensors are not those of its config.
    """
    values = gguf_keyvalues(source)
    if values is None:
        return _from_hugging_face(source)
    if isinstance(source, GGUFCheckpoint):
        parts = tuple(raw.skeletons(source).values())
    else:
        parts = tuple(source.read_attachment(name) for name in raw.find(source.attachments))
    return GgufView(source, values, _facts_of_keys(values), parts)


def _facts_of_keys(values: KeyValues) -> ModelFacts:
    arch = values.read("general.architecture")

    def number(key: str, default: int) -> int:
        found: Any = values.read(f"{arch}.{key}", default)
        return int(found) if isinstance(found, int) else int(max(found))  # one for each layer

    heads, kv = number("attention.head_count", 1), number("attention.head_count_kv", 0)
    return ModelFacts(number("block_count", 1), number("expert_count", 0), heads // kv if kv else 1)


def _from_hugging_face(source: Checkpoint) -> GgufView:
    if "config.json" not in source.attachments:
        raise TargetError(
            "a GGUF says what model it is, but the source has no config.json",
            file=source.path,
            hint="name the model's folder, not its weights alone",
        )
    from qformat.views import vocabulary

    files = {name: source.read_attachment(name) for name in source.attachments}
    config = parse(files["config.json"], file=source.path, what="config.json")
    model = families.config_from_hf(config)
    words = vocabulary.to_keys(files, model.vocabulary)
    tokens = len(words["tokenizer.ggml.tokens"].value)
    shapes = {name: info.shape for name, info in source.tensors.items()}
    made = families.to_gguf(model, shapes, tokens)
    pairs = {
        "general.architecture": families.Typed("string", ""),
        "general.type": families.Typed("string", "model"),
        "general.name": families.Typed("string", source.path.resolve().name),
        **families.config_to_gguf(model),
        **words,
    }
    notes = [f"{d.name}: left out, {d.op.why}" for d in made if isinstance(d.op, families.Drop)]
    kv = model.kv_heads if isinstance(model.kv_heads, int) else max(model.kv_heads)
    facts = ModelFacts(model.layers, model.experts.count if model.experts else 0, model.heads // max(1, kv))
    return GgufView(
        DerivedCheckpoint(source, made, {}),
        {key: Typed(_KINDS[v.kind], v.value, v.array) for key, v in pairs.items()},
        facts,
        notes=(*notes, *families.losses(model)),
    )
