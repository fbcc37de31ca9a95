"""The steps of an execution as a tree: what each child, cell and call has under it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from durable.records.view_models import StepView

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class StepNode:
    """A step with what is under it, oldest first."""

    step: StepView
    children: list[StepNode] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Its fields, with `children` beside them."""
        return {**asdict(self.step), "children": [child.to_json() for child in self.children]}


def tree(steps: Sequence[StepView]) -> list[StepNode]:
    """The steps that an execution has itself, each with its own under it. They know their parents."""
    nodes = {step.id: StepNode(step) for step in steps}
    roots: list[StepNode] = []
    for step in sorted(steps, key=lambda step: (step.created_at, _natural(step.id))):
        above = nodes.get(step.parent)
        (roots if above is None else above.children).append(nodes[step.id])
    return roots


def drawn(nodes: Sequence[StepNode], depth: int | None = None, lead: str = "") -> Iterator[tuple[str, StepNode, int]]:
    """Every node in the order of the tree, with the branches that lead to it; at most `depth` levels.

    Of the lowest level also how many are under each, and not shown.
    """
    below = None if depth is None else depth - 1
    for n, node in enumerate(nodes):
        is_last = n == len(nodes) - 1
        yield lead + ("└ " if is_last else "├ "), node, count(node) if below == 0 else 0
        if below != 0:
            yield from drawn(node.children, below, lead + ("  " if is_last else "│ "))


def drawn_with_depth(nodes: Sequence[StepNode], depth: int = 0) -> list[tuple[int, StepView]]:
    """Every step in the order of the tree, with the number of levels above it."""
    found: list[tuple[int, StepView]] = []
    left = [(depth, node) for node in reversed(nodes)]
    while left:
        level, node = left.pop()
        found.append((level, node.step))
        left += [(level + 1, child) for child in reversed(node.children)]
    return found


def count(node: StepNode) -> int:
    """How many there are under it."""
    return sum(1 + count(child) for child in node.children)


def _natural(text: str) -> list[tuple[int, str]]:
    """The order of ids as people count: `.10` after `.9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(text)]
