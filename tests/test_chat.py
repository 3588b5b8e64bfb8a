"""Conversations: templates of anybody's are confined, answers are streamed, loops are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import qformat as command
from hypothesis import given
from hypothesis import strategies as st

import qformat
from qformat.model import generate as generating
from qformat.model import open_model
from qformat.model.chat import Conversation, side_by_side
from qformat.model.chat_template import ChatTemplate, TemplateError, load_chat_template
from qformat.model.generate import Session
from qformat.model.reply import LOOP_TIMES, LOOP_TOKENS, Reply, parting, parting_words, repeats
from qformat.model.tokenizer_loading import load_tokenizer

VILLAGE = Path(__file__).parents[1] / "samples" / "village"
MESSAGES = [{"role": "user", "content": "Hello."}]


@pytest.fixture(scope="module")
def talk():
    tokenizer = load_tokenizer(VILLAGE)
    return Conversation(open_model(VILLAGE), tokenizer, load_chat_template(VILLAGE, tokenizer))


def rendered(source, messages=MESSAGES, seconds=10.0):
    return ChatTemplate(source, {"bos_token": "<s>"}, seconds).render(messages)


def test_the_samples_template():
    tokenizer = load_tokenizer(VILLAGE)
    template = load_chat_template(VILLAGE, tokenizer)
    assert template.render(MESSAGES) == "<|bos|><|user|>\nHello.<|end|>\n<|assistant|>\n"
    assert template.render(MESSAGES, reply=False) == "<|bos|><|user|>\nHello.<|end|>\n"
    ids = template.ids(MESSAGES, tokenizer)
    assert ids.count(0) == 1
    assert ids[1] == tokenizer.id_of("<|user|>")


def test_a_bos_that_the_template_leaves_out_is_put_in():
    tokenizer = load_tokenizer(VILLAGE)
    assert ChatTemplate("x", {}).ids(MESSAGES, tokenizer)[0] == tokenizer.bos


def test_a_gguf_and_a_container_carry_the_template(tmp_path):
    tokenizer = load_tokenizer(VILLAGE)
    wanted = load_chat_template(VILLAGE, tokenizer)
    qformat.convert(VILLAGE, tmp_path / "m.gguf", "q8_0", to="gguf")
    qformat.convert(VILLAGE, tmp_path / "box.safetensors", "sym8")
    for name in ("m.gguf", "box.safetensors"):
        assert load_chat_template(tmp_path / name, tokenizer) == wanted


def test_what_templates_of_the_field_use():
    source = """
{%- for m in messages %}
    {%- if loop.first and m.role != 'user' %}{{ raise_exception('user first') }}{% endif %}
    {%- if m.role == 'system' %}{% continue %}{% endif %}
    {%- generation %}{{ m.content | trim }}{% endgeneration %}
{%- endfor %}{{ {'a': 'é'} | tojson }}{{ strftime_now('%Y')[:2] }}{% set ns = namespace(x=1) %}{{ ns.x }}"""
    assert rendered(source) == 'Hello.{"a": "é"}201'
    with pytest.raises(TemplateError, match="user first"):
        rendered(source, [{"role": "system", "content": "x"}])


WALKS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__base__ }}",
    "{{ ''['__class__'] }}{{ ''|attr('__class__') }}{{ ().__class__.__bases__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].listdir('/') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ messages.append(1) }}",
]
FILES = [
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}",
    "{% extends '/etc/passwd' %}",
    "{{ open('/etc/passwd').read() }}",
]
ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{{ 'x' * 10000000000 }}",
    "{{ 9 ** (9 ** 9) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(10 ** 9) %}x{% endfor %}",
    "{{ '%10000000000d' % 1 }}",
    "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
]


@pytest.mark.parametrize("source", [*WALKS, *FILES, *ENDLESS, "{{", "{% nonsense %}", "{{ 1 / 0 }}"])
def test_a_malicious_or_broken_template_is_contained(source):
    with pytest.raises(TemplateError, match="the chat template cannot be used") as caught:
        rendered(source)
    assert "root:" not in str(caught.value)


def test_a_template_that_sleeps_past_the_limit_is_ended():
    with pytest.raises(TemplateError, match=r"did not end within 0\.001 s"):
        rendered("x", seconds=0.001)


def test_below_the_sandbox_the_process_itself_refuses(tmp_path):
    """Whatever gets out of Jinja2's sandbox meets a process that cannot open, start or connect."""
    import subprocess
    import sys

    from qformat.model import chat_sandbox

    target = tmp_path / "out"
    for attempt in (
        f"open({str(target)!r}, 'w')",
        "open('/etc/passwd')",
        "__import__('os').system('true')",
        "__import__('subprocess').run(['true'])",
        "__import__('socket').socket()",
        "__import__('os').listdir('/')",
        "__import__('os').remove('/nonexistent')",
    ):
        code = f"import os, sys, socket, subprocess\nsys.path.insert(0, {str(Path(chat_sandbox.__file__).parent)!r})\nimport chat_sandbox\nchat_sandbox._confine()\ntry: {attempt}\nexcept PermissionError as e: print('refused', e)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("refused a chat template may not"), (attempt, done)
    assert not target.exists()


