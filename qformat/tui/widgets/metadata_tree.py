"""The metadata as a tree: keys by their first word, lists opened a stretch at a time."""

from __future__ import annotations

from collections import Counter

from rich.text import Text
from textual import on
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from qformat.errors import QFormatError
from qformat.inspect.metadata import Metadata
from qformat.text import line

STRETCH = 200
SHOWN = 160


class MetadataTree(Tree[tuple[str, int]]):
    """Nodes carry (key, how many items are shown); -1 marks the row that shows more."""

    class Asked(Message):
        """A value is wanted in full."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(Text("metadata"), id=id)
        self.show_root = False
        self.guide_depth = 2
        self.metadata: Metadata | None = None

    def show(self, metadata: Metadata) -> None:
        """Show other metadata."""
        self.metadata = metadata
        self.clear()
        groups = Counter(key.partition(".")[0] for key, _ in metadata.entries)
        nodes: dict[str, TreeNode[tuple[str, int]]] = {}
        for key, text in metadata.entries:
            word, _, rest = key.partition(".")
            parent, name = self.root, key
            if groups[word] > 1 and rest:
                if word not in nodes:
                    nodes[word] = self.root.add(Text(line(word), "bold"), expand=groups[word] <= 40)
                parent, name = nodes[word], rest
            label = Text(line(name)).append(f"  {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}", "dim")
            if metadata.count(key):
                parent.add(label, (key, 0))
            else:
                parent.add_leaf(label, (key, 0))
        if not metadata.entries:
            self.root.add_leaf(Text("none", "dim italic"))

    @on(Tree.NodeExpanded)
    def _expanded(self, event: Tree.NodeExpanded[tuple[str, int]]) -> None:
        event.stop()
        node = event.node
        if node.data is not None and node.data[0] and not node.children:
            self._more(node)

    @on(Tree.NodeSelected)
    def _selected(self, event: Tree.NodeSelected[tuple[str, int]]) -> None:
        event.stop()
        node = event.node
        if node.data is None:
            return
        key, shown = node.data
        if shown == -1 and node.parent is not None:
            parent = node.parent
            node.remove()
            self._more(parent)
        elif key and not node.allow_expand:
            self.post_message(self.Asked(key))

    def _more(self, node: TreeNode[tuple[str, int]]) -> None:
        assert self.metadata is not None
        assert node.data is not None
        key, shown = node.data
        try:
            items = self.metadata.items(key, shown, shown + STRETCH)
        except QFormatError as error:
            node.add_leaf(Text(line(error.what), "italic"))
            return
        for i, item in enumerate(items, shown):
            node.add_leaf(Text(f"{i:>6} ", "dim").append(item[:SHOWN]))
        shown += len(items)
        node.data = (key, shown)
        left = self.metadata.count(key) - shown
        if left > 0:
            node.add_leaf(Text(f"⏎ {left:,} more", "italic"), (key, -1))
