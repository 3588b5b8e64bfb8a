"""The command line as a user meets it: help, output, errors, what is imported, what a file can do to a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from conftest import save_bf16, weights

from qformat.errors import FormatError
from qformat.files import strict_json

SAMPLES = Path(__file__).parent.parent / "samples"
COMMANDS = (
    "convert",
    "inspect",
    "diff",
    "verify",
    "chat",
    "quiz",
    "bench",
    "tokenize",
    "lab",
    "schemes",
    "plugins",
)


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    from conftest import tiny_model

    folder = tmp_path_factory.mktemp("cli")
    model = tiny_model(folder / "model")
    command("convert", model, folder / "box.safetensors", "-s", "asym4", "-q")
    return folder / "box.safetensors"


def imported(*args) -> set[str]:
    code = f"import sys; sys.argv = ['qformat', *{list(map(str, args))!r}]\nfrom qformat.cli.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_imports_nothing_heavy():
    for args in (["--help"], [], ["--version"]):
        assert not imported(*args) & {"numpy", "jax", "textual", "rich", "pluggy", "qformat_plugins"}


def test_inspect_imports_no_jax(box):
    for args in (
        [],
        ["--json"],
        ["--tensor", "lm_head.weight"],
        ["--tensor", "lm_head.weight", "--block", "0"],
    ):
        assert not imported("inspect", box, *args) & {"jax", "textual", "qformat_plugins"}
    assert "numpy" not in imported("inspect", box)
    assert "jax" not in imported("verify", box)


def test_every_command_has_help_with_an_example():
    first = command("--help").stdout
    for name in COMMANDS:
        assert name in first
        text = command(name, "--help").stdout
        assert f"qformat {name}" in text.split("Example")[1]


def test_a_mistyped_command_is_guessed():
    done = command("inspct", check=False)
    assert done.returncode == 2
    assert "Did you mean 'inspect'" in done.stderr


def test_inspect_shows_tensors_filtered_and_sorted(box):
    out = command("inspect", box).stdout
    assert "asym4:block=32,scale=f16,zero=point" in out
    assert "model.layers.1.mlp.down_proj.weight" in out
    rows = command("inspect", box, "--filter", "*down_proj*", "--sort", "error").stdout
    assert rows.count("down_proj") == 2
    assert "up_proj" not in rows
    limited = json.loads(command("inspect", box, "--sort", "bytes", "--limit", "2", "--json").stdout)
    assert limited["schema"] == 1
    sizes = [t["bytes"] for t in limited["tensors"]]
    assert len(sizes) == 2
    assert sizes == sorted(sizes, reverse=True)


def test_inspect_says_when_there_is_nothing_to_list(box):
    done = command("inspect", box, "--filter", "zzz")
    assert done.stderr == "no tensor matches zzz\n"
    assert "rel. RMSE" not in done.stdout
    assert command("inspect", box, "--filter", "zzz", "--json").stderr == "no tensor matches zzz\n"
    plain = command("inspect", box.parent / "model", "--sort", "error")
    assert "no errors are recorded" in plain.stderr
    assert "lm_head" in plain.stdout
    assert command("inspect", box, "--sort", "error").stderr == ""


def test_inspect_takes_a_block_apart(box, tmp_path):
    name = "model.layers.0.mlp.down_proj.weight"
    value = json.loads(command("inspect", box, "-t", name, "-b", "5", "--json").stdout)["block"]
    assert (value["row"], value["first_column"], len(value["values"])) == (0, 160, 12)
    fields = {f["name"]: f for f in value["fields"]}
    scale, zero = fields["scales"]["items"][0], fields["zero_points"]["items"][0]
    decoded = [scale * (code - zero) for code in fields["codes"]["items"]]
    assert value["values"] == pytest.approx(decoded)
    command("convert", box, tmp_path / "back", "--to", "safetensors", "--dtype", "f32", "-q")
    from safetensors.numpy import load_file

    assert load_file(tmp_path / "back" / "model.safetensors")[name][0, 160:].tolist() == value["values"]
    assert "scales (F16)" in command("inspect", box, "-t", name, "-b", "5").stdout
    wrong = command("inspect", box, "-t", name, "-b", "999999", check=False)
    assert wrong.returncode == 1
    assert "has 384 blocks" in wrong.stderr


def test_inspect_statistics_are_those_of_the_values(box):
    import qformat
    from qformat.blocks.tiles import Tile
    from qformat.inspect.statistics import statistics
    from qformat.inspect.values import values

    checkpoint = qformat.open(box)
    info = checkpoint.tensors["model.layers.0.mlp.down_proj.weight"]
    all_values = values(checkpoint, info, Tile(0, 64, 0, 172)).astype(np.float64)
    found = statistics(checkpoint, info)
    assert (found.low, found.high) == (all_values.min(), all_values.max())
    assert found.std == pytest.approx(all_values.std())
    assert found.histogram == tuple(np.histogram(all_values, 32)[0])
    assert found.zeros == np.count_nonzero(all_values == 0)
    part = values(checkpoint, info, Tile(3, 2, 70, 100))
    assert np.array_equal(part, all_values[3:5, 70:170].astype(np.float32))


def test_an_unknown_tensor_is_guessed(box):
    done = command("inspect", box, "--tensor", "lm_head.weigth", check=False)
    assert done.returncode == 1
    assert "did you mean lm_head.weight" in done.stderr


def test_diff_in_words_and_json(box):
    model = box.parent / "model"
    out = command("diff", model, box).stdout
    assert "over all: relative RMSE" in out
    value = json.loads(command("diff", model, box, "--json").stdout)
    assert value["same"] is False
    assert value["tensors"][0]["error"]["relative_rmse"] >= value["tensors"][-1]["error"]["relative_rmse"]
    assert command("diff", model, model, "--fail-on-diff").stdout.endswith("0 different\n")
    assert command("diff", model, box, "--fail-on-diff", check=False).returncode == 1


def test_convert_reports_on_stdout_and_is_silent_elsewhere(box, tmp_path):
    model = box.parent / "model"
    dry = command("convert", model, tmp_path / "t.safetensors", "-s", "sym4", "--dry-run", "--json")
    real = command("convert", model, tmp_path / "t.safetensors", "-s", "sym4", "--json")
    planned, done = json.loads(dry.stdout), json.loads(real.stdout)
    assert (dry.stderr, real.stderr) == ("", "")
    assert planned["files"] == done["files"]
    assert (tmp_path / "t.safetensors").stat().st_size == done["bytes"]
    quiet = command("convert", model, tmp_path / "q.safetensors", "-s", "sym4", "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_warnings_are_errors_under_strict(box, tmp_path):
    target = tmp_path / "t.safetensors"
    done = command("convert", box, target, "-s", "sym4", "--strict", check=False)
    assert done.returncode == 1
    assert "quantized already" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["convert", "{model}", "{out}"], "Choose a scheme"),
        (["convert", "{model}", "-s", "sym4"], "Missing argument 'TARGET'"),
        (["convert", "{model}", "{out}", "-s", "sym9"], "did you mean"),
        (["convert", "{model}", "{out}", "-s", "sym4", "--to", "safetensors"], "not a scheme"),
        (["convert", "{model}", "{out}", "-s", "sym4", "--dtype", "f32"], "goes with --to"),
        (["convert", "{model}", "{out}", "-s", "sym4", "--set", "oops"], "not PATTERN=SCHEME"),
        (["convert", "{model}", "{out}", "-s", "sym4", "--max-shard-size", "7 apples"], "not a size"),
        (
            ["convert", "{model}", "{out}", "-s", "sym4", "--max-shard-size", "0"],
            "--max-shard-size: '0' is not",
        ),
        (["convert", "{none}", "{out}", "-s", "sym4"], "no such file"),
        (["inspect", "{none}"], "no such file"),
        (["inspect", "{model}", "--block", "1"], "needs --tensor"),
        (["schemes", "sym9"], "no scheme"),
        (["convert", "{model}", "{out}", "-s", "iq2_xs"], "decoded but not encoded"),
    ],
)
def test_mistakes_get_a_clear_message(box, tmp_path, args, message):
    places = {"model": box.parent / "model", "out": tmp_path / "o.safetensors", "none": tmp_path / "none"}
    done = command(*(a.format(**places) for a in args), check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_path_stays_on_its_line(tmp_path):
    done = command("inspect", tmp_path / "a\nb", check=False)
    assert done.stderr.startswith(f"error: {tmp_path}/a\\nb: ")


def test_files_that_are_something_else_are_recognized(tmp_path):
    file = tmp_path / "x.safetensors"
    for content, hint in (
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"PK\x03\x04" + bytes(30), "PyTorch pickle"),
        (b"\xff" * 40, "expected: safetensors"),
    ):
        file.write_bytes(content)
        assert hint in command("inspect", file, check=False).stderr


def test_strings_from_a_file_cannot_act_on_a_terminal(tmp_path):
    name = "w\x1b]0;owned\x07\x1b[31m\u202e[red]"
    source = save_bf16({name: weights(1, (8, 64))}, tmp_path / "a.safetensors", {"k\x1b[2J": "v\x9b31m\r\n"})
    target = tmp_path / "b.safetensors"
    outputs = [
        command("convert", source, target, "--set", "*=sym4"),
        command("inspect", target),
        command("inspect", target, "--metadata"),
        command("inspect", target, "--json"),
        command("inspect", target, "--tensor", name),
        command("diff", source, target),
        command("inspect", target, "--tensor", "w", check=False),
    ]
    raw = bytearray(target.read_bytes())
    raw[-3] ^= 1
    target.write_bytes(raw)
    outputs.append(command("verify", target, check=False))
    for done in outputs:
        text = done.stdout + done.stderr
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e", "\r"}
    assert "[red]" in outputs[1].stdout


def shell(line: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``qformat`` is the command, and ``$1`` … the arguments."""
    line = f'set -o pipefail; qformat() {{ {sys.executable} -m qformat "$@"; }}; {line}'
    args = ("bash", "-c", line, "bash", *map(str, args))
    return subprocess.run(args, capture_output=True, text=True, check=False, env={**os.environ, **env})


