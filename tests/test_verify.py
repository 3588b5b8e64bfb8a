"""`verify` finds any flipped bit and any missing byte, and says where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from conftest import save_bf16, tiny_model, weights
from safetensors.numpy import save_file
from test_gguf_convert import write_model

import qformat
from qformat.blocks.tiles import Tile
from qformat.convert.recipe import Rule
from qformat.errors import FormatError, QFormatError
from qformat.views.source import tensor_source

SAMPLE = Path(__file__).parents[1] / "samples" / "village"


def is_whole(path) -> bool:
    try:
        return qformat.verify(path).ok
    except QFormatError:
        return False


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A container of a few kilobytes with every kind of content."""
    folder = tmp_path_factory.mktemp("small")
    source = folder / "source"
    source.mkdir()
    tensors = {"w": weights(1, (3, 41)), "norm": weights(2, (5,)), "e": weights(3, (2, 32))}
    save_bf16(tensors, source / "model.safetensors", {"format": "pt"})
    (source / "config.json").write_text("{}")
    target = folder / "small.safetensors"
    qformat.convert(source, target, rules=[Rule("w", "asym4"), Rule("e", "sym2")])
    return target


def test_every_byte_counts(small, tmp_path):
    raw = small.read_bytes()
    assert is_whole(small)
    damaged = tmp_path / "damaged.safetensors"
    missed = []
    for i in range(len(raw)):
        for bit in {i % 8, (i * 5 + 3) % 8}:
            broken = bytearray(raw)
            broken[i] ^= 1 << bit
            damaged.write_bytes(broken)
            if is_whole(damaged):
                missed.append((i, bit))
    assert missed == []


def test_every_length_counts(small, tmp_path):
    raw = small.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for length in range(len(raw)):
        damaged.write_bytes(raw[:length])
        assert not is_whole(damaged), length
    damaged.write_bytes(raw + b"\0")
    assert not is_whole(damaged)


def test_random_bits_of_a_larger_file_are_found_in_the_right_tensor(tmp_path):
    model = tiny_model(tmp_path / "model", hidden=256, ffn=512)
    target = tmp_path / "t.safetensors"
    qformat.convert(model, target, "asym4")
    checkpoint = qformat.open(target)
    arrays = [(name, p) for name, info in checkpoint.tensors.items() for p in info.planes.values()]
    raw = target.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        name, plane = arrays[rng.integers(len(arrays))]
        broken = bytearray(raw)
        broken[plane.data_offset + int(rng.integers(plane.nbytes))] ^= 1 << int(rng.integers(8))
        target.write_bytes(broken)
        faults = qformat.verify(target).faults
        assert len(faults) == 1
        assert faults[0].tensor.startswith(name)


def test_damage_to_one_shard_is_found(model, tmp_path):
    qformat.convert(model, tmp_path / "many", "sym4", max_shard_size=40_000)
    shards = sorted((tmp_path / "many").glob("*.safetensors"))
    other = tmp_path / "other"
    qformat.convert(model, other, "sym8", max_shard_size=60_000)
    raw = shards[1].read_bytes()
    shards[1].write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert not is_whole(tmp_path / "many")
    shards[1].write_bytes(sorted(other.glob("*.safetensors"))[0].read_bytes())
    assert not is_whole(tmp_path / "many")
    shards[1].unlink()
    assert not is_whole(tmp_path / "many")


def test_a_changed_source_is_noticed(model, tmp_path):
    target = tmp_path / "t.safetensors"
    qformat.convert(model, target, "sym4")
    other = tiny_model(tmp_path / "other")
    assert qformat.verify(target, source=other).ok
    tensors = {
        k: np.array(v)
        for k, v in __import__("safetensors.numpy").numpy.load_file(other / "model.safetensors").items()
    }
    tensors["lm_head.weight"][0, 0] += 1
    save_bf16(tensors, other / "model.safetensors")
    found = qformat.verify(target, source=other)
    assert [f.tensor for f in found.faults] == ["lm_head.weight"]
    assert found.whole
    assert not found.ok


