"""From the tensors of one format to a list of what makes those of the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qformat.families import ops
from qformat.families.checks import FamilyError
from qformat.families.config import ModelConfig
from qformat.families.family import Family
from qformat.families.links import Side, decoder
from qformat.families.ops import Derived, Drop, Shape

Shapes = Mapping[str, Shape]

# Where a language model stands inside a model of several kinds of input.
INSIDE = ("model.language_model.", "language_model.model.")
OTHER_PARTS = re.compile(
    r"(model\.)?(vision_tower|vision_model|visual|multi_modal_projector|audio_tower|embed_vision)\."
)
BUFFERS = (
    (re.compile(r"\.rotary_emb\.inv_freq$"), "a buffer: it follows from the config"),
    (re.compile(r"\.(attn|attention)\.(masked_)?bias$"), "a buffer: the causal mask"),
    (re.compile(r"^(model\.)?mtp\."), "a block that predicts further tokens, which is not part of the model"),
)
ROPE_TABLES = re.compile(r"^rope_(freqs|factors_long|factors_short)\.weight$|\.attn_rot_embd\.weight$")
F32_PARTS = ("ffn_gate_inp.weight", "position_embd.weight", "ssm_conv1d.weight")


def keep_f32(name: str, shape: Shape) -> bool:
    """Whether llama.cpp takes a tensor in float32 only: vectors, norms, routers and a few more."""
    return len(shape) <= 1 or name.endswith(("_norm.weight", *F32_PARTS)) or not name.endswith(".weight")


def to_gguf(model: ModelConfig, family: Family, tensors: Shapes, tokens: int | None = None) -> list[Derived]:
    """How the GGUF's tensors are made from those of a Hugging Face checkpoint.

    ``tokens`` is the size of the tokenizer: a family that cuts off embedding rows beyond it needs it.

    Raises
    ------
    FamilyError
        If a tensor is missing, is not known, or has another shape; it is named.
    """
    given = {_inner_name(name, family): name for name in tensors}
    if len(given) != len(tensors):
        raise FamilyError("two tensors of the checkpoint stand for the same part of the model")
    derived: list[Derived] = []
    used: set[str] = set()
    for link in decoder(family, model):
        sources = tuple(_found(side, given, tensors, model) for side in link.hf)
        used.update(sources)
        derived += [_made(side, sources) for side in link.gguf]
    if family.tokens_cut and tokens is not None and tokens < model.vocabulary:
        derived = [_cut(d, tokens) for d in derived]
    return derived + [_dropped(name, tensors, model) for name in tensors if name not in used]


def _inner_name(name: str, family: Family) -> str:
    """The name that a text-only checkpoint of the family has for this tensor."""
    for prefix in INSIDE:
        if name.startswith(prefix):
            return "model." + name.removeprefix(prefix)
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    root = family.names["token_embd"].split(".")[0]
    if family.name == "gpt2" and not name.startswith((root + ".", "lm_head")):
        return f"{root}.{name}"
    return name


def _found(side: Side, given: Mapping[str, str], tensors: Shapes, model: ModelConfig) -> str:
    name = given.get(side.name)
    if name is None:
        what = f"the checkpoint has no tensor {side.name!r}, which a {model.family} model of its config has"
        raise FamilyError(what, tensor=side.name)
    _check_shape(name, tensors[name], side.shape, model)
    return name


def _check_shape(name: str, shape: Shape, expected: Shape, model: ModelConfig) -> None:
    if tuple(shape) != expected:
        what = (
            f"the tensor has shape {list(shape)}; a {model.family} model of this config has {list(expected)}"
        )
        raise FamilyError(what, tensor=name)


def _made(side: Side, sources: tuple[str, ...]) -> Derived:
    return Derived(side.name, side.shape, sources, side.op, keep_f32(side.name, side.shape))


def _cut(derived: Derived, tokens: int) -> Derived:
    if derived.name not in ("token_embd.weight", "output.weight"):
        return derived
    shape = (tokens, *derived.shape[1:])
    return Derived(derived.name, shape, derived.sources, ops.SliceRows(0, tokens), derived.keep_f32)


def _dropped(name: str, tensors: Shapes, model: ModelConfig) -> Derived:
    """A tensor that no part of the model calls for: left out for a reason, or an error."""
    why = next((why for pattern, why in BUFFERS if pattern.search(name)), None)
    if OTHER_PARTS.match(name):
        why = "part of another kind of input than text"
    elif model.tied and name.endswith("lm_head.weight"):
        why = "a copy of the embedding, which is the head of this model"
    elif (layer := re.match(r"(?:model\.(?:language_model\.)?layers|blk)\.(\d+)\.", name)) and int(
        layer[1]
    ) >= model.layers:
        why = f"the model has {model.layers} layers; this is a block that predicts further tokens"
    if why is None:
        what = f"the tensor is not known of a {model.family} model with this config"
        raise FamilyError(what, tensor=name, hint="its config may be wrong, or lack a key")
    return Derived(name, tensors[name], (name,), Drop(why))


def to_hf(model: ModelConfig, family: Family, tensors: Shapes) -> list[Derived]:
    """How a Hugging Face checkpoint's tensors are made from those of a GGUF; else like ``to_gguf``."""
    given = {name: name for name in tensors}
    derived: list[Derived] = []
    used: set[str] = set()
    for link in decoder(family, model):
        if not link.hf:
            continue
        sources = tuple(_found(side, given, tensors, model) for side in link.gguf)
        used.update(sources)
        derived += [Derived(side.name, side.shape, sources, side.op) for side in link.hf]
    return derived + list(_rest(tensors, used, model))


def _rest(tensors: Shapes, used: set[str], model: ModelConfig) -> Iterable[Derived]:
    for name in tensors:
        if name in used:
            continue
        if ROPE_TABLES.search(name):
            yield Derived(name, tensors[name], (name,), Drop("a table that follows from the config"))
        else:
            yield _dropped(name, tensors, model)


def names(model: ModelConfig, family: Family) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which tensors belong together: Hugging Face's names and GGUF's, link by link."""
    return [
        (tuple(side.name for side in link.hf), tuple(side.name for side in link.gguf))
        for link in decoder(family, model)
    ]
