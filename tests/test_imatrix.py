"""Importance matrices: what is read of them, who heeds them, and what a file then says."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import qformat as command
from conftest import weights
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gguf_convert import FFN, HIDDEN, write_model
from tiny_models import tokens, write_folder

import qformat
from qformat.convert.options import Options
from qformat.convert.verbs import plan
from qformat.errors import FormatError, QFormatError, TargetError
from qformat.evaluate.importance import collect, squares
from qformat.files.imatrix import read_imatrix
from qformat.model import open_model
from qformat.model.tokenizer_loading import load_tokenizer
from qformat.schemes.coder import encode
from qformat.schemes.registry import registry

SAMPLE = Path(__file__).parents[1] / "samples" / "village"
NAMES = {"attn_q": HIDDEN, "attn_k": HIDDEN, "attn_v": HIDDEN, "attn_output": HIDDEN, "ffn_gate": HIDDEN}


def importances(layers=2, down=FFN):
    """Mean squares for the model of `write_model`."""
    rng = np.random.default_rng(1)
    cols = {f"blk.{i}.{n}.weight": c for i in range(layers) for n, c in {**NAMES, "ffn_down": down}.items()}
    return {name: rng.gamma(0.5, 1, count).astype(np.float32) for name, count in cols.items()}


def write_gguf(path, means, *, tokens=1000, counts=None):
    """As llama-imatrix writes it, by gguf-py."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["first.txt", "second.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in means.items():
        table = np.atleast_2d(values)
        many = np.full((len(table), 1), tokens, np.float32) if counts is None else counts
        writer.add_tensor(f"{name}.in_sum2", (table * many).astype(np.float32))
        writer.add_tensor(f"{name}.counts", many)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def legacy(means, *, calls=5, chunks=7, text="first.txt") -> bytes:
    parts = [struct.pack("<i", len(means))]
    for name, values in means.items():
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", calls, values.size)]
        parts.append((values * np.float32(calls or 1)).astype("<f4").tobytes())
    return b"".join([*parts, struct.pack("<ii", chunks, len(text)), text.encode()])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("gguf") / "model.gguf", layers=2)


# --- reading --------------------------------------------------------------------------------------


def test_both_kinds_of_file_say_the_same(tmp_path):
    means = {"blk.0.a.weight": np.float32([1, 0.5, 0]), "blk.1.b.weight": np.float32([3])}
    (tmp_path / "old.dat").write_bytes(legacy(means, calls=4))
    one = read_imatrix(write_gguf(tmp_path / "new.gguf", means, tokens=1024))
    two = read_imatrix(tmp_path / "old.dat")
    assert one.datasets == ("first.txt", "second.txt")
    assert two.datasets == ("first.txt",)
    for made in (one, two):
        assert made.chunks == 7
        assert {n: v.reshape(-1).tolist() for n, v in made.entries.items()} == {
            n: v.tolist() for n, v in means.items()
        }


def test_the_oldest_files_have_no_trailer_and_no_calls(tmp_path):
    means = {"a": np.float32([1, 2])}
    (tmp_path / "x.dat").write_bytes(legacy(means, calls=0)[: -8 - len("first.txt")])
    made = read_imatrix(tmp_path / "x.dat")
    assert made.entries["a"].tolist() == [1, 2]
    assert (made.chunks, made.datasets) == (0, ())


def test_experts_that_saw_no_token_count_alike(tmp_path):
    means = {"blk.0.ffn_down_exps.weight": np.float32([[1, 2], [3, 4], [5, 6]])}
    counts = np.float32([[2], [0], [8]])
    made = read_imatrix(write_gguf(tmp_path / "x.gguf", means, counts=counts))
    assert made.entries["blk.0.ffn_down_exps.weight"].tolist() == [[1, 2], [1, 1], [5, 6]]


