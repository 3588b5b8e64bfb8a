"""Renders one chat template, as a process of its own that can neither read, write, start nor reach anything.

Templates come with models, from anybody. Jinja2's sandbox refuses to walk from a value to its class;
below it, the process refuses to open files, to start programs and to use the network, whatever asks;
memory and time have limits that the system enforces. Run with JSON on stdin, answers JSON on stdout.
Nothing of qformat is imported here.
"""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_OUTPUT = 4_000_000  # characters
CPU_SECONDS = 2
MEMORY = 1 << 30
_REFUSED = (
    "open",
    "import",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "pty.",
    "urllib.",
)


class TooMuchError(Exception):
    """More text than any prompt has."""


class _Generation(Extension):
    """``{% generation %}`` marks what a model has said; the text between is put out as it is."""

    tags = {"generation"}  # noqa: RUF012  # Jinja2's own convention

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Says so when a template reaches for what it must not; Jinja2 itself would print nothing."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"a chat template may not reach {attribute!r} of a {type(obj).__name__}")


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005  # the date where the user is


def render(template: str, values: dict[str, Any]) -> str:
    """The text of a template, as Hugging Face renders chat templates."""
    env = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    env.filters["tojson"] = _to_json
    env.globals |= {"raise_exception": _raise, "strftime_now": _now}
    parts: list[str] = []
    size = 0
    for part in env.from_string(template).generate(**values):
        size += len(part)
        if size > MAX_OUTPUT:
            raise TooMuchError(f"it puts out more than {MAX_OUTPUT:,} characters")
        parts.append(part)
    return "".join(parts)


def _confine() -> None:
    """Limits that cannot be lifted again in this process."""
    try:
        import resource
    except ImportError:  # not on Windows; the time limit of the one who waits remains
        pass
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    def refuse(event: str, _arguments: tuple[object, ...]) -> None:
        if event.startswith(_REFUSED):
            raise PermissionError(f"a chat template may not use {event}")

    sys.addaudithook(refuse)


def _warm_up() -> None:
    """Import all that rendering and failing import when they first need it: codecs, tracebacks."""
    _now("%d %b %Y")
    with contextlib.suppress(TemplateError):
        template = r"{% for m in x %}{{ m|tojson ~ '\u00e9\n' }}{% endfor %}{{ raise_exception('') }}"
        render(template, {"x": [{"a": "b"}]})


def main() -> None:
    """Read a request, confine the process, render, answer."""
    request = json.load(sys.stdin)
    _warm_up()
    _confine()
    try:
        answer = {"text": render(request["template"], request["values"])}
    except MemoryError:
        answer = {"error": "it takes too much memory"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except Exception as error:  # noqa: BLE001  # whatever a template does wrong is an answer
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
