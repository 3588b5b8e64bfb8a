"""`qformat tui --serve`: a session in a browser's place, and who is turned away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import qformat as command
from conftest import tiny_model

pytest.importorskip("textual_serve")
from aiohttp import ClientSession, CookieJar, WSCloseCode, WSMsgType

from qformat.errors import QFormatError
from qformat.tui import launch, serving


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def server(folder: Path):
    """The command, as it says where it is, until Ctrl-C."""
    args = ["tui", tiny_model(folder / "a model"), "--theme", "mono", "--serve", "--port", str(free_port())]
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}
    with subprocess.Popen(
        [sys.executable, "-m", "qformat", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        root, key = re.search(r"(http://127\.0\.0\.1:\d+)/\?key=(\S+)", process.stderr.readline()).groups()
        interrupt = cache(partial(process.send_signal, signal.SIGINT))  # once
        yield SimpleNamespace(root=root, key=key, interrupt=interrupt)
        interrupt()
        out, rest = process.communicate(timeout=30)
    assert out == ""
    assert "Traceback" not in rest


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with server(tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture
async def client(served):
    async with ClientSession(served.root, cookie_jar=CookieJar(unsafe=True)) as session:
        yield session


async def test_a_session_shows_the_file_and_ends_on_q(served, client):
    page = await client.get(f"/?key={served.key}")
    assert page.status == 200
    assert str(page.url) == f"{served.root}/"  # the key does not stay in the address
    assert "ws://127.0.0.1" in await page.text()
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert (await client.get("/static/js/textual.js")).status == 200
    async with client.ws_connect("/ws?width=120&height=30", origin=served.root) as session:
        seen = b""
        while b"lm_head.weight" not in seen:
            message = await session.receive(timeout=60)
            seen += message.data if isinstance(message.data, bytes) else b""
        await session.send_json(["stdin", "q"])
        while not (await session.receive(timeout=60)).type.name.startswith("CLOS"):
            pass


async def test_ctrl_c_does_not_wait_for_an_open_tab(tmp_path):
    with server(tmp_path) as running:
        async with ClientSession(running.root, cookie_jar=CookieJar(unsafe=True)) as client:
            await client.get(f"/?key={running.key}")
            async with client.ws_connect("/ws", origin=running.root) as session:
                assert (await session.receive(timeout=60)).type is WSMsgType.BINARY
                running.interrupt()
                message = await session.receive(timeout=60)
                while message.type is WSMsgType.BINARY:
                    message = await session.receive(timeout=60)
                assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)


@pytest.mark.parametrize(
    ("path", "headers", "keyed"),
    [
        ("/", {}, False),
        ("/ws", {}, False),
        ("/static/js/textual.js", {}, False),
        ("/?key=guess", {}, False),
        ("/?key=%C3%A9", {}, False),
        ("/", {"Host": "evil.example"}, True),
        ("/ws", {"Origin": "http://evil.example"}, True),
        ("/ws", {"Origin": "null"}, True),
    ],
)
async def test_nobody_else_gets_in(served, client, path, headers, keyed):
    if keyed:
        assert (await client.get(f"/?key={served.key}")).status == 200
    answer = await client.get(path, headers=headers)
    assert answer.status == 403
    assert served.key not in await answer.text()


def test_a_taken_port_is_an_error_with_a_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("tui", "--serve", "--port", str(port), check=False)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "qformat.tui.serving")
    monkeypatch.delattr("qformat.tui.serving")
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    with pytest.raises(QFormatError, match="pip install 'qformat\\[serve\\]'"):
        launch.serve([], 8000)


def test_options_reach_the_session():
    made = serving.command([Path("-odd name.gguf")], Path("o"), "mono")
    assert made.endswith(" -m qformat tui --original o --theme mono -- '-odd name.gguf'")
