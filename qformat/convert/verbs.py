"""The conversion verb of the public API: open, plan, run, report."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from qformat.blocks.layout import rows_cols
from qformat.convert.gguf_plan import gguf_recipe, make_gguf_plan
from qformat.convert.importance import under_names_of
from qformat.convert.options import Options
from qformat.convert.plan import GGUF, SAFETENSORS, Plan, make_plan
from qformat.convert.recipe import Recipe, Rule
from qformat.convert.report import Report, report
from qformat.convert.run import run
from qformat.errors import FormatError
from qformat.files.checkpoint import Checkpoint
from qformat.files.imatrix import Imatrix, read_imatrix
from qformat.files.opening import open_checkpoint
from qformat.schemes.cores import cores
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.gguf_view import gguf_view
from qformat.views.hf_view import hf_view


def plan(
    source: str | os.PathLike[str], target: str | os.PathLike[str], options: Options | None = None
) -> Plan:
    """What `convert` would do, exact to the byte, without doing it."""
    told = options or Options()
    place = Path(target)
    to = told.format(place)
    told.check(to)
    opened = open_checkpoint(source)
    imatrix = None if told.imatrix is None else read_imatrix(Path(told.imatrix))
    if to == GGUF:
        with _naming(opened):
            return _told(_gguf_plan(opened, place, told, imatrix), told.rules)
    if to == SAFETENSORS and place.suffix != ".safetensors":
        with _naming(opened, "a target ending in .safetensors has the tensors alone, under their own names"):
            values = gguf_keyvalues(opened)
            opened = opened if values is None else hf_view(opened, values)
    if imatrix is not None:
        with _naming(opened):
            imatrix = under_names_of(opened, imatrix)
    made = make_plan(
        opened,
        place,
        told.combined(),
        to=to,
        dtype=told.cast(),
        max_shard_size=told.max_shard_size,
        imatrix=imatrix,
    )
    return _told(made, told.rules)


def _told(plan: Plan, rules: Iterable[Rule]) -> Plan:
    """A plan that also warns of what was probably not meant."""
    infos = [t.info for t in plan.tensors]
    short = [t for t in plan.tensors if t.scheme and rows_cols(t.info.shape)[1] < t.scheme.block_size]
    notes = [
        f"no tensor is named {rule.match!r}: this rule decides about nothing"
        for rule in rules
        if not any(rule.covers(info) for info in infos)
    ]
    notes += [
        f"{t.info.name} takes {t.nbytes:,} bytes in {t.coding} instead of {t.info.nbytes:,}: "
        f"its rows of {rows_cols(t.info.shape)[1]} are short"
        for t in short
        if t.nbytes > t.info.nbytes
    ]
    return dataclasses.replace(plan, warnings=(*plan.warnings, *notes, *_left_behind(plan)))


def _left_behind(plan: Plan) -> Iterator[str]:
    """Parts of an earlier split GGUF of the same name, in another number."""
    if plan.to != GGUF or len(plan.files) < 2 or plan.folder:
        return
    parts = plan.target.parent.glob(f"{glob.escape(plan.target.stem)}-*-of-*.gguf")
    old = sorted(p.name for p in parts if p.name not in plan.paths)
    if old:
        yield f"{old[0]} (of {len(old)}) is of an earlier conversion and stays beside the new parts"


@contextlib.contextmanager
def _naming(source: Checkpoint, hint: str | None = None) -> Iterator[None]:
    """Errors about a model's description name its file, and what else can be done with it."""
    try:
        yield
    except FormatError as error:
        error.file = error.file or str(source.path)
        error.hint = error.hint or hint
        raise


def _gguf_plan(source: Checkpoint, target: Path, told: Options, imatrix: Imatrix | None) -> Plan:
    view = gguf_view(source)
    if told.scheme is None:
        chosen, file_type = told.combined(), None
    else:
        chosen, file_type = gguf_recipe(
            view, told.scheme, told.rules, pure=told.pure, importance=imatrix is not None
        )
    return make_gguf_plan(
        view, target, chosen, file_type, max_shard_size=told.max_shard_size, imatrix=imatrix
    )


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    scheme: str | None = None,
    *,
    recipe: Recipe | None = None,
    rules: Iterable[Rule] = (),
    to: str | None = None,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    pure: bool = False,
    imatrix: str | os.PathLike[str] | None = None,
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
        ``"qformat"``, ``"safetensors"`` (plain numbers, in their own dtype or in ``dtype``: ``"bf16"``,
        ``"f16"``, ``"f32"``) or ``"gguf"``; by default GGUF if the target ends in ``.gguf``, else a
        container. A GGUF, or a container made of one, becomes the same GGUF again without a scheme.
    pure
        For GGUF: the one type for all matrices, where a scheme's name stands for a mixture.
    max_shard_size
        Bytes; splits the output over several files in a folder, or a GGUF that is named
        ``NAME.gguf`` into ``NAME-00001-of-0000N.gguf`` and so on beside each other.
    imatrix
        A file of importances as llama.cpp's tools write it, for the schemes that heed them.
    progress
        Called with source bytes done since the last call and a tensor's name.

    Raises
    ------
    QFormatError
        For anything wrong with the source, the recipe or the target; nothing is then written.
    """
    told = Options(scheme, recipe, tuple(rules), to, dtype, max_shard_size, pure, imatrix)
    planned = plan(source, target, told)
    result = run(planned, threads=threads or cores(), overwrite=overwrite, progress=progress)
    return report(planned, result)
