"""docs/plugins.md word by word: every block is run as it stands, in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import qformat as command

from qformat.plugins import hooks

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The folder after all that the page says was done in it."""
    place = tmp_path_factory.mktemp("docs")
    (place / "samples").symlink_to(ROOT / "samples")
    lines = ["set -euo pipefail"]
    for language, text in BLOCKS:
        if language == "python":
            name = re.match(r"# (\S+)\n", text)[1]
            source = place / f"block{len(lines)}"
            source.write_text(text.split("\n", 1)[1])
            lines.append(f"cp {source} {name}")
            continue
        assert language == "sh"
        for line in text.splitlines():
            assert line.startswith("$ "), line
            if not line.startswith("$ pip install"):  # `make test-plugins` does, in a fresh environment
                lines.append(line[2:])
    script = place / "script.sh"
    script.write_text("\n".join(lines))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("QFORMAT_PLUGINS", None)
    done = subprocess.run(
        ["bash", str(script)], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (place / "stdout").write_text(done.stdout)
    return place


def test_the_scheme_is_in_the_container_and_decodes_without_the_plugin(place):
    found = json.loads(command("inspect", place / "mine.safetensors", "--json").stdout)
    assert {s["scheme"].partition(":")[0] for s in found["schemes"]} >= {"mine", "sym8"}
    better = json.loads(
        command("diff", ROOT / "samples" / "village", place / "mine.safetensors", "--json").stdout
    )
    first = json.loads(
        command("diff", ROOT / "samples" / "village", place / "first.safetensors", "--json").stdout
    )
    assert better["error"]["relative_rmse"] < first["error"]["relative_rmse"]


def test_what_the_page_shows_is_what_happens(place):
    shown = (place / "stdout").read_text()
    assert "4-bit symmetric, to start from" in shown
    assert "20 passed" in shown
    assert "hello you" in shown
    assert "raw-f32" in shown
    assert "families" in shown


@pytest.mark.parametrize("name", hooks.names())
def test_every_hook_is_documented_with_its_signature(name):
    assert f"`{hooks.signature(name)}`" in TEXT


def test_the_names_of_the_api_are_documented():
    from qformat.schemes import __all__ as names

    page = TEXT + (ROOT / "specs" / "schemes.md").read_text(encoding="utf-8")
    assert [name for name in names if f"{name}" not in page] == []


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
