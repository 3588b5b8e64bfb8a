"""Qwen3.5, the text model: the gated delta rule in most layers, gated full attention in every fourth.

Value heads stand by their key head in Hugging Face and are dealt out in turn in GGUF, for two key heads
and three value heads each::

    Hugging Face  k0v0 k0v1 k0v2 k1v0 k1v1 k1v2
    GGUF          k0v0 k1v0 k0v1 k1v1 k0v2 k1v2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families import ops
from qformat.families.checks import FamilyError, per_layer, positive, sequence, whole
from qformat.families.common import ATTENTION_BIAS, flags
from qformat.families.config import DeltaRule, ModelConfig
from qformat.families.family import Family, named
from qformat.families.gguf_keys import Typed
from qformat.families.links import Link, one, reshaped

LINEAR, FULL = "linear_attention", "full_attention"
DELTA_KEYS = {
    "key_heads": "linear_num_key_heads",
    "value_heads": "linear_num_value_heads",
    "key_dim": "linear_key_head_dim",
    "value_dim": "linear_value_head_dim",
    "conv": "linear_conv_kernel_dim",
}


def _read(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    fields["delta"] = _delta({name: positive(given.get(key), key) for name, key in DELTA_KEYS.items()})
    interval = positive(given.get("full_attention_interval", 4), "full_attention_interval")
    layers = fields["layers"]
    kinds = given.get("layer_types")
    if kinds is None:
        fields["delta_layers"] = tuple((i + 1) % interval != 0 for i in range(layers))
    else:
        fields["delta_layers"] = tuple(k == LINEAR for k in per_layer(kinds, layers, "layer_types"))
    fields["full_interval"] = interval


def _delta(sizes: Mapping[str, int]) -> DeltaRule:
    if sizes["value_heads"] % sizes["key_heads"]:
        what = f"{sizes['value_heads']} value heads do not divide among {sizes['key_heads']} key heads"
        raise FamilyError(what)
    return DeltaRule(**sizes)


def _write(model: ModelConfig, config: dict[str, Any]) -> None:
    config |= {key: getattr(model.delta, name) for name, key in DELTA_KEYS.items()}
    config["layer_types"] = [LINEAR if linear else FULL for linear in model.delta_layers]
    config["full_attention_interval"] = model.full_interval


def _write_keys(model: ModelConfig, keys: dict[str, Any]) -> None:
    delta = model.delta
    assert delta is not None
    keys["ssm.conv_kernel"] = Typed("u32", delta.conv)
    keys["ssm.state_size"] = Typed("u32", delta.key_dim)
    keys["ssm.group_count"] = Typed("u32", delta.key_heads)
    keys["ssm.time_step_rank"] = Typed("u32", delta.value_heads)
    keys["ssm.inner_size"] = Typed("u32", delta.value_width)
    keys["attention.recurrent_layers"] = Typed("bool", model.delta_layers, array=True)
    keys["full_attention_interval"] = Typed("u32", model.full_interval)


def _read_keys(values: Mapping[str, Any], fields: dict[str, Any]) -> None:
    def size(key: str) -> int:
        return positive(values.get(f"qwen35.ssm.{key}"), f"qwen35.ssm.{key}")

    heads, inner = size("time_step_rank"), size("inner_size")
    fields["delta"] = _delta(
        {
            "key_heads": size("group_count"),
            "value_heads": heads,
            "key_dim": size("state_size"),
            "value_dim": inner // heads,
            "conv": size("conv_kernel"),
        }
    )
    layers = fields["layers"]
    interval = whole(values.get("qwen35.full_attention_interval", 4), "qwen35.full_attention_interval")
    fields["full_interval"] = positive(interval, "qwen35.full_attention_interval")
    listed = values.get("qwen35.attention.recurrent_layers")
    if listed is None:
        fields["delta_layers"] = tuple((i + 1) % interval != 0 for i in range(layers))
    else:
        fields["delta_layers"] = flags(
            sequence(listed, "attention.recurrent_layers")[:layers], layers, "attention.recurrent_layers"
        )


def _layer(model: ModelConfig, i: int) -> list[Link] | None:
    """The links of a layer of linear attention; None for one of full attention."""
    if not model.is_delta(i):
        return None
    delta = model.delta
    assert delta is not None
    width, heads = model.width, delta.value_heads
    hf, gguf = f"model.layers.{i}.linear_attn", f"blk.{i}"
    each = heads // delta.key_heads

    def dealt(run: int, start: int = 0) -> tuple[ops.SwapGroups, ops.SwapGroups]:
        there = ops.SwapGroups(delta.key_heads, each, run, start)
        return there, ops.SwapGroups(each, delta.key_heads, run, start)

    values = dealt(delta.value_dim)
    qkv = dealt(delta.value_dim, 2 * delta.key_width)
    single = dealt(1)
    out = (
        ops.SwapColumnGroups(delta.key_heads, each, delta.value_dim),
        ops.SwapColumnGroups(each, delta.key_heads, delta.value_dim),
    )
    conv = (delta.qkv_width, delta.conv)
    return [
        one(f"{hf}.in_proj_qkv.weight", f"{gguf}.attn_qkv.weight", (delta.qkv_width, width), *qkv),
        one(f"{hf}.in_proj_z.weight", f"{gguf}.attn_gate.weight", (delta.value_width, width), *values),
        one(f"{hf}.in_proj_b.weight", f"{gguf}.ssm_beta.weight", (heads, width), *single),
        one(f"{hf}.in_proj_a.weight", f"{gguf}.ssm_alpha.weight", (heads, width), *single),
        one(f"{hf}.A_log", f"{gguf}.ssm_a", (heads,), ops.NegExp(single[0]), ops.LogNeg(single[1])),
        one(f"{hf}.dt_bias", f"{gguf}.ssm_dt.bias", (heads,), *single),
        reshaped(f"{hf}.conv1d.weight", (conv[0], 1, conv[1]), f"{gguf}.ssm_conv1d.weight", conv, *qkv),
        one(f"{hf}.norm.weight", f"{gguf}.ssm_norm.weight", (delta.value_dim,)),
        one(f"{hf}.out_proj.weight", f"{gguf}.ssm_out.weight", (width, delta.value_width), *out),
    ]


QWEN35 = Family(
    name="qwen35",
    architecture="qwen35",
    model_types=("qwen3_5_text", "qwen3_5"),
    architectures=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    # GGUF calls the norm before the feed-forward part by where it stands: after attention.
    names=named(ffn_norm=None, post_attention_norm="model.layers.{i}.post_attention_layernorm"),
    fixed={"qk_norm": "head", "gated_attention": True, "norm_offset": True},
    fields=ATTENTION_BIAS,
    omits=frozenset({"vocab_size"}),
    writes_head_dim=True,
    rope_part=0.25,
    rope_sections=(11, 11, 10, 0),
    read_config=_read,
    write_config=_write,
    read_keys=_read_keys,
    write_keys=_write_keys,
    layer_links=_layer,
)
