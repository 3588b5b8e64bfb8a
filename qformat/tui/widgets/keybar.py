"""The footer: the keys that work here; greyed ones say why not when they are pressed."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual import events
from textual.keys import key_to_character
from textual.widget import Widget

from qformat.tui.actions import Action, key_name, of_scope
from qformat.tui.page import Page


class KeyBar(Widget):
    """One line of keys, as many as there is room for; a click does what the key does."""

    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $panel; color: $foreground; }
    KeyBar > .keybar--key { color: $accent; text-style: bold; }
    KeyBar > .keybar--off { color: $foreground 40%; }
    """
    COMPONENT_CLASSES = {"keybar--key", "keybar--off"}

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, int, Action]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.refresh())

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        for start, end, action in self._places:
            if start <= event.x < end:
                page = self.screen
                assert isinstance(page, Page)
                (page.qapp if action.scope == "app" else page).action_do(action.id)

    def render(self) -> Text:
        """The keys of the screen, then those of the program; what does not fit is in the help."""
        page = self.screen
        assert isinstance(page, Page)
        bound = self._bound()
        key = Style(color=self.get_component_rich_style("keybar--key").color, bold=True)
        off = Style(color=self.get_component_rich_style("keybar--off").color)
        text = Text(" ", no_wrap=True, end="")
        self._places = []
        for action, usable in self._chosen(bound):
            start = text.cell_len
            text.append(bound.get(action.id, key_name(action.keys)), key if usable else off)
            text.append(f" {action.title}  ", Style() if usable else off)
            self._places.append((start, text.cell_len, action))
        return text

    def _chosen(self, bound: dict[str, str]) -> list[tuple[Action, bool]]:
        """What there is room for, help last: what a screen is for goes first, what does not work now last."""
        page = self.screen
        assert isinstance(page, Page)
        first, *general = (a for a in of_scope("app") if a.footer)
        actions = [a for a in (*of_scope(page.scope), *general, first) if a.footer and not self._typed(a)]
        usable = {a.id: a.scope == "app" or page.why_not(a.verb) is None for a in actions}
        room, chosen = self.size.width - 1, set()
        main = next(of_scope(page.scope), first)
        for action in sorted(actions, key=lambda a: (a is not first, a is not main, not usable[a.id])):
            if self._width(action, bound) <= room:
                chosen.add(action.id)
                room -= self._width(action, bound)
        return [(a, usable[a.id]) for a in actions if a.id in chosen]

    def _typed(self, action: Action) -> bool:
        """Whether a field has the focus that takes all of an action's keys as text."""
        field = self.screen.focused
        keys = action.keys.split(",")
        return field is not None and all(field.check_consume_key(k, key_to_character(k)) for k in keys)

    def _bound(self) -> dict[str, str]:
        """The keys in force by action, for a keymap may have changed them."""
        found: dict[str, str] = {}
        active = [a.binding for a in self.screen.active_bindings.values()]
        for binding in sorted(active, key=lambda b: not b.id):
            name = binding.action.removeprefix("do('").removesuffix("')")
            found.setdefault(name, key_name(binding.key))
        return found

    def _width(self, action: Action, bound: dict[str, str]) -> int:
        return len(bound.get(action.id, key_name(action.keys))) + len(action.title) + 3
