"""GGUF through the converter: into a container and back unchanged, and to other types."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from conftest import qformat as command
from conftest import weights

import qformat
from qformat.convert.options import Options
from qformat.convert.recipe import Rule
from qformat.convert.verbs import plan
from qformat.errors import SchemeError, TargetError

KEEP = [Rule("*", "keep")]
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS = 256, 512, 16, 8, 2


def write_model(path, *, hidden=HIDDEN, ffn=FFN, layers=LAYERS, output=True, kv_heads=KV_HEADS):
    """A GGUF with Llama's keys and names, by gguf-py."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(kv_heads)
    writer.add_token_list(["a", "b\x1b[31m", "\u0120c"])
    writer.add_array("odd.numbers", [1, 2, 3])
    shapes = {"token_embd.weight": (64, hidden), "output_norm.weight": (hidden,)}
    if output:
        shapes["output.weight"] = (64, hidden)
    for i in range(layers):
        for name, shape in {
            "attn_norm": (hidden,),
            "attn_q": (hidden, hidden),
            "attn_k": (hidden // HEADS * kv_heads, hidden),
            "attn_v": (hidden // HEADS * kv_heads, hidden),
            "attn_output": (hidden, hidden),
            "ffn_gate": (ffn, hidden),
            "ffn_down": (hidden, ffn),
        }.items():
            shapes[f"blk.{i}.{name}.weight"] = shape
    for i, (name, shape) in enumerate(shapes.items()):
        dtype = np.float32 if len(shape) == 1 else np.float16
        writer.add_tensor(name, weights(i, shape, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("gguf") / "model.gguf", layers=2)


def types(path) -> dict[str, str]:
    return {t.name: t.tensor_type.name.lower() for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("scheme", [None, "q8_0", "q4_0", "q5_1", "q2_k", "q4_k_m", "iq4_xs", "bf16"])
def test_the_same_file_comes_back_from_a_container(model, tmp_path, scheme):
    source = model
    if scheme is not None:
        source = tmp_path / "source.gguf"
        qformat.convert(model, source, scheme, to="gguf")
    box, back = tmp_path / "box.safetensors", tmp_path / "back.gguf"
    qformat.convert(source, box, rules=KEEP)
    assert qformat.verify(box, source=source).ok
    assert qformat.diff(source, box).same
    qformat.convert(box, back, to="gguf")
    assert back.read_bytes() == source.read_bytes()


def test_gguf_py_reads_what_is_written(model, tmp_path):
    target = tmp_path / "t.gguf"
    report = qformat.convert(model, target, "q4_0", to="gguf")
    assert target.stat().st_size == report.nbytes
    made, source = gguf.GGUFReader(target), gguf.GGUFReader(model)
    for key, field in source.fields.items():
        if key.startswith(("GGUF.", "general.file_type", "general.quantization")):
            continue
        assert field.contents() == made.fields[key].contents()
    assert made.fields["general.file_type"].contents() == 2
    for tensor in made.tensors:
        if tensor.tensor_type.name == "Q4_0":
            original = next(t for t in source.tensors if t.name == tensor.name).data.astype(np.float32)
            assert np.array_equal(tensor.data, gguf.quants.quantize(original, tensor.tensor_type))


# What llama-quantize gives for 16 layers, four query heads to a value head: (attn_v, ffn_down) by layer.
MIXED = {
    "q4_k_m": ([0, 1, 4, 7, 10, 13, 14, 15], "q6_k", "q4_k", [0, 1, 4, 7, 10, 13, 14, 15], "q6_k", "q4_k"),
    "q5_k_m": ([0, 1, 4, 7, 10, 13, 14, 15], "q6_k", "q5_k", [0, 1, 4, 7, 10, 13, 14, 15], "q6_k", "q5_k"),
    "q4_k_s": ([0, 1, 2, 3], "q5_k", "q4_k", [0, 1], "q5_k", "q4_k"),
    "q3_k_m": ([0, 1], "q5_k", "q4_k", [0], "q5_k", "q4_k"),
    "q2_k": (range(16), "q4_k", "", range(16), "q3_k", ""),
    "iq4_xs": (range(16), "q5_k", "", [0, 1], "q5_k", "iq4_xs"),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixtures_choose_as_llama_quantize_does(tmp_path, name):
    source = write_model(tmp_path / "m.gguf")
    coding = {t.info.name: t.coding for t in plan(source, tmp_path / "t.gguf", Options(name)).tensors}
    more_v, v, rest_v, more_down, down, rest_down = MIXED[name]
    for i in range(LAYERS):
        assert coding[f"blk.{i}.attn_v.weight"] == (v if i in more_v else rest_v)
        assert coding[f"blk.{i}.ffn_down.weight"] == (down if i in more_down else rest_down)
        assert coding[f"blk.{i}.attn_norm.weight"] == "f32"
    assert coding["output.weight"] == "q6_k"


def test_a_model_without_an_output_head_has_the_embedding_in_six_bits(tmp_path):
    source = write_model(tmp_path / "m.gguf", layers=1, output=False)
    coding = {t.info.name: t.coding for t in plan(source, tmp_path / "t.gguf", Options("q4_k_s")).tensors}
    assert coding["token_embd.weight"] == "q6_k"


def test_a_mixtures_name_with_pure_is_its_one_type(model, tmp_path):
    qformat.convert(model, tmp_path / "t.gguf", "q4_k_m", to="gguf", pure=True)
    assert {v for k, v in types(tmp_path / "t.gguf").items() if "norm" not in k} == {"q4_k"}
    with pytest.raises(SchemeError, match="no type or mixture 'q4_k_x'") as caught:
        qformat.convert(model, tmp_path / "u.gguf", "q4_k_x", to="gguf")
    assert "q4_k_m" in caught.value.hint


def test_the_rules_of_a_mixture_are_a_recipe(model, tmp_path):
    printed = command("convert", model, tmp_path / "t.gguf", "-s", "q4_k_m", "--print-recipe").stdout
    (tmp_path / "r.toml").write_text(printed)
    command("convert", model, tmp_path / "a.gguf", "-r", tmp_path / "r.toml", "-q")
    qformat.convert(model, tmp_path / "b.gguf", "q4_k_m", to="gguf")
    assert types(tmp_path / "a.gguf") == types(tmp_path / "b.gguf")


def test_pure_is_one_type(model, tmp_path):
    qformat.convert(model, tmp_path / "t.gguf", "q4_k", to="gguf", pure=True)
    found = types(tmp_path / "t.gguf")
    assert {v for k, v in found.items() if "norm" not in k} == {"q4_k"}
    assert {v for k, v in found.items() if "norm" in k} == {"f32"}


def test_rows_that_a_block_does_not_divide_fall_back_and_say_so(tmp_path):
    source = write_model(tmp_path / "m.gguf", hidden=64, ffn=172, layers=1)
    report = qformat.convert(source, tmp_path / "t.gguf", "q4_k_m", to="gguf")
    found = types(tmp_path / "t.gguf")
    assert found["blk.0.attn_q.weight"] == "q5_0"
    assert found["blk.0.ffn_down.weight"] == "f16"
    assert any("ffn_down.weight: rows of 172 do not divide" in w for w in report.warnings)
    done = command("convert", source, tmp_path / "s.gguf", "-s", "q4_k_m", "--strict", check=False)
    assert done.returncode == 1
    assert "do not divide" in done.stderr
    assert not (tmp_path / "s.gguf").exists()


def test_rules_come_before_the_mixture(model, tmp_path):
    command(
        "convert",
        model,
        tmp_path / "t.gguf",
        "-s",
        "q4_0",
        "--set",
        "*attn_v*=q8_0",
        "--keep",
        "output*",
        "-q",
    )
    found = types(tmp_path / "t.gguf")
    assert found["blk.1.attn_v.weight"] == "q8_0"
    assert found["output.weight"] == "f16"
    assert found["blk.1.attn_q.weight"] == "q4_0"


def test_a_gguf_becomes_a_planar_container_and_plain_numbers(model, tmp_path):
    q8 = tmp_path / "q8.gguf"
    qformat.convert(model, q8, "q8_0", to="gguf")
    box = tmp_path / "box.safetensors"
    report = qformat.convert(q8, box, "asym4")
    assert "quantized already" in report.warnings[0]
    assert qformat.open(box).tensors["blk.0.attn_q.weight"].coding == "asym4"
    qformat.convert(q8, tmp_path / "plain.safetensors", to="safetensors", dtype="F32")
    from safetensors.numpy import load_file

    plain = load_file(tmp_path / "plain.safetensors")
    for tensor in gguf.GGUFReader(q8).tensors:
        assert np.array_equal(
            plain[tensor.name].reshape(-1),
            gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1),
        )


def test_what_gguf_has_no_type_for_is_refused(model, tmp_path):
    with pytest.raises(TargetError, match="no type for asym4"):
        qformat.convert(model, tmp_path / "t.gguf", "asym4", to="gguf")
    box = tmp_path / "box.safetensors"
    qformat.convert(model, box, "asym4")
    with pytest.raises(TargetError, match="no type for asym"):
        qformat.convert(box, tmp_path / "t.gguf", to="gguf")


def test_inspect_takes_a_k_quant_apart(model, tmp_path):
    import json

    target = tmp_path / "t.gguf"
    qformat.convert(model, target, "q4_k", to="gguf", pure=True)
    shown = command("inspect", target, "-t", "blk.0.attn_q.weight", "-b", "3", "--json").stdout
    block = json.loads(shown)["block"]
    record = next(t for t in gguf.GGUFReader(target).tensors if t.name == "blk.0.attn_q.weight").data[3]
    assert block["values"] == gguf.quants.dequantize(record, gguf.GGMLQuantizationType.Q4_K).tolist()
    fields = {f["name"]: f for f in block["fields"]}
    assert fields["d"]["items"][0] == record[:2].view(np.float16)[0]


def test_a_split_file_comes_back_shard_for_shard(model, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama", split_max_tensors=4)
    for tensor in gguf.GGUFReader(model).tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.add_block_count(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shards = sorted(tmp_path.glob("s-*.gguf"))
    assert len(shards) > 2
    qformat.convert(shards[1], tmp_path / "box.safetensors", rules=KEEP)
    qformat.convert(tmp_path / "box.safetensors", tmp_path / "s", to="gguf")
    assert [p.name for p in shards] == sorted(p.name for p in (tmp_path / "s").iterdir())
    for shard in shards:
        assert (tmp_path / "s" / shard.name).read_bytes() == shard.read_bytes()
    assert qformat.diff(shards[0], model).same


def test_a_hugging_face_folder_becomes_a_gguf_and_comes_back(model, tmp_path):
    from test_samples import MODEL

    qformat.convert(MODEL, tmp_path / "m.gguf", "q8_0", to="gguf")
    made = gguf.GGUFReader(tmp_path / "m.gguf")
    assert made.fields["general.architecture"].contents() == "llama"
    assert made.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert {t.name: t.tensor_type.name for t in made.tensors}["blk.0.attn_q.weight"] == "Q8_0"
    back = tmp_path / "back"
    qformat.convert(tmp_path / "m.gguf", back, to="safetensors")
    assert {p.name for p in back.iterdir()} >= {"config.json", "tokenizer.json", "model.safetensors"}
    found = qformat.diff(MODEL, back)
    assert found.total.rmse < 0.01
    assert all(row.left and row.right for row in found.rows)


def test_quantized_rows_are_permuted_as_they_are(tmp_path):
    """Q and K rows go to GGUF's order without being quantized again."""
    from test_samples import MODEL

    box = tmp_path / "box"
    qformat.convert(MODEL, box, rules=[Rule("*proj*", "q8_0"), Rule("*", "keep")])
    qformat.convert(box, tmp_path / "a.gguf", to="gguf")
    qformat.convert(
        MODEL, tmp_path / "b.gguf", to="gguf", rules=[Rule("*attn_[qkv]*", "q8_0"), Rule("*ffn*", "keep")]
    )
    a, b = ({t.name: t for t in gguf.GGUFReader(tmp_path / f"{n}.gguf").tensors} for n in "ab")
    for part in ("attn_q", "attn_k", "attn_v"):
        name = f"blk.1.{part}.weight"
        assert a[name].tensor_type.name == b[name].tensor_type.name == "Q8_0"
        assert a[name].data.tobytes() == b[name].data.tobytes()


def test_an_unknown_architecture_is_refused_by_name(tmp_path):
    from conftest import tiny_model

    folder = tiny_model(tmp_path / "m")
    (folder / "config.json").write_text('{"architectures": ["FooForCausalLM"], "model_type": "foo"}')
    done = command("convert", folder, tmp_path / "t.gguf", "-s", "q8_0", check=False)
    assert done.returncode == 1
    assert "FooForCausalLM" in done.stderr
    assert "known are" in done.stderr