@pytest.mark.parametrize("what", ["inspect $1", "inspect $1 --json", "--help", "inspect --help", "--version"])
def test_stdout_may_be_a_pipe_that_closes_early_or_closed_or_full(box, what):
    gone = shell(f"qformat {what} | true", box)
    assert (gone.returncode, gone.stderr) == (0, "")
    for end, told in ((">&-", "closed"), ("> /dev/full", "No space left on device")):
        done = shell(f"qformat {what} {end}", box)
        assert done.returncode == 1
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_reader_of_errors_may_go_away_too(box):
    assert shell("qformat inspect $1/none 2>&1 | true", box).returncode == 1
    assert shell("qformat inspect $1/none 2>&-", box).returncode == 1


def test_streams_that_are_closed_are_no_place_for_a_model(box, tmp_path):
    target = tmp_path / "t.safetensors"
    args = "-s sym4 <&- >&- 2>&-"
    assert shell(f"qformat convert $1 $2 {args} -q", box.parent / "model", target).returncode == 0
    command("verify", target)


def test_what_the_encoding_of_stdout_lacks_is_escaped(box):
    done = shell("qformat inspect $1 -t lm_head.weight", box, PYTHONIOENCODING="iso8859-5")
    assert done.returncode == 0
    assert "80\\xd764" in done.stdout


