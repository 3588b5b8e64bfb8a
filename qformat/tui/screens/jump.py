"""Jump mode: a letter on each part of the screen that takes the focus."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label

LETTERS = "asdfghjklqwertyuiop"


class Jump(ModalScreen[None]):
    """Labels over the parts; a label's letter goes there, anything else leaves."""

    def __init__(self, places: list[tuple[Widget, int, int]]) -> None:
        super().__init__()
        self._places = dict(zip(LETTERS, places, strict=False))

    @classmethod
    def over(cls, screen: Screen[object]) -> Jump:
        """For the parts of a screen as they lie now."""
        parts = [w for w in screen.focus_chain if w.region.area]
        return cls([(w, w.region.x, w.region.y) for w in parts])

    def compose(self) -> ComposeResult:
        for letter, (_, x, y) in self._places.items():
            label = Label(f" {letter} ", markup=False)
            label.styles.position = "absolute"
            label.styles.offset = (x, y)
            yield label

    def on_key(self, event: events.Key) -> None:
        """Go, or leave."""
        event.stop()
        self.dismiss(None)
        place = self._places.get(event.key)
        if place is not None:
            place[0].focus()
