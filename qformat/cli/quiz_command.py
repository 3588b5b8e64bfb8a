"""``qformat quiz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qformat.cli.quiz_progress import meter
from qformat.cli.text import counted, line, say, show, show_json, table

if TYPE_CHECKING:
    from qformat.evaluate.quiz import QuizResult, Taken

_EXAMPLE = """
\b
Examples:
  qformat quiz ./Llama-3.2-1B quiz.jsonl
  qformat quiz llama-4bit.safetensors gpqa_diamond.csv --against ./Llama-3.2-1B

\b
QUIZ is read as it is:
  JSON lines  {"question": "…", "choices": ["…", "…"], "answer": 0}; "answer" may be a letter;
              optional are "id", "topic", and "continues": true for choices that go on with the text
  GPQA        CSV with the columns Question, Correct Answer, Incorrect Answer 1 to 3; also JSON lines
  MMLU        CSV of six columns: question, four choices, letter; also JSON lines with subject
  MMLU-Pro    JSON lines with options and answer
  ARC         JSON lines with answerKey
  HellaSwag   JSON lines with endings and label
  lm-eval     the samples that lm-evaluation-harness logs: JSON lines with doc
"""

_WAYS = {"total": "text, total", "mean": "text, per token", "letter": "letter"}


@click.command(epilog=_EXAMPLE)
@click.argument("model", type=click.Path())
@click.argument("quiz_file", metavar="QUIZ", type=click.Path())
@click.option(
    "--against", metavar="ORIGINAL", type=click.Path(), help="Ask this model the same, and compare."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only so many questions, drawn at random.")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="Type of the weights.",
)
@click.option("--topics", is_flag=True, help="Show the accuracy by topic, too.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every answer.")
def quiz(model: str, quiz_file: str, against: str | None, **options: Any) -> None:
    """Ask a model multiple-choice questions.

    By text: the choice counts whose text has the highest log-likelihood after the question, in
    total or per token. By letter: the next token after the question with its lettered choices is to be a
    letter; anything else is no answer. Accuracies have 95% intervals (Wilson). With --against,
    answers that flipped are counted, and McNemar's test says whether that may be chance. Ctrl-C
    shows what is known so far.
    """
    from qformat.evaluate.quiz import quiz as ask

    with meter() as progress:
        found = ask(
            model, quiz_file, against, dtype=options["dtype"], limit=options["limit"], progress=progress
        )
    if options["as_json"]:
        show_json(found.to_json())
    else:
        _show(found, topics=options["topics"])
    if not found.complete:
        many = counted(len(found.quiz.questions), "question")
        say(f"interrupted: these are {len(found.questions)} of {many}")
        raise click.exceptions.Exit(130)


def _show(found: QuizResult, *, topics: bool) -> None:
    both = [t for t in (found.original, found.model) if t is not None]
    rows = [[label, t.path, *_cells(t, way)] for way, label in _WAYS.items() for t in both]
    show(
        table(rows, ["asked by", "model", "right", "wrong", "none", "right %", "95%"], right=(2, 3, 4, 5, 6))
    )
    if found.flips:
        show()
        flips = [
            [label, str(f.changed), str(f.lost), str(f.gained), f"{f.p:.3g}"]
            for way, label in _WAYS.items()
            for f in [found.flips[way]]
        ]
        names = ["asked by", "other answers", "right → not", "not → right", "p (McNemar)"]
        show(table(flips, names, right=(1, 2, 3, 4)))
    if topics and found.model.topics:
        show()
        _show_topics(both)
    show()
    chances = [1 / len(q.choices) for q in found.questions]
    chance = 100 * sum(chances) / len(chances)
    show(
        f"{counted(len(found.questions), 'question')} of {line(found.quiz.path)} ({found.quiz.layout}); "
        f"chance is {chance:.1f}%"
    )


def _cells(taken: Taken, way: str) -> list[str]:
    score = taken.scores[way]
    low, high = score.interval
    counts = [str(score.right), str(score.wrong), str(score.none)]
    return [*counts, f"{100 * score.share:.1f}", f"{100 * low:.1f} … {100 * high:.1f}"]


def _show_topics(both: list[Taken]) -> None:
    rows = []
    for topic, score in both[-1].topics.items():
        others = [t.topics[topic] for t in both]
        rows.append([topic, str(score.count), *(str(s.right) for s in others)])
    show(table(rows, ["topic (by text, total)", "questions", *(t.path for t in both)], right=(1, 2, 3)))