def broken(tmp_path, kind):
    means = {"a": np.float32([1, 2, 3, 4])}
    path = tmp_path / "x.gguf"
    if kind == "a model":
        return write_model(path, layers=1)
    if kind == "no entries":
        path.write_bytes(struct.pack("<i", 0) + bytes(64))
    elif kind == "too many entries":
        path.write_bytes(struct.pack("<i", 2**31 - 1) + bytes(64))
    elif kind == "a huge name":
        path.write_bytes(struct.pack("<ii", 1, 2**31 - 1) + bytes(64))
    elif kind == "a huge count":
        path.write_bytes(struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 2**31 - 1) + bytes(64))
    elif kind == "a negative count":
        path.write_bytes(struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, -5) + bytes(64))
    elif kind == "a name twice":
        once = legacy(means)[4:]
        entry = once[: 4 + 1 + 8 + 16]
        path.write_bytes(struct.pack("<i", 2) + entry + once)
    elif kind == "bytes behind":
        path.write_bytes(legacy(means) + b"x")
    elif kind == "a name not in UTF-8":
        path.write_bytes(struct.pack("<ii", 1, 1) + b"\xff" + struct.pack("<iif", 1, 1, 1))
    elif kind == "NaN":
        path.write_bytes(legacy({"a": np.float32([1, np.nan])}))
    elif kind == "below zero":
        path.write_bytes(legacy({"a": np.float32([1, -1])}))
    elif kind == "uneven counts":
        write_uneven(path)
    elif kind == "count of NaN":
        write_gguf(path, means, counts=np.float32([[np.nan]]))
    elif kind == "empty":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("a model", "this is a model, not an importance matrix"),
        ("no entries", "it says 0 for entries"),
        ("too many entries", "for entries, expected 1 to"),
        ("a huge name", "for the length of a name, expected 1 to"),
        ("a huge count", "for the count of values, expected 1 to"),
        ("a negative count", "it says -5 for the count of values"),
        ("a name twice", "it is there twice"),
        ("bytes behind", "1 bytes follow its end"),
        ("a name not in UTF-8", "not UTF-8"),
        ("NaN", "value 1 is nan, which is no mean square"),
        ("below zero", "value 1 is -1.0, which is no mean square"),
        ("uneven counts", "do not divide among 3 counts"),
        ("count of NaN", "a count is not a number from 0"),
        ("empty", "the file ends within entries"),
        ("missing", "cannot be read: No such file"),
    ],
)
def test_what_is_no_importance_matrix_is_refused(tmp_path, kind, says):
    path = broken(tmp_path, kind)
    with pytest.raises(FormatError, match=says) as caught:
        read_imatrix(path)
    assert str(path) in str(caught.value)


