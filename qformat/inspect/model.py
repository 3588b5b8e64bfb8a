"""What kind of model a checkpoint is, and the memory that running it takes."""

from __future__ import annotations

from dataclasses import dataclass

from qformat import families
from qformat.errors import FormatError, QFormatError
from qformat.families.config import ModelConfig
from qformat.files.checkpoint import Checkpoint
from qformat.files.strict_json import parse
from qformat.text import size
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.hf_view import model_of_keys

CACHE_BYTES = 2  # of a number in the key-value cache: float16


@dataclass(frozen=True)
class ModelFacts:
    """A model's family and size; ``why`` says why there is no config, if there is none."""

    family: str
    config: ModelConfig | None
    weights: int  # bytes
    why: str = ""

    @property
    def cache_per_token(self) -> int | None:
        """Bytes that one token takes in the key-value cache, in float16."""
        if self.config is None:
            return None
        layers = sum(not self.config.is_delta(i) for i in range(self.config.layers))
        return 2 * layers * self.config.kv_width * CACHE_BYTES

    def facts(self) -> list[tuple[str, str]]:
        """Names and values as people read them."""
        found = [("family", self.family or f"not known: {self.why}")]
        config, per_token = self.config, self.cache_per_token
        if config is None or per_token is None:
            return [*found, ("memory", f"{size(self.weights)} of weights")]
        cache = per_token * config.context
        heads = f"{config.heads} heads of {config.head_dim}"
        if config.kv_heads != config.heads:
            heads += f", {config.kv_heads} for keys and values"
        cached = f"{size(cache)} of cache for {config.context:,} tokens in f16"
        return [
            *found,
            ("layers", f"{config.layers}, {heads}"),
            ("width", f"{config.width:,}, feed-forward {config.ff_width:,}"),
            ("vocabulary", f"{config.vocabulary:,} tokens"),
            ("context", f"{config.context:,} tokens"),
            ("memory", f"{size(self.weights + cache)}: {size(self.weights)} of weights, {cached}"),
        ]

    def to_json(self) -> dict[str, int | str | None]:
        """Bytes and counts; what is not known is null."""
        config, per_token = self.config, self.cache_per_token
        return {
            "family": self.family or None,
            "layers": config.layers if config else None,
            "width": config.width if config else None,
            "vocabulary": config.vocabulary if config else None,
            "context": config.context if config else None,
            "weight_bytes": self.weights,
            "cache_bytes": config.context * per_token if config and per_token is not None else None,
        }


def model_facts(checkpoint: Checkpoint) -> ModelFacts:
    """What is known of the model; a family that is not known is no error here."""
    weights = sum(info.nbytes for info in checkpoint.tensors.values())
    try:
        family, config = _config(checkpoint)
    except QFormatError as error:
        return ModelFacts("", None, weights, error.what)
    return ModelFacts(family, config, weights)


def _config(checkpoint: Checkpoint) -> tuple[str, ModelConfig]:
    values = gguf_keyvalues(checkpoint)
    if values is not None:
        config = model_of_keys(checkpoint, values)
    elif "config.json" in checkpoint.attachments:
        raw = checkpoint.read_attachment("config.json")
        value = parse(raw, file=checkpoint.path, what="config.json")
        if not isinstance(value, dict):
            raise FormatError("config.json is not a JSON object", file=checkpoint.path)
        config = families.config_from_hf(value)
    else:
        raise FormatError("it has no config.json and no key-values", file=checkpoint.path)
    return config.family, config
