"""Editing metadata: read back by gguf-py and safetensors, and safe against kills at any moment."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import qformat as command
from gguf_bytes import STRING, U8, info, pair, strings, text, u32, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import qformat
from qformat.errors import FormatError, IntegrityError, TargetError
from qformat.files import undo
from qformat.files.gguf.types import ValueType

WORDS = ["a", "bc", "\u0120d"]


def model(path, *, more=(), tensors=True):
    """A GGUF with values that no tool reads, tensors of an unknown type and odd padding."""
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        pair("general.name", STRING, text("old name")),
        u32("llama.block_count", 2),
        u32("llama.context_length", 512),
        pair("odd.bytes", STRING, text(b"\xff\xfe")),
        strings("tokenizer.ggml.tokens", WORDS),
        u32("tokenizer.ggml.bos_token_id", 1),
        *more,
    ]
    infos = [info("blk.0.a", [8], 0, 0), info("blk.1.a", [5], 99, 32)]
    path.write_bytes(whole(pairs, infos if tensors else [], bytes(range(37)) if tensors else b""))
    return path


def tensor_bytes(path):
    found = qformat.open(path)
    return {n: found.plane(n, next(iter(t.planes))).tobytes() for n, t in found.tensors.items()}


def values(path):
    return {k: v.raw() for k, v in qformat.open(path).keyvalues.items()}


def test_keys_keep_their_type_and_place(tmp_path):
    path = model(tmp_path / "m.gguf")
    before, tensors, size = values(path), tensor_bytes(path), path.stat().st_size
    done = qformat.edit(path, {"llama.context_length": 4096})
    assert (done.in_place, done.written, path.stat().st_size) == (True, True, size)
    assert [(c.key, c.type, c.before, c.after) for c in done.changes] == [
        ("llama.context_length", "uint32", "512", "4096")
    ]
    done = qformat.edit(path, {"general.name": "n" * 500, "new.key": 3}, delete=["odd.bytes"])
    assert not done.in_place
    assert path.stat().st_size == done.nbytes
    after = values(path)
    assert list(after) == [*(k for k in before if k != "odd.bytes"), "new.key"]
    assert {k: v for k, v in after.items() if k in before and not k.startswith(("general.n", "llama.c"))} == {
        k: v for k, v in before.items() if not k.startswith(("general.n", "llama.c", "odd"))
    }
    assert tensor_bytes(path) == tensors
    assert qformat.open(path).keyvalues["llama.context_length"].read() == 4096


def test_what_stays_is_copied_byte_for_byte(tmp_path):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()
    qformat.edit(path, {"new.key": "x"})
    qformat.edit(path, delete=["new.key"])
    assert path.read_bytes() == old


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(width=32, allow_nan=False, allow_infinity=False)
)
plain = st.one_of(numbers, st.booleans(), st.text(st.characters(codec="utf-8"), max_size=30))
lists = st.one_of(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=5),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}\.[a-z_]{1,8}", fullmatch=True), plain | lists, max_size=4))
@settings(
    deadline=None,
    derandomize=True,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_gguf_py_reads_what_was_set(tmp_path, new):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_uint8("t.small", 7)
    writer.add_tensor("t", np.arange(6, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    qformat.edit(tmp_path / "m.gguf", {**new, "t.small": 8})
    found = gguf.GGUFReader(tmp_path / "m.gguf")
    for key, value in {**new, "t.small": 8}.items():
        assert found.fields[key].contents() == value, key
    assert found.fields["t.small"].types == [gguf.GGUFValueType.UINT8]
    assert found.tensors[0].data.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("key", "written", "kind", "value"),
    [
        ("a.b", "5", "UINT32", 5),
        ("a.b", "-5", "INT32", -5),
        ("a.b", str(2**40), "UINT64", 2**40),
        ("a.b", "1.5", "FLOAT32", 1.5),
        ("a.b", "1e3", "FLOAT32", 1000.0),
        ("a.b", "true", "BOOL", True),
        ("a.b", "nan", "STRING", "nan"),
        ("a.b", "v=1", "STRING", "v=1"),
        ("a.b", "", "STRING", ""),
        ("general.version", "1.0", "STRING", "1.0"),
        ("general.base_model.count", "2", "UINT32", 2),
        ("a.b:u8", "5", "UINT8", 5),
        ("a.b:float64", "5", "FLOAT64", 5.0),
        ("a.b:str", "5", "STRING", "5"),
        ("a.b:i16[]", "[1, -2]", "INT16", [1, -2]),
        ("a.b:string[]", "[]", "STRING", []),
        ("tokenizer.ggml.tokens", '["x", "y"]', "STRING", ["x", "y"]),
        ("llama.context_length:int64", "9", "INT64", 9),
    ],
)
def test_the_type_of_a_value_typed_by_a_person(tmp_path, key, written, kind, value):
    path = model(tmp_path / "m.gguf")
    qformat.edit(path, {key: written}, as_text=True)
    found = qformat.open(path).keyvalues[key.split(":")[0]]
    got = found.read()
    assert (found.item or found.type) is ValueType[kind]
    assert (list(got) if found.is_array else got) == value


REFUSED = [
    ({"general.alignment": 64}, (), "decides where the tensors lie"),
    ({"split.count": 3}, (), "how many shards"),
    ({}, ["split.tensors.count"], "how many tensors"),
    ({}, ["general.architecture"], "nobody knows what model"),
    ({"general.architecture": "qwen2"}, (), "no key begins with 'qwen2.'"),
    ({"general.architecture:u32": 2}, (), "must be string"),
    ({"llama.block_count": 3}, (), "has tensors of 2 blocks"),
    ({"tokenizer.ggml.scores:f32[]": [0.0, 1.0]}, (), "tokens has 3, tokenizer.ggml.scores has 2"),
    ({"tokenizer.ggml.bos_token_id": 3}, (), "below 3, not 3"),
    ({"tokenizer.ggml.eos_token_id": "</s>"}, (), "must be the number of a token"),
    ({"llama.context_length": -1}, (), "must be a uint32, not -1"),
    ({"llama.context_length": "many"}, (), "must be a uint32, not 'many'"),
    ({"llama.context_length": 1.5}, (), "must be a uint32"),
    ({"a.b:f32": float("nan")}, (), "must be a float32"),
    ({"a.b:f32": 1e39}, (), "must be a float32"),
    ({"a.b:bool": "maybe"}, (), "must be a bool"),
    ({"a.b:u33": 1}, (), "'u33' is no type"),
    ({"a.b:u8[]": "1"}, (), "must be an array"),
    ({"a.b:u8[]": "[1, 256]"}, (), "item 1 of the value"),
    ({"a.b": []}, (), "an empty array tells no type"),
    ({"a.b": 2**64}, (), "more than 64 bits"),
    ({"a.b": None}, (), "no type for the value"),
    ({"a.b": "\ud800"}, (), "UTF-8"),
    ({"": 1}, (), "no name"),
    ({}, ["llama.contextlength"], "no key 'llama.contextlength'"),
    ({"a.b": 1, "a.b:u8": 2}, (), "given twice"),
    ({"general.name": "x"}, ["general.name"], "given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("new", "delete", "said"), REFUSED)
def test_edits_that_would_break_the_file_are_refused(tmp_path, new, delete, said):
    path = model(tmp_path / "m.gguf", more=[u32("split.tensors.count", 2)])
    old = path.read_bytes()
    with pytest.raises((TargetError, FormatError), match=said.replace("(", r"\(")):
        qformat.edit(path, new, delete=delete)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_an_architecture_may_be_renamed_with_its_keys(tmp_path):
    path = model(tmp_path / "m.gguf")
    qformat.edit(
        path,
        {"general.architecture": "mine", "mine.block_count": 2},
        delete=["llama.block_count", "llama.context_length"],
    )
    assert qformat.open(path).metadata["general.architecture"] == "mine"


def test_a_file_without_tensors_or_padding(tmp_path):
    path = tmp_path / "v.gguf"
    path.write_bytes(whole([pair("general.architecture", STRING, text("llama"))], align=1))
    for name in ("x", "a longer name", "y"):
        qformat.edit(path, {"general.name": name})
        assert qformat.open(path).metadata["general.name"] == name
        assert qformat.open(path).notes == ()


def test_a_split_model_is_edited_in_its_first_file(tmp_path):
    paths = []
    for i in range(2):
        more = [
            pair("split.no", U8, bytes([i])),
            pair("split.count", U8, b"\2"),
            u32("split.tensors.count", 2),
        ]
        paths.append(tmp_path / f"m-{i + 1:05d}-of-00002.gguf")
        head = [pair("general.architecture", STRING, text("llama"))] if i == 0 else []
        paths[i].write_bytes(whole([*head, *more], [info(f"t{i}", [4], 0, 0)], bytes(16)))
    second = paths[1].read_bytes()
    qformat.edit(tmp_path, {"general.name": "split"})
    assert qformat.open(paths[1]).metadata["general.name"] == "split"
    assert paths[1].read_bytes() == second
    with pytest.raises(TargetError, match="in its first file"):
        qformat.edit(paths[1], {"general.name": "x"})


# --- what the disk sees -------------------------------------------------------------------------


def test_links_modes_and_copies(tmp_path):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()
    path.chmod(0o640)
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    qformat.edit(link, {"a.long": "x" * 100})
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert qformat.open(path).metadata["a.long"] == "x" * 100
    path.write_bytes(old)
    copy = tmp_path / "copy.gguf"
    assert not qformat.edit(path, {"llama.context_length": 1}, output=copy).in_place
    assert path.read_bytes() == old
    assert qformat.open(copy).metadata["llama.context_length"] == "1"
    for target, said in ((copy, "exists already"), (path, "is the input")):
        with pytest.raises(TargetError, match=said):
            qformat.edit(path, {"llama.context_length": 2}, output=target)


KILL = """
import os, signal, sys
import qformat
from qformat.files import undo
writes = 0
whole = os.pwrite
def cut(fd, data, at):
    global writes
    writes += 1
    if writes == int(sys.argv[2]):
        whole(fd, data[: len(data) // 2], at)
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(fd, data, at)
os.pwrite = cut
qformat.edit(sys.argv[1], {"general.name": "new name", "llama.context_length": 7})
"""


@pytest.mark.parametrize("write", [1, 2])
def test_a_kill_in_an_edit_in_place_is_undone(tmp_path, write):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILL, path, str(write)], check=False)
    assert done.returncode == -9
    if write == 1:  # what is there was being put aside: nothing had changed
        assert path.read_bytes() == old
        assert qformat.open(path).metadata["general.name"] == "old name"
    else:
        assert path.read_bytes() != old
        with pytest.raises(FormatError, match="cut short") as caught:
            qformat.open(path)
        assert "qformat edit" in caught.value.hint
    done = command("edit", path, check=False)
    assert ("undone first" in done.stderr) == (write == 2)
    assert path.read_bytes() == old
    qformat.edit(path, {"general.name": "new name"})
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_ctrl_c_in_an_edit_in_place(tmp_path, monkeypatch):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()
    write, calls = undo._write, []

    def interrupted(fd, at, data):
        calls.append(at)
        if len(calls) == 2:
            write(fd, at, data[: len(data) // 2])
            raise KeyboardInterrupt
        write(fd, at, data)

    monkeypatch.setattr(undo, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qformat.edit(path, {"llama.context_length": 70000})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_ctrl_c_in_a_rewrite(tmp_path):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()

    def interrupt(_done, _name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qformat.edit(path, {"general.name": "x" * 999}, progress=interrupt)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_two_edits_at_once(tmp_path):
    path = model(tmp_path / "m.gguf")
    undo._keep(undo.undo_file(path), 0, b"GGUF")
    with pytest.raises(TargetError, match="under way"):
        undo.patch(path, 0, b"XXXX")
    assert path.read_bytes()[:4] == b"GGUF"


# --- safetensors and containers -----------------------------------------------------------------


def test_a_container_stays_whole(tmp_path):
    save_file({"a": np.ones((4, 64), np.float32)}, tmp_path / "a.safetensors", {"format": "pt"})
    box = tmp_path / "box.safetensors"
    qformat.convert(tmp_path / "a.safetensors", box, "sym8")
    size, content = box.stat().st_size, qformat.verify(box).content
    done = qformat.edit(box, {"licence": "MIT", "title": "naïve \x1b"}, delete=["format"])
    assert done.in_place
    assert box.stat().st_size == size
    found = qformat.verify(box, source=tmp_path / "a.safetensors")
    assert found.ok
    assert found.content != content
    with safe_open(box, "np") as opened:
        assert opened.metadata()["licence"] == "MIT"
        assert "format" not in opened.metadata()
    assert not qformat.edit(box, {"long": "x" * 3000}).in_place
    assert qformat.verify(box).ok
    assert all(s.data_offset % 64 == 0 for t in qformat.open(box).tensors.values() for s in t.planes.values())
    qformat.edit(box, {"format": "pt"}, delete=["long", "licence", "title"])
    assert qformat.verify(box).content == content


def test_a_container_refuses(tmp_path):
    save_file({"a": np.ones((4, 64), np.float32)}, tmp_path / "a.safetensors")
    box = tmp_path / "box.safetensors"
    qformat.convert(tmp_path / "a.safetensors", box, "sym8")
    for new, said in (({"qformat.content": "0"}, "belongs to the container"), ({"n": 1}, "are strings")):
        with pytest.raises(TargetError, match=said):
            qformat.edit(box, new)
    with pytest.raises(TargetError, match="no key 'n'"):
        qformat.edit(box, delete=["n"])
    box.write_bytes(box.read_bytes().replace(b'"F32"', b'"F16"', 1))
    with pytest.raises((IntegrityError, FormatError)):
        qformat.edit(box, {"n": "x"})
    qformat.convert(model(tmp_path / "m.gguf"), tmp_path / "g.safetensors", to="qformat")
    with pytest.raises(TargetError, match="key of the GGUF"):
        qformat.edit(tmp_path / "g.safetensors", {"general.name": "x"})


@pytest.fixture
def box_set(tmp_path):
    """A container in several files, with its index."""
    arrays = {f"t{i}": np.full((16, 64), i + 1, np.float32) for i in range(9)}
    save_file(arrays, tmp_path / "a.safetensors", {"format": "pt"})
    folder = tmp_path / "box"
    qformat.convert(tmp_path / "a.safetensors", folder, "sym8", max_shard_size=14_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_container_of_several_files_stays_whole(box_set):
    before, content = files(box_set), qformat.verify(box_set).content
    done = qformat.edit(box_set, {"licence": "MIT"}, delete=["format"])
    assert (done.in_place, done.written, done.nbytes) == (True, True, sum(map(len, before.values())))
    assert [(c.key, c.before, c.after) for c in done.changes] == [
        ("format", "pt", None),
        ("licence", None, "MIT"),
    ]
    found = qformat.verify(box_set)
    assert found.ok
    assert found.content != content
    for path in box_set.glob("*.safetensors"):
        with safe_open(path, "np") as opened:
            assert opened.metadata()["licence"] == "MIT"
    index = next(box_set.glob("*.index.json"))
    qformat.edit(index, {"format": "pt"}, delete=["licence"])
    assert qformat.verify(box_set).content == content
    assert files(box_set).keys() == before.keys()


def test_a_container_of_several_files_refuses(box_set, tmp_path):
    before = files(box_set)
    with pytest.raises(TargetError, match="no room left: it would need") as caught:
        qformat.edit(box_set, {"long": "x" * 5000})
    assert "--keep" in caught.value.hint
    with pytest.raises(TargetError, match="edited in place"):
        qformat.edit(box_set, {"a": "b"}, output=tmp_path / "other")
    with pytest.raises(IntegrityError, match="content digest") as caught:
        qformat.edit(min(box_set.glob("*.safetensors")), {"a": "b"})
    assert "shard of a set" in caught.value.hint
    index = next(box_set.glob("*.index.json"))
    index.write_bytes(index.read_bytes().replace(b"qformat.content", b"qformat.contend"))
    qformat.edit(box_set, {"a": "b"}, dry_run=True)
    content = qformat.open(box_set).metadata["qformat.content"].encode()
    index.write_bytes(index.read_bytes().replace(content, b"0" * 64))
    with pytest.raises(IntegrityError, match="index does not have"):
        qformat.edit(box_set, {"a": "b"})
    assert {n: d for n, d in files(box_set).items() if n != index.name} == {
        n: d for n, d in before.items() if n != index.name
    }


@pytest.mark.parametrize("write", range(1, 8))
def test_a_kill_in_an_edit_of_a_set_is_undone(box_set, write):
    old = files(box_set)
    told = KILL.replace('"general.name": "new name", "llama.context_length": 7', '"licence": "MIT"')
    done = subprocess.run([sys.executable, "-c", told, box_set, str(write)], check=False)
    if done.returncode == 0:  # so many writes there were not
        assert write > len(old) + 1
        return
    assert done.returncode == -9
    if write > 1:
        with pytest.raises(FormatError, match="cut short") as caught:
            qformat.open(box_set)
        assert "qformat edit FOLDER" in caught.value.hint
    done = command("edit", box_set, check=False)
    assert ("undone first" in done.stderr) == (write > 1)
    assert files(box_set) == old


def test_ctrl_c_in_an_edit_of_a_set(box_set, monkeypatch):
    old, write, calls = files(box_set), undo._write, []

    def interrupted(fd, at, data):
        calls.append(at)
        if len(calls) == 3:
            write(fd, at, data[: len(data) // 2])
            raise KeyboardInterrupt
        write(fd, at, data)

    monkeypatch.setattr(undo, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qformat.edit(box_set, {"licence": "MIT"})
    assert files(box_set) == old


def test_a_damaged_header_is_not_signed_anew(tmp_path):
    save_file({"a": np.ones((4, 64), np.float32)}, tmp_path / "a.safetensors", {"note": "true"})
    box = tmp_path / "box.safetensors"
    qformat.convert(tmp_path / "a.safetensors", box, "sym8")
    box.write_bytes(box.read_bytes().replace(b'"true"', b'"trug"', 1))
    with pytest.raises(IntegrityError, match="content digest"):
        qformat.edit(box, {"n": "x"})


def test_plain_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(6, dtype=np.float32)}, path, {"format": "pt"})
    qformat.edit(path, {"title": "a model", "5": "5"}, as_text=True)
    with safe_open(path, "np") as opened:
        assert opened.metadata() == {"format": "pt", "title": "a model", "5": "5"}
        assert opened.get_tensor("a").tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(TargetError, match="belongs to the container"):
        qformat.edit(path, {"qformat": "1"})


# --- the command --------------------------------------------------------------------------------


def test_the_command(tmp_path):
    path = model(tmp_path / "m.gguf")
    old = path.read_bytes()
    done = command("edit", path, "--set", "general.name=a\x1b[31m=b", "--delete", "odd.bytes", "--dry-run")
    assert path.read_bytes() == old
    assert "\\x1b[31m=b" in done.stdout
    name = command("edit", path, "--set", "general.name=a\x1b[31m=b", "--json").stdout
    assert json.loads(name)["changes"][0]["after"] == "a\x1b[31m=b"
    assert json.loads(command("inspect", path, "--json").stdout)["metadata"]["general.name"] == "a\x1b[31m=b"
    assert "\\x1b[31m=b" in command("inspect", path, "--metadata").stdout
    gone = json.loads(command("edit", path, "--delete", "general.name", "--json").stdout)
    assert gone["changes"][0]["before"] == "a\x1b[31m=b"
    assert "dry run" in done.stdout
    told = json.loads(command("edit", path, "--set", "llama.context_length=8", "--json").stdout)
    assert told["changes"] == [
        {"key": "llama.context_length", "type": "uint32", "before": "512", "after": "8"}
    ]
    assert (told["in_place"], told["written"], told["format"]) == (True, True, "gguf")
    Path(tmp_path / "t.jinja").write_bytes("{{ x }}\r\nü\n".encode())
    command("edit", path, "--set-file", f"tokenizer.chat_template={tmp_path / 't.jinja'}", "-q")
    assert qformat.open(path).keyvalues["tokenizer.chat_template"].read() == "{{ x }}\r\nü\n"
    assert "nothing changes" in command("edit", path, "--set", "llama.context_length=8").stdout
    for args, said in (
        ([], "Say what to change"),
        (["--set", "x"], "not KEY=VALUE"),
        (["--set", "a=1", "--set", "a=2"], "given twice"),
        (["--set-file", "a=/nonexistent"], "No such file"),
        (["--set", "general.alignment=1"], "decides where"),
        (["--delete", "nope"], "`qformat inspect --metadata` lists the keys"),
    ):
        done = command("edit", path, *args, check=False)
        assert done.returncode
        assert said in done.stderr