def write_uneven(path):
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", "imatrix")
    writer.add_tensor("a.in_sum2", np.ones(4, np.float32))
    writer.add_tensor("a.counts", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_only_our_errors_come_out_of_damaged_files(tmp_path_factory, data):
    whole = bytearray(legacy({"ab": np.float32([1, 2, 3]), "c": np.float32([4])}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.dat"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(QFormatError):
        read_imatrix(path)


# --- converting -----------------------------------------------------------------------------------


def by_hand(path, name, kind, important):
    """The blocks that the encoder makes of a tensor with importances."""
    stored = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    values = np.asarray(stored.data, np.float32)
    return encode(registry().parse(kind), values, weights=important).planes["blocks"].tobytes()


def test_each_tensor_is_encoded_by_its_own_importances(model, tmp_path):
    means = importances()
    matrix = write_gguf(tmp_path / "imatrix.gguf", means)
    target = tmp_path / "m.gguf"
    report = qformat.convert(model, target, "Q4_K", pure=True, imatrix=matrix)
    assert report.warnings == ()
    assert report.importance["tensors"] == len(means)
    told = report.to_json()["importance"]
    assert (told["file"], told["datasets"], told["chunks"]) == (
        "imatrix.gguf",
        ["first.txt", "second.txt"],
        7,
    )
    made = {t.name: t.data.tobytes() for t in gguf.GGUFReader(target).tensors}
    read = {n: v[0] for n, v in read_imatrix(matrix).entries.items()}
    for name in means:
        assert made[name] == by_hand(model, name, "q4_k", read[name])
    assert made["token_embd.weight"] == by_hand(model, "token_embd.weight", "q4_k", None)


def test_a_gguf_says_what_it_was_made_with_as_llama_quantize_does(model, tmp_path):
    matrix = write_gguf(tmp_path / "imatrix.gguf", importances())
    qformat.convert(model, tmp_path / "m.gguf", "q4_k_m", imatrix=matrix)
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["quantize.imatrix.file"].contents() == str(matrix)
    assert fields["quantize.imatrix.dataset"].contents() == "first.txt"
    for key, value in {"entries_count": 12, "chunks_count": 7}.items():
        field = fields[f"quantize.imatrix.{key}"]
        assert (field.contents(), field.types) == (value, [gguf.GGUFValueType.UINT32])


def test_a_container_says_it_too(model, tmp_path):
    matrix = write_gguf(tmp_path / "imatrix.gguf", importances())
    qformat.convert(model, tmp_path / "m.safetensors", "mse2", imatrix=matrix)
    qformat.convert(model, tmp_path / "plain.safetensors", "mse2")
    opened = qformat.open(tmp_path / "m.safetensors")
    assert (
        '"importance":{"chunks":7,"datasets":["first.txt","second.txt"]'
        in (opened.metadata["qformat.provenance"])
    )
    assert qformat.verify(tmp_path / "m.safetensors").ok
    other = qformat.open(tmp_path / "plain.safetensors")
    name = "blk.0.attn_q.weight"
    assert not np.array_equal(opened.plane(name, "codes"), other.plane(name, "codes"))


def test_stacked_experts_have_their_own(tmp_path):
    means = np.random.default_rng(3).gamma(0.5, 1, (3, 256)).astype(np.float32)
    values = weights(4, (3, 8, 256)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_tensor("blk.0.ffn_up_exps.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    matrix = write_gguf(tmp_path / "i.gguf", {"blk.0.ffn_up_exps.weight": means})
    qformat.convert(tmp_path / "m.gguf", tmp_path / "t.gguf", "q4_k", pure=True, imatrix=matrix)
    made = gguf.GGUFReader(tmp_path / "t.gguf").tensors[0].data.tobytes()
    read = read_imatrix(matrix).entries["blk.0.ffn_up_exps.weight"]
    whole = encode(registry().parse("q4_k"), values, weights=read[:, None, :])
    assert made == whole.planes["blocks"].tobytes()


def test_a_model_with_hugging_faces_names_finds_its_own(tmp_path):
    cols = {"blk.0.attn_q.weight": 256, "blk.0.ffn_down.weight": 768}
    means = {n: np.random.default_rng(9).gamma(0.5, 1, c).astype(np.float32) for n, c in cols.items()}
    matrix = write_gguf(tmp_path / "i.gguf", means)
    report = qformat.convert(SAMPLE, tmp_path / "a.safetensors", "mse2", imatrix=matrix)
    qformat.convert(SAMPLE, tmp_path / "b.safetensors", "mse2")
    one, two = (qformat.open(tmp_path / f"{n}.safetensors") for n in "ab")
    differ = {
        name
        for name, info in one.tensors.items()
        for plane in info.planes
        if not np.array_equal(one.plane(name, plane), two.plane(name, plane))
    }
    assert differ == {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"}
    assert any("are not in i.gguf" in w for w in report.warnings)


def test_a_mixture_chooses_otherwise_with_importance(model, tmp_path):
    deep = write_model(tmp_path / "deep.gguf", layers=16)
    matrix = write_gguf(tmp_path / "i.gguf", importances(layers=16))
    for name, plain, heeded in (("q4_0", "q4_0", "q4_1"), ("iq4_xs", "q5_k", "iq4_xs")):
        for file, wanted in ((None, plain), (matrix, heeded)):
            made = plan(deep, tmp_path / "t.gguf", Options(name, imatrix=file))
            coding = {t.info.name: t.coding for t in made.tensors}
            assert coding["blk.0.ffn_down.weight"] == wanted


def test_another_models_matrix_is_refused(model, tmp_path):
    other = write_gguf(tmp_path / "i.gguf", importances(down=FFN // 2))
    with pytest.raises(FormatError, match="256 values for this tensor, whose shape calls for 512 columns"):
        qformat.convert(model, tmp_path / "t.gguf", "q4_k", imatrix=other)
    none = write_gguf(tmp_path / "j.gguf", {"layers.0.weight": np.ones(4, np.float32)})
    with pytest.raises(FormatError, match=r"none of the 14 tensors .* such as 'token_embd.weight'"):
        qformat.convert(model, tmp_path / "t.gguf", "q4_k", pure=True, imatrix=none)
    assert not (tmp_path / "t.gguf").exists()


def test_tensors_without_importance_are_named_and_an_error_when_strict(model, tmp_path):
    means = importances()
    del means["blk.1.attn_q.weight"]
    matrix = write_gguf(tmp_path / "i.gguf", means)
    told = ["convert", model, tmp_path / "t.gguf", "-s", "q4_k_m", "--imatrix", matrix]
    done = command(*told, "--dry-run")
    assert "blk.1.attn_q.weight is not in i.gguf and will be encoded without importance" in done.stderr
    assert command(*told, "--strict", check=False).returncode == 1
    assert not (tmp_path / "t.gguf").exists()


def test_schemes_that_do_not_heed_say_so(model, tmp_path):
    matrix = write_gguf(tmp_path / "i.gguf", importances())
    made = plan(model, tmp_path / "t.gguf", Options("q8_0", imatrix=matrix))
    assert made.warnings == ("none of the schemes heeds importances: i.gguf changes nothing",)


# --- collecting -----------------------------------------------------------------------------------

HELDOUT = SAMPLE.parent / "heldout.txt"


def test_the_first_layers_means_are_those_of_the_normed_embeddings(tmp_path):
    path = tmp_path / "i.gguf"
    command("imatrix", SAMPLE, "--text", HELDOUT, "-o", path, "--ctx", "64", "--windows", "20")
    keys = {k: f.contents() for k, f in gguf.GGUFReader(path).fields.items() if "." in k}
    assert keys["general.type"] == "imatrix"
    assert (keys["imatrix.chunk_count"], keys["imatrix.chunk_size"]) == (16, 64)
    made = read_imatrix(path)
    assert made.chunks == 16  # of 20, whole calls
    assert made.datasets == (str(HELDOUT),)
    assert len(made.entries) == 28
    tokenizer = load_tokenizer(SAMPLE)
    ids = np.asarray(tokenizer.encode(HELDOUT.read_text(encoding="utf-8"), add_special=True))
    rows = ids[: 16 * 64].reshape(16, 64).copy()
    rows[:, 0] = tokenizer.bos
    stored = {n: qformat.open(SAMPLE).plane(n).astype(np.float64) for n in FIRST}
    x = stored[FIRST[0]][rows.reshape(-1)]
    x /= np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)
    wanted = ((x * stored[FIRST[1]]) ** 2).mean(axis=0)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(made.entries[f"blk.0.{name}.weight"][0], wanted, rtol=1e-4)


FIRST = ("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight")


@pytest.mark.parametrize("case", ["mixtral", "qwen3moe"])
def test_experts_are_counted_by_the_tokens_that_went_to_them(tmp_path, case):
    model = open_model(write_folder(case, tmp_path / "model"))
    ids = tokens(case).reshape(4, -1).astype(np.int32)
    sums, counts = squares(model, ids)
    experts = model.config.experts
    for layer in range(model.config.layers):
        stacks = [f"blk.{layer}.ffn_{part}_exps.weight" for part in ("gate", "up", "down")]
        for name in stacks:
            assert counts[name].shape == (experts.count,)
            assert counts[name].sum() == ids.size * experts.used
            assert ((sums[name].sum(axis=1) > 0) == (counts[name] > 0)).all()
        assert np.array_equal(sums[stacks[0]], sums[stacks[1]])
        assert counts[f"blk.{layer}.attn_q.weight"].tolist() == [ids.size]


def test_what_was_collected_makes_a_smaller_loss_where_it_counts(tmp_path):
    """By the very measure of it: the error of a layer's output on its own inputs."""
    path = tmp_path / "i.gguf"
    collect(SAMPLE, HELDOUT, path, ctx=128, limit=16)
    means = read_imatrix(path).entries
    plain, heeded = tmp_path / "plain.gguf", tmp_path / "heeded.gguf"
    qformat.convert(SAMPLE, tmp_path / "m.gguf", "f32")
    qformat.convert(SAMPLE, plain, "q2_k", pure=True)
    qformat.convert(SAMPLE, heeded, "q2_k", pure=True, imatrix=path)
    better = 0
    for name, mean in means.items():
        exact, a, b = (values_of(p, name) for p in (tmp_path / "m.gguf", plain, heeded))
        better += (mean[0] * (b - exact) ** 2).sum() < (mean[0] * (a - exact) ** 2).sum()
    assert better == len(means)


def values_of(path, name):
    found = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    return gguf.quants.dequantize(found.data, found.tensor_type).astype(np.float64)


def test_collecting_refuses(tmp_path):
    path = tmp_path / "i.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(TargetError, match="exists already"):
        collect(SAMPLE, HELDOUT, path)
    (tmp_path / "short.txt").write_text("Orla lives in Elderby.")
    with pytest.raises(QFormatError, match="two windows take"):
        collect(SAMPLE, tmp_path / "short.txt", tmp_path / "j.gguf")
    assert path.read_bytes() == b"mine"
