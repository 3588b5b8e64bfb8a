"""Multiple-choice questions from files: the form of our own, and the published layouts as they are.

Known by their content are JSON lines of our form, of ARC, of HellaSwag, of MMLU and MMLU-Pro, of GPQA and
of lm-evaluation-harness's logged samples, and CSV of GPQA and of MMLU.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.errors import FormatError
from qformat.files.strict_json import MAX_FILE, parse

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """One question. With ``continues`` each choice goes on where the question's text ends."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    topic: str = ""
    continues: bool = False

    def plain_prompt(self) -> str:
        """What stands before a choice whose text is scored."""
        return self.question if self.continues else f"Question: {self.question}\nAnswer:"

    def letter_prompt(self) -> str:
        """What stands before the letter that the model is to name."""
        lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False)]
        return "\n".join([f"Question: {self.question}", *lines, "Answer:"])


@dataclass(frozen=True)
class Quiz:
    """The questions of a file, with its layout's name and its digest."""

    path: Path
    layout: str
    digest: str
    questions: tuple[Question, ...]

    def to_json(self) -> dict[str, Any]:
        """What was asked, as JSON-ready values."""
        return {
            "path": str(self.path),
            "layout": self.layout,
            "digest": self.digest,
            "questions": len(self.questions),
        }


def read_quiz(path: str | Path) -> Quiz:
    """Read a file of questions.

    Raises
    ------
    FormatError
        If a line is not a question of a layout that is known; it is named.
    """
    where = Path(path)
    try:
        if where.stat().st_size > MAX_FILE:
            raise FormatError(f"a quiz of more than {MAX_FILE:,} bytes is not read", file=where)
        raw = where.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", file=where) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"the quiz is not UTF-8: {error.reason}", file=where, offset=error.start) from None
    if text.lstrip()[:1] == "{":
        layout, questions = _of_lines(text, where)
    else:
        layout, questions = _of_table(text, where)
    if not questions:
        raise FormatError("there is no question in it", file=where)
    return Quiz(where, layout, f"sha256:{hashlib.sha256(raw).hexdigest()}", tuple(questions))


def _of_lines(text: str, path: Path) -> tuple[str, list[Question]]:
    found = []
    layout = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        value = parse(line, file=path, what=f"line {number}")
        if not isinstance(value, dict):
            raise _bad(path, number, "it is not a JSON object")
        name, make = _layout_of(value)
        layout = layout or name
        if name != layout:
            raise _bad(path, number, f"it is of the layout {name}, but the lines before are {layout}")
        found.append(_checked(make, value, path, number))
    return layout, found


def _layout_of(value: Mapping[str, Any]) -> tuple[str, Callable[[Any, int], Question]]:
    if isinstance(value.get("doc"), Mapping):
        return "lm-evaluation-harness", _logged
    if "Correct Answer" in value:
        return "GPQA", _gpqa
    if "options" in value:
        return "MMLU-Pro", _mmlu_pro
    if "endings" in value:
        return "HellaSwag", _hellaswag
    if isinstance(value.get("question"), Mapping) or isinstance(value.get("choices"), Mapping):
        return "ARC", _arc
    return "qformat", _own


def _of_table(text: str, path: Path) -> tuple[str, list[Question]]:
    rows = _rows(text, path)
    _, head = next(rows, (0, []))
    names = [cell.strip() for cell in head]
    if "Correct Answer" in names:
        made = (_checked(_gpqa, dict(zip(names, row, strict=False)), path, n) for n, row in rows)
        return "GPQA", list(made)
    if len(head) != 6:
        raise FormatError(
            "this is no quiz of a layout that is known", file=path,
            hint="see `qformat quiz --help` for the layouts; of a Parquet file make JSON lines first",
        )  # fmt: skip
    given = [] if [n.lower() for n in names] == ["question", "a", "b", "c", "d", "answer"] else [(1, head)]
    return "MMLU", [_checked(_mmlu, row, path, n) for n, row in (*given, *rows)]


def _rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise _bad(path, reader.line_num, f"it is not CSV: {error}") from None


def _checked(make: Callable[[Any, int], Question], value: Any, path: Path, number: int) -> Question:
    try:
        question = make(value, number)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _bad(path, number, f"a member is missing or of another kind: {error}") from None
    if not question.question.strip() or not all(c.strip() for c in question.choices):
        raise _bad(path, number, "the question or a choice is empty")
    if not 2 <= len(question.choices) <= len(LETTERS):
        raise _bad(path, number, f"it has {len(question.choices)} choices; expected 2 to {len(LETTERS)}")
    if not 0 <= question.answer < len(question.choices):
        raise _bad(
            path, number, f"the answer {question.answer} is none of its {len(question.choices)} choices"
        )
    return question


