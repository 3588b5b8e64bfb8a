"""The conversion verb of the public API: open, plan, run, report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from qformat.convert.gguf_plan import gguf_recipe, make_gguf_plan
from qformat.convert.plan import GGUF, QFORMAT, SAFETENSORS, Plan, make_plan
from qformat.convert.recipe import Recipe, Rule, combine
from qformat.convert.report import Report, report
from qformat.convert.run import run
from qformat.errors import FormatError, RecipeError
from qformat.files.checkpoint import Checkpoint
from qformat.files.opening import open_checkpoint
from qformat.schemes.cores import cores
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.gguf_view import gguf_view
from qformat.views.hf_view import hf_view


def format_of(target: Path | None) -> str:
    """What a target is to be if nobody says: GGUF by its name, else a container."""
    return GGUF if target is not None and target.suffix == ".gguf" else QFORMAT


def plan(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    scheme: str | None = None,
    *,
    recipe: Recipe | None = None,
    rules: Iterable[Rule] = (),
    to: str = QFORMAT,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    pure: bool = False,
) -> Plan:
    """What `convert` would do, exact to the byte, without doing it."""
    opened = open_checkpoint(source)
    if to == GGUF:
        with _naming(opened):
            return _gguf_plan(
                opened, Path(target), scheme, recipe, rules, pure=pure, max_shard_size=max_shard_size
            )
    if to == SAFETENSORS and Path(target).suffix != ".safetensors":
        with _naming(opened, "a target ending in .safetensors has the tensors alone, under their own names"):
            values = gguf_keyvalues(opened)
            opened = opened if values is None else hf_view(opened, values)
    combined = combine(scheme, recipe, rules)
    return make_plan(opened, Path(target), combined, to=to, dtype=dtype, max_shard_size=max_shard_size)


@contextlib.contextmanager
def _naming(source: Checkpoint, hint: str | None = None) -> Iterator[None]:
    """Errors about a model's description name its file, and what else can be done with it."""
    try:
        yield
    except FormatError as error:
        error.file = error.file or str(source.path)
        error.hint = error.hint or hint
        raise


def _gguf_plan(
    source: Checkpoint,
    target: Path,
    scheme: str | None,
    recipe: Recipe | None,
    rules: Iterable[Rule],
    *,
    pure: bool,
    max_shard_size: int | None,
) -> Plan:
    view = gguf_view(source)
    if scheme is None:
        return make_gguf_plan(view, target, combine(None, recipe, rules), max_shard_size=max_shard_size)
    if recipe is not None:
        raise RecipeError("give a scheme or a recipe, not both")
    chosen, file_type = gguf_recipe(view, scheme, rules, pure=pure)
    return make_gguf_plan(view, target, chosen, file_type, max_shard_size=max_shard_size)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    scheme: str | None = None,
    *,
    recipe: Recipe | None = None,
    rules: Iterable[Rule] = (),
    to: str = QFORMAT,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    pure: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Convert a checkpoint to a container, or back to plain safetensors.

    Parameters
    ----------
    source, target
        Any checkpoint; a file ending in ``.safetensors``, or a folder to be made.
    scheme
        Such as ``"asym4:block=64"``, applied with the default policy (`default_recipe`).
    recipe, rules
        A recipe instead of the policy; rules that come before either. The first match wins.
    to
        ``"qformat"``, ``"safetensors"`` (plain numbers, in their own dtype or in ``dtype``) or
        ``"gguf"`` (from a GGUF, or a container made of one; without a scheme, the same bytes again).
    pure
        For GGUF: the one type for all matrices, where a scheme's name stands for a mixture.
    max_shard_size
        Bytes; splits the output over several files in a folder, or a GGUF that is named
        ``NAME.gguf`` into ``NAME-00001-of-0000N.gguf`` and so on beside each other.
    progress
        Called with source bytes done since the last call and a tensor's name.

    Raises
    ------
    QFormatError
        For anything wrong with the source, the recipe or the target; nothing is then written.
    """
    planned = plan(
        source,
        target,
        scheme,
        recipe=recipe,
        rules=rules,
        to=to,
        dtype=dtype,
        max_shard_size=max_shard_size,
        pure=pure,
    )
    result = run(planned, threads=threads or cores(), overwrite=overwrite, progress=progress)
    return report(planned, result)
