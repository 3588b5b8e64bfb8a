"""Multiple choice: the layouts of files, the statistics, and the answers against an independent program."""

from __future__ import annotations

import csv
import io
import json
from math import comb
from pathlib import Path

import numpy as np
import pytest
from conftest import qformat as command
from hypothesis import given
from hypothesis import strategies as st

import qformat
from qformat.errors import FormatError
from qformat.evaluate.quiz import quiz
from qformat.evaluate.quiz_files import read_quiz
from qformat.evaluate.quiz_statistics import NONE, Flips, Score, mcnemar, wilson
from samples.make import check

SAMPLES = Path(__file__).parents[1] / "samples"
VILLAGE = SAMPLES / "village"


def written(tmp_path: Path, *lines, name="quiz") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def table(tmp_path: Path, *rows) -> Path:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    (tmp_path / "quiz.csv").write_text(out.getvalue())
    return tmp_path / "quiz.csv"


def test_our_own_form(tmp_path):
    found = read_quiz(SAMPLES / "quiz.jsonl")
    assert (found.layout, len(found.questions)) == ("qformat", 300)
    assert found.questions[0].answer == 3
    assert found.questions[0].topic == "music"
    assert found.questions[0].plain_prompt() == "Question: Which instrument does Lorcan play?\nAnswer:"
    assert found.questions[0].letter_prompt().endswith("\nC. fiddle\nD. harp\nAnswer:")
    one = read_quiz(written(tmp_path, {"question": "Q?", "choices": ["x", "y"], "answer": "B"})).questions[0]
    assert (one.id, one.answer) == ("1", 1)


def test_gpqa(tmp_path):
    names = [
        "Question",
        "Correct Answer",
        *(f"Incorrect Answer {i}" for i in (1, 2, 3)),
        "Record ID",
        "Subdomain",
    ]
    rows = [[f"Why\n{i}?", "right", "w1", "w2", "w3", f"rec{i}", "Optics"] for i in range(40)]
    found = read_quiz(table(tmp_path, names, *rows))
    assert found.layout == "GPQA"
    assert found.questions[3].question == "Why\n3?"
    assert found.questions[3].topic == "Optics"
    assert all(q.choices[q.answer] == "right" and len(set(q.choices)) == 4 for q in found.questions)
    assert {q.answer for q in found.questions} == {0, 1, 2, 3}
    again = read_quiz(table(tmp_path, names, *reversed(rows))).questions
    assert {q.id: q.choices for q in again} == {q.id: q.choices for q in found.questions}


@pytest.mark.parametrize("head", [[], [["question", "A", "B", "C", "D", "answer"]]])
def test_mmlu(head, tmp_path):
    rows = [["What, then?", "1", "2", "3", "4", "C"], ["And\nnow?", "a", "b", "c", "d", "A"]]
    found = read_quiz(table(tmp_path, *head, *rows))
    assert found.layout == "MMLU"
    assert [q.answer for q in found.questions] == [2, 0]
    assert found.questions[0].choices == ("1", "2", "3", "4")


def test_arc_in_both_forms(tmp_path):
    choices = [{"text": t, "label": str(i)} for i, t in enumerate("abcde", 1)]
    first = {"id": "M1", "question": {"stem": "Why?", "choices": choices}, "answerKey": "4"}
    second = {
        "id": "M2", "question": "How?", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "answerKey": "B",
    }  # fmt: skip
    found = read_quiz(written(tmp_path, first, second))
    assert found.layout == "ARC"
    assert [(q.id, q.question, q.answer, len(q.choices)) for q in found.questions] == [
        ("M1", "Why?", 3, 5),
        ("M2", "How?", 1, 3),
    ]


def test_hellaswag(tmp_path):
    row = {
        "ind": 24, "activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "he",
        "ctx": "A man is sitting on a roof. he", "split": "val", "split_type": "indomain", "label": 3,
        "endings": ["is [substeps] using wrap.", "is  ripping tiles.", "holds a cube.", "starts pulling [title] Up"],
        "source_id": "activitynet~v_-JhWjGDPHMY",
    }  # fmt: skip
    (found,) = read_quiz(written(tmp_path, row)).questions
    assert found.continues
    assert found.plain_prompt() == "Roof shingle removal: A man is sitting on a roof. He"
    assert found.choices == ("is using wrap.", "is ripping tiles.", "holds a cube.", "starts pulling. Up")


