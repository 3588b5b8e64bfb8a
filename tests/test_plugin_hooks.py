"""The hooks beside schemes: formats, families, commands and panels, built in and from files."""

from __future__ import annotations

import io
import json

import ml_dtypes
import numpy as np
import pytest
from conftest import qformat as command
from conftest import weights
from rich.console import Console

import qformat
from qformat.convert.recipe import Rule
from qformat.errors import FormatError
from qformat.inspect.block import block_view
from qformat.inspect.panel import all_rendered, panels, rendered
from qformat.plugins.host import host


def test_a_numpy_archive_is_a_checkpoint(tmp_path):
    path = tmp_path / "model.npz"
    arrays = {
        "a.weight": weights(1, (8, 96), np.float32),
        "b": np.arange(5, dtype=np.int16),
        "c": np.float64(3),
    }
    np.savez(path, **arrays, h=weights(2, (4, 64), ml_dtypes.bfloat16))
    opened = qformat.open(path)
    assert opened.format == "npz"
    assert {n: t.dtype for n, t in opened.tensors.items()} == {
        "a.weight": "F32",
        "b": "I16",
        "c": "F64",
        "h": "BF16",
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(opened.plane(name), array)
    np.testing.assert_array_equal(opened.plane("h"), weights(2, (4, 64), ml_dtypes.bfloat16))
    command("convert", path, tmp_path / "t.safetensors", "-s", "sym8", "--set", "*=sym8", "-q")
    assert (
        json.loads(command("diff", path, tmp_path / "t.safetensors", "--json").stdout)["error"]["cosine"]
        > 0.999
    )


@pytest.mark.parametrize(
    ("save", "what"),
    [
        (lambda p: np.savez_compressed(p, a=np.zeros(9)), "compressed"),
        (lambda p: np.savez(p, a=np.asfortranarray(np.zeros((3, 4)))), "column by column"),
        (lambda p: np.savez(p, a=np.zeros(3, ">f4")), "its type"),
        (lambda p: np.savez(p, a=np.zeros(3, "S3")), "its type"),
    ],
)
def test_an_archive_that_cannot_be_mapped_says_why(tmp_path, save, what):
    save(tmp_path / "m.npz")
    with pytest.raises(FormatError, match=what):
        qformat.open(tmp_path / "m.npz")


def test_a_damaged_archive_is_an_error_at_every_length(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, a=np.zeros(3, np.float32), b=np.ones((2, 2)))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            qformat.open(path)


def test_other_zip_archives_are_not_claimed(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 64)
    with pytest.raises(FormatError, match="neither") as caught:
        qformat.open(tmp_path / "m.pt")
    assert "PyTorch" in caught.value.hint


FORMAT = """
from qformat.files.format import FileFormat
from qformat.plugins import hookimpl

def opened(path):
    raise ValueError("what is this?")

@hookimpl
def qformat_formats():
    return [FileFormat("odd", lambda head, path: head.startswith(b"ODD"), opened)]
"""


def test_a_format_that_fails_is_named(tmp_path):
    (tmp_path / "odd.py").write_text(FORMAT)
    (tmp_path / "model.odd").write_bytes(b"ODD stuff")
    done = command("--plugin", tmp_path / "odd.py", "inspect", tmp_path / "model.odd", check=False)
    assert "odd.py failed to open it as odd: what is this?" in done.stderr


COMMAND = '''
import click
from qformat.plugins import hookimpl

@click.command()
@click.argument("name")
def greet(name):
    """Say hello."""
    click.echo(f"hello {name}")

@hookimpl
def qformat_commands():
    return [greet]
'''


def test_a_command_from_a_file(tmp_path):
    (tmp_path / "greet.py").write_text(COMMAND)
    assert command("--plugin", tmp_path / "greet.py", "greet", "you").stdout == "hello you\n"
    assert command("greet", "you", check=False).returncode == 2


def printed(shown):
    console = Console(width=100, file=io.StringIO(), markup=False)
    console.print(shown)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("spec", "words"),
    [("asym4", "scale × (code − zero point)"), ("mse4", "scale × code + min"), ("nf4", "table[code]")],
)
def test_the_panel_says_how_a_block_decodes(model, tmp_path, spec, words):
    qformat.convert(model, tmp_path / "t.safetensors", rules=[Rule("*up_proj*", spec), Rule("*", "keep")])
    checkpoint = qformat.open(tmp_path / "t.safetensors")
    info = checkpoint.tensors["model.layers.0.mlp.up_proj.weight"]
    (panel,) = [p for p in panels() if p.title == "How it decodes"]
    assert words in printed(rendered(panel, checkpoint, info))
    view = block_view(checkpoint, info, 3)
    assert f"= {view.values[0]:g}" in printed(rendered(panel, checkpoint, info, view))


PANELS = """
from qformat.inspect.panel import Panel
from qformat.plugins import hookimpl

class Late:
    def __rich_console__(self, console, options):
        yield "[b]begun[/b]"
        1 / 0

@hookimpl
def qformat_panels():
    found = {
        "Early": lambda checkpoint, info, block: 1 / 0,
        "Late": lambda checkpoint, info, block: Late(),
        "None": lambda checkpoint, info, block: 7,
        "Evil": lambda checkpoint, info, block: "[red]\\x1b[2J[/red]",
    }
    return [Panel(title, render) for title, render in found.items()]
"""


def test_a_panel_that_fails_says_so_and_none_acts_on_the_terminal(tmp_path, monkeypatch, model):
    (tmp_path / "odd.py").write_text(PANELS)
    monkeypatch.setenv("QFORMAT_PLUGINS", str(tmp_path / "odd.py"))
    host.cache_clear()
    try:
        checkpoint = qformat.open(model)
        found = dict(all_rendered(checkpoint, checkpoint.tensors["lm_head.weight"]))
        for title, error in (("Early", "ZeroDivision"), ("Late", "ZeroDivision"), ("None", "NotRenderable")):
            assert f"the panel failed: {error}Error" in printed(found[title])
        assert printed(found["Evil"]) == "[red]\\x1b[2J[/red]\n"
        assert "How it decodes" not in found  # of a tensor without blocks it has nothing to say
    finally:
        host.cache_clear()
