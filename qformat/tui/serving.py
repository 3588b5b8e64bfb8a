"""The program in a web browser, for who started it and nobody else.

textual-serve speaks to whoever reaches its port: other users of the machine, and any web page that
the same browser shows, for a page may open a WebSocket to 127.0.0.1. What is behind it reads files
and writes them. So a request has to name this address as its host, must not come from another
page, and has to bring a key that only the terminal shows.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
from aiohttp import WSCloseCode, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from qformat.errors import QFormatError
from qformat.plugins.host import FILES, named_files

HOST = "127.0.0.1"
KEY = "key"
# Nothing is asked of other machines, not even a font.
_SOURCES = "'self' 'unsafe-inline'"
POLICY = (
    f"default-src 'self' data:; script-src {_SOURCES}; style-src {_SOURCES}; connect-src ws://{HOST}:{{port}}"
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Session(AppService):  # type: ignore[misc, unused-ignore]  # where it is not installed, it is Any
    """The program behind one browser tab."""

    async def stop(self) -> None:
        """Ask the program to end, and wait until it has and all its pipes are closed.

        A pipe that outlives the event loop is reported with a traceback when it is collected.
        """
        await super().stop()
        if self._process is not None:
            await self._process.communicate()


class LocalServer(Server):  # type: ignore[misc, unused-ignore]  # where it is not installed, it is Any
    """textual-serve on the loopback interface, behind a key that is made anew each time."""

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host=HOST, port=port, title="qformat")
        self.key = secrets.token_urlsafe(24)
        self._cookie = f"qformat-{port}"  # cookies of one host are shared by all its ports
        self._open: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"{self.public_url}/?{KEY}={self.key}"

    def serve_on(self, listening: socket.socket) -> None:
        """Serve on a socket until Ctrl-C."""
        web.run_app(self._make_app(), sock=listening, print=None, access_log=None)

    async def on_startup(self, app: web.Application) -> None:
        """Say where it is, on stderr."""
        click.echo(
            f"open {self.address}\nCtrl-C ends it; who has this address can read and write files as you",
            err=True,
        )

    async def on_shutdown(self, app: web.Application) -> None:
        """Close what is open: a tab left open would hold Ctrl-C up until its next heartbeat."""
        for websocket in list(self._open):
            await websocket.close(code=WSCloseCode.GOING_AWAY)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a session for as long as its tab is open."""
        websocket = web.WebSocketResponse(heartbeat=15)
        await websocket.prepare(request)

        async def close() -> None:
            await websocket.close()

        session = Session(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        size = request.query
        self._open.add(websocket)
        try:
            await session.start(to_int(size.get("width", ""), 80), to_int(size.get("height", ""), 24))
            await self._process_messages(websocket, session)
        finally:
            self._open.discard(websocket)
            await session.stop()
        return websocket

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()

        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app.middlewares.append(guard)
        return app

    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse what does not come from the page that the terminal named."""
        if request.host != f"{HOST}:{self.port}":
            raise web.HTTPForbidden(text=f"open {self.public_url}, with the key that the terminal shows\n")
        if request.headers.get("Origin", self.public_url) != self.public_url:
            raise web.HTTPForbidden(text="another page may not use this\n")
        if self._is_key(request.query.get(KEY)):
            found = web.HTTPFound("/")
            found.set_cookie(self._cookie, self.key, httponly=True, samesite="Strict")
            raise found
        if not self._is_key(request.cookies.get(self._cookie)):
            raise web.HTTPForbidden(text="open the whole address that the terminal shows, with its key\n")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY.format(port=self.port)
        return response

    def _is_key(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self.key.encode())


def command(files: Sequence[Path], original: Path | None, theme: str | None) -> str:
    """What a session runs, for a shell."""
    options: list[Any] = [
        *(("--original", original) if original else ()),
        *(("--theme", theme) if theme else ()),
    ]
    return shlex.join([sys.executable, "-m", "qformat", "tui", *map(str, options), "--", *map(str, files)])


def serve(files: Sequence[Path], port: int, original: Path | None, theme: str | None) -> None:
    """Serve until Ctrl-C.

    Raises
    ------
    QFormatError
        If the port cannot be had.
    """
    os.environ[FILES] = os.pathsep.join(str(p.absolute()) for p in named_files())
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        what = "is taken by another program" if taken else f"cannot be had: {error.strerror}"
        raise QFormatError(f"port {port} of {HOST} {what}", hint="choose another with --port") from None
    with listening:
        LocalServer(command(files, original, theme), port).serve_on(listening)
