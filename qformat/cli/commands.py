"""The commands; each is imported when it is called, so that help is quick."""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Iterator
from typing import Any

import click

from qformat.cli import added
from qformat.cli.text import line, say
from qformat.errors import QFormatError

_COMMANDS = {
    "convert": "Convert a checkpoint: to a quantized container, to GGUF, or back to plain numbers.",
    "inspect": "Show what is inside a model file, down to the bits of one block.",
    "tui": "Look inside, compare, convert, measure and chat in the terminal, screen by screen.",
    "diff": "Compare two checkpoints tensor by tensor.",
    "verify": "Prove that a container is whole, to the last bit.",
    "edit": "Change a file's metadata, in place where it fits.",
    "chat": "Talk with a model, or with a model and its original side by side.",
    "quiz": "Ask a model multiple-choice questions, and count what changed.",
    "tokenize": "Show the tokens of a text, as a model's own tokenizer has them.",
    "lab": "Try out the ideas of quantization: a number's bits, a block under several schemes.",
    "eval": "Measure what quantization cost: perplexity, and divergence from the original.",
    "sweep": "Measure many schemes against one original, in one table and one page.",
    "imatrix": "Collect importances over a text, by which convert can weigh a model's weights.",
    "bench": "Time how fast a model reads and writes, here and in llama.cpp.",
    "schemes": "List the schemes that there are, with their options.",
    "plugins": "List the plugins that provide them, also those that did not load.",
}


class _ReaderGoneError(Exception):
    """A broken pipe that click does not see: it would exit with 1."""


@contextlib.contextmanager
def _telling_a_broken_pipe() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        raise _ReaderGoneError from error


class _Lazy(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *added.names()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return added.command(cmd_name)
        module = importlib.import_module(f"qformat.cli.{cmd_name}_command")
        command: click.Command = getattr(module, cmd_name)
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _telling_a_broken_pipe():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _telling_a_broken_pipe():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))
        more = [
            (name, f"From {dist}.") for name, dist in sorted(added.names().items()) if name not in _COMMANDS
        ]
        if more:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(more)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            if not near:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx) from error


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from qformat.version import VERSION

        click.echo(f"qformat {VERSION}")
        ctx.exit()


def _use_plugins(_ctx: click.Context, _param: click.Parameter, files: tuple[str, ...]) -> None:
    """Before the command is looked up: a plugin may be what has it."""
    if files:
        from pathlib import Path

        from qformat.plugins.host import use_files

        use_files(tuple(Path(p) for p in files))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`qformat COMMAND --help` shows each with an example.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
@click.option(
    "--plugin",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    expose_value=False,
    callback=_use_plugins,
    help="Also load a plugin from a Python file.",
)
@click.option("--traceback", is_flag=True, help="Show where in the program an error came from.")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Convert, inspect and measure block-quantized model checkpoints."""
    ctx.ensure_object(dict)["traceback"] = traceback


def run() -> int:
    """Run the command line; errors become one clear message and an exit code."""
    settings: dict[str, bool] = {}
    try:
        code = cli(obj=settings, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (QFormatError, OSError) as error:
        if settings.get("traceback"):
            raise
        say(f"error: {error if isinstance(error, QFormatError) else _in_words(error)}")
        return 1
    except click.Abort:
        raise KeyboardInterrupt from None
    except _ReaderGoneError:
        # The reader of our output went away, as `head` does: that is no error.
        return 0
    return code if isinstance(code, int) else 0


def _in_words(error: OSError) -> str:
    told = "a stream is closed" if error.errno == errno.EBADF else error.strerror or str(error)
    return told if error.filename is None else f"{line(error.filename)}: {told}"
