"""Installed plugins that fail, hang, print or clash: each is a row in a table and stops nothing."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import zlib

import pytest
from conftest import qformat as command
from test_plugins import GOOD

from qformat.errors import PluginError, SchemeError
from qformat.plugins import guard
from qformat.plugins.host import Host
from qformat.schemes.kernels import kernel
from qformat.schemes.registry import Registry


def install(place, name: str, text: str, *, version: str = "1.0", commands: str = "") -> dict[str, str]:
    """An installed distribution with one module and its entry point; returns the environment that sees it."""
    site = place / "site"
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / f"{name.replace('-', '_')}.py").write_text(textwrap.dedent(text))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    module = name.replace("-", "_")
    points = f"[qformat]\n{module} = {module}\n"
    if commands:
        points += f"[qformat.commands]\n{commands} = {module}\n"
    (info / "entry_points.txt").write_text(points)
    return {"PYTHONPATH": str(site)}


RAISES = "raise RuntimeError('no luck')\n"
GARBAGE = "from qformat.plugins import hookimpl\n@hookimpl\ndef qformat_schemes():\n    return [int, 3]\n"
HANGS = "import threading\nthreading.Event().wait(600)\n"
PRINTS = "print('hello from a plugin')\n" + GOOD.replace(
    "import jax.numpy as jnp", "import jax.numpy as jnp; print('and more')"
)
TYPO = "from qformat.plugins import hookimpl\n@hookimpl\ndef qformat_scheme():\n    return []\n"
NOTHING = "x = 1\n"
NEWER = "QFORMAT_API = 99\n" + GOOD


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (RAISES, "no luck"),
        (GARBAGE, "is not a Scheme class"),
        (HANGS, "still loading"),
        (TYPO, "is it qformat_schemes?"),
        (NOTHING, "no function that is marked @hookimpl"),
        (NEWER, "needs version 99 of the plugin API"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_broken_plugin_is_a_row_in_a_table_and_an_error_in_strict_mode(tmp_path, monkeypatch, text, error):
    name = f"odd{zlib.crc32(text.encode())}"  # a module of its own: one that hangs keeps its import lock
    install(tmp_path, name, text)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("QFORMAT_PLUGIN_SECONDS", "0.2" if text == HANGS else "60")
    registry = Registry(Host())
    assert registry.parse("sym4").bpw == 4.5
    (plugin,) = [p for p in registry.plugins if p.name == name]
    assert (plugin.state, plugin.version) == ("BROKEN", "1.0")
    assert error in plugin.error
    assert f"{name}.py" in plugin.trace or "Error" in plugin.trace
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("QFORMAT_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=rf"{name} of {name} 1\.0 could not be loaded"):
        Registry(Host())


def test_a_plugin_that_hangs_takes_no_conversion_down(tmp_path, model):
    env = install(tmp_path, "odd-one", HANGS) | {"QFORMAT_PLUGIN_SECONDS": "0.2"}
    command("convert", model, tmp_path / "t.safetensors", "-s", "sym4", "-q", **env)
    strict = command("schemes", check=False, QFORMAT_STRICT_PLUGINS="1", **env)
    assert strict.returncode == 1
    assert "still loading" in strict.stderr
    assert "QFORMAT_STRICT_PLUGINS is set" in strict.stderr


def test_a_traceback_is_at_hand(tmp_path):
    env = install(tmp_path, "odd-one", RAISES)
    shown = command("plugins", **env)
    assert "odd_one of odd-one 1.0 is BROKEN: RuntimeError: no luck" in shown.stdout
    assert "--errors" in shown.stderr
    assert "odd_one.py" in command("plugins", "--errors", **env).stdout


def test_what_a_plugin_prints_goes_to_stderr(tmp_path, model):
    env = install(tmp_path, "chatty", PRINTS)
    done = command("convert", model, tmp_path / "t.safetensors", "-s", "five", "--json", **env)
    assert json.loads(done.stdout)["schema"] == 1
    assert "hello from a plugin" in done.stderr
    assert "and more" in done.stderr


def test_help_and_inspect_load_no_plugin(tmp_path, model):
    env = install(tmp_path, "odd-one", "print('loaded')\n" + HANGS, commands="odd")
    shown = command("--help", **env)
    assert "odd " in shown.stdout
    assert "From odd-one." in shown.stdout
    assert shown.stderr == ""
    assert command("inspect", model, **env).stderr == ""


def test_a_slow_plugin_is_waited_for_when_it_is_asked_for(tmp_path, monkeypatch):
    gate = threading.Event()
    attempt = guard.Attempt(gate.wait, 0)
    assert not attempt.done
    assert "still loading" in attempt.outcome()[1].error
    assert "threading" in attempt.outcome()[1].trace  # where it hangs
    gate.set()
    assert attempt.wait(10)
    assert attempt.outcome() == (True, None)


def test_a_scheme_of_a_slow_plugin_is_found(tmp_path, monkeypatch):
    install(tmp_path, "slow-one", "import time\ntime.sleep(0.3)\n" + GOOD)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("QFORMAT_PLUGIN_SECONDS", "0")
    registry = Registry(Host())
    assert [p.state for p in registry.plugins if p.name == "slow_one"] == ["BROKEN"]
    assert registry.parse("sym4").bpw == 4.5
    assert registry.parse("five").id == "five"
    assert [p.state for p in registry.plugins if p.name == "slow_one"] == ["OK"]


def two(tmp_path, monkeypatch, first: str = GOOD, second: str = GOOD) -> Registry:
    install(tmp_path, "one", first)
    install(tmp_path, "two", second)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Registry(Host())


def test_a_name_that_two_plugins_claim_is_an_error_that_names_both(tmp_path, monkeypatch):
    registry = two(tmp_path, monkeypatch)
    assert [p.state for p in registry.plugins if p.name in ("one", "two")] == ["SHADOWED"] * 2
    with pytest.raises(SchemeError, match=r"one of one 1\.0 and by two of two 1\.0"):
        registry.parse("five")
    assert registry.parse("sym4").bpw == 4.5


def test_a_file_still_finds_its_own_of_two(tmp_path, monkeypatch):
    registry = two(tmp_path, monkeypatch, GOOD.replace("block=40", "block=80"))
    (plugin,) = [p for p in registry.plugins if p.name == "two"]
    claim = next(c for c in registry._claims["five"] if c.plugin is plugin)
    record = registry.record(claim.scheme())
    assert record.provider.distribution == "two"
    assert registry.for_record(record).block_size == 40


def test_a_built_in_name_cannot_be_taken(tmp_path, monkeypatch):
    install(tmp_path, "aaa", GOOD.replace('"five"', '"sym4"'))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry = Registry(Host())
    assert registry.parse("sym4").bpw == 4.5
    (plugin,) = [p for p in registry.plugins if p.name == "aaa"]
    assert plugin.state == "SHADOWED"
    assert "affine of qformat" in plugin.shadowed
    monkeypatch.setenv("QFORMAT_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="'sym4' is provided by affine of qformat"):
        Registry(Host())


def test_a_file_named_twice_counts_once(tmp_path):
    file = tmp_path / "five.py"
    file.write_text(GOOD)
    registry = Registry(Host((file, file)))
    assert [p.state for p in registry.plugins if p.named] == ["OK", "SHADOWED"]
    assert registry.parse("five").bpw == 5.8


VERSIONS = '''
from dataclasses import dataclass
from qformat.schemes import RawBlocks, Scheme, hookimpl

@dataclass(frozen=True)
class One(Scheme):
    """Halves the values."""
    id, version, factor = "own", 1, 2.0

    def layout(self):
        return RawBlocks(32, 32)

    def encode(self, blocks, weights=None):
        import jax.numpy as jnp
        return {"blocks": jnp.clip(jnp.round(blocks / self.factor) + 128, 0, 255).astype(jnp.uint8)}

    def decode(self, planes, product):
        import jax.numpy as jnp
        return (planes["blocks"].astype(jnp.float32) - 128) * self.factor

class Two(One):
    version, factor, older = 2, 4.0, {1: One}

@hookimpl
def qformat_schemes():
    return [NEWEST]
'''


def test_old_versions_of_a_scheme_stay_readable_and_newer_ones_are_asked_for(tmp_path, model):
    files = {}
    for name in ("One", "Two"):
        files[name] = tmp_path / name / "own.py"
        files[name].parent.mkdir()
        files[name].write_text(VERSIONS.replace("NEWEST", name))
        command(
            "--plugin", files[name], "convert", model, tmp_path / f"{name}.safetensors", "-s", "own", "-q"
        )
    old = command(
        "--plugin", files["One"], "inspect", tmp_path / "One.safetensors", "--tensor", "lm_head.weight"
    )
    new = command(
        "--plugin", files["Two"], "inspect", tmp_path / "One.safetensors", "--tensor", "lm_head.weight"
    )
    assert old.stdout == new.stdout
    asked = command("--plugin", files["One"], "diff", model, tmp_path / "Two.safetensors", check=False)
    assert asked.returncode == 1
    assert "needs own version 2, installed is 1" in asked.stderr
    lost = tmp_path / "own.py"
    lost.write_text(
        VERSIONS.replace("NEWEST", "Two").replace("older = 2, 4.0, {1: One}", "older = 2, 4.0, {}")
    )
    no_longer = command("--plugin", lost, "diff", model, tmp_path / "One.safetensors", check=False)
    assert "needs own version 1, which the installed version 2 no longer reads" in no_longer.stderr


def test_a_file_of_an_absent_plugin_is_listed_verified_and_copied_and_says_what_to_install(tmp_path, model):
    env = install(tmp_path, "own-scheme", VERSIONS.replace("NEWEST", "Two"), version="3.1")
    made = tmp_path / "t.safetensors"
    command("convert", model, made, "-s", "own", "-q", **env)
    assert "own" in command("inspect", made).stdout
    command("verify", made)
    command("convert", made, tmp_path / "copy.safetensors", "--keep", "*", "-q")
    assert (tmp_path / "copy.safetensors").stat().st_size > 0
    for args in (("diff", model, made), ("convert", made, tmp_path / "plain", "--to", "safetensors")):
        done = command(*args, check=False)
        assert done.returncode == 1
        assert "install own-scheme 3.1 or newer" in done.stderr


MISTAKES = {
    "another plane": (
        '"codes": codes',
        '"kodes": codes',
        "`encode`: it gives kodes, scales; the layout has codes",
    ),
    "a plane more": ('"scales": scale}', '"scales": scale, "more": scale}', "it gives codes, more, scales"),
    "turned": ("codes.astype(jnp.int8)", "codes.T", "'codes' as float32[40, "),
    "too few": ('"scales": scale}', '"scales": scale[:1]}', "'scales' as float32[1], expected numbers ["),
    "complex": ("codes.astype(jnp.int8)", "codes + 0j", "'codes' as complex64["),
    "out of range": (" / 15", " / 20", "codes of 'codes' are not all from -16 to 15"),
    "not a number": ("scale > 0, scale, 1", "scale > 9, scale, 0", "codes of 'codes' are not all from"),
    "infinite": ('"scales": scale}', '"scales": scale / 0}', "NaN or infinity in 'scales'"),
    "an error": ("import jax.numpy as jnp", "import jax.numpy as jnp; 1 / 0", "ZeroDivisionError"),
}
METHODS = {
    "decode fails": ("decode", "self, planes, product", "1 / 0", "`decode`: ZeroDivisionError"),
    "decode to halves": (
        "decode", "self, planes, product", "return planes['codes'].astype('float16')", "expected float32["
    ),
    "sensitive fails": ("sensitive", "self", "1 / 0", "`sensitive`: ZeroDivisionError"),
    "sensitive unknown": ("sensitive", "self", "return 'nosuch'", "`sensitive`: there is no scheme 'nosuch'"),
}  # fmt: skip


def with_method(name: str, arguments: str, body: str) -> str:
    return GOOD.replace("@hookimpl\n", f"    def {name}({arguments}):\n        {body}\n\n@hookimpl\n", 1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        *((GOOD.replace(old, new, 1), error) for old, new, error in MISTAKES.values()),
        *((with_method(*how), error) for *how, error in METHODS.values()),
    ],
    ids=[*MISTAKES, *METHODS],
)
def test_a_scheme_with_a_mistake_is_named_without_a_traceback(tmp_path, model, text, error):
    file = tmp_path / "five.py"
    file.write_text(text)
    done = command("--plugin", file, "convert", model, tmp_path / "t.safetensors", "-s", "five", check=False)
    assert done.returncode == 1
    assert "scheme five failed in `" in done.stderr
    assert error in done.stderr
    assert "qformat_plugin_five" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "t.safetensors").exists()


def test_what_a_decoder_prints_is_talk(tmp_path, model):
    file = tmp_path / "five.py"
    file.write_text(
        with_method("decode", "self, planes, product", "print('hm'); return super().decode(planes, product)")
    )
    args = ("--plugin", file, "convert", model, tmp_path / "t.safetensors", "-s", "five", "--json")
    done = command(*args)
    assert json.loads(done.stdout)["tensors"]
    assert "hm" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('Floats("F32")', 'Floats("f16")', "dtype must be one of"),
        ("block=40", "block=0", "block must be an integer from 1"),
        ("block=40", "block=40.0", "block must be an integer from 1"),
        ("Codes(5", "Codes(9", "bits must be an integer from 1 to 8"),
        ("return Affine", "return None and Affine", "which is not a layout"),
        ("summary =", "version = '1'; summary =", "version must be an integer"),
        ("summary =", "older = {1: 5}; summary =", "not a Scheme class"),
        ('id = "five"', 'id = "Five"', "small letters"),
        ("    summary", "    depth: int = 3\n    summary", "Five.depth is not made with option"),
        ("    summary", "    depth: int = option(3, one_of=(1, 2), help='x')\n    summary", "default 3 is not among"),
        ("    summary", "    how: str = option('a=b', one_of=('a=b',), help='x')\n    summary", "'a=b'"),
        ("return [Five]", "pass", "a hook gave None"),
        ("return [Five]", "return Five", "not a list"),
    ],
)  # fmt: skip
def test_a_scheme_that_cannot_work_is_broken_before_it_is_used(tmp_path, old, new, error):
    text = GOOD.replace("Scheme, hookimpl", "Scheme, hookimpl, option")
    assert old in text
    env = install(tmp_path, "five-scheme", text.replace(old, new, 1))
    listed = command("schemes", **env)
    assert "sym8" in listed.stdout
    assert error in listed.stderr
    assert "BROKEN" in command("plugins", **env).stdout


def test_a_scheme_cannot_take_the_name_of_a_built_in_mixture(tmp_path):
    env = install(tmp_path, "five-scheme", GOOD.replace('"five"', '"q4_k_m"'))
    listed = command("schemes", **env)
    assert "'q4_k_m' is the name of a built-in mixture" in listed.stderr
    assert "q4_k_m" in listed.stdout.splitlines()[-1]
    assert "5-bit symmetric  " not in listed.stdout


def test_bits_of_one_byte_floats_are_uint8_and_numbers_are_not(tmp_path):
    from dataclasses import dataclass

    import numpy as np

    from qformat.schemes import Affine, Codes, Floats, Scheme
    from qformat.schemes.coder import decode, encode

    @dataclass(frozen=True)
    class Eighths(Scheme):
        id = "eighths"

        def layout(self):
            return Affine(Codes(8, signed=True), Floats("F8_E4M3"), block=8)

        def encode(self, blocks, weights=None):
            import jax.numpy as jnp

            scales = jnp.full(len(blocks), self.bits[0], self.bits[1])
            return {"codes": jnp.full(blocks.shape, 1, jnp.int8), "scales": scales}

    values = np.ones((4, 16), np.float32)
    for Eighths.bits, wanted in (((2, "int8"), 2.0), ((2.0, "float32"), 2.0), ((0x40, "uint8"), 2.0)):
        kernel.cache_clear()
        found = encode(Eighths(), values)
        assert (decode(Eighths(), found.planes, values.shape) == wanted).all()
