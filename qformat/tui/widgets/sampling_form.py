"""The settings of a conversation: what chooses the next token, and the system message."""

from __future__ import annotations

from typing import Any, Literal

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from qformat.errors import QFormatError

# As `qformat chat` has them: name, what it is, kind, what it is if nothing is typed.
FIELDS: tuple[tuple[str, str, Literal["number", "integer"], str], ...] = (
    ("temperature", "temperature, 0 is greedy", "number", "0"),
    ("top_k", "only the k likeliest, 0: all", "integer", "0"),
    ("top_p", "likeliest up to this share", "number", "1"),
    ("min_p", "share of the likeliest", "number", "0"),
    ("seed", "seed of the sampling", "integer", "0"),
    ("max_new", "tokens of an answer", "integer", "512"),
)


class SamplingForm(VerticalScroll, can_focus=False):
    """Fields with their defaults, to be typed over."""

    def compose(self) -> ComposeResult:
        for name, what, kind, default in FIELDS:
            yield Static(what, classes="label")
            yield Input(default, type=kind, id=name, select_on_focus=True)
        yield Static("system message", classes="label")
        yield Input("", id="system", placeholder="of a new conversation")

    def values(self) -> dict[str, Any]:
        """The settings, checked.

        Raises
        ------
        QFormatError
            If one is no number, or outside its range.
        """
        from qformat.model.sampling import Sampling

        found: dict[str, Any] = {name: self._value(name, kind, default) for name, _, kind, default in FIELDS}
        Sampling(*(found[name] for name in ("temperature", "top_k", "top_p", "min_p")))
        if found["seed"] < 0 or found["max_new"] < 1:
            raise QFormatError("an answer has at least one token, and a seed is not negative")
        return found

    def _value(self, name: str, kind: str, default: str) -> float:
        typed = self.query_one(f"#{name}", Input).value.strip() or default
        try:
            return int(typed) if kind == "integer" else float(typed)
        except ValueError:
            raise QFormatError(f"{name} is a number, not {typed!r}") from None

    def words(self) -> str:
        """What chooses tokens, in short."""
        found = self.values()
        if found["temperature"] == 0:
            return "greedy"
        kept = [
            f"{name.replace('_', '-')} {found[name]:g}"
            for name, _, _, default in FIELDS[:4]
            if found[name] != float(default)
        ]
        return f"{', '.join(kept)}, seed {found['seed']}"