def test_gpqa_as_json_lines_is_drawn_as_its_csv_is(tmp_path):
    row = {
        "Record ID": "rec06pnAkLOr2t2mp", "Question": "Two quantum states …?", "Correct Answer": "10^-4 eV",
        "Incorrect Answer 1": "10^-11 eV", "Incorrect Answer 2": "10^-8 eV", "Incorrect Answer 3": "10^-9 eV",
        "Subdomain": "Physics (general)", "High-level domain": "Physics", "Pre-Revision Question": "…",
    }  # fmt: skip
    lines = read_quiz(written(tmp_path, row))
    assert lines.layout == "GPQA"
    assert lines.questions == read_quiz(table(tmp_path, list(row), list(row.values()))).questions


def test_mmlu_and_mmlu_pro_from_the_hub(tmp_path):
    row = {
        "question": "Find the degree.",
        "subject": "abstract_algebra",
        "choices": ["0", "4", "2", "6"],
        "answer": 1,
    }
    (found,) = read_quiz(written(tmp_path, row)).questions
    assert (found.topic, found.choices[found.answer]) == ("abstract_algebra", "4")
    pro = {
        "question_id": 70, "question": "Typical bodies?", "options": [f"option {c}" for c in "ABCDEFGHI"],
        "answer": "I", "answer_index": 8, "cot_content": "", "category": "business", "src": "ori_mmlu",
    }  # fmt: skip
    got = read_quiz(written(tmp_path, pro))
    assert got.layout == "MMLU-Pro"
    assert (got.questions[0].id, got.questions[0].answer, got.questions[0].topic) == ("70", 8, "business")


def test_hellaswag_of_the_hub_has_its_label_as_text(tmp_path):
    row = {
        "ind": 4, "activity_label": "Removing ice from car", "ctx_a": "A man writes on snow.", "ctx_b": "then",
        "ctx": "A man writes on snow. then", "endings": [", a", ", b", ", c", ", d"], "source_id": "a~v", "split": "train",
        "split_type": "indomain", "label": "3",
    }  # fmt: skip
    assert read_quiz(written(tmp_path, row)).questions[0].answer == 3
    with pytest.raises(FormatError, match="line 1"):  # the test split keeps its labels back
        read_quiz(written(tmp_path, {**row, "label": ""}))


def test_samples_that_the_harness_logs(tmp_path):
    doc = {
        "id": "Mercury_417466", "question": "Which will increase?", "answerKey": "A",
        "choices": {"text": ["one", "two", "three"], "label": ["A", "B", "C"]},
    }  # fmt: skip
    made = {
        "query": "Removing ice: A man",
        "choices": ["x y", "z", "v", "w"],
        "gold": 2,
        "endings": ["x", "z", "v", "w"],
    }
    logged = {
        "doc_id": 7,
        "target": "0",
        "arguments": [["…", "…"]],
        "resps": [[["-1.5", "False"]]],
        "filtered_resps": [],
    }
    found = read_quiz(written(tmp_path, {**logged, "doc": doc}, {**logged, "doc": made}))
    assert found.layout == "lm-evaluation-harness"
    arc, own = found.questions
    assert (arc.question, arc.answer, arc.continues) == ("Which will increase?", 0, False)
    assert (own.id, own.question, own.answer, own.continues) == ("7", "Removing ice: A man", 2, True)


GOOD = {"question": "Q?", "choices": ["x", "y"], "answer": 0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "no quiz of a layout|no question"),
        (["a,b,c"], "no quiz of a layout"),
        ([GOOD, "{"], "line 2"),
        ([GOOD, "[]"], "line 2: it is not a JSON object"),
        ([GOOD, {**GOOD, "answer": 2}], "line 2: the answer 2 is none of its 2"),
        ([{**GOOD, "answer": "C"}], "the answer 2 is none"),
        ([{**GOOD, "answer": "?"}], "line 1: a member is missing"),
        ([{**GOOD, "answer": True}], "line 1"),
        ([{**GOOD, "choices": ["x"]}], "1 choices"),
        ([{**GOOD, "choices": ["x", " "]}], "empty"),
        ([{**GOOD, "choices": [1, 2]}], "1 is not text"),
        ([{"question": "Q?"}], "choices"),
        ([GOOD, {"question": "Q?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}], "layout ARC"),
        (["q,a,b,c,d,E"], "line 1"),
        (['q,a,b,c,d,A\n"open,a,b,c,d,A'], "not CSV"),
    ],
)  # fmt: skip
def test_what_is_no_quiz_is_refused(lines, message, tmp_path):
    with pytest.raises(FormatError, match=message):
        read_quiz(written(tmp_path, *lines))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_quiz_or_an_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(raw)
    try:
        read_quiz(path)
    except FormatError:
        return


@given(st.integers(1, 2000), st.data())
def test_wilsons_interval_solves_its_equation(count, data):
    right = data.draw(st.integers(0, count))
    low, high = wilson(right, count)
    share = right / count
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):  # each bound is as many of its own standard errors away as 95% are
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(
                1.959964 * np.sqrt(bound * (1 - bound) / count), rel=1e-4
            )


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(lost, gained):
    count = lost + gained
    weights = [comb(count, k) / 2**count for k in range(count + 1)]
    seen = weights[lost]
    wanted = sum(w for w in weights if w <= seen * (1 + 1e-9))  # all outcomes no likelier than this one
    assert mcnemar(lost, gained) == mcnemar(gained, lost) == pytest.approx(min(1.0, wanted))