def test_a_source_may_have_the_other_names_and_another_model_is_one_line(tmp_path):
    gguf, target = tmp_path / "m.gguf", tmp_path / "t.safetensors"
    qformat.convert(SAMPLE, gguf, "f32", to="gguf")
    qformat.convert(SAMPLE, target, "sym4")
    assert qformat.verify(target, source=gguf).faults[0].what.startswith("it is not the tensor")  # bf16 → f32
    qformat.convert(gguf, target, "sym4", overwrite=True)
    assert command("verify", target, "--source", gguf).stdout
    another = tiny_model(tmp_path / "other")
    done = command("verify", target, "--source", another, check=False)
    assert done.returncode == 1
    assert "this is another model" in done.stderr
    assert "NOT OF THIS SOURCE: it is whole" in done.stderr
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("scheme", ["sym4", "sym4:scale=bf16", "q4_k", "nf4"])
@pytest.mark.parametrize("exponent", [8, 20, 30])
def test_figures_of_tiny_values_are_true_and_what_is_lost_is_told(tmp_path, scheme, exponent):
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32) * np.float32(
        10.0**-exponent
    )
    source, target = tmp_path / "s.safetensors", tmp_path / "t.safetensors"
    save_file({"w": values}, source)
    done = command("convert", source, target, "-s", scheme, "-q")
    assert qformat.verify(target, source=source).ok
    made = qformat.open(target)
    decoded = tensor_source(made, made.tensors["w"]).region(Tile(0, 64, 0, 64))
    wanted = np.linalg.norm((decoded - values).astype(np.float64)) / np.linalg.norm(values.astype(np.float64))
    recorded = float(made.tensors["w"].note["error"]["rmse"])
    assert recorded == pytest.approx(wanted, rel=1e-3)
    assert ("nothing is left of w" in done.stderr) == (wanted > 0.99)


def test_a_plain_file_is_said_to_carry_no_digests(model):
    found = qformat.verify(model)
    assert found.ok
    assert not found.has_digests
    assert "no digests" in command("verify", model).stdout


def test_the_command_says_what_is_broken_and_fails(small, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    raw = bytearray(small.read_bytes())
    raw[qformat.open(small).tensors["e"].planes["scales"].data_offset] ^= 1
    damaged.write_bytes(raw)
    done = command("verify", damaged, check=False)
    assert done.returncode == 1
    assert "'e (plane scales)'" in done.stderr
    assert done.stdout == ""


def test_spare_bits_must_be_zero_even_under_a_matching_digest(tmp_path):
    source = save_bf16({"w": weights(1, (3, 5))}, tmp_path / "a.safetensors")
    target = tmp_path / "b.safetensors"
    qformat.convert(source, target, rules=[Rule("*", "sym4")])
    plane = qformat.open(target).tensors["w"].planes["codes"]
    raw = bytearray(target.read_bytes())
    raw[plane.data_offset + 2] |= 0x10
    target.write_bytes(raw)
    faults = [f.what for f in qformat.verify(target).faults]
    assert any("spare bits" in what for what in faults)
    assert any("digest" in what for what in faults)


@pytest.mark.parametrize("kind", ["gguf", "safetensors", "container"])
def test_a_file_that_is_cut_short_while_it_is_open_is_an_error_and_no_signal(model, tmp_path, kind):
    path = tmp_path / ("x.gguf" if kind == "gguf" else "x.safetensors")
    if kind == "gguf":
        write_model(path, layers=1)
    elif kind == "container":
        qformat.convert(model, path, "sym4")
    else:
        qformat.convert(model, path, to="safetensors")
    checkpoint = qformat.open(path)
    name, plane = [(n, p) for n, i in checkpoint.tensors.items() for p in i.planes][-1]
    assert checkpoint.plane(name, plane).size
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(FormatError, match="was cut short while it was read") as caught:
        checkpoint.plane(name, plane)
    assert str(path) in str(caught.value)
    with pytest.raises(FormatError):
        qformat.verify(path)


def test_many_tiny_tensors_are_all_checked(tmp_path):
    arrays = {f"t{i}": np.full(8, i, np.float32) for i in range(1500)}
    save_file(arrays, tmp_path / "in.safetensors")
    target = tmp_path / "out.safetensors"
    qformat.convert(tmp_path / "in.safetensors", target, rules=[Rule("*", "keep")])
    assert qformat.verify(target).ok
    raw = bytearray(target.read_bytes())
    places = [qformat.open(target).tensors[f"t{i}"].planes[""].data_offset for i in (3, 700, 1499)]
    for at in places:
        raw[at] ^= 1
    target.write_bytes(raw)
    assert {f.tensor for f in qformat.verify(target).faults} == {"t3", "t700", "t1499"}
