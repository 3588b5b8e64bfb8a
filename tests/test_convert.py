"""From a checkpoint to a container and back, through the public verbs, with safetensors as oracle."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from conftest import SCHEMES, save_bf16, tiny_model, weights
from conftest import qformat as command
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import qformat
from qformat.blocks.decode import decode_rows
from qformat.blocks.tiles import Tile
from qformat.convert.options import Options
from qformat.convert.plan import make_plan
from qformat.convert.recipe import Rule, combine, default_recipe
from qformat.convert.verbs import plan
from qformat.errors import DataError, IntegrityError, QFormatError, RecipeError, TargetError
from qformat.inspect.values import values

SAMPLE = Path(__file__).parents[1] / "samples" / "village"


def stored_arrays(path: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(path, "numpy") as file:
        return {k: (file.get_slice(k).get_dtype(), file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118


def header(path: Path) -> dict:
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_makes_a_whole_container_that_safetensors_opens(model, tmp_path, scheme, block):
    target = tmp_path / "out.safetensors"
    report = qformat.convert(model, target, f"{scheme}:block={block}")
    assert target.stat().st_size == report.nbytes
    assert stored_arrays(target)
    assert qformat.verify(target, source=model).ok
    found = qformat.diff(model, target)
    bits = int(scheme[-1])
    assert 0 < found.total.rmse < {8: 0.012, 4: 0.15, 2: 0.8}[bits]
    rows = {r.name: r.figures for r in report.rows if r.figures}
    for row in found.rows:
        if row.name in rows:
            assert row.figures.rmse == pytest.approx(rows[row.name].rmse, rel=1e-4)


def test_every_array_starts_on_a_64_byte_boundary(model, tmp_path):
    target = tmp_path / "out.safetensors"
    qformat.convert(model, target, "asym2:block=96")
    raw = header(target)
    start = 8 + int.from_bytes(target.read_bytes()[:8], "little")
    raw.pop("__metadata__")
    for name, entry in raw.items():
        begin, end = entry["data_offsets"]
        assert name.startswith("qformat.pad/") or begin == end or (start + begin) % 64 == 0


def test_the_same_input_gives_the_same_bytes_whatever_the_threads(model, tmp_path):
    found = set()
    for i, threads in enumerate((1, 2, 5, 1)):
        target = tmp_path / f"{i}.safetensors"
        qformat.convert(model, target, "asym4", threads=threads)
        found.add(target.read_bytes())
    assert len(found) == 1


def test_a_sharded_container_has_the_same_content(model, tmp_path):
    one = qformat.convert(model, tmp_path / "one.safetensors", "asym4")
    many = qformat.convert(model, tmp_path / "many", "asym4", max_shard_size=40_000)
    assert many.content == one.content
    assert len(many.files) > 2
    for name, size in many.files.items():
        assert (tmp_path / "many" / name).stat().st_size == size <= 40_000
        assert stored_arrays(tmp_path / "many" / name)
    assert qformat.verify(tmp_path / "many", source=model).ok
    assert qformat.diff(tmp_path / "one.safetensors", tmp_path / "many").same
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    held = {n: f for f in many.files for n in stored_arrays(tmp_path / "many" / f)}
    assert index["weight_map"] == held


def test_a_sharded_source_reads_like_a_single_one(model, tmp_path):
    tensors = load_file(model / "model.safetensors")
    shards = tmp_path / "shards"
    shards.mkdir()
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_bf16({n: tensors[n] for n in part}, shards / file)
    index = {"metadata": {}, "weight_map": {n: f for f, part in halves.items() for n in part}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    assert qformat.diff(model, shards).same
    (shards / "b.safetensors").unlink()
    with pytest.raises(QFormatError, match="missing"):
        qformat.open(shards)


def test_plain_numbers_come_back_with_their_small_files(model, tmp_path):
    box, back = tmp_path / "box.safetensors", tmp_path / "back"
    qformat.convert(model, box, "sym8")
    qformat.convert(box, back, to="safetensors")
    original, returned = load_file(model / "model.safetensors"), load_file(back / "model.safetensors")
    assert {k: (v.dtype, v.shape) for k, v in original.items()} == {
        k: (v.dtype, v.shape) for k, v in returned.items()
    }
    assert (back / "config.json").read_bytes() == (model / "config.json").read_bytes()
    norm = "model.norm.weight"
    assert original[norm].tobytes() == returned[norm].tobytes()


@pytest.mark.parametrize(
    ("dtype", "kind"), [("F32", np.float32), ("F16", np.float16), ("BF16", ml_dtypes.bfloat16)]
)
def test_plain_numbers_in_another_type_are_rounded_as_ml_dtypes_does(model, tmp_path, dtype, kind):
    qformat.convert(model, tmp_path / "back", to="safetensors", dtype=dtype)
    original, returned = (
        load_file(model / "model.safetensors"),
        load_file(tmp_path / "back" / "model.safetensors"),
    )
    for name, value in original.items():
        assert returned[name].tobytes() == value.astype(kind).tobytes()


def test_a_cast_that_overflows_is_refused(tmp_path):
    source = save_bf16({"a": np.full((2, 40), 1e6, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"at index \[0, 0\].*too large for F16"):
        qformat.convert(source, tmp_path / "b", to="safetensors", dtype="F16")
    assert not (tmp_path / "b").exists()


def test_a_container_is_copied_losslessly_by_keep(model, tmp_path):
    first = qformat.convert(model, tmp_path / "a.safetensors", "asym4:zero=min")
    rules = [Rule("*", "keep")]
    qformat.convert(tmp_path / "a.safetensors", tmp_path / "b", rules=rules, max_shard_size=50_000)
    second = qformat.convert(tmp_path / "b", tmp_path / "c.safetensors", rules=rules)
    a, c = qformat.open(tmp_path / "a.safetensors"), qformat.open(tmp_path / "c.safetensors")
    assert a.digests == c.digests
    assert first.content != second.content  # the recipe is part of the content
    assert [t.note for t in a.tensors.values()] == [t.note for t in c.tensors.values()]


def test_quantizing_again_is_said(model, tmp_path):
    qformat.convert(model, tmp_path / "a.safetensors", "sym8")
    again = qformat.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "sym4")
    assert "quantized already" in again.warnings[0]
    assert qformat.verify(tmp_path / "b.safetensors").ok


def test_the_plan_is_exact(model, tmp_path):
    for target, limit in ((tmp_path / "p.safetensors", None), (tmp_path / "p", 30_000)):
        planned = plan(model, target, Options("asym4:block=64", max_shard_size=limit))
        done = qformat.convert(model, target, "asym4:block=64", max_shard_size=limit)
        assert done.files == {f.name: f.layout.nbytes for f in planned.files}
        real = {
            f.name: f.stat().st_size for f in ([target] if target.is_file() else target.glob("*.safetensors"))
        }
        assert real == done.files
        for row, made in zip(done.rows, qformat.open(target).tensors.values(), strict=True):
            assert (row.name, row.nbytes) == (made.name, made.nbytes)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 0), (0, 5), (2, 3, 50), (1, 1)])
def test_shapes_of_every_kind(tmp_path, shape):
    source = save_bf16({"odd": weights(1, shape), "w": weights(2, (4, 64))}, tmp_path / "a.safetensors")
    target = tmp_path / "b.safetensors"
    qformat.convert(source, target, rules=[Rule("*", "asym4:block=64")])
    assert qformat.verify(target, source=source).ok
    assert qformat.open(target).tensors["odd"].shape == shape
    qformat.convert(target, tmp_path / "back", to="safetensors")
    assert load_file(tmp_path / "back" / "model.safetensors")["odd"].shape == shape


@pytest.mark.parametrize("scheme", ["asym4:block=96", "asym2:zero=min", "sym4:block=160"])
def test_rows_longer_than_a_tile_decode_alike_in_one_piece_and_in_many(tmp_path, scheme):
    source = save_bf16({"w": weights(1, (2, 1_100_003))}, tmp_path / "a.safetensors")
    qformat.convert(source, tmp_path / "b.safetensors", rules=[Rule("*", scheme)])
    qformat.convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors", to="safetensors", dtype="F32")
    made = qformat.open(tmp_path / "b.safetensors")
    info = made.tensors["w"]
    planes = {p: made.plane("w", p) for p in info.planes}
    whole = decode_rows(info.scheme.layout, planes, info.shape[1])
    assert load_file(tmp_path / "c.safetensors")["w"].tobytes() == whole.tobytes()
    middle = values(made, info, Tile(1, 1, 1_000_001, 77))
    assert middle.tobytes() == whole[1:, 1_000_001:1_000_078].tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.float8_e5m2])
def test_sources_of_other_types(tmp_path, dtype):
    values = (weights(1, (6, 70), np.float32) * 300).astype(dtype)
    source = save_bf16({"w": values, "flags": np.array([True, False])}, tmp_path / "a.safetensors")
    target = tmp_path / "b.safetensors"
    qformat.convert(source, target, rules=[Rule("*", "sym8")])
    made = qformat.open(target)
    assert made.tensors["flags"].scheme is None  # what is not a number is kept
    assert made.tensors["w"].scheme is not None
    assert qformat.verify(target, source=source).ok


def test_nan_names_tensor_and_index_and_leaves_nothing(model, tmp_path):
    tensors = load_file(model / "model.safetensors")
    bad = np.array(tensors["model.layers.1.mlp.up_proj.weight"])
    bad[100, 33] = np.nan
    tensors["model.layers.1.mlp.up_proj.weight"] = bad
    save_bf16(tensors, model / "model.safetensors")
    with pytest.raises(DataError, match=r"model.layers.1.mlp.up_proj.weight.*at index \[100, 33\]"):
        qformat.convert(model, tmp_path / "out.safetensors", "sym4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_the_input_is_never_overwritten(model, tmp_path):
    weights_file = model / "model.safetensors"
    before = weights_file.read_bytes()
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights_file)
    hard = tmp_path / "hard.safetensors"
    hard.hardlink_to(weights_file)
    for source, target in (
        (model, weights_file),
        (weights_file, link),
        (model, model),
        (link, weights_file),
        (model, hard),
    ):
        with pytest.raises(TargetError, match="is the input"):
            qformat.convert(source, target, "sym4", overwrite=True)
    assert weights_file.read_bytes() == before


def test_an_existing_target_needs_overwrite(model, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_text("mine")
    with pytest.raises(TargetError, match="exists"):
        qformat.convert(model, target, "sym4")
    assert target.read_text() == "mine"
    qformat.convert(model, target, "sym4", overwrite=True)
    assert qformat.verify(target).ok
    folder = tmp_path / "folder"
    qformat.convert(model, folder, "sym4")
    qformat.convert(model, folder, "sym8", overwrite=True)
    assert qformat.verify(folder).ok
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "model", "out.safetensors"]


def test_a_missing_folder_and_a_full_disk_are_said_beforehand(model, tmp_path, monkeypatch):
    with pytest.raises(TargetError, match="folder does not exist"):
        qformat.convert(model, tmp_path / "no" / "out.safetensors", "sym4")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10))
    with pytest.raises(TargetError, match="10 are free"):
        qformat.convert(model, tmp_path / "out.safetensors", "sym4")


INTERRUPT = """
import os, signal, sys
import qformat
done = 0
def progress(count, name):
    global done
    done += 1
    if done == 3:
        os.kill(os.getpid(), int(sys.argv[3]))