def test_many_changes_go_over_into_the_normal_approximation():
    assert mcnemar(530, 470) == pytest.approx(mcnemar(531, 470), rel=0.15)


def test_flips_count_each_change_once():
    truth = np.array([0, 1, 2, 3, 0, 1])
    base, now = np.array([0, 1, 0, 0, 0, NONE]), np.array([0, 2, 2, 1, NONE, NONE])
    flips = Flips.of(base, now, truth)
    assert (flips.changed, flips.lost, flips.gained) == (4, 2, 1)
    score = Score.of(now, truth)
    assert (score.right, score.wrong, score.none) == (2, 2, 2)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    lines = (SAMPLES / "quiz.jsonl").read_text().splitlines()[:12]
    return written(tmp_path_factory.mktemp("quiz"), *lines, name="few.jsonl")


def test_answers_are_those_of_the_samples_own_program(few):
    from tokenizers import Tokenizer

    found = quiz(VILLAGE, few)
    model, tokenizer = check.Llama(VILLAGE), Tokenizer.from_file(str(VILLAGE / "tokenizer.json"))
    for i, text in enumerate(few.read_text().splitlines()):
        question = json.loads(text)
        total, mean = check.chosen_by_text(model, tokenizer, question)
        letter = check.chosen_by_letter(model, tokenizer, question)
        got = found.model.answers
        assert (got.total[i], got.mean[i], got.letter[i]) == (total, mean, NONE if letter is None else letter)
        prompt = tokenizer.encode(check.plain_prompt(question)).ids
        for choice, sum_, size in zip(question["choices"], got.likelihoods[i], got.lengths[i], strict=True):
            ids = tokenizer.encode(" " + choice, add_special_tokens=False).ids
            wanted = model.log_likelihoods(prompt + ids)[len(prompt) - 1 :]
            assert (size, sum_) == (len(ids), pytest.approx(wanted.sum(), abs=2e-3))
    assert found.model.scores["total"].right == 12


def test_groups_do_not_change_answers(few, monkeypatch):
    whole = quiz(VILLAGE, few).model.answers
    monkeypatch.setattr("qformat.evaluate.quiz.GROUP_BYTES", 400 * 4 * 256)
    parts = quiz(VILLAGE, few).model.answers
    for way in ("total", "mean", "letter"):
        assert np.array_equal(getattr(whole, way), getattr(parts, way))
    for a, b in zip(whole.likelihoods, parts.likelihoods, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_ctrl_c_keeps_what_is_known(few, monkeypatch):
    monkeypatch.setattr("qformat.evaluate.quiz.GROUP_BYTES", 400 * 4 * 256)

    def stop(status):
        if status.done:
            raise KeyboardInterrupt

    found = quiz(VILLAGE, few, progress=stop)
    assert 0 < len(found.questions) < 12
    assert not found.complete
    assert found.model.scores["total"].count == len(found.questions)


def test_the_command_compares_with_the_original(few, tmp_path):
    qformat.convert(VILLAGE, tmp_path / "small.safetensors", "sym2")
    args = ("quiz", tmp_path / "small.safetensors", few, "--against", VILLAGE)
    found = json.loads(command(*args, "--json").stdout)
    assert found["schema"] == 1
    assert found["original"]["total"]["right"] == 12
    assert len(found["answers"]) == 12
    assert found["flips"]["total"]["lost"] == 12 - found["model"]["total"]["right"]
    assert found["model"]["tokenizer"] == found["original"]["tokenizer"]
    out = command("quiz", VILLAGE, few, "--topics").stdout
    assert "chance is 25.0%" in out
    assert "12 questions" in out
