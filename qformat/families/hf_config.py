"""config.json to ModelConfig and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families import rope
from qformat.families.checks import MAX_LAYERS, FamilyError, flag, per_layer, positive, real, shown, whole
from qformat.families.config import Activation, ModelConfig
from qformat.families.family import Family, all_but_every, no_windows

COUNTS = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "ff_width": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
}
ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
FLAGS = {"qkv_bias", "out_bias", "ff_bias", "head_bias", "parallel"}
SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the language model, of a config for several kinds of input."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, Mapping) else config


def read(config: Mapping[str, Any], family: Family) -> ModelConfig:
    """Describe the model of a config.json of this family."""
    given = {**family.assumed, **{k: v for k, v in config.items() if v is not None}}
    fields: dict[str, Any] = {"family": family.name, **family.fixed}
    for name, key in COUNTS.items():
        fields[name] = _count(given, name, family.fields.get(name, key), family)
    if fields["kv_heads"] is None:
        fields["kv_heads"] = fields["heads"]
    if fields["ff_width"] is None:
        fields["ff_width"] = 4 * fields["width"]
    fields["head_dim"] = _head_dim(given, fields)
    eps = "rms_norm_eps" if family.fixed.get("norm", "rms") == "rms" else "layer_norm_eps"
    fields["norm_eps"] = _real(given, family.fields.get("norm_eps", eps), family)
    fields["tied"] = flag(given.get("tie_word_embeddings", False), "tie_word_embeddings")
    fields["activation"] = _activation(given, family)
    for name, key in family.fields.items():
        if name not in COUNTS and name != "norm_eps" and given.get(key) is not None:
            fields[name] = flag(given[key], key) if name in FLAGS else real(given[key], key)
    if family.qk_norm_key and flag(given.get(family.qk_norm_key, False), family.qk_norm_key):
        fields["qk_norm"] = "heads"
    fields["rope"] = rope.read(given, family, fields["head_dim"], fields["context"])
    _windows(given, family, fields)
    _ends(given, fields)
    if family.read_config:
        family.read_config(given, fields)
    if family.derive:
        family.derive(fields)
    return consistent(ModelConfig(**fields))


def _count(given: Mapping[str, Any], name: str, key: str, family: Family) -> int | None:
    if not key or key not in given:
        if name in ("kv_heads", "ff_width"):
            return None
        raise FamilyError(f"config.json has no {key!r}, which a {family.name} model needs")
    return positive(given[key], key, MAX_LAYERS if name == "layers" else 1 << 32)


def _head_dim(given: Mapping[str, Any], fields: Mapping[str, Any]) -> int:
    if given.get("head_dim") is not None:
        return positive(given["head_dim"], "head_dim")
    if fields["width"] % fields["heads"]:
        what = f"a width of {fields['width']} does not divide into {fields['heads']} heads"
        raise FamilyError(what, hint="config.json needs a 'head_dim'")
    return int(fields["width"] // fields["heads"])


def _real(given: Mapping[str, Any], key: str, family: Family) -> float:
    if key not in given:
        raise FamilyError(f"config.json has no {key!r}, which a {family.name} model needs")
    return real(given[key], key)


def _activation(given: Mapping[str, Any], family: Family) -> Activation:
    name = given.get(family.activation_key, family.activation_name)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise FamilyError(f"the activation {shown(name)} is not known", hint=f"known are {known}")
    return ACTIVATIONS[name]


def _windows(given: Mapping[str, Any], family: Family, fields: dict[str, Any]) -> None:
    layers, window = fields["layers"], given.get("sliding_window")
    if family.window_flag and not given.get("use_sliding_window", False):
        window = None
    if not window:
        fields["window_layers"] = (False,) * layers
        return
    fields["window"] = positive(window, "sliding_window")
    if given.get("layer_types") is not None:
        kinds = per_layer(given["layer_types"], layers, "layer_types")
        fields["window_layers"] = tuple(kind == SLIDING for kind in kinds)
    elif given.get("sliding_window_pattern") is not None:
        interval = positive(given["sliding_window_pattern"], "sliding_window_pattern")
        fields["window_layers"] = all_but_every(interval)(layers)
    elif family.window_flag:
        first = whole(given.get("max_window_layers", 28), "max_window_layers")
        fields["window_layers"] = tuple(i >= first for i in range(layers))
    else:
        fields["window_layers"] = family.window_layers(layers)
    if not any(fields["window_layers"]):
        del fields["window"]


def _ends(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    if given.get("bos_token_id") is not None:
        fields["bos"] = whole(given["bos_token_id"], "bos_token_id")
    eos = given.get("eos_token_id")
    if eos is not None:
        fields["eos"] = tuple(whole(e, "eos_token_id") for e in (eos if isinstance(eos, list) else [eos]))


def consistent(model: ModelConfig) -> ModelConfig:
    """The model itself, if its sizes fit together."""
    if model.heads % model.kv_heads:
        what = f"{model.heads} query heads do not divide among {model.kv_heads} key and value heads"
        raise FamilyError(what)
    if model.rope is not None and (
        model.rope.dimension % 2 or not 0 < model.rope.dimension <= model.head_dim
    ):
        what = f"rotary positions over {model.rope.dimension} of {model.head_dim} elements of a head"
        raise FamilyError(f"{what} cannot be")
    if not model.window_layers:
        raise FamilyError("the model has no layers")
    return model


def write(model: ModelConfig, family: Family) -> dict[str, Any]:
    """The config.json of a model, as transformers reads it."""
    config: dict[str, Any] = {"architectures": [family.architectures[0]], "model_type": family.model_types[0]}
    for name, key in COUNTS.items():
        if family.fields.get(name, key):
            config[family.fields.get(name, key)] = getattr(model, name)
    if family.writes_head_dim or model.head_dim * model.heads != model.width:
        config["head_dim"] = model.head_dim
    eps = "rms_norm_eps" if model.norm == "rms" else "layer_norm_eps"
    config[family.fields.get("norm_eps", eps)] = model.norm_eps
    config["tie_word_embeddings"] = model.tied
    config[family.activation_key] = _activation_name(model, family)
    for name, key in family.fields.items():
        if name not in COUNTS and name != "norm_eps" and getattr(model, name) is not None:
            config[key] = getattr(model, name)
    if family.qk_norm_key:
        config[family.qk_norm_key] = model.qk_norm is not None
    config |= rope.write(model, family)
    _write_windows(model, family, config)
    if model.bos is not None:
        config["bos_token_id"] = model.bos
    if model.eos:
        config["eos_token_id"] = list(model.eos) if len(model.eos) > 1 else model.eos[0]
    if family.write_config:
        family.write_config(model, config)
    return config


def _activation_name(model: ModelConfig, family: Family) -> str:
    if model.activation == family.activation:
        return family.activation_name
    return "gelu_pytorch_tanh" if model.activation == "gelu_tanh" else model.activation


def _write_windows(model: ModelConfig, family: Family, config: dict[str, Any]) -> None:
    if family.window_flag:
        config["use_sliding_window"] = model.window is not None
    if family.lists_layers:
        config["layer_types"] = [SLIDING if windowed else FULL for windowed in model.window_layers]
    if model.window is not None or family.window_layers is not no_windows:
        config["sliding_window"] = model.window
