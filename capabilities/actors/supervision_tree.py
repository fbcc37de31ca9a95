"""The tree of supervisors and their children: asked from outside, never changed by it (A64)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from capabilities.actors.errors import NotSupervised, TreeIntegrityViolation


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One of the tree: its state's word, and how often it was restarted."""

    id: str
    parent: str | None = None
    state: str = "running"
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class TreeStatistics:
    total: int
    running: int
    failed: int
    restarts: int


class SupervisionTree:
    """Nodes by id, each with at most one parent, without a circle."""

    def __init__(self, nodes: Iterable[TreeNode] = ()) -> None:
        self._nodes: dict[str, TreeNode] = {}
        self._children: dict[str | None, dict[str, None]] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: TreeNode) -> None:
        """Enter a node, or its new state. TreeIntegrityViolation for a circle, or a second parent."""
        known = self._nodes.get(node.id)
        if known is not None and known.parent != node.parent:
            raise TreeIntegrityViolation(
                f"{node.id} is a child of {known.parent}, and cannot be one of {node.parent} too"
            )
        above, seen = node.parent, [node.id]
        while above is not None:
            seen.append(above)
            if above == node.id:
                raise TreeIntegrityViolation(f"supervisors in a circle: {' under '.join(seen)}")
            parent = self._nodes.get(above)
            above = None if parent is None else parent.parent
        self._nodes[node.id] = node
        self._children.setdefault(node.parent, {})[node.id] = None

    def remove(self, id: str) -> None:
        """Take a node and all under it away. NotSupervised."""
        for each in [id, *self.descendants(id)]:
            node = self._nodes.pop(each)
            self._children.get(node.parent, {}).pop(each, None)
            self._children.pop(each, None)

    def node(self, id: str) -> TreeNode:
        """The node; NotSupervised."""
        found = self._nodes.get(id)
        if found is None:
            raise NotSupervised(id)
        return found

    def parent(self, id: str) -> str | None:
        """Its supervisor, or None for a root. NotSupervised."""
        return self.node(id).parent

    def children(self, id: str) -> list[str]:
        """Its children in start order. NotSupervised."""
        self.node(id)
        return list(self._children.get(id, ()))

    def ancestors(self, id: str) -> list[str]:
        """Its supervisor, that one's, and so on. NotSupervised."""
        found, above = [], self.node(id).parent
        while above is not None:
            found.append(above)
            above = self._nodes[above].parent if above in self._nodes else None
        return found

    def descendants(self, id: str) -> list[str]:
        """All under it, the upper ones first. NotSupervised."""
        self.node(id)
        found: list[str] = []
        left = deque(self._children.get(id, ()))
        while left:
            each = left.popleft()
            found.append(each)
            left.extend(self._children.get(each, ()))
        return found

    def roots(self) -> list[str]:
        """Nodes without a supervisor that is in the tree."""
        return [id for id, node in self._nodes.items() if node.parent is None or node.parent not in self._nodes]

    def statistics(self) -> TreeStatistics:
        nodes = self._nodes.values()
        return TreeStatistics(
            len(nodes),
            sum(node.state == "running" for node in nodes),
            sum(node.state == "failed" for node in nodes),
            sum(node.restarts for node in nodes),
        )

    def lines(self) -> list[str]:
        """The tree to be printed, a line a node."""
        found: list[str] = []
        for root in self.roots():
            self._print(root, "", "", found)
        return found

    def _print(self, id: str, first: str, rest: str, found: list[str]) -> None:
        node = self._nodes[id]
        restarts = f", {node.restarts} restart{'s' * (node.restarts != 1)}" if node.restarts else ""
        found.append(f"{first}{id} ({node.state}{restarts})")
        inner = list(self._children.get(id, ()))
        for each in inner:
            last = each == inner[-1]
            self._print(each, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), found)