try:
    qformat.convert(sys.argv[1], sys.argv[2], "sym4", threads=1, progress=progress)
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_an_interrupted_run_leaves_nothing(model, tmp_path):
    command = [sys.executable, "-c", INTERRUPT, str(model), str(tmp_path / "out.safetensors")]
    assert subprocess.run([*command, str(int(signal.SIGINT))], check=False).returncode == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    killed = subprocess.run([*command, str(int(signal.SIGKILL))], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.safetensors").exists()  # not even then
    qformat.convert(model, tmp_path / "out.safetensors", "sym4")  # and the next run tidies up
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out.safetensors"]


def test_a_damaged_container_is_not_converted_further(model, tmp_path):
    box = tmp_path / "box.safetensors"
    qformat.convert(model, box, "asym4")
    plane = qformat.open(box).tensors["model.layers.0.mlp.up_proj.weight"].planes["codes"]
    raw = bytearray(box.read_bytes())
    raw[plane.data_offset + 11] ^= 4
    box.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"up_proj.*does not match|do not match"):
        qformat.convert(box, tmp_path / "back", to="safetensors")
    assert not (tmp_path / "back").exists()


def test_names_that_would_collide_are_refused(tmp_path):
    source = save_bf16({"w": weights(1, (8, 256)), "w/codes": weights(2, (4,))}, tmp_path / "a.safetensors")
    with pytest.raises(RecipeError, match="two arrays"):
        qformat.convert(source, tmp_path / "b.safetensors", "sym4")
    reserved = save_bf16({"qformat.x": weights(1, (8, 256))}, tmp_path / "c.safetensors")
    with pytest.raises(RecipeError, match="reserved"):
        qformat.convert(reserved, tmp_path / "d.safetensors", "sym4")


