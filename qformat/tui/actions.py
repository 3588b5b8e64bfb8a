"""Everything that a key can do, once: keys, footer, command palette and help are made of this table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """What one key does on one kind of screen; ``id`` is ``scope.verb``.

    ``footer`` says whether the footer shows it where there is room.
    """

    id: str
    keys: str
    title: str
    help: str
    footer: bool = True

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.id.partition(".")[2]


ACTIONS: tuple[Action, ...] = (
    Action("app.help", "question_mark,f1", "Help", "What this screen shows, and all keys that work here."),
    Action("app.jump", "semicolon,ctrl+o", "Jump", "Label every part of the screen; type a label to go there.", footer=False),
    Action("app.palette", "colon,ctrl+p", "Commands", "Find a command by its name."),
    Action("app.theme", "f2", "Theme", "The next theme; one of them does without colour.", footer=False),
    Action("app.open", "o", "Open", "Open another file or folder."),
    Action("app.back", "escape", "Back", "Leave what is open on top, or cancel what is running."),
    Action("app.quit", "q,ctrl+q", "Quit", "Leave the program."),
    # --- what is in a file
    Action("browser.inside", "enter", "Inside", "Statistics, histograms, map and values of the chosen tensor."),
    Action("browser.filter", "slash", "Filter", "Show tensors whose name has these letters in this order, or matches a glob."),
    Action("browser.info", "i", "Info", "Show or hide the summary and the metadata beside the tensors."),
    Action("browser.compare", "c", "Compare", "Compare with the original, or another file, tensor by tensor."),
    Action("browser.convert", "v", "Convert", "Quantize this model, or write it in another format."),
    Action("browser.evaluate", "e", "Evaluate", "Perplexity, and how far this model is from its original."),
    Action("browser.chat", "h", "Chat", "Talk with this model, and with its original beside it."),
    Action("browser.sort", "s", "Sort", "Sort by the next column; a click on a column's head sorts by it."),
    Action("browser.reverse", "r", "Reverse", "Turn the order round.", footer=False),
    Action("browser.group", "g", "Group", "Join the tensors that each layer has into one row, and take them apart again."),
    Action("browser.tokens", "t", "Tokens", "Search the tokenizer's vocabulary."),
    Action("browser.original", "u", "Original", "Choose the file that this one was made of, to see errors against it.", footer=False),
    Action("browser.lab", "l", "Lab", "Try out the ideas of quantization on the values of the chosen tensor."),
    # --- converting
    Action("convert.run", "ctrl+r", "Convert", "Write the target as planned."),
    Action("convert.format", "ctrl+t", "Format", "Container, GGUF, plain numbers: the next one."),
    Action("convert.next", "tab", "Next field", "Go round target, scheme, rules and the plan."),
    # --- measuring
    Action("evaluate.run", "ctrl+r", "Measure", "Read the text with this model, and with the original if one is named."),
    Action("evaluate.layers", "ctrl+l", "By layer", "Also say what each layer adds to the divergence, which takes longer."),
    Action("evaluate.view", "ctrl+t", "View", "Curve and figures, layers, or the text tinted by each token's divergence."),
    Action("evaluate.next", "tab", "Next field", "Go round text, original and windows."),
    # --- talking
    Action("chat.say", "enter", "Say", "Say what is typed; the answer comes token by token, and Escape stops it."),
    Action("chat.beside", "ctrl+g", "Beside", "Choose a model to answer beside this one, or do without it."),
    Action("chat.settings", "ctrl+s", "Settings", "Show or hide the settings: temperature and what else chooses tokens."),
    Action("chat.new", "ctrl+n", "New", "Begin a new conversation; what was said is forgotten."),
    Action("chat.template", "ctrl+t", "Template", "Use the chat template, or go on from the text as it is; begins anew."),
    Action("chat.earlier", "up", "Said before", "What you said before, to say it again.", footer=False),
    Action("chat.later", "down", "Said after", "What you said after that.", footer=False),
    Action("chat.page_up", "pageup", "Scroll up", "Back in the conversation.", footer=False),
    Action("chat.page_down", "pagedown", "Scroll down", "On in the conversation.", footer=False),
    Action("chat.next", "tab", "Next field", "Go round the conversation, the line to type in and the settings.", footer=False),
    # --- one tensor
    Action("tensor.view", "tab", "Next view", "Histograms, map, values: one after the other."),
    Action("tensor.histograms", "h", "Histograms", "How values, codes and scales are spread."),
    Action("tensor.map", "m", "Map", "One cell for each block: its scale, its peak, or its error."),
    Action("tensor.values", "x", "Values", "The exact values, row by row."),
    Action("tensor.log", "g", "Log scale", "Counts on a logarithmic scale, and back.", footer=False),
    Action("tensor.shade", "e", "Scale/error", "What the map's cells show: scale, peak, error against the original."),
    Action("tensor.block", "enter", "Block", "Take the block under the cursor apart, down to its bits."),
    Action("tensor.next", "n", "Next tensor", "The tensor after this one in the list.", footer=False),
    Action("tensor.previous", "p", "Previous tensor", "The tensor before this one in the list.", footer=False),
    Action("tensor.lab", "l", "Lab", "Take the values under the cursor to the lab."),
    # --- one block
    Action("block.right", "right", "Next block", "The next block of the row."),
    Action("block.left", "left", "Previous", "The previous block."),
    Action("block.down", "down", "Row below", "The block below, in the next row."),
    Action("block.up", "up", "Row above", "The block above, in the row before."),
    Action("block.later", "full_stop", "Next byte", "Move the byte cursor on."),
    Action("block.earlier", "comma", "Byte before", "Move the byte cursor back."),
    Action("block.page_down", "pagedown", "Elements on", "Elements further down.", footer=False),
    Action("block.page_up", "pageup", "Elements back", "Elements further up.", footer=False),
    Action("block.first", "home", "First element", "The block's first elements.", footer=False),
    Action("block.last", "end", "Last element", "The block's last elements.", footer=False),
    Action("block.fields_on", "right_square_bracket", "Fields on", "Fields, and how they decode, further down.", footer=False),
    Action("block.fields_back", "left_square_bracket", "Fields back", "Fields further up.", footer=False),
    Action("block.lab", "l", "Lab", "Take this block's values to the lab."),
    # --- two files
    Action("compare.block", "enter", "Worst block", "Take the block apart that differs most in this tensor, beside the original's."),
    # --- lab
    Action("lab.view", "tab", "Next view", "Bits, mapping, sizes: one after the other."),
    Action("lab.bits", "b", "Bits", "A number's bits: left and right choose one, space flips it, up and down are the neighbours."),
    Action("lab.mapping", "m", "Mapping", "A block on a line: left and right choose a value, up and down drag it, as the mouse does."),
    Action("lab.sizes", "z", "Sizes", "Bits per weight and error of this tensor at each size of block."),
    Action("lab.format", "f", "Format", "The next format: f32, f16, bf16, e4m3, e5m2, e2m1, int8."),
    Action("lab.number", "e", "Enter", "Enter a number, or its bits as 0x3dcd."),
    Action("lab.scheme", "s", "Scheme", "Measure sizes with the next scheme."),
    Action("lab.reset", "r", "Reset", "Every value as it was in the file."),
    Action("lab.next", "n", "Next block", "The block after this one."),
    Action("lab.previous", "p", "Previous", "The block before this one.", footer=False),
)  # fmt: skip


def of_scope(scope: str) -> Iterator[Action]:
    """The actions of one kind of screen."""
    return (a for a in ACTIONS if a.scope == scope)


def bindings(scope: str) -> list[BindingType]:
    """The same as Textual's bindings; their ids are what a keymap names."""
    found: list[BindingType] = [
        Binding(a.keys, f"do('{a.id}')", a.title, show=a.footer, tooltip=a.help, id=a.id)
        for a in of_scope(scope)
    ]
    # One key leaves the program from pop-ups, too, which hide all bindings below but those of priority.
    return (
        [*found, Binding("ctrl+q", "do('app.quit')", show=False, priority=True)] if scope == "app" else found
    )


# What pop-ups have of the program's keys.
POPUP: tuple[BindingType, ...] = (Binding("f2", "app.do('app.theme')", show=False, id="app.theme"),)


KEY_NAMES = {
    "question_mark": "?", "semicolon": ";", "colon": ":", "slash": "/", "escape": "esc", "full_stop": ".",
    "comma": ",", "right": "→", "left": "←", "down": "↓", "up": "↑", "enter": "⏎", "space": "space",
    "plus": "+", "minus": "-", "left_square_bracket": "[", "right_square_bracket": "]",
}  # fmt: skip


def key_name(keys: str) -> str:
    """The first of some keys, as it is printed.

    >>> key_name("question_mark,f1"), key_name("ctrl+s")
    ('?', '^s')
    """
    first = keys.partition(",")[0]
    return KEY_NAMES.get(first, first.replace("ctrl+", "^"))
