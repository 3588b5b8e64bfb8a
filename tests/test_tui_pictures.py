"""The main screens as text, held to what they were; and docs/tui.md, held to the action registry.

``QFORMAT_SNAPSHOTS=write python -m pytest tests/test_tui_pictures.py`` writes what is seen: look at the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from screens import app_of, press, seen, settled, write

import qformat

ROOT = Path(__file__).parents[1]
SNAPSHOTS = Path(__file__).parent / "golden" / "tui"

# Name, file, and the keys that lead there.
SCREENS = [
    ("browser", "asym4.safetensors", ()),
    ("groups", "q4.gguf", ("g",)),
    ("summary", "q4.gguf", ("i",)),
    ("tensor", "asym4.safetensors", ("down", "down", "enter")),
    ("values", "asym4.safetensors", ("down", "down", "enter", "x")),
    ("block", "asym4.safetensors", ("down", "down", "enter", "m", "enter")),
    ("block-q4_k", "q4.gguf", ("down", "down", "down", "enter", "m", "enter", "full_stop")),
    ("lab", "asym4.safetensors", ("down", "down", "l")),
    ("help", "q4.gguf", ("question_mark",)),
    ("cut", "cut.gguf", ()),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pictures")
    sample = ROOT / "samples" / "village"
    (made / "village").symlink_to(sample)
    qformat.convert(sample, made / "asym4.safetensors", "asym4")
    qformat.convert(sample, made / "q4.gguf", "q4_k_m", to="gguf")
    (made / "cut.gguf").write_bytes((made / "q4.gguf").read_bytes()[:50_000])
    return made


@pytest.mark.parametrize(("name", "file", "keys"), SCREENS, ids=[s[0] for s in SCREENS])
async def test_screens_look_as_they_did(folder, tmp_path, monkeypatch, name, file, keys):
    monkeypatch.chdir(folder)
    original = Path("village") if name.startswith("block") else None
    app = app_of(tmp_path, Path(file), original=original, theme="mono")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, *keys)
        text = "\n".join(line.rstrip() for line in seen(app).splitlines()) + "\n"
    # Where a tensor lies depends on how long the versions' names in a container's header are.
    text = re.sub(r"(?<= at )[\d,]+", lambda m: "#" * len(m[0]), text)
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("QFORMAT_SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


async def test_a_list_without_rows_says_why(folder, tmp_path):
    app = app_of(tmp_path, folder / "q4.gguf")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "slash")
        await write(pilot, "zzz")
        assert "no tensor matches" in seen(app)


def test_the_page_on_the_tui_has_the_keys_of_the_registry():
    done = subprocess.run(
        [sys.executable, "docs/make_tui.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