def test_metadata_of_the_source_stays(tmp_path):
    source = save_bf16(
        {"w": weights(1, (8, 256))}, tmp_path / "a.safetensors", {"format": "pt", "note": "ü\x1b[31m"}
    )
    qformat.convert(source, tmp_path / "b.safetensors", "sym4")
    assert qformat.open(tmp_path / "b.safetensors").metadata["note"] == "ü\x1b[31m"


def test_provenance_names_recipe_tools_and_source(model, tmp_path):
    qformat.convert(model, tmp_path / "b.safetensors", "asym4", rules=[Rule("*.0.*", "keep")])
    value = json.loads(qformat.open(tmp_path / "b.safetensors").metadata["qformat.provenance"])
    assert 'match = "*.0.*"' in value["recipe"]
    assert set(value["tools"]) == {"jax", "numpy", "qformat"}
    again = tiny_model(tmp_path / "again")
    qformat.convert(again, tmp_path / "c.safetensors", "sym8")
    other = json.loads(qformat.open(tmp_path / "c.safetensors").metadata["qformat.provenance"])
    assert other["source"] == value["source"]  # the same weights, elsewhere


def test_a_sharded_file_cannot_have_a_files_name(model, tmp_path):
    with pytest.raises(TargetError, match="folder"):
        make_plan(
            qformat.open(model), tmp_path / "x.safetensors", combine("sym4", None, []), max_shard_size=10**6
        )


