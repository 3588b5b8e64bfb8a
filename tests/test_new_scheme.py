"""``qformat new-scheme``: what it writes works as it stands."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib

import pytest
from conftest import qformat as command


def test_the_package_passes_its_own_tests(tmp_path, model):
    assert command("new-scheme", "my-idea", "--into", tmp_path / "new").stdout.endswith("my-idea\n")
    folder = tmp_path / "new" / "my-idea"
    assert sorted(f.name for f in folder.iterdir()) == [
        "README.md",
        "my_idea.py",
        "pyproject.toml",
        "test_my_idea.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env={**os.environ, "QFORMAT_PLUGINS": str(folder / "my_idea.py")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    target = tmp_path / "t.safetensors"
    command("--plugin", folder / "my_idea.py", "convert", model, target, "-s", "my-idea:block=64", "-q")
    assert "my-idea" in command("inspect", target).stdout


def test_what_it_writes_is_tidy(tmp_path):
    command("new-scheme", "a1", "--into", tmp_path)
    for file in (tmp_path / "a1").glob("*.py"):
        ast.parse(file.read_text())
        assert "{{" not in file.read_text()
    project = tomllib.loads((tmp_path / "a1" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["qformat"] == {"a1": "a1"}
    assert "class A1(Scheme)" in (tmp_path / "a1" / "a1.py").read_text()


@pytest.mark.parametrize("name", ["Mine", "1a", "a--b", "a/b", "..", "sym4", "-x"])
def test_impossible_names_are_refused_and_nothing_is_written(tmp_path, name):
    done = command("new-scheme", "--into", tmp_path, "--", name, check=False)
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    command("new-scheme", "mine", "--into", tmp_path)
    done = command("new-scheme", "mine", "--into", tmp_path, check=False)
    assert "there is something already" in done.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    done = command("new-scheme", "mine", "--into", tmp_path / "file", check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'file' / 'mine'}: cannot be written" in done.stderr
    done = command("new-scheme", "m" * 250, "--into", tmp_path, check=False)
    assert "File name too long" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
