"""A checkpoint in a few lines; headers only."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from dataclasses import dataclass

from qformat.files.checkpoint import Checkpoint
from qformat.text import counted, size

FORMATS = {"qformat": "qformat container", "gguf": "GGUF"}


@dataclass(frozen=True)
class Group:
    """The tensors of one scheme with its options, or of one dtype."""

    coding: str
    tensors: int
    elements: int
    nbytes: int

    @property
    def bpw(self) -> float | None:
        """Bits per weight; None where there are no elements."""
        return self.nbytes * 8 / self.elements if self.elements else None

    def cells(self) -> tuple[str, ...]:
        """The group as people read it."""
        bpw = "-" if self.bpw is None else f"{self.bpw:.3f}"
        return self.coding, f"{self.tensors:,}", f"{self.elements:,}", f"{self.nbytes:,}", bpw


GROUP_HEADERS = ("scheme or type", "tensors", "elements", "bytes", "bpw")


@dataclass(frozen=True)
class Summary:
    """What a checkpoint is; ``groups`` are the largest first."""

    path: str
    format: str
    files: Mapping[str, int]  # name -> bytes
    tensors: int
    parameters: int
    nbytes: int
    groups: tuple[Group, ...]
    attached: tuple[str, ...]
    made_by: str | None
    content: str | None

    @property
    def bpw(self) -> float | None:
        """Bits per weight over all tensors."""
        return self.nbytes * 8 / self.parameters if self.parameters else None

    def facts(self) -> list[tuple[str, str]]:
        """Names and values as people read them."""
        disk = sum(self.files.values())
        files = f"{len(self.files)} files, " if len(self.files) > 1 else ""
        found = [
            ("file", self.path),
            ("format", FORMATS.get(self.format, self.format)),
            ("size", f"{files}{counted(disk, 'byte')} ({size(disk)})"),
            ("tensors", f"{self.tensors:,}"),
            ("parameters", f"{self.parameters:,}"),
            ("bits per weight", "-" if self.bpw is None else f"{self.bpw:.3f}"),
        ]
        if self.attached:
            found.append(("attached", ", ".join(self.attached)))
        if self.made_by is not None:
            found.append(("made by", self.made_by))
        if self.content is not None:
            found.append(("content digest", self.content))
        return found


def summarize(checkpoint: Checkpoint) -> Summary:
    """Summarize a checkpoint from its headers."""
    groups = _groups(checkpoint)
    is_container = checkpoint.format == "qformat"
    return Summary(
        path=str(checkpoint.path),
        format=checkpoint.format,
        files={f.name: f.stat().st_size for f in checkpoint.files},
        tensors=len(checkpoint.tensors),
        parameters=sum(g.elements for g in groups),
        nbytes=sum(g.nbytes for g in groups),
        groups=groups,
        attached=tuple(checkpoint.attachments),
        made_by=_made_by(checkpoint) if is_container else None,
        content=checkpoint.metadata["qformat.content"] if is_container else None,
    )


def _groups(checkpoint: Checkpoint) -> tuple[Group, ...]:
    found: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for info in checkpoint.tensors.values():
        group = found[info.scheme.spec() if info.scheme else info.coding]
        group[0] += 1
        group[1] += info.elements
        group[2] += info.nbytes
    groups = (Group(coding, *counts) for coding, counts in found.items())
    return tuple(sorted(groups, key=lambda g: -g.nbytes))


def _made_by(checkpoint: Checkpoint) -> str:
    value = json.loads(checkpoint.metadata["qformat.provenance"])
    tools = value.get("tools", {}) if isinstance(value, dict) else {}
    return ", ".join(f"{k} {v}" for k, v in tools.items()) if isinstance(tools, dict) else ""