def test_json_has_null_for_what_is_not_finite(box, tmp_path):
    name = "model.layers.0.mlp.down_proj.weight"
    found = json.loads(command("inspect", box, "-t", name, "--json").stdout, parse_constant=pytest.fail)
    scales = next(p for p in found["tensor"]["planes"] if p["name"] == "scales")
    raw = bytearray(box.read_bytes())
    raw[scales["data_offset"] : scales["data_offset"] + 2] = np.float16(np.nan).tobytes()
    (tmp_path / "nan.safetensors").write_bytes(raw)
    done = command("inspect", tmp_path / "nan.safetensors", "-t", name, "-b", "0", "--json")
    block = json.loads(done.stdout, parse_constant=pytest.fail)["block"]
    assert block["values"] == [None] * 32


def test_an_interrupt_while_it_starts_is_an_interrupt():
    code = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["qformat", "--version"]
from qformat.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


HALVES = {r'{"\ud800": 1}', r'{"a": ["\udc00\ud800"]}', r'{"\\\uDFFF": 1}', r'{"\uD83D\u0041": 1}'}
WHOLES = {r'{"\ud83d\ude00": "\\ud800"}', r'["\uD83D\uDE00\ud83d\ude00"]'}


def test_json_with_half_a_character_is_refused():
    for text in HALVES:
        with pytest.raises(FormatError, match="half of a surrogate pair"):
            strict_json.parse(text, file="f", what="it")
    for text in WHOLES:
        assert strict_json.parse(text, file="f", what="it") == json.loads(text)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (r'{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "half of a surrogate pair"),
        (r'{"__metadata__":{"a":"\udfff"}}', "half of a surrogate pair"),
        ('{"a":{"dtype":"U8","shape":[' + 5000 * "1" + '],"data_offsets":[0,1]}}', "too many digits"),
    ],
)
def test_a_header_that_others_cannot_read_is_refused(tmp_path, header, told):
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0")
    done = command("convert", file, tmp_path / "y.safetensors", "--set", "*=keep", check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "sys." not in done.stderr


@pytest.mark.parametrize("target", ["{long}.safetensors", "{long}.gguf", "{long}"])
def test_a_target_that_cannot_be_written_is_named_as_the_user_did(tmp_path, target):
    """A name that is possible, but not that of a draft beside it."""
    name = target.format(long="n" * (250 - len(target.removeprefix("{long}"))))
    scheme = "q8_0" if name.endswith(".gguf") else "sym8"
    done = command("convert", SAMPLES / "village", tmp_path / name, "-s", scheme, check=False)
    assert done.returncode == 1
    assert (
        f"{tmp_path / name}: cannot be written: File name too long\n  choose a shorter name\n" in done.stderr
    )
    assert ".partial" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_edit_that_cannot_be_written_names_the_file(box, tmp_path):
    name = tmp_path / ("n" * 238 + ".safetensors")
    name.write_bytes(box.read_bytes())
    done = command("edit", name, "--set", "a=b", check=False)
    assert done.returncode == 1
    assert f"{name}: cannot be written: File name too long" in done.stderr
    assert ".undo" not in done.stderr
    done = command("edit", box, "--set", "a=b", "-o", tmp_path / ("m" * 238 + ".safetensors"), check=False)
    assert f"{tmp_path}/mmm" in done.stderr
    assert ".partial" not in done.stderr


def test_one_is_no_plural(tmp_path):
    source = save_bf16({"w": weights(1, (8, 64))}, tmp_path / "a.safetensors")
    target = tmp_path / "b.safetensors"
    assert "\n1 tensor, " in command("convert", source, target, "--set", "*=sym4").stdout
    assert "(1 tensor, " in command("verify", target).stdout
    assert "1 tensor: 0 with the same values, 1 different" in command("diff", source, target).stdout
    raw = bytearray(target.read_bytes())
    raw[-3] ^= 1
    target.write_bytes(raw)
    assert "DAMAGED: 1 fault\n" in command("verify", target, check=False).stderr
    assert " of 1 byte, " in command("tokenize", SAMPLES / "village", "a").stdout


def test_a_traceback_is_shown_when_asked_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "qformat", "--traceback", "inspect", str(tmp_path / "none")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" in done.stderr


def test_a_polite_kill_leaves_nothing(tmp_path):
    source = save_bf16({"w": weights(1, (4096, 8192))}, tmp_path / "a.safetensors")
    target = tmp_path / "b.safetensors"
    args = [sys.executable, "-m", "qformat", "convert", str(source), str(target), "-s", "asym4", "-q"]
    with subprocess.Popen(args, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(tmp_path.glob(".b.*")):
            pass
        process.terminate()
        _, talk = process.communicate()
    assert process.returncode == 130
    assert talk.strip() == "interrupted"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
