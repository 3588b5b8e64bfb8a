"""docs/plugins.md word by word: every block is run as it stands, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from screens import app_of, part, seen, settled

import qformat
from qformat.files.checkpoint import Checkpoint
from qformat.plugins import hooks
from qformat.plugins.host import host
from qformat.tui.app import QFormatApp
from qformat.tui.screens.block import BlockScreen
from qformat.tui.screens.tensor import TensorScreen

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def followed(place: Path) -> str:
    """Do all that the page says, in an empty folder; returns what it printed."""
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
            # `make test-plugins` installs, in a fresh environment; the screens are looked at below.
            if not line.startswith(("$ pip install", "$ qformat tui")):
                lines.append(line[2:])
    script = place / "script.sh"
    script.write_text("\n".join(lines))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("QFORMAT_PLUGINS", None)
    done = subprocess.run(
        ["bash", str(script)], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_following_the_page_gives_a_scheme_that_works_everywhere(tmp_path, monkeypatch):
    place = tmp_path / "empty"
    place.mkdir()
    shown = followed(place)
    for words in ("4-bit symmetric, to start from", "21 passed", "hello you", "raw-f32", "families"):
        assert words in shown
    swept = {line.split()[0] for line in shown.splitlines() if " ± " in line}
    assert {"mine", "sym4", "mse4"} <= swept
    checkpoint = qformat.open(place / "mine.safetensors")  # without the plugin, from here on
    assert {t.coding for t in checkpoint.tensors.values()} >= {"mine", "sym8"}
    first = qformat.diff(place / "samples/village", place / "first.safetensors").total
    better = qformat.diff(place / "samples/village", place / "mine.safetensors").total
    assert better.snr > first.snr
    monkeypatch.setenv("QFORMAT_PLUGINS", str(place / "greet.py"))
    host.cache_clear()
    try:
        await _look_at_a_block(app_of(tmp_path, place / "mine.safetensors"), checkpoint)
    finally:
        host.cache_clear()


async def _look_at_a_block(app: QFormatApp, checkpoint: Checkpoint) -> None:
    """The views of a block and of its tensor have the built-in panel and the one that the page wrote."""
    info = checkpoint.tensors["model.layers.0.mlp.down_proj.weight"]
    async with app.run_test(size=(140, 50)) as pilot:
        await settled(pilot)
        await app.push_screen(BlockScreen(checkpoint, info, 7))
        await settled(pilot)
        shown = seen(app)
        await app.push_screen(TensorScreen(checkpoint, [info.name], info.name))
        await settled(pilot)
        whole = part(app, "#tensor-panels")
    for words in ("How it decodes", "value = scale × code", "has 196,608 elements"):
        assert words in whole
    for words in ("block 7 of", info.scheme.spec(), "How it decodes", "scale × code", "has 196,608 elements"):
        assert words in shown


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
