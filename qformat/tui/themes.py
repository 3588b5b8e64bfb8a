"""Themes, and the styles of what has a colour of its own: schemes, fields, levels."""

from __future__ import annotations

import functools

from rich.color import Color
from rich.style import Style
from textual.theme import Theme

MONO = "mono"

DARK = Theme(
    "qformat-dark", primary="#5fafd7", secondary="#87afaf", accent="#d7af5f", warning="#d7875f",
    error="#d75f5f", success="#87af5f", background="#15181c", surface="#1b1f24", panel="#262b32",
    foreground="#d8dce2", dark=True,
)  # fmt: skip
LIGHT = Theme(
    "qformat-light", primary="#005f87", secondary="#3a6b6b", accent="#875f00", warning="#af5f00",
    error="#af0000", success="#3f6f00", background="#fbfaf7", surface="#f3f1ec", panel="#e4e1d9",
    foreground="#22262a", dark=False,
)  # fmt: skip
PLAIN = Theme(
    MONO, primary="#ffffff", secondary="#d0d0d0", accent="#ffffff", warning="#ffffff", error="#ffffff",
    success="#ffffff", background="#000000", surface="#000000", panel="#303030", foreground="#e4e4e4",
    dark=True, variables={"block-cursor-background": "#ffffff", "block-cursor-foreground": "#000000"},
)  # fmt: skip
THEMES = (DARK, LIGHT, PLAIN)
NAMES = (*(t.name for t in THEMES), "nord", "gruvbox", "catppuccin-mocha", "solarized-light", "ansi-dark")

_ON_DARK = ("#5fafd7", "#d7af5f", "#87c07f", "#d787af", "#af87d7", "#5fc0af", "#d7875f", "#a8b0bb")
_ON_LIGHT = ("#005f9e", "#8a5f00", "#2f7000", "#a8307a", "#6a3fb0", "#007068", "#b04a10", "#5a6068")
_WITHOUT = (
    "bold",
    "underline",
    "italic",
    "reverse",
    "bold underline",
    "bold italic",
    "italic underline",
    "dim",
)


@functools.lru_cache(256)
def kind_style(theme: str, dark: bool, number: int) -> Style:
    """The style of the ``number``-th of some kinds, told apart by colour or, in `MONO`, without."""
    if theme == MONO:
        return Style.parse(_WITHOUT[number % len(_WITHOUT)])
    colours = _ON_DARK if dark else _ON_LIGHT
    return Style(color=colours[number % len(colours)])


# Dark blue over teal to yellow: even steps of lightness, readable by the colour-blind.
_HEAT = (
    "#2a2f6b", "#2f4a85", "#2f6690", "#2f8291", "#3b9d8c", "#5bb67f", "#8ccb6c", "#c2da5f", "#f2e55c",
)  # fmt: skip
SHADES = " ·░░▒▒▓▓█"


@functools.lru_cache(64)
def heat_style(theme: str, level: int) -> tuple[str, Style]:
    """Character and style of a level from 0 to 8."""
    if theme == MONO:
        return SHADES[level], Style()
    return " ", Style(bgcolor=_HEAT[level])


def heat_ink(level: int) -> Color:
    """A colour that can be read on a level's."""
    return Color.parse("#ffffff" if level < 5 else "#000000")


LEVELS = 9