@given(
    st.lists(st.integers(0, 3), max_size=30),
    st.lists(st.integers(4, 9), min_size=1, max_size=12),
    st.integers(2, 6),
)
def test_loops_are_found(before, run, times):
    ids = [*before, *run * times]
    found = repeats(ids)
    if times >= LOOP_TIMES and times * len(run) >= LOOP_TOKENS:
        assert found
        assert len(run) % found == 0 or found > len(run)
    assert not repeats([*range(100, 100 + len(ids))])


def said(*pieces: bytes, clock: float = 1.0) -> Reply:
    reply = Reply()
    for piece in pieces:
        reply.add(piece[0], piece, piece.decode("latin-1"), clock)
    return reply


def test_where_replies_part():
    assert parting(said(b"a", b"b"), said(b"a", b"b")) is None
    assert parting_words(said(b"a"), said(b"a")) == "Both say the same, 1 token."
    assert parting(said(b"a", b"b", b"c"), said(b"a", b"\x1b", b"c")) == 1
    assert (
        parting_words(said(b"a", b"b"), said(b"a", b"\x1b")) == r"They part at token 2: 'b' against '\x1b'."
    )
    assert parting(said(b"a", b"b"), said(b"a", b"b", b"c")) == 2
    assert parting_words(said(b"a"), said(b"a", b"b")) == "They part at token 2: the end against 'b'."


def test_a_reply_knows_its_speed_and_where_its_tokens_are():
    reply = said(b"a", b"bc", b"d", clock=0.5)
    assert (reply.first_seconds, reply.tokens_per_second) == (0.5, 2.0)
    assert [reply.text[at:] for at in reply.places] == ["abcd", "bcd", "d"]
    assert said(b"a").tokens_per_second is None
    kept = reply.copy()
    reply.add(1, b"e", "e", 1)
    assert (kept.text, kept.ids) == ("abcd", [97, 98, 100])


def test_reading_a_long_prompt_can_be_stopped_and_goes_on_from_there(talk, monkeypatch):
    monkeypatch.setattr(generating, "PART", 8)
    text = "Hello there. " * 6
    talk.reset()
    wanted = [*talk.reply(text, max_new=5)][-1]
    talk.reset()
    stopped = talk.reply(text + text, max_new=5)
    told = [next(stopped) for _ in range(2)][-1]
    assert (told.ids, told.text) == ([], "")
    assert 0 < told.read < told.prompt
    stopped.close()
    assert talk.turns == []
    assert talk._session is not None
    assert [*talk.reply(text, max_new=5)][-1].ids == wanted.ids


