"""The families against what transformers writes and what llama.cpp's converter makes of it."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qformat import families
from qformat.families import FamilyError, ops

GOLDEN = Path(__file__).parent / "golden" / "families"
CASES = sorted(p.stem for p in GOLDEN.glob("*.json"))
GGUF_CASES = [c for c in CASES if "gguf" in json.loads((GOLDEN / f"{c}.json").read_text())]
KINDS = {"uint32": "u32", "int32": "i32", "float32": "f32", "bool": "bool", "string": "string"}

# What we write beyond the converter: llama.cpp does not look at it, but we read it back.
MORE = {
    "mistral": {"llama.attention.sliding_window"},
}


def golden(case):
    return json.loads((GOLDEN / f"{case}.json").read_text())


def weights(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (random.integers(-128, 128, shape) / 256).astype(np.float32)


def checkpoint(shapes):
    return {name: weights(name, shape) for name, shape in shapes.items()}


def shapes(arrays):
    return {name: a.shape for name, a in arrays.items()}


def run(derived, arrays):
    return {d.name: d.apply([arrays[s] for s in d.sources]) for d in derived if not d.dropped}


def values(keys, config=None):
    """Key-values as a reader gives them: floats as float32."""
    plain = {k: tuple(t.value) if t.array else t.value for k, t in keys.items()}
    plain = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in plain.items()}
    if config:
        plain["tokenizer.ggml.bos_token_id"] = config.bos
    return plain


def converted(case):
    data = golden(case)
    model = families.config_from_hf(data["config"])
    arrays = checkpoint(data["hf"])
    return data, model, arrays, run(families.to_gguf(model, shapes(arrays)), arrays)


@pytest.mark.parametrize("case", GGUF_CASES)
def test_keys_are_those_of_the_converter(case):
    data = golden(case)
    ours = families.config_to_gguf(families.config_from_hf(data["config"]))
    theirs = {
        k: v
        for k, v in data["keys"].items()
        if not k.startswith(("general.", "tokenizer.")) or k == "general.architecture"
    }
    assert set(ours) - set(theirs) == MORE.get(case, set())
    assert set(theirs) <= set(ours)
    for key, (kind, value) in theirs.items():
        array = kind.startswith("array[")
        assert ours[key].array == array
        assert ours[key].kind == KINDS[kind.removeprefix("array[").removesuffix("]")], key
        mine = list(ours[key].value) if array else ours[key].value
        if kind == "float32":
            assert np.float32(mine) == np.float32(value), key
        else:
            assert mine == value, key


@pytest.mark.parametrize("case", GGUF_CASES)
def test_tensors_are_those_of_the_converter(case):
    data = golden(case)
    model = families.config_from_hf(data["config"])
    arrays = checkpoint(data["hf"])
    cut = data["gguf"]["token_embd.weight"][1][0]
    derived = families.to_gguf(model, shapes(arrays), tokens=cut)
    made = run(derived, arrays)
    assert set(made) == set(data["gguf"])
    for name, (_, shape, digest) in data["gguf"].items():
        assert made[name].dtype == np.float32
        assert list(made[name].shape) == shape, name
        assert hashlib.sha256(np.ascontiguousarray(made[name]).tobytes()).hexdigest() == digest, name


@pytest.mark.parametrize("case", CASES)
def test_config_survives_config_json(case):
    model = families.config_from_hf(golden(case)["config"])
    again = families.config_from_hf(json.loads(json.dumps(families.config_to_hf(model))))
    assert again == model
    assert (again.bos, again.eos) == (model.bos, model.eos) == (1, (2,))


@pytest.mark.parametrize("case", CASES)
def test_config_survives_gguf(case):
    _, model, _, made = converted(case)
    keys = values(families.config_to_gguf(model), model)
    again = families.config_from_gguf(keys, shapes(made), made.__getitem__)
    assert again == model
    assert again.bos == 1


@pytest.mark.parametrize("case", CASES)
def test_tensors_survive_gguf(case):
    _, model, arrays, made = converted(case)
    back = run(families.to_hf(model, shapes(made)), made)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].shape == array.shape
        if name.endswith("A_log"):
            assert np.allclose(back[name], array, atol=1e-6)
        else:
            assert np.array_equal(back[name].view(np.uint32), array.view(np.uint32)), name


@pytest.mark.parametrize("case", CASES)
def test_row_operations_move_whole_rows(case):
    _, model, arrays, made = converted(case)
    for derived, source in (
        (families.to_gguf(model, shapes(arrays)), arrays),
        (families.to_hf(model, shapes(made)), made),
    ):
        for d in derived:
            if not d.op.rows_only:
                continue
            taken = [source[name] for name in d.sources]
            order = d.op.row_map([a.shape for a in taken])
            vector = len(d.shape) > 1 or taken[0].ndim > 1
            rows = np.concatenate([a.reshape(-1, a.shape[-1] if vector else 1) for a in taken])
            assert np.array_equal(rows[order].reshape(d.shape), d.apply(taken)), d.name


@pytest.mark.parametrize("case", CASES)
def test_names_are_in_the_map_of_gguf(case):
    import gguf

    data = golden(case)
    model = families.config_from_hf(data["config"])
    names = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    architecture = families.registry.family(model.family).architecture
    known = gguf.get_tensor_name_map(names[architecture], model.layers)
    for hf, ours in families.tensor_names(model):
        if len(hf) != 1 or len(ours) != 1 or hf[0].endswith(("A_log", "dt_bias")):
            continue
        assert known.get_name(hf[0], (".weight", ".bias")) == ours[0]


def llama(**changes):
    return {**golden("llama")["config"], **changes}


OLD_FORMS = [
    ({"rope_theta": 5e5}, lambda m: m.rope.base == 5e5),
    (
        {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}},
        lambda m: m.rope.scaling == families.RopeScaling("linear", 2.0),
    ),
    (
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
        },
        lambda m: m.rope.scaling.kind == "llama3" and m.rope.original_context == 8192,
    ),
    ({"head_dim": None}, lambda m: m.head_dim == 8),
    ({"num_key_value_heads": None}, lambda m: m.kv_heads == 4),
    ({"eos_token_id": [2, 5]}, lambda m: m.eos == (2, 5)),
]


@pytest.mark.parametrize(("changes", "holds"), OLD_FORMS)
def test_older_configs_are_understood(changes, holds):
    assert holds(families.config_from_hf(llama(rope_parameters=None, **changes)))


def test_older_gemma3_inside_a_model_of_several_inputs():
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
    }
    model = families.config_from_hf(config)
    assert model.rope == families.Rope("half", 1e6, 256, families.RopeScaling("linear", 8.0), None, 1e4)
    assert [i for i in range(34) if not model.window_layers[i]] == [5, 11, 17, 23, 29]
    assert (model.heads, model.kv_heads, model.head_dim, model.vocabulary) == (8, 4, 256, 262208)
    assert model.embedding_scale == pytest.approx(2560**0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Qwen9ForCausalLM"], "model_type": "qwen9"}, "'Qwen9ForCausalLM'"),
        ({"architectures": None, "model_type": None}, "None"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_key_value_heads": 3}, "4 query heads"),
        ({"hidden_act": "laplace"}, "laplace"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}}, "original_max_position"),
        ({"rope_parameters": [1]}, "rope_parameters"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes, message):
    with pytest.raises(FamilyError, match=message):
        families.config_from_hf(llama(**changes))


def test_an_unknown_gguf_is_refused_with_what_is_known():
    with pytest.raises(FamilyError, match="'mamba'") as caught:
        families.config_from_gguf({"general.architecture": "mamba"}, {})
    assert "qwen3moe" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("model.layers.1.mlp.up_proj.weight", None, "no tensor"),
        ("model.layers.1.mlp.up_proj.weight", (48, 31), r"\[48, 31\]"),
        ("model.layers.1.mlp.side_proj.weight", (4, 4), "not known"),
        ("model.layers.1.self_attn.q_proj.bias", (32,), "not known"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, shape, message):
    data = golden("llama")
    stored = {k: tuple(v) for k, v in data["hf"].items() if k != name}
    if shape:
        stored[name] = shape
    with pytest.raises(FamilyError, match=message) as caught:
        families.to_gguf(families.config_from_hf(data["config"]), stored)
    assert caught.value.tensor == name


def test_what_is_left_out_is_named():
    data = golden("llama_llama3")
    stored = {k: tuple(v) for k, v in data["hf"].items()}
    stored |= {
        "lm_head.weight": (96, 32),
        "model.layers.0.self_attn.rotary_emb.inv_freq": (8,),
        "model.layers.2.eh_proj.weight": (1,),
        "vision_tower.patch.weight": (3,),
    }
    dropped = {
        d.name: d.op.why
        for d in families.to_gguf(families.config_from_hf(data["config"]), stored)
        if d.dropped
    }
    assert dropped.keys() == stored.keys() - data["hf"].keys()
    assert "embedding" in dropped["lm_head.weight"]


def test_a_model_of_several_inputs_has_other_names():
    data = golden("gemma3")
    stored = {k.replace("model.", "language_model.model.", 1): tuple(v) for k, v in data["hf"].items()}
    derived = families.to_gguf(families.config_from_hf(data["config"]), stored)
    assert derived[0].sources == ("language_model.model.embed_tokens.weight",)
    assert {d.name for d in derived} == set(data["gguf"])


def test_losses_are_said():
    assert families.losses(families.config_from_hf(golden("llama")["config"])) == []
    assert "window of 64" in families.losses(families.config_from_hf(golden("mistral")["config"]))[0]
    config = {**golden("qwen3moe")["config"], "norm_topk_prob": False}
    assert "add up to 1" in families.losses(families.config_from_hf(config))[0]


def test_gemma_norms_born_in_bfloat16_come_back_exactly():
    bits = np.arange(0x3780, 0x4180, dtype=np.uint32) << 16  # from 2**-16 to 16
    weights = np.concatenate([bits, bits | 0x80000000]).view(np.float32)
    back = ops.SubtractOne().apply([ops.AddOne().apply([weights], weights.shape)], weights.shape)
    assert np.array_equal(back, weights)


@pytest.mark.parametrize("high", [4.0, 2.0])
@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_a_llama3_rule_is_found_from_its_factors(high, factor):
    from qformat.families.rope import llama3_factors, llama3_from_factors

    scaling = families.RopeScaling("llama3", factor, low=1.0, high=high)
    rope = families.Rope("interleaved", 5e5, 64, scaling, 8192)
    factors = np.array(llama3_factors(rope), np.float32)
    assert llama3_from_factors(families.Rope("interleaved", 5e5, 64), factors) == rope
    with pytest.raises(FamilyError, match="no llama3 rule"):
        llama3_from_factors(families.Rope("interleaved", 5e5, 64), factors[::-1].copy())


def test_the_sample_model_pairs_up():
    import qformat

    folder = Path(__file__).parent.parent / "samples" / "village"
    model = families.config_from_hf(json.loads((folder / "config.json").read_text()))
    checkpoint = qformat.open(folder)
    derived = families.to_gguf(model, {n: t.shape for n, t in checkpoint.tensors.items()})
    assert not [d.name for d in derived if d.dropped]
    assert len(derived) == len(checkpoint.tensors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_config_is_described_or_refused(data):
    config = dict(golden(data.draw(st.sampled_from(CASES)))["config"])
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=4)):
        config[key] = data.draw(JSON)
    try:
        model = families.config_from_hf(config)
        families.config_to_gguf(model)
        families.config_from_hf(families.config_to_hf(model))
        families.to_gguf(model, {})
    except FamilyError:
        return


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_keys_are_described_or_refused(data):
    found = golden(data.draw(st.sampled_from(GGUF_CASES)))
    keys = {k: v[1] for k, v in found["keys"].items()}
    for key in data.draw(st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=4)):
        keys[key] = data.draw(JSON)
    shapes_of = {k: tuple(v[1]) for k, v in found["gguf"].items()}
    try:
        model = families.config_from_gguf(keys, shapes_of)
        families.to_hf(model, shapes_of)
    except FamilyError:
        return


def test_a_gguf_without_its_rotary_tables_is_refused():
    data, _, _, made = converted("llama_llama3")
    keys = {k: v[1] for k, v in data["keys"].items()}
    with pytest.raises(FamilyError, match="tables"):
        families.config_from_gguf(keys, shapes(made))


def test_columns_move_in_whole_runs():
    op = ops.SwapColumnGroups(2, 3, 4)
    runs = op.column_map().reshape(-1, 4)
    assert (runs[:, 0] // 4).tolist() == [0, 3, 1, 4, 2, 5]
    assert (np.diff(runs, axis=1) == 1).all()


def test_gemma2_without_a_window_in_its_gguf_has_that_of_llama_cpp():
    data = golden("gemma2")
    keys = {k: v[1] for k, v in data["keys"].items() if not k.endswith("sliding_window")}
    stored = {k: tuple(v[1]) for k, v in data["gguf"].items()}
    assert families.config_from_gguf(keys, stored).window == 4096
