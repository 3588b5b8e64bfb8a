"""Every example in the README runs, as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import qformat as command

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_in_order(place):
    plugin = next(b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "hookimpl" in b)
    (place / "mine.py").write_text(plugin)
    lines = re.findall(r"^    \$ qformat (.*)$", TEXT, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        command(*shlex.split(line))
    assert (place / "again.gguf").read_bytes() == (place / "village-q4.gguf").read_bytes()
    assert command("diff", "samples/village", "village-f32").stdout.startswith("tensor")
    made = command("inspect", "village-5bit.safetensors", "--summary").stdout  # without the plugin
    assert "mine" in made
    command("convert", "village-5bit.safetensors", "back", "--to", "safetensors", "-q")


def test_the_python_example_runs(place, capsys):
    example = next(b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "import qformat\n" in b)
    exec(compile(example, "README.md", "exec"), {})
    assert "sym8" in capsys.readouterr().out


def test_the_table_of_schemes_is_true():
    from qformat.schemes.registry import registry

    for names, numbers in re.findall(r"^\| (`sym8.*?|`asym8.*?) \| ([\d., ]+) \|", TEXT, re.MULTILINE):
        for name, number in zip(re.findall(r"`(\w+)`", names), numbers.split(", "), strict=True):
            assert registry().parse(name).bpw == float(number)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / link).exists(), link
