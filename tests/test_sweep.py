"""A sweep of the sample: the same figures as one evaluation at a time, resumed, on paper and on a page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from conftest import qformat as command

import qformat
from qformat.errors import FormatError, QFormatError, SchemeError
from qformat.evaluate import stream
from qformat.evaluate.quiz import quiz
from qformat.evaluate.sweep import sweep
from qformat.evaluate.sweep_page import page
from qformat.evaluate.sweep_table import cells, to_csv

SAMPLES = Path(__file__).parent.parent / "samples"
MODEL = SAMPLES / "village"
SCHEMES = ("bf16", "asym4:block=64", "q2_k", "sym2")


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "excerpt.txt"
    path.write_text((SAMPLES / "heldout.txt").read_text(encoding="utf-8")[:4000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("quiz") / "some.jsonl"
    lines = (SAMPLES / "quiz.jsonl").read_text(encoding="utf-8").splitlines()[:24]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(folder, excerpt, questions):
    """All that a sweep can find."""
    return {
        "text": excerpt, "ctx": 64, "by_layer": True, "quiz": questions, "prompt": "Orla lives in", "folder": folder,
    }  # fmt: skip


@pytest.fixture(scope="module")
def swept(whole):
    return sweep(MODEL, SCHEMES, **whole)


@pytest.mark.parametrize("scheme", ["asym4:block=64", "q2_k"])
def test_figures_are_those_of_single_evaluations(swept, excerpt, tmp_path, scheme):
    path = tmp_path / ("m.gguf" if scheme == "q2_k" else "m.safetensors")
    report = qformat.convert(MODEL, path, scheme, to="gguf" if scheme == "q2_k" else "qformat")
    alone = qformat.evaluate(path, MODEL, text=excerpt, ctx=64)
    row = next(r for r in swept.rows if r.scheme == scheme)
    assert (row.nbytes, row.bpw) == (report.nbytes, report.bpw)
    for name in ("ratio", "same_top"):
        assert getattr(row.divergence, name).value == pytest.approx(
            getattr(alone.divergence, name).value, rel=1e-5
        )
    assert row.divergence.kl.mean.value == pytest.approx(alone.divergence.kl.mean.value, rel=1e-4)
    assert row.alone.perplexity.low == pytest.approx(alone.model.alone.perplexity.low, rel=1e-5)


@pytest.mark.parametrize("scheme", ["q2_k", "sym2"])
def test_answers_are_those_of_a_quiz_alone(swept, questions, tmp_path, scheme):
    path = tmp_path / ("m.gguf" if scheme == "q2_k" else "m.safetensors")
    qformat.convert(MODEL, path, scheme, to="gguf" if scheme == "q2_k" else "qformat")
    alone = quiz(path, questions, MODEL)
    row = next(r for r in swept.rows if r.scheme == scheme)
    assert row.quiz.score == alone.model.scores["total"]
    assert row.quiz.flips == alone.flips["total"]
    assert swept.rows[0].quiz.score == alone.original.scores["total"]
    headings, shown = cells(swept)
    told = dict(zip(headings, next(r for r in shown if r[0].startswith(scheme)), strict=True))
    assert told["lost/gained"] == f"{row.quiz.flips.lost}/{row.quiz.flips.gained}"
    assert told["quiz %"].startswith(f"{100 * row.quiz.score.right / 24:.1f} ±")


def test_a_quiz_that_is_none_is_refused_before_anything_is_done(excerpt, tmp_path):
    with pytest.raises(FormatError):
        sweep(MODEL, ["sym4"], text=excerpt, quiz=excerpt, folder=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_rows_make_sense(swept):
    assert [r.scheme for r in swept.rows] == ["original", *SCHEMES]
    original, plain, *_ = swept.rows
    assert original.divergence is None
    assert plain.divergence.kl.mean.value == 0
    assert all(r.smaller > 2 for r in swept.rows[2:])
    assert {"bf16", "asym4:block=64"} <= swept.front
    assert "sym2" not in swept.front  # q2_k is smaller and better
    for row in swept.rows[1:]:
        assert sum(p.kl.value for p in row.by_layer.parts) == row.by_layer.total
    assert original.answer.startswith("Elderby")  # where she does live
    assert plain.answer == original.answer
    names = [set(r.errors) for r in swept.rows[2:]]
    assert all("blk.0.ffn_down.weight" in n for n in names)


def test_what_is_done_is_not_done_again(swept, whole, folder, excerpt, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(stream, "run", lambda *_, **__: pytest.fail("computed"))
        patch.setattr("qformat.evaluate.encodings.convert", lambda *_, **__: pytest.fail("encoded"))
        patch.setattr("qformat.evaluate.sweep_quiz.quiz", lambda *_, **__: pytest.fail("asked"))
        again = sweep(MODEL, SCHEMES, **whole)
    assert {**again.to_json(), "seconds": 0} == {**swept.to_json(), "seconds": 0}
    routes = []
    run = stream.run
    monkeypatch.setattr(stream, "run", lambda m, r, *a, **o: routes.append(len(r)) or run(m, r, *a, **o))
    more = sweep(MODEL, [*SCHEMES, "q4_0"], text=excerpt, ctx=64, folder=folder)
    assert set(routes) == {2}  # the original, and what is new
    assert more.rows[2] == next(
        r for r in sweep(MODEL, SCHEMES, text=excerpt, ctx=64, folder=folder).rows if r.scheme == SCHEMES[1]
    )


def test_a_damaged_figure_is_made_anew(swept, whole, folder):
    for file in (folder / "figures").glob("quiz-*"):
        file.write_bytes(file.read_bytes()[:5])
    file = next(f for f in (folder / "figures").iterdir() if not f.name.startswith("quiz-"))
    file.write_bytes(file.read_bytes()[:100])
    again = sweep(MODEL, SCHEMES, **whole)
    assert [r.quiz for r in again.rows] == [r.quiz for r in swept.rows]
    kl = [r.divergence.kl.mean.value for r in again.rows[1:]]
    assert kl == pytest.approx([r.divergence.kl.mean.value for r in swept.rows[1:]], rel=1e-5)


def test_ctrl_c_shows_the_windows_that_are_done(folder, excerpt, tmp_path, monkeypatch, swept):
    monkeypatch.setattr("qformat.evaluate.sweep.GROUP_TOKENS", 64 * 4)
    stages = []

    def stop(stage):
        stages.append(stage)
        if stage.what == "measuring" and stage.fraction > 0.6:
            raise KeyboardInterrupt

    found = sweep(
        MODEL, ["sym2"], text=excerpt, ctx=64, quiz=SAMPLES / "quiz.jsonl", folder=tmp_path, progress=stop
    )
    assert not found.complete
    assert 0 < found.windows < found.every_window == swept.windows
    assert found.rows[1].divergence.kl.mean.value > 0
    assert found.rows[1].quiz is None
    assert found.to_json()["complete"] is False
    went_on = []
    again = sweep(MODEL, ["sym2"], text=excerpt, ctx=64, folder=tmp_path, progress=went_on.append)
    assert again.complete
    assert not any(s.what.startswith("encoding") for s in went_on)
    sym2 = next(r for r in swept.rows if r.scheme == "sym2")
    assert again.rows[1].divergence.kl.mean.value == pytest.approx(sym2.divergence.kl.mean.value, rel=1e-5)


def test_the_command_says_how_to_go_on(monkeypatch, excerpt, tmp_path):
    from click.testing import CliRunner

    from qformat.cli.sweep_command import sweep as sweep_command

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qformat.evaluate.sweep._run", stopped)
    args = ["sweep", str(MODEL), "-s", "sym2", "--text", str(excerpt)][1:]
    assert "with --folder DIR" in CliRunner().invoke(sweep_command, args).stderr
    told = CliRunner().invoke(sweep_command, [*args, "--folder", str(tmp_path / "s")]).stderr
    assert f"{tmp_path / 's'}: the same command goes on" in told


def test_speed_in_turn_with_the_original(swept, folder, excerpt, monkeypatch):
    monkeypatch.setattr("qformat.evaluate.sweep_speed.NEW", 3)
    given = {"text": excerpt, "ctx": 64, "folder": folder, "speed": "ours"}
    found = sweep(MODEL, SCHEMES[:2], **given)
    assert found.rows[0].speed.times.median == 1
    assert all(r.speed.tokens.low > 0 for r in found.rows)
    headings, shown = cells(found)
    assert headings[-2:] == ["tokens/s", "× tokens/s"]
    assert shown[2][-1].startswith(f"{found.rows[2].speed.times.median:.2f}")
    assert sweep(MODEL, SCHEMES[:2], **given).rows == found.rows  # kept, not timed again
    with pytest.raises(QFormatError, match="no engine"):
        sweep(MODEL, SCHEMES[:2], text=excerpt, speed="gpu")


def test_csv_and_table_tell_the_same(swept):
    rows = list(csv.DictReader(io.StringIO(to_csv(swept))))
    headers, shown = cells(swept)
    for row, line in zip(rows, shown, strict=True):
        told = dict(zip(headers, line, strict=True))
        assert told["scheme"].removesuffix(" *") == row["scheme"]
        assert told["bytes"].replace(",", "") == row["bytes"]
        assert float(told["perplexity"].split(" ±")[0]) == pytest.approx(float(row["perplexity"]), rel=0.01)
        assert told["scheme"].endswith("*") == (row["pareto"] == "1")


def test_the_page_stands_alone(swept):
    made = page(swept)
    assert "http://" not in made
    assert "https://" not in made
    assert "src=" not in made
    data = json.loads(made.split("const d = ", 1)[1].split(";\n", 1)[0])
    assert [p["scheme"] for p in data["points"]] == list(SCHEMES)
    assert len(data["layers"]) == len(SCHEMES)
    assert len(data["tensors"]["names"]) > 20


def test_the_command(folder, excerpt, tmp_path):
    args = [
        "sweep",
        MODEL,
        *(x for s in SCHEMES for x in ("-s", s)),
        "--text",
        excerpt,
        "--ctx",
        64,
        "--folder",
        folder,
    ]
    shown = command(*args, "--html", tmp_path / "page.html").stdout
    assert "q2_k *" in shown
    assert (tmp_path / "page.html").stat().st_size > 10_000
    told = json.loads(command(*args, "--json").stdout)
    assert told["schema"] == 1
    assert [r["scheme"] for r in told["rows"]] == ["original", *SCHEMES]


@pytest.mark.parametrize(
    ("schemes", "error"), [(["nope4"], SchemeError), (["sym4", "sym4"], QFormatError), ([], QFormatError)]
)
def test_impossible_schemes_are_refused_before_anything_is_done(schemes, error, tmp_path):
    with pytest.raises(error):
        sweep(MODEL, schemes, text=SAMPLES / "heldout.txt", folder=tmp_path / "s")
    assert not (tmp_path / "s").exists()
