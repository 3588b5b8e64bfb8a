"""The verb and the command on the trained sample: the figures that its README tells, and clear refusals."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from safetensors.numpy import load_file, save_file

import qformat
from qformat.errors import DataError, FormatError, QFormatError
from qformat.evaluate.pair import ComparisonError
from qformat.evaluate.token_files import write_tokens
from qformat.evaluate.windows import TextError

SAMPLES = Path(__file__).parent.parent / "samples"
MODEL, HELDOUT = SAMPLES / "village", SAMPLES / "heldout.txt"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("small") / "asym2.safetensors"
    qformat.convert(MODEL, target, "asym2")
    return target


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "excerpt.txt"
    path.write_text(HELDOUT.read_text(encoding="utf-8")[:9000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def measured(small, excerpt):
    return qformat.evaluate(small, MODEL, text=excerpt, ctx=128, by_layer=True, floor=True)


def test_the_samples_perplexity_is_the_one_its_readme_tells():
    found = qformat.evaluate(MODEL, text=HELDOUT)
    assert f"{found.model.alone.perplexity.value:.4f}" == "1.6320"
    assert found.tokens == found.protocol.text_tokens == 38710
    assert found.complete
    byte = found.model.alone.bits_per_byte.value
    assert byte == pytest.approx(found.model.alone.nll.value * 38710 / HELDOUT.stat().st_size / math.log(2))


def test_a_model_in_another_format_is_the_same_model(tmp_path, excerpt):
    target = tmp_path / "village.gguf"
    qformat.convert(MODEL, target, to="gguf")
    found = qformat.evaluate(target, MODEL, text=excerpt, ctx=128)
    assert found.divergence.kl.high == found.divergence.kl_reverse.high == found.divergence.js.high == 0
    assert found.divergence.ratio.value == 1
    assert found.divergence.same_top.value == 1


def test_quantization_costs_something_and_the_figures_fit_together(measured):
    d, model, original = measured.divergence, measured.model.alone, measured.original.alone
    assert original.perplexity.value < model.perplexity.value
    assert d.ratio.value == pytest.approx(model.perplexity.value / original.perplexity.value)
    assert d.difference.value == pytest.approx(model.perplexity.value - original.perplexity.value)
    for spread in (d.kl, d.kl_reverse, d.js):
        assert 0 <= spread.low <= spread.median <= spread.high
        assert spread.mean.low < spread.mean.value < spread.mean.high
    assert 0 < measured.floor.mean.value < d.kl.mean.value / 100
    assert sum(p.kl.value for p in measured.by_layer.parts) == measured.by_layer.total
    assert measured.by_layer.total == pytest.approx(d.kl.mean.value, abs=1e-11)
    assert sum(r.tokens for r in measured.by_position) == measured.tokens
    mean = sum(r.tokens * r.kl for r in measured.by_position) / measured.tokens
    assert mean == pytest.approx(d.kl.mean.value)


def test_the_result_is_json_with_all_that_repeating_it_takes(measured, small):
    told = json.loads(json.dumps(measured.to_json(), allow_nan=False))
    assert told["schema"] == 1
    assert told["model"]["content"] == qformat.verify(small).content
    assert len(told["original"]["content"]) == 64
    assert {"ctx", "seed", "token_digest", "text_digest", "dtype"} <= set(told["protocol"])
    assert told["versions"]["qformat"]


def test_a_measurement_repeats(measured, small, excerpt):
    again = qformat.evaluate(small, MODEL, text=excerpt, ctx=128, by_layer=True, floor=True)
    one, two = measured.to_json(), again.to_json()
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_two_threads_give_what_one_gives(measured, small, excerpt):
    args = ("eval", small, "--against", MODEL, "--text", excerpt, "--ctx", 128, "--json")
    told = json.loads(command(*args, XLA_FLAGS="--xla_cpu_multi_thread_eigen=false").stdout)
    for name in ("kl", "kl_reverse", "js", "delta_p"):
        wanted = getattr(measured.divergence, name).mean.value
        assert told["divergence"][name]["mean"]["value"] == pytest.approx(wanted, rel=1e-4)


def test_bf16_is_near_f32(small, excerpt):
    one, two = (qformat.evaluate(small, MODEL, text=excerpt, ctx=128, dtype=d) for d in ("F32", "bf16"))
    assert one.divergence.kl.mean.value == pytest.approx(two.divergence.kl.mean.value, rel=0.05)


def test_until_stops_early(small):
    found = qformat.evaluate(small, MODEL, text=HELDOUT, ctx=128, until=0.2, group_tokens=2048)
    assert not found.complete
    assert found.divergence.kl.mean.relative <= 0.2


def test_tokens_are_written_as_rows_and_as_a_page(measured, tmp_path, excerpt):
    write_tokens(measured, tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(rows) == measured.tokens
    assert "".join(r["text"] for r in rows) == excerpt.read_text(encoding="utf-8")
    assert np.mean([r["kl"] for r in rows]) == pytest.approx(measured.divergence.kl.mean.value)
    for row in rows:
        assert len(row["top"]) == len(row["top_original"]) == 5
        assert row["top"][0][1] >= math.exp(-row["nll"]) - 1e-4
    write_tokens(measured, tmp_path / "t.html")
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "src=" not in page
    assert "http" not in page
    data = json.loads(page.split("const d = ", 1)[1].split(";\n", 1)[0])
    assert "".join(data["words"][i] for i in data["token"]) == excerpt.read_text(encoding="utf-8")


def test_text_cannot_leave_the_pages_script(tmp_path):
    text = tmp_path / "evil.txt"
    text.write_text("</script><script>alert(1)</script> " * 30)
    write_tokens(qformat.evaluate(MODEL, text=text, ctx=64), tmp_path / "t.html")
    page = (tmp_path / "t.html").read_text()
    assert page.count("</script") == 1


# --- what cannot be measured --------------------------------------------------------------------


def broken(tmp_path: Path, change) -> Path:
    """The sample with its tensors changed."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in MODEL.iterdir():
        if file.suffix == ".json" and "index" not in file.name:
            (folder / file.name).write_bytes(file.read_bytes())
    tensors = {n: t for part in sorted(MODEL.glob("*.safetensors")) for n, t in load_file(part).items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


NAME = "model.layers.2.mlp.up_proj.weight"


def poison(tensors):
    tensors[NAME] = tensors[NAME].copy()
    tensors[NAME][3, 5] = np.nan


def test_nan_names_the_layer(tmp_path, excerpt):
    with pytest.raises(DataError, match=r"broken.*layer 2"):
        qformat.evaluate(broken(tmp_path, poison), text=excerpt, ctx=128)


def test_a_missing_or_misshapen_tensor_is_found_before_anything_is_computed(tmp_path, excerpt, monkeypatch):
    from qformat.evaluate import stream

    monkeypatch.setattr(stream, "run", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(FormatError, match=r"ffn_up|up_proj"):
        qformat.evaluate(broken(tmp_path, lambda t: t.pop(NAME)), text=excerpt)
    (tmp_path / "two").mkdir()
    cut = broken(tmp_path / "two", lambda t: t.update({NAME: t[NAME][:-1].copy()}))
    with pytest.raises(FormatError, match=r"ffn_up|up_proj"):
        qformat.evaluate(cut, text=excerpt)


def other_vocabulary(folder: Path) -> Path:
    folder.mkdir()
    for file in MODEL.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]
    one, two = list(vocabulary)[700:702]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    return folder


def test_other_vocabularies_are_not_compared(tmp_path, excerpt):
    with pytest.raises(ComparisonError, match="vocabulary"):
        qformat.evaluate(other_vocabulary(tmp_path / "other"), MODEL, text=excerpt)


def test_an_unknown_architecture_is_named(tmp_path, excerpt):
    folder = broken(tmp_path, lambda t: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": ["FancyForCausalLM"], "model_type": "fancy"})
    )
    with pytest.raises(QFormatError, match="FancyForCausalLM"):
        qformat.evaluate(folder, text=excerpt)


def test_texts_that_do_not_do(tmp_path):
    short, odd, empty = (tmp_path / n for n in ("short.txt", "odd.txt", "empty.txt"))
    short.write_text("A few words.")
    odd.write_bytes(b"caf\xe9")
    empty.write_text(" \n")
    for path, words in (
        (short, "tokens; a window takes 511"),
        (odd, "UTF-8"),
        (empty, "empty"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(TextError, match=words):
            qformat.evaluate(MODEL, text=path)


@pytest.mark.parametrize(
    "options",
    [{"protocol": "x"}, {"until": 2}, {"by_layer": True}, {"stride": 600}, {"ctx": 1}, {"dtype": "f64"}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(QFormatError):
        qformat.evaluate(MODEL, text=HELDOUT, **options)


# --- the command --------------------------------------------------------------------------------


def test_the_command_prints_tables_and_json(small, excerpt, tmp_path):
    args = ("eval", small, "--against", MODEL, "--text", excerpt, "--ctx", 128)
    shown = command(*args, "--by-layer", "--by-position", "--per-token", tmp_path / "t.html").stdout
    for words in ("perplexity", "KL(original‖model)", "99.9%", "layer 3", "position", "tokens scored"):
        assert words in shown
    assert (tmp_path / "t.html").exists()
    told = json.loads(command(*args, "--json").stdout)
    assert f"{told['divergence']['kl']['mean']['value']:.4g}" in shown


def test_the_command_refuses_a_file_name_before_it_measures(tmp_path):
    done = command("eval", MODEL, "--text", HELDOUT, "--per-token", tmp_path / "t.txt", check=False)
    assert done.returncode == 1
    assert ".jsonl or .html" in done.stderr


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    """Long names cannot be written by anyone; folders that are read-only root may write to."""
    (tmp_path / "old.html").write_text("mine")
    for name, told in (
        ("none/t.html", "its folder does not exist"),
        ("t" * 300 + ".html", "name too long"),
        ("old.html", "--overwrite"),
    ):
        for args in (
            ("eval", MODEL, "--text", tmp_path / "no.txt", "--per-token", tmp_path / name),
            ("sweep", MODEL, "-s", "sym4", "--text", tmp_path / "no.txt", "--html", tmp_path / name),
        ):
            done = command(*args, check=False)
            assert done.returncode == 1
            assert told in done.stderr
            assert name in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["old.html"]
    assert (tmp_path / "old.html").read_text() == "mine"


def test_figures_are_shown_and_an_old_file_stays_if_the_disk_is_full(small, excerpt, tmp_path):
    target = tmp_path / "t.jsonl"
    target.write_text("mine")
    args = ["eval", small, "--text", excerpt, "--ctx", "128", "--windows", "2", "--per-token", target]
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); runpy.run_module('qformat', run_name='__main__', alter_sys=True)"
    line = [sys.executable, "-c", limited, *map(str, args), "--overwrite"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "perplexity" in done.stdout
    assert "Traceback" not in done.stderr
    assert f"{target}: cannot be written: File too large" in done.stderr
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]
    command(*args, "--overwrite")
    assert len(target.read_text().splitlines()) > 100


def _read_all(terminal: int) -> None:
    """To the end, which is an error on Linux; a program whose terminal nobody reads waits for ever once it is full."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_ctrl_c_shows_what_is_known(small, tmp_path):
    """The progress line is on a terminal of its own; the interrupt comes once a figure is shown there."""
    text = tmp_path / "long.txt"
    text.write_text(HELDOUT.read_text(encoding="utf-8") * 8, encoding="utf-8")
    ours, theirs = pty.openpty()
    args = ["eval", small, "--against", MODEL, "--text", text, "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "qformat", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    ) as process:
        os.close(theirs)
        seen, deadline = b"", time.monotonic() + 120
        while b"KL 0" not in seen and time.monotonic() < deadline:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        drain = threading.Thread(target=_read_all, args=(ours,))
        drain.start()
        told = json.loads(process.stdout.read())
    drain.join()
    os.close(ours)
    assert process.returncode == 130
    assert not told["complete"]
    assert 0 < told["windows"] < told["protocol"]["windows"]
    assert told["divergence"]["kl"]["mean"]["value"] > 0
