"""``qformat convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.progress import bar
from qformat.cli.text import counted, line, parse_size, say, shape, show, show_json, size, table
from qformat.errors import QFormatError
from qformat.text import growth

if TYPE_CHECKING:
    from qformat.convert.options import Options


class _InOrder(click.Command):
    """``--keep P`` is ``--set P=keep``: one list, so that the order on the command line decides."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        out: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--keep" and (pattern := next(rest, None)) is not None:
                out += ["--set", f"{pattern}=keep"]
            elif arg.startswith("--keep="):
                out += ["--set", f"{arg.removeprefix('--keep=')}=keep"]
            else:
                out.append(arg)
        return super().parse_args(ctx, out)


_EXAMPLE = """
\b
Examples:
  qformat convert ./Llama-3.2-1B llama-4bit.safetensors -s asym4
  qformat convert ./Llama-3.2-1B out.safetensors -s asym4:block=64 --keep '*.0.*' --dry-run
  qformat convert llama-4bit.safetensors ./llama-bf16 --to safetensors --dtype bf16
  qformat convert llama-f16.gguf llama-q4.gguf -s q4_k_m
"""


@click.command(cls=_InOrder, epilog=_EXAMPLE)
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option(
    "-s",
    "--scheme",
    metavar="SCHEME",
    help="Scheme with options, such as asym4:block=64 (see `qformat schemes`).",
)
@click.option(
    "-r",
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rules from a TOML file instead of a scheme.",
)
@click.option(
    "--set",
    "rules",
    multiple=True,
    metavar="'PATTERN=SCHEME'",
    help="Scheme for tensors whose name matches a glob; the first match wins.",
)
@click.option("--keep", multiple=True, metavar="PATTERN", help="Leave matching tensors as they are.")
@click.option(
    "--to",
    type=click.Choice(["qformat", "safetensors", "gguf"], case_sensitive=False),
    help="Container, plain numbers, or GGUF; by default GGUF if TARGET ends in .gguf, else a container.",
)
@click.option(
    "--pure", is_flag=True, help="GGUF: this one type for all matrices, instead of the mixture of that name."
)
@click.option(
    "--imatrix",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Importances, as llama-imatrix writes them, for schemes that heed them: q4_0 … q6_k, iq4_*, mse*.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "f16", "f32"], case_sensitive=False),
    help="Type of plain numbers; by default what each tensor was.",
)
@click.option(
    "--max-shard-size",
    metavar="SIZE",
    help="Split into files of at most this size (5GB): in a folder, of a GGUF NAME-00001-of-0000N.gguf.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Worker threads; by default one per core. The bytes do not depend on it.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace the target if it exists, once the new one is complete."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show the exact plan and write nothing.")
@click.option("--print-recipe", is_flag=True, help="Print the rules in force, as a file for --recipe.")
@click.option("--strict", is_flag=True, help="Make every warning an error.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no report.")
def convert(source: str, target: Path | None, **options: Any) -> None:
    """Convert a checkpoint: to a quantized container, to GGUF, or back to plain numbers.

    SOURCE is a Hugging Face folder, a safetensors or GGUF file, an index of shards, or a container.
    TARGET is a file ending in .safetensors or .gguf, or a folder to be made. Norms, biases and
    tiny tensors are kept and embeddings and output head get 8 bits, unless a recipe says otherwise
    (--print-recipe shows the rules). The target appears complete or not at all.
    """
    from qformat.convert.report import report
    from qformat.convert.run import run
    from qformat.convert.verbs import plan
    from qformat.schemes.cores import cores

    told = _told(options)
    to = told.format(target)
    if options["print_recipe"] and not (to == "gguf" and target is not None and told.scheme):
        show(told.combined().to_toml().rstrip())
        return
    if target is None:
        raise click.UsageError("Missing argument 'TARGET'.")
    _check(told, to)
    planned = plan(source, target, told)
    if options["print_recipe"]:  # a mixture chooses by what the model is
        show(planned.recipe.to_toml().rstrip())
        return
    for warning in planned.warnings:
        if options["strict"]:
            raise QFormatError(warning, hint="--strict makes this an error")
        say(f"warning: {warning}")
    if options["dry_run"]:
        _print(report(planned), options["as_json"])
        return
    with bar("converting", planned.source_bytes, quiet=options["quiet"]) as progress:
        result = run(
            planned, threads=options["threads"] or cores(), overwrite=options["overwrite"], progress=progress
        )
    made = report(planned, result)
    for warning in made.warnings[len(planned.warnings) :]:
        say(f"warning: {warning}")
    if not options["quiet"]:
        _print(made, options["as_json"])


def _told(given: dict[str, Any]) -> Options:
    from qformat.convert.options import Options
    from qformat.convert.recipe import parse_rule, read_recipe

    limit = given["max_shard_size"]
    return Options(
        scheme=given["scheme"],
        recipe=read_recipe(given["recipe_file"]) if given["recipe_file"] else None,
        rules=tuple(parse_rule(text) for text in given["rules"]),
        to=given["to"],
        dtype=given["dtype"],
        max_shard_size=parse_size(limit, "--max-shard-size") if limit else None,
        pure=given["pure"],
        imatrix=given["imatrix"],
    )


def _check(told: Options, to: str) -> None:
    """What the core would refuse too, in the words of the command line."""
    chosen = told.scheme is not None or told.recipe is not None or bool(told.rules)
    if to == "safetensors" and (chosen or told.imatrix):
        raise click.UsageError("--to safetensors writes plain numbers: it takes --dtype, not a scheme.")
    if to != "safetensors" and told.dtype:
        raise click.UsageError("--dtype goes with --to safetensors.")
    if told.pure and to != "gguf":
        raise click.UsageError("--pure goes with --to gguf.")
    if told.imatrix and not chosen:
        raise click.UsageError("--imatrix goes with a scheme or a recipe: such as -s q4_k_m.")
    if to == "qformat" and not chosen:
        raise click.UsageError(
            "Choose a scheme (-s asym4) or a recipe (-r FILE); `qformat schemes` lists them."
        )


def _print(report: Any, as_json: bool) -> None:
    if as_json:
        show_json(report.to_json())
        return
    done = report.seconds is not None
    headers = ["tensor", "shape", "from", "to", "bytes", "bpw", *(["rel. RMSE", "SNR dB"] if done else [])]
    rows = [_cells(row, done) for row in report.rows]
    show(table(rows, headers, right=(4, 5, 6, 7) if done else (4, 5)))
    show()
    for name, nbytes in report.files.items():
        show(f"{line(name)}  {counted(nbytes, 'byte')}")
    if report.importance is not None:
        show(
            f"{counted(report.importance['tensors'], 'tensor')} by the importances of "
            f"{line(report.importance['file'])}"
        )
    total = (
        f"{counted(len(report.rows), 'tensor')}, {counted(report.nbytes, 'byte')} ({size(report.nbytes)}), "
        f"{report.bpw:.3f} bits per weight, {growth(report.source_bytes, report.nbytes)}"
    )
    show(total + (f", {report.seconds:.1f} s" if done else " (dry run: nothing was written)"))


def _cells(row: Any, done: bool) -> list[str]:
    coding = f"{row.coding} (re-packed)" if row.repacked else row.coding
    cells = [row.name, shape(row.shape), row.source, coding, f"{row.nbytes:,}", f"{row.bpw:.3f}"]
    if done:
        cells += [f"{row.figures.rmse:.4f}", f"{row.figures.snr:.1f}"] if row.figures else ["", ""]
    return cells
