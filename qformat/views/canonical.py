"""What a model is and its tensors under GGUF's names and storage, whatever checkpoint it comes from.

GGUF's names are the canonical ones: what computes with a model knows no others.
"""

from __future__ import annotations

from dataclasses import dataclass

from qformat import families
from qformat.errors import FormatError
from qformat.families import FamilyError, ModelConfig
from qformat.files.checkpoint import Checkpoint
from qformat.files.strict_json import parse
from qformat.schemes.described import decoder
from qformat.views.derived import DerivedCheckpoint
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.hf_view import model_of_keys


@dataclass(frozen=True)
class Canonical:
    """A model's description, and a checkpoint whose tensors have GGUF's names."""

    config: ModelConfig
    tensors: Checkpoint


def canonical(source: Checkpoint) -> Canonical:
    """See any checkpoint of a known architecture under canonical names; headers only.

    Every tensor that the architecture calls for is there afterwards, has the shape that it must have,
    and can be decoded.

    Raises
    ------
    FormatError
        If the checkpoint does not say what model it is, if its architecture is not known, or if a
        tensor is missing, unknown or of another shape; it is named.
    SchemeError
        If a tensor is quantized by a scheme whose plugin is not installed.
    """
    try:
        made = _canonical(source)
    except FamilyError as error:
        error.file = error.file or str(source.path)
        raise
    for record in {i.scheme.spec(): i.scheme for i in source.tensors.values() if i.scheme}.values():
        decoder(record)
    return made


def _canonical(source: Checkpoint) -> Canonical:
    shapes = {name: info.shape for name, info in source.tensors.items()}
    values = gguf_keyvalues(source)
    if values is not None:
        model = model_of_keys(source, values)
        families.to_hf(model, shapes)  # finds what is missing, unknown or of another shape
        return Canonical(model, source)
    if "config.json" not in source.attachments:
        raise FormatError(
            "there is no config.json, so nothing says what model this is",
            file=source.path,
            hint="name the model's folder, not its weights alone",
        )
    given = parse(source.read_attachment("config.json"), file=source.path, what="config.json")
    model = families.config_from_hf(given)
    return Canonical(model, DerivedCheckpoint(source, families.to_gguf(model, shapes), {}))
