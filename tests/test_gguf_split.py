"""New GGUFs in several files: read by gguf-py and as one checkpoint, and merged again."""

import gguf
import numpy as np
import pytest
from conftest import qformat as command
from gguf_bytes import STRING, info, pair, text, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gguf_convert import write_model

import qformat
from qformat.convert.recipe import Rule
from qformat.errors import TargetError
from qformat.files.gguf.building import NewTensor, Typed
from qformat.files.gguf.splitting import lay_out_split
from qformat.files.gguf.types import BY_NAME, ValueType


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("gguf") / "model.gguf", layers=2)


def test_a_split_gguf_has_what_gguf_py_writes(model, tmp_path):
    report = qformat.convert(model, tmp_path / "m.gguf", to="gguf", max_shard_size=300_000)
    paths = sorted(tmp_path.iterdir())
    assert [p.name for p in paths] == list(report.files)
    assert [p.stat().st_size for p in paths] == list(report.files.values())
    assert max(report.files.values()) <= 300_000
    count = len(paths)
    assert count > 2
    assert paths[0].name == f"m-00001-of-{count:05d}.gguf"
    shards, source = [gguf.GGUFReader(p) for p in paths], gguf.GGUFReader(model)
    for i, shard in enumerate(shards):
        keys = {k: f for k, f in shard.fields.items() if not k.startswith("GGUF.")}
        assert [keys[k].contents() for k in ("split.no", "split.count")] == [i, count]
        assert keys["split.tensors.count"].contents() == len(source.tensors)
        assert keys["split.no"].types == keys["split.count"].types == [gguf.GGUFValueType.UINT16]
        assert keys["split.tensors.count"].types == [gguf.GGUFValueType.INT32]
        if i:
            assert len(keys) == 3
    found = [(t.name, t.data.tobytes()) for s in shards for t in s.tensors]
    assert found == [(t.name, t.data.tobytes()) for t in source.tensors]
    assert qformat.diff(tmp_path, model).same


def test_shards_become_one_file_again(model, tmp_path):
    (tmp_path / "parts").mkdir()
    qformat.convert(model, tmp_path / "parts" / "m.gguf", to="gguf", max_shard_size=300_000)
    qformat.convert(tmp_path / "parts", tmp_path / "one.gguf", to="gguf")
    assert (tmp_path / "one.gguf").read_bytes() == model.read_bytes()
    qformat.convert(tmp_path / "parts", tmp_path / "box.safetensors", rules=[Rule("*", "keep")])
    qformat.convert(tmp_path / "box.safetensors", tmp_path / "two.gguf", to="gguf")
    assert (tmp_path / "two.gguf").read_bytes() == model.read_bytes()
    qformat.convert(tmp_path / "box.safetensors", tmp_path / "m", to="gguf")
    for path in (tmp_path / "parts").iterdir():
        assert (tmp_path / "m" / path.name).read_bytes() == path.read_bytes()


def test_quantized_and_split_at_once(model, tmp_path):
    qformat.convert(model, tmp_path / "whole.gguf", "q4_k_m", to="gguf")
    qformat.convert(model, tmp_path / "parts", "q4_k_m", to="gguf", max_shard_size=100_000)
    assert len(list((tmp_path / "parts").glob("parts-*.gguf"))) > 2
    assert qformat.diff(tmp_path / "whole.gguf", tmp_path / "parts").same
    assert qformat.open(tmp_path / "parts").metadata["general.file_type"] == "15"


def test_what_fits_is_one_file(model, tmp_path):
    qformat.convert(model, tmp_path / "m.gguf", to="gguf", max_shard_size=10**9)
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]
    assert (tmp_path / "m.gguf").read_bytes() == model.read_bytes()


def test_no_shard_appears_before_all_are_complete(model, tmp_path):
    def fail(_done, _name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qformat.convert(model, tmp_path / "m.gguf", to="gguf", max_shard_size=300_000, progress=fail)
    assert not list(tmp_path.iterdir())
    qformat.convert(model, tmp_path / "m.gguf", to="gguf", max_shard_size=300_000)
    first = sorted(tmp_path.iterdir())[0]
    for source in (model, first):
        with pytest.raises(TargetError, match=r"exists already|is the input"):
            qformat.convert(source, tmp_path / "m.gguf", to="gguf", max_shard_size=300_000)
    command("convert", model, tmp_path / "m.gguf", "--max-shard-size", "300kB", "--overwrite", "-q")


def test_types_that_are_only_numbers_are_copied(tmp_path):
    infos = [info("m", [64, 40], 77, 0), info("f", [8], 0, 1920), info("n", [64, 2], 2, 1952)]
    data = (bytes(range(256)) * 8)[:1920] + bytes(32) + bytes(range(72))
    path = tmp_path / "m.gguf"
    path.write_bytes(whole([pair("general.architecture", STRING, text("llama"))], infos, data))
    qformat.convert(path, tmp_path / "parts", to="gguf", max_shard_size=2000)
    assert len(list((tmp_path / "parts").iterdir())) == 2
    found = qformat.open(tmp_path / "parts")
    assert found.tensors["m"].coding == "ggml_type_77"
    assert found.plane("m", "blocks").tobytes() == data[:1920]
    qformat.convert(path, tmp_path / "f16.gguf", to="gguf", rules=[Rule("n", "f16")])
    assert qformat.open(tmp_path / "f16.gguf").plane("m", "blocks").tobytes() == data[:1920]
    done = command("convert", path, tmp_path / "q.gguf", "--set", "m=q8_0", check=False)
    assert done.returncode == 1
    assert "ggml_type_77" in done.stderr


@given(st.lists(st.integers(0, 3000), max_size=40), st.integers(1, 20_000))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_every_tensor_is_in_one_file_and_files_keep_the_limit(sizes, limit):
    tensors = [NewTensor(f"t{i}", BY_NAME["i8"], (n,)) for i, n in enumerate(sizes)]
    pairs = [("general.architecture", Typed(ValueType.STRING, "x" * 50))]
    layouts = lay_out_split(pairs, tensors, limit)
    assert [n for layout in layouts for n in layout.tensors] == [t.name for t in tensors]
    for layout in layouts:
        assert layout.nbytes <= limit or len(layout.tensors) <= 1


def test_more_files_than_can_be_numbered_are_refused():
    tensors = [NewTensor(f"t{i}", BY_NAME["i8"], (1,)) for i in range(70_000)]
    with pytest.raises(TargetError, match="70,000 files; 65,535 are possible"):
        lay_out_split([], tensors, 1)


def test_a_dry_run_lists_the_files(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("a", np.zeros(100, np.float32))
    writer.add_tensor("b", np.zeros(100, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    done = command(
        "convert", tmp_path / "x.gguf", tmp_path / "y.gguf", "--max-shard-size", "500B", "--dry-run"
    )
    assert "y-00002-of-00002.gguf" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]


def test_parts_of_an_earlier_conversion_are_told(model, tmp_path):
    target = tmp_path / "m.gguf"
    qformat.convert(model, target, to="gguf", max_shard_size=900_000)
    again = qformat.convert(model, target, to="gguf", max_shard_size=300_000, overwrite=True)
    assert "of an earlier conversion" in again.warnings[-1]