def _bad(path: Path, number: int, what: str) -> FormatError:
    return FormatError(f"line {number}: {what}", file=path, hint="see `qformat quiz --help` for the layouts")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is not text")
    return value


def _place(answer: Any, labels: list[str]) -> int:
    """The index that an answer names: by number, or by its label."""
    if isinstance(answer, bool):
        raise TypeError(f"the answer is {answer!r}")
    return answer if isinstance(answer, int) else labels.index(_text(answer).strip())


def _logged(value: Mapping[str, Any], number: int) -> Question:
    """A sample that lm-evaluation-harness logged: the set's own row, or what the task made of it."""
    doc = value["doc"]
    if "gold" not in doc or "query" not in doc:
        return _layout_of(doc)[1](doc, number)
    name = str(value.get("doc_id", number))
    choices = tuple(_text(c) for c in doc["choices"])
    return Question(name, _text(doc["query"]), choices, _place(doc["gold"], list(LETTERS)), continues=True)


def _own(value: Mapping[str, Any], number: int) -> Question:
    choices = tuple(_text(c) for c in value["choices"])
    return Question(
        str(value.get("id", number)),
        _text(value["question"]),
        choices,
        _place(value["answer"], list(LETTERS)),
        _text(value.get("topic", value.get("subject", ""))),  # the hub's MMLU is our form, but for this
        value.get("continues", False) is True,
    )


def _arc(value: Mapping[str, Any], number: int) -> Question:
    """ARC: ``question`` with ``stem`` and ``choices``, or the hub's flat form; labels A to E or 1 to 5."""
    nested = isinstance(value["question"], Mapping)
    asked = value["question"]["stem"] if nested else value["question"]
    given = value["question"]["choices"] if nested else value["choices"]
    if isinstance(given, Mapping):
        texts, labels = given["text"], given["label"]
    else:
        texts, labels = [c["text"] for c in given], [c["label"] for c in given]
    answer = _place(_text(value["answerKey"]), [_text(label) for label in labels])
    return Question(str(value.get("id", number)), _text(asked), tuple(_text(t) for t in texts), answer)


def _hellaswag(value: Mapping[str, Any], number: int) -> Question:
    """HellaSwag: the activity and both parts of the context, which each ending goes on from."""
    if "ctx_a" in value:
        second = _text(value.get("ctx_b", ""))
        context = f"{_text(value['ctx_a'])} {second[:1].upper()}{second[1:]}"
    else:
        context = _text(value["ctx"])
    topic = _text(value.get("activity_label", ""))
    context = _tidy(f"{topic}: {context}" if topic else context)
    endings = tuple(_tidy(_text(e)) for e in value["endings"])
    return Question(
        str(value.get("ind", number)), context, endings, int(value["label"]), topic, continues=True
    )


def _tidy(text: str) -> str:
    """WikiHow's parts of HellaSwag have marks such as [title] and [step] in them."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r" {2,}", " ", re.sub(r"\[.*?\]", "", text)).strip()


def _gpqa(row: Mapping[str, str], number: int) -> Question:
    """GPQA names the right answer apart; the order is drawn by the record's id, whatever the file's order."""
    name = row.get("Record ID") or str(number)
    right = row["Correct Answer"].strip()
    wrong = [row[f"Incorrect Answer {i}"].strip() for i in (1, 2, 3)]
    drawn = sorted(range(4), key=lambda i: hashlib.sha256(f"{name} {i}".encode()).digest())
    choices = [[right, *wrong][i] for i in drawn]
    topic = row.get("Subdomain") or row.get("High-level domain") or ""
    return Question(name, row["Question"].strip(), tuple(choices), drawn.index(0), topic)


def _mmlu_pro(value: Mapping[str, Any], number: int) -> Question:
    """MMLU-Pro: up to ten options; ``answer`` is a letter."""
    options = tuple(_text(o) for o in value["options"])
    name, topic = str(value.get("question_id", number)), _text(value.get("category", ""))
    return Question(name, _text(value["question"]), options, _place(value["answer"], list(LETTERS)), topic)


def _mmlu(row: list[str], number: int) -> Question:
    asked, *choices, answer = row
    return Question(str(number), asked, tuple(choices), _place(answer, list(LETTERS[: len(choices)])))