def test_a_conversation_knows_what_was_said(talk):
    talk.reset()
    first = [*talk.reply("Hello.")][-1]
    assert (first.text, first.end, first.remark) == (
        "Hello! What would you like to know about the valley?",
        "stop",
        None,
    )
    second = [*talk.reply("Where does Orla live?")][-1]
    assert second.text == "Orla has her home in Elderby."
    assert [m["role"] for m in talk.messages] == ["user", "assistant"] * 2
    looping = [*talk.reply("Tell me about Bram.", max_new=200)]
    assert looping[-1].end == "loop"
    assert "repeat itself" in looping[-1].remark


def test_a_turn_reads_only_what_is_new(talk, monkeypatch):
    talk.reset()
    read = []
    whole = Session.feed
    monkeypatch.setattr(Session, "feed", lambda s, ids: read.append(len(ids)) or whole(s, ids))
    for text in ("Hello.", "Where does Orla live?", "And Bram?"):
        read.clear()
        before = talk.messages
        told = [*talk.reply(text, max_new=40)][-1].ids
        fresh = Conversation(talk.model, talk.tokenizer, talk.template)
        fresh.turns = before
        lengths = [*read]
        assert [*fresh.reply(text, max_new=40)][-1].ids == told
        prompt = len(talk.template.ids([*before, {"role": "user", "content": text}], talk.tokenizer))
        if before:
            assert lengths[0] < prompt / 2


def test_an_answer_that_is_stopped_is_kept(talk):
    talk.reset()
    growing = talk.reply("Hello.")
    next(growing)
    next(growing)
    growing.close()
    assert talk.messages[-1]["role"] == "assistant"
    assert talk.messages[-1]["content"]
    cut = [*talk.reply("Hello.", max_new=2)][-1]
    assert cut.end == "length"


def test_ctrl_c_ends_both_and_keeps_them(talk):
    talk.reset()
    other = Conversation(talk.model, talk.tokenizer, talk.template)

    def stop(replies):
        if len(replies[0].ids) == 2:
            raise KeyboardInterrupt

    replies = side_by_side([talk.reply("Hello."), other.reply("Hello.")], stop)
    assert [r.end for r in replies] == ["interrupted"] * 2
    assert talk.messages[-1]["content"] == replies[0].text != ""


def test_the_command(tmp_path):
    out = command("chat", VILLAGE, "--prompt", "Hello.").stdout
    assert out == "Hello! What would you like to know about the valley?\n"
    qformat.convert(VILLAGE, tmp_path / "small.safetensors", "sym2")
    args = (
        "chat",
        tmp_path / "small.safetensors",
        "--against",
        VILLAGE,
        "--prompt",
        "Hello.",
        "--max-new",
        30,
    )
    both = command(*args).stdout
    assert "What would you like to know" in both
    assert "They part at token" in both
    found = json.loads(command(*args, "--json").stdout)
    ours, theirs = (r["ids"] for r in reversed(found["turns"][0]["replies"]))
    at = found["turns"][0]["parts_at"]
    assert ours[:at] == theirs[:at]
    assert ours[at : at + 1] != theirs[at : at + 1]


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_a_prompt_that_is_too_long_is_told(raw):
    done = command("chat", VILLAGE, "--prompt", "Hello. " * 3000, *raw, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the model's context 512" in done.stderr
    assert "say less" in done.stderr
    done = command("chat", VILLAGE, "--prompt", "Hello.", "--prompt", "Hello. " * 3000, *raw, check=False)
    assert done.returncode == 1
    assert ("/reset" in done.stderr) == (not raw)


def test_a_file_cannot_act_on_the_terminal(tmp_path):
    evil = tmp_path / "evil.jinja"
    evil.write_text("{{ raise_exception('\\x1b[2J') }}")
    done = command("chat", VILLAGE, "--template", evil, "--prompt", "x", check=False)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[2J" in done.stderr