def stored(path: Path) -> dict[str, bytes]:
    return {n: a.tobytes() for n, a in load_file(path).items() if not n.startswith("qformat")}


# --- names as people type them --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bf16", "BF16", "F32", "f16"])
def test_a_dtype_may_be_typed_in_any_case(model, tmp_path, name):
    qformat.convert(model, tmp_path / "out", to="Safetensors", dtype=name)
    assert {i.dtype for i in qformat.open(tmp_path / "out").tensors.values()} == {name.upper()}


def test_a_scheme_may_be_typed_in_any_case(model, tmp_path):
    qformat.convert(model, tmp_path / "a.safetensors", "SYM4:block=64")
    qformat.convert(model, tmp_path / "b.safetensors", "sym4:block=64")
    a, b = stored(tmp_path / "a.safetensors"), stored(tmp_path / "b.safetensors")
    assert a == b
    assert any(name.endswith("/codes") for name in a)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"to": "safetensors", "dtype": "f64"}, r"'f64' is not a dtype .*\n.*bf16, f16, f32"),
        ({"to": "onnx"}, r"'onnx' is not a format .*\n.*qformat, safetensors, gguf"),
        ({"to": "safetensors", "scheme": "sym4"}, "they take a dtype, not a scheme"),
        ({"scheme": "sym4", "dtype": "f32"}, "a dtype goes with plain safetensors, not with qformat"),
        ({"scheme": "sym4", "pure": True}, "a pure type is for GGUF"),
        ({"scheme": "Q4_K_M"}, "Q4_K_M is a mixture of types for GGUF"),
        ({"scheme": "sym9"}, r"there is no scheme 'sym9'"),
        ({"scheme": "sym4", "recipe": default_recipe("sym4")}, "a scheme or a recipe, not both"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(model, tmp_path, told, says):
    with pytest.raises(QFormatError, match=says):
        qformat.convert(model, tmp_path / "out", **told)
    assert not (tmp_path / "out").exists()


def test_integers_are_kept_and_rules_that_decide_nothing_are_told(tmp_path):
    source, target = tmp_path / "s.safetensors", tmp_path / "t.safetensors"
    values = weights(1, (64, 64))
    save_file(
        {"w": values, "qweight": np.ones((64, 64), np.int32), "packed": np.ones((64, 64), np.uint8)}, source
    )
    done = command("convert", source, target, "-s", "sym4", "-q", "--keep", "typo*", "--set", "packed=sym8")
    assert "no tensor is named 'typo*'" in done.stderr
    assert "packed" not in done.stderr
    assert {n: i.coding for n, i in qformat.open(target).tensors.items()} == {
        "w": "sym4", "qweight": "i32", "packed": "u8"
    }  # fmt: skip
    strict = command("convert", source, target, "-s", "sym4", "--strict", "--keep", "typo*", check=False)
    assert strict.returncode == 1


def test_a_scheme_that_makes_short_rows_larger_is_told(tmp_path):
    source = tmp_path / "s.safetensors"
    save_file({"w": weights(1, (2000, 1))}, source)
    done = command("convert", source, tmp_path / "t.safetensors", "-s", "q4_k", "-q")
    assert "w takes 288,000 bytes in q4_k instead of 4,000: its rows of 1 are short" in done.stderr


def test_the_type_of_gguf_that_means_the_same_is_named(tmp_path):
    done = command("convert", SAMPLE, tmp_path / "t.gguf", "-s", "sym4", check=False)
    assert "q4_0 means the same" in done.stderr


def test_a_copy_is_as_large_as_before(tmp_path):
    one, two = tmp_path / "one.gguf", tmp_path / "two.gguf"
    command("convert", SAMPLE, one, "-s", "q4_k_m", "-q")
    assert "as large as before" in command("convert", one, two).stdout


def test_figures_of_what_is_not_finite(tmp_path):
    values = weights(1, (64, 64)).astype(np.float32)
    files = {}
    for name, odd in (("plain", values[0, 0]), ("nan", np.nan), ("inf", np.inf)):
        values[0, 0] = odd
        files[name] = tmp_path / f"{name}.safetensors"
        save_file({"w": values}, files[name])
    for name in ("nan", "inf"):
        assert qformat.diff(files[name], files[name]).same
        row = qformat.diff(files[name], files["plain"]).rows[0]
        assert not np.isfinite(row.figures.rmse)
        assert not np.isfinite(row.figures.max)
        assert not row.figures.snr > 0
