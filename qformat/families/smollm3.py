"""SmolLM3: Llama with no positions at all in every fourth layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.checks import per_layer, positive
from qformat.families.common import ATTENTION_BIAS, HEAD_LENGTHS
from qformat.families.config import ModelConfig
from qformat.families.family import Family, all_but_every


def _read(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    layers = fields["layers"]
    listed = given.get("no_rope_layers")  # which, against its name, has 1 where there is rotation
    if listed is None:
        interval = positive(given.get("no_rope_layer_interval", 4), "no_rope_layer_interval")
        fields["rope_layers"] = all_but_every(interval)(layers)
    else:
        fields["rope_layers"] = tuple(bool(v) for v in per_layer(listed, layers, "no_rope_layers"))


def _write(model: ModelConfig, config: dict[str, Any]) -> None:
    config["no_rope_layers"] = [int(turns) for turns in model.rope_layers]


def _read_keys(_values: Mapping[str, Any], fields: dict[str, Any]) -> None:
    fields["rope_layers"] = all_but_every(4)(fields["layers"])


SMOLLM3 = Family(
    name="smollm3",
    architecture="smollm3",
    model_types=("smollm3",),
    architectures=("SmolLM3ForCausalLM",),
    fields={**ATTENTION_BIAS, "ff_bias": "mlp_bias"},
    assumed={"tie_word_embeddings": True},
    omits=HEAD_LENGTHS,
    ignores=frozenset({"window", "rope_layers"}),
    rope="interleaved",
    rope_base=2e6,
    permutes=True,
    lists_layers=True,
    window_flag=True,
    read_config=_read,
    write_config=_write,
    read_keys=_read_keys,
)
