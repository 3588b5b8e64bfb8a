"""The verb that changes a file's metadata: in place where it fits, else in a copy that takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.errors import TargetError
from qformat.files import undo
from qformat.files.checkpoint import Checkpoint
from qformat.files.container import Container
from qformat.files.edits import Change, Edit, NewHead, split_key
from qformat.files.opening import open_checkpoint
from qformat.files.plain import PlainCheckpoint
from qformat.files.writing import staged

CHUNK = 16 << 20


@dataclass(frozen=True)
class Edited:
    """What an edit did, or would do."""

    path: Path
    format: str
    changes: tuple[Change, ...]
    in_place: bool
    nbytes_before: int
    nbytes: int
    written: bool
    recovered: bool  # an edit that was cut short before was undone


def edit(
    path: str | os.PathLike[str],
    values: Mapping[str, Any] | None = None,
    *,
    delete: Iterable[str] = (),
    as_text: bool = False,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, str], None] | None = None,
) -> Edited:
    """Change metadata: a GGUF's key-values, or the strings of a safetensors file or a container.

    An edit that an earlier run was killed in is undone first.

    Parameters
    ----------
    values
        What each key is to be. A GGUF's key keeps its type; a new one gets one that fits the value,
        or the one that ``"KEY:type"`` names: ``uint32``, ``float32``, ``string[]``, ….
    delete
        Keys that are to go.
    as_text
        Values are text, as typed by a person: a new key's ``"5"`` is a number.
    output
        Write an edited copy instead; it replaces an existing file only with ``overwrite``.

    Raises
    ------
    TargetError
        For an edit that would break the file or that cannot be written. The file is then as it was.
    """
    where = Path(path)
    recovered = _recover(where)
    checkpoint = open_checkpoint(where)
    heads = _new_heads(checkpoint, _edits(checkpoint, values or {}, delete, as_text=as_text))
    if len(heads) > 1:
        return _edit_set(checkpoint, heads, output, dry_run=dry_run, recovered=recovered)
    (head,) = heads
    target = Path(output) if output is not None else head.path.resolve()
    if output is not None and target.exists() and target.samefile(head.path):
        raise TargetError("it is the input", file=target, hint="leave the output away to edit it in place")
    before = head.path.stat().st_size
    in_place = output is None and head.fits
    wanted = bool(head.changes) or output is not None
    if wanted and not dry_run:
        if in_place:
            _patch(target, head)
        else:
            _rewrite(head, target, overwrite=overwrite or output is None, progress=progress)
    return Edited(
        target,
        checkpoint.format,
        head.changes,
        in_place,
        nbytes_before=before,
        nbytes=before - head.replaces + len(head.data),
        written=wanted and not dry_run,
        recovered=recovered,
    )


def _edit_set(
    checkpoint: Checkpoint,
    heads: list[NewHead],
    output: str | os.PathLike[str] | None,
    *,
    dry_run: bool,
    recovered: bool,
) -> Edited:
    """Change all files of a sharded container, in place: all of them or none."""
    folder = heads[0].path.parent
    if output is not None:
        raise TargetError(
            "a set of files is edited in place", file=folder, hint="copy the folder and edit the copy"
        )
    tight = next((h for h in heads if not h.fits), None)
    if tight is not None:
        raise TargetError(
            f"the header has no room left: it would need {len(tight.data) - tight.replaces:,} bytes more",
            file=tight.path,
            hint="make one file of the set, whose header may grow, and edit that: "
            "qformat convert FOLDER one.safetensors --keep '*'",
        )
    changes = heads[0].changes
    if changes and not dry_run:
        undo.patch_set(folder, [part for head in heads if (part := _part(head)) is not None])
    size = sum(head.path.stat().st_size for head in heads)
    return Edited(
        folder,
        checkpoint.format,
        changes,
        in_place=True,
        nbytes_before=size,
        nbytes=size,
        written=bool(changes) and not dry_run,
        recovered=recovered,
    )


def _recover(where: Path) -> bool:
    """Undo edits that were cut short, of a file or of any in a folder."""
    folder = where if where.is_dir() else where.resolve().parent
    paths = [p for p in where.iterdir() if p.is_file()] if where.is_dir() else [where]
    together = undo.recover_set(folder)
    return any([undo.recover(path.resolve()) for path in paths]) or together  # noqa: C419  every one of them


def _edits(
    checkpoint: Checkpoint, values: Mapping[str, Any], delete: Iterable[str], *, as_text: bool
) -> list[Edit]:
    edits = []
    for key, value in values.items():
        name, kind = split_key(key, checkpoint.metadata)
        edits.append(Edit(name, value, kind, as_text))
    edits += [Edit(key, delete=True) for key in delete]
    seen: set[str] = set()
    for one in edits:
        if one.key in seen:
            raise TargetError(f"key {one.key!r} is given twice")
        seen.add(one.key)
    return edits


def _new_heads(checkpoint: Checkpoint, edits: list[Edit]) -> list[NewHead]:
    from qformat.files.gguf.checkpoint import GGUFCheckpoint

    if isinstance(checkpoint, GGUFCheckpoint):
        from qformat.files.gguf import editing

        return [editing.edited(checkpoint, edits)]
    from qformat.files import metadata_editing

    assert isinstance(checkpoint, Container | PlainCheckpoint)
    return metadata_editing.edited(checkpoint, edits)


def _patch(path: Path, head: NewHead) -> None:
    """Write what of the head is new."""
    if (part := _part(head)) is not None:
        undo.patch(path, part.offset, part.data)


def _part(head: NewHead) -> undo.Part | None:
    """What of a head is new: from the first byte that differs to the last."""
    import numpy as np

    with head.path.open("rb") as file:
        old = np.frombuffer(file.read(head.replaces), np.uint8)
    new = np.frombuffer(head.data, np.uint8)
    differs = np.flatnonzero(old != new)
    if not differs.size:
        return None
    first, last = int(differs[0]), int(differs[-1])
    return undo.Part(head.path.name, first, head.data[first : last + 1])


def _rewrite(
    head: NewHead, target: Path, *, overwrite: bool, progress: Callable[[int, str], None] | None
) -> None:
    source = head.path
    size = source.stat().st_size
    free = shutil.disk_usage(target.parent).free if target.parent.is_dir() else size
    need = size - head.replaces + len(head.data)
    if free < need:
        raise TargetError(f"{need:,} bytes are needed, {free:,} are free on this disk", file=target)
    with staged(target, folder=False, overwrite=overwrite) as stage:
        with source.open("rb") as old, stage.open("xb") as new:
            new.write(head.data)
            old.seek(head.replaces)
            while piece := old.read(CHUNK):
                new.write(piece)
                if progress:
                    progress(len(piece), source.name)
            new.flush()
            os.fsync(new.fileno())
        shutil.copymode(source, stage)
