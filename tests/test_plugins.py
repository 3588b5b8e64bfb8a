"""Plugins: single files, isolation, conflicts, and files whose plugin is not here."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from conftest import qformat as command

import qformat
from qformat.blocks.layout import (
    Affine,
    Codebook,
    Codes,
    Floats,
    RawBlocks,
    ScaleMin,
    bits_per_weight,
    planes,
)
from qformat.convert.recipe import Rule
from qformat.errors import PluginError, SchemeError
from qformat.plugins.host import Host, host
from qformat.schemes.registry import Registry as _Registry

GOOD = '''
"""Five-bit codes of a symmetric scheme, in blocks of forty."""
from dataclasses import dataclass
from qformat.schemes import Affine, Codes, Floats, Scheme, hookimpl

@dataclass(frozen=True)
class Five(Scheme):
    id = "five"
    summary = "5-bit symmetric"

    def layout(self):
        return Affine(Codes(5, signed=True), Floats("F32"), block=40)

    def encode(self, blocks, weights=None):
        import jax.numpy as jnp
        scale = jnp.max(jnp.abs(blocks), axis=1) / 15
        codes = jnp.round(blocks / jnp.where(scale > 0, scale, 1)[:, None])
        return {"codes": codes.astype(jnp.int8), "scales": scale}

@hookimpl
def qformat_schemes():
    return [Five]
'''


def Registry(files=()):  # noqa: N802  with plugins of its own
    return _Registry(Host(tuple(files)))


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "five.py"
    file.write_text(GOOD)
    return file


def test_one_short_file_is_a_scheme_in_the_whole_machine(good, model, tmp_path):
    target = tmp_path / "t.safetensors"
    command("--plugin", good, "convert", model, target, "-s", "five", "-q")
    assert "five" in command("schemes", QFORMAT_PLUGINS=str(good)).stdout
    assert qformat.verify(target, source=model).ok
    # A reader without the plugin decodes it from the descriptor, and diff and inspect work.
    found = command("diff", model, target, "--json")
    assert json.loads(found.stdout)["error"]["relative_rmse"] < 0.06
    command("inspect", target, "--tensor", "lm_head.weight", "--block", "1")
    command("convert", target, tmp_path / "back", "--to", "safetensors", "-q")


@pytest.mark.parametrize(
    "text",
    [
        "raise RuntimeError('no luck')",
        "import nonsense_that_is_not_there",
        "raise SystemExit(3)",
        "def broken(:",
        "from qformat.schemes import hookimpl\n@hookimpl\ndef qformat_schemes(): return [int]",
        GOOD.replace('id = "five"', 'id = "sym4"'),
        GOOD.replace('id = "five"', 'id = "no good!"'),
        GOOD.replace("[Five]", "17"),
        GOOD.replace("Codes(5, signed=True)", "Codes()"),
    ],
)
def test_a_plugin_that_was_named_and_fails_is_an_error(tmp_path, text):
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(PluginError, match=r"plugin .*bad\.py"):
        Registry((file,))
    done = command("--plugin", file, "schemes", check=False)
    assert done.returncode == 1
    assert str(file) in done.stderr


class Entry:
    """An installed entry point that fails, or prints."""

    group, name, value, dist = "qformat", "zzz", "zzz", None

    def __init__(self, action):
        self.action = action

    def load(self):
        return self.action()


def installed(monkeypatch, action):
    real = importlib.metadata.entry_points

    def entry_points(**kwargs):
        return [*real(**kwargs), Entry(action)]

    monkeypatch.setattr("qformat.plugins.host.entry_points", entry_points)
    return Registry()


def test_an_installed_plugin_that_fails_takes_nothing_down(monkeypatch):
    def fail():
        raise RuntimeError("no luck")

    registry = installed(monkeypatch, fail)
    assert [p.state for p in registry.plugins if p.name == "zzz"] == ["BROKEN"]
    assert "no luck" in registry.broken()[0].trace
    assert registry.parse("sym4").bpw == 4.5
    with pytest.raises(SchemeError, match="no scheme 'zzz'") as caught:
        registry.parse("zzz")
    assert "did not load" in caught.value.hint


def test_a_plugin_that_prints_does_not_spoil_the_data(monkeypatch, capsys):
    class Nothing:
        pass

    def chatter():
        print("hello")
        return Nothing()

    installed(monkeypatch, chatter)
    found = capsys.readouterr()
    assert found.out == ""
    assert "hello" in found.err


def test_two_plugins_with_one_scheme_name_are_both_named(monkeypatch, good, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(GOOD)
    with pytest.raises(PluginError, match="is provided by") as caught:
        Registry((good, other))
    assert str(good) in str(caught.value)
    assert str(other) in str(caught.value)


def test_a_newer_scheme_version_is_asked_for_by_name(good, model, tmp_path, monkeypatch):
    registry = Registry((good,))
    record = registry.record(registry.parse("five"))
    newer = type(record)(record.id, 2, record.options, record.provider, record.layout)
    with pytest.raises(SchemeError, match="needs five version 2, installed is 1"):
        registry.for_record(newer)
    unknown = type(record)("six", 1, record.options, record.provider, record.layout)
    with pytest.raises(SchemeError, match="'six' is not installed") as caught:
        Registry().for_record(unknown)
    assert good.name in caught.value.hint


def test_sizes_follow_from_the_layout():
    nested = ScaleMin(
        Codes(4), scale=Affine(Codes(6), Floats("F16"), block=8), min=Affine(Codes(6), Floats("F16"), block=8)
    )
    assert [(p.name, p.span) for p in planes(nested)] == [
        ("codes", 1),
        ("scales.codes", 32),
        ("scales.scales", 256),
        ("mins.codes", 32),
        ("mins.scales", 256),
    ]
    assert bits_per_weight(nested) == 4.5  # as Q4_K has
    table = tuple(float(i) for i in range(16))
    assert bits_per_weight(Codebook(Codes(4), Floats("F8_E8M0"), table)) == 4.25
    assert bits_per_weight(RawBlocks(18, 32)) == 4.5


def test_a_rule_may_name_a_plugins_scheme(good, model, tmp_path, monkeypatch):
    monkeypatch.setenv("QFORMAT_PLUGINS", str(good))
    host.cache_clear()
    try:
        qformat.convert(model, tmp_path / "t.safetensors", rules=[Rule("*up*", "five"), Rule("*", "keep")])
    finally:
        host.cache_clear()
    made = qformat.open(tmp_path / "t.safetensors").tensors["model.layers.0.mlp.up_proj.weight"]
    assert (made.coding, made.scheme.provider.distribution) == ("five", good.name)


def test_prints_are_kept_off_stdout_while_another_plugin_hangs(monkeypatch):
    import io
    import threading

    from qformat.plugins.stdout import diverted

    entered, go = threading.Event(), threading.Event()

    def hang():
        with diverted():
            entered.set()
            go.wait(30)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait(30)
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)  # as whoever redirects it does
    monkeypatch.setattr("sys.stderr", err)
    with diverted():
        print("hello")
    go.set()
    thread.join()
    assert (out.getvalue(), err.getvalue()) == ("", "hello\n")
