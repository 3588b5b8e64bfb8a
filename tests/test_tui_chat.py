"""The Chat screen: the command line's answers, streamed, stopped, side by side, and harmless."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import qformat as command
from screens import app_of, press, seen, settled, write
from textual.containers import VerticalScroll
from textual.widgets import Input

import qformat
from qformat.model.reply import Reply, parting_words
from qformat.tui.screens.browser import Browser
from qformat.tui.screens.chat import ChatScreen
from qformat.tui.widgets.turn import END, Turn
from qformat.tui.workers import Job

SAMPLE = Path(__file__).parents[1] / "samples" / "village"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    target = tmp_path_factory.mktemp("chat") / "sym2.safetensors"
    qformat.convert(SAMPLE, target, "sym2")
    return target


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_both_answer_as_on_the_command_line(small, tmp_path, size):
    app = app_of(tmp_path, small, original=SAMPLE)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        assert isinstance(app.screen, ChatScreen)
        for prompt in ("Hello.", "Where does Orla live?"):
            app.screen.query_one("#say", Input).value = prompt
            await press(pilot, "enter")
        turns = list(app.screen.query(Turn))
        args = ("--prompt", "Hello.", "--prompt", "Where does Orla live?", "--json")
        wanted = json.loads(command("chat", small, "--against", SAMPLE, *args).stdout)["turns"]
        assert [t.said for t in turns] == [t["prompt"] for t in wanted]
        for turn, told in zip(turns, wanted, strict=True):
            assert [r.ids for r in turn.replies] == [r["ids"] for r in told["replies"]]
            assert turn._parting() == told["parts_at"]
        words = [parting_words(*t.replies) for t in turns]
        assert " ".join(words[-1].split()) in " ".join(seen(app).split())
        await press(pilot, "up")
        assert app.screen.query_one("#say", Input).value == "Where does Orla live?"
        await press(pilot, "ctrl+g")  # the other one goes
        assert len(app.screen.talks) == 1
        assert not app.screen.query(Turn)
        await press(pilot, *(["escape"] if size[0] > 110 else []), "escape")
        assert isinstance(app.screen, Browser)


async def test_escape_stops_an_answer_and_keeps_it(small, tmp_path, monkeypatch):
    app = app_of(tmp_path, small)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        page, report = app.screen, Job.report

        def press_escape(job, done, at):
            report(job, done, at)
            page.do_back()

        monkeypatch.setattr(Job, "report", press_escape)
        await write(pilot, "Hello.")
        await press(pilot, "enter")
        assert app.screen is page
        (reply,) = page.query_one(Turn).replies
        assert reply.end == "interrupted"
        assert page.talks[0].messages[-1]["content"] == reply.text
        assert "interrupted" in seen(app)


async def test_settings_are_checked_and_obeyed(small, tmp_path):
    app = app_of(tmp_path, small)
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "h", "ctrl+s")
        page = app.screen
        page.query_one("#temperature", Input).value = "-1"
        page.query_one("#say", Input).value = "Hello."
        await press(pilot, "enter", "enter")
        assert "temperature cannot be -1" in seen(app)
        assert not page.query(Turn)
        for name, value in (("temperature", "1.5"), ("top_k", "5"), ("seed", "3"), ("max_new", "6")):
            page.query_one(f"#{name}", Input).value = value
        page.query_one("#system", Input).value = "Be brief."
        await press(pilot, "enter")
        assert "temperature 1.5, top-k 5, seed 3" in seen(app)
        args = ("--temperature", "1.5", "--top-k", "5", "--seed", "3", "--max-new", "6", "--prompt", "Hello.")
        told = json.loads(command("chat", small, *args, "--json").stdout)["turns"][0]["replies"][0]
        assert page.query_one(Turn).replies[0].ids == told["ids"]
        await press(pilot, "ctrl+n")
        assert page.talks[0].messages == [{"role": "system", "content": "Be brief."}]


async def test_a_model_without_a_template_goes_on_from_the_text(tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(SAMPLE, folder)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    app = app_of(tmp_path, folder)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        assert "no chat template: goes on from the text" in seen(app)
        app.screen.query_one("#max_new", Input).value = "8"
        await write(pilot, "Hello.")
        await press(pilot, "enter", "ctrl+t")
        assert "this model has no chat template" in seen(app)
        told = command("chat", folder, "--raw", "--prompt", "Hello.", "--max-new", "8", "--json").stdout
        assert (
            app.screen.query_one(Turn).replies[0].text == json.loads(told)["turns"][0]["replies"][0]["text"]
        )


def said(*pieces: bytes, end: str = "stop") -> Reply:
    reply = Reply(end=end)
    for at, piece in enumerate(pieces):
        reply.add(at, piece, piece.decode(errors="ignore"), 0.5)
    return reply


HOSTILE = b"\x1b[2J[red]x[/red][@click=app.quit]y\xe2\x80\xae\x9b31m"


@pytest.mark.parametrize(
    ("ours", "theirs", "marked"),
    [
        (said(b"a ", b"b"), said(b"a ", b"c"), ["b", "c"]),
        (said(b"a"), said(b"a", b" b"), [END, " b"]),
        (said(b"a", b"\n", b"b"), said(b"a", b"\xe2", b"b"), [r"'\n'", r"'\xe2'"]),
        (said(b"a", HOSTILE), said(b"a", b"c"), [None, "c"]),
        (said(b"a"), said(b"a"), []),
        (said(b"a", end=""), said(b"a", b"b", end=""), []),  # the first may still say the same
    ],
)
async def test_where_two_part_is_marked_and_nothing_acts(small, tmp_path, ours, theirs, marked):
    app = app_of(tmp_path, small)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        turn = Turn(HOSTILE.decode(errors="ignore"))
        await app.screen.query_one("#talk", VerticalScroll).mount(turn)
        turn.show([ours, theirs])
        await settled(pilot)
        style = turn.get_component_rich_style("turn--mark")
        texts = [turn._text(r, turn._parting()) for r in (ours, theirs)]
        spans = [t.plain[s.start : s.end] for t in texts for s in t.spans if s.style == style]
        assert [s if m else None for s, m in zip(spans, marked, strict=True)] == marked
        assert not set(seen(app)) & {"\x1b", "\x9b", "\u202e"}
        assert "[red]x[/red][@click=app.quit]y" in seen(app)


async def test_one_token_is_not_tokens(small, tmp_path):
    app = app_of(tmp_path, small)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        turn = Turn("hi")
        await app.screen.query_one("#talk", VerticalScroll).mount(turn)
        turn.show([said(b"a"), said(b"a")])
        await settled(pilot)
        assert "1 tokens" not in seen(app)
        assert "1 token ·" in seen(app)
        assert "Both say the same, 1 token." in seen(app)


async def test_what_cannot_talk_says_so(tmp_path):
    from conftest import tiny_model

    app = app_of(tmp_path, tiny_model(tmp_path / "tiny"))
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "h")
        assert "This cannot be opened" in seen(app)
        await press(pilot, "enter", "escape")
        assert isinstance(app.screen, Browser)
