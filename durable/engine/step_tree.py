"""The steps of an execution as a tree: what each child, cell and call has under it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import msgspec

from durable.core.frozen_record import FrozenRecord


class PlacedStep(Protocol):
    """A step, by what places it in the tree: a StepView, or its outline."""

    @property
    def id(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def created_at(self) -> Any: ...


class StepNode[S: PlacedStep](FrozenRecord, frozen=True):
    """A step with what is under it, oldest first."""

    step: S
    children: list[StepNode[S]] = msgspec.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Its fields, with `children` beside them."""
        step: Any = self.step
        return {**asdict(step), "children": [child.to_json() for child in self.children]}


def tree[S: PlacedStep](steps: Sequence[S]) -> list[StepNode[S]]:
    """The steps that an execution has itself, each with its own under it. They know their parents."""
    nodes = {step.id: StepNode(step) for step in steps}
    roots: list[StepNode[S]] = []
    for step in sorted(steps, key=lambda step: (step.created_at, _natural(step.id))):
        above = nodes.get(step.parent)
        (roots if above is None else above.children).append(nodes[step.id])
    return roots


def drawn[S: PlacedStep](
    nodes: Sequence[StepNode[S]], depth: int | None = None, lead: str = ""
) -> Iterator[tuple[str, StepNode[S], int]]:
    """Every node in the order of the tree, with the branches that lead to it; at most `depth` levels.

    Of the lowest level also how many are under each, and not shown.
    """
    below = None if depth is None else depth - 1
    for n, node in enumerate(nodes):
        is_last = n == len(nodes) - 1
        yield lead + ("└ " if is_last else "├ "), node, count(node) if below == 0 else 0
        if below != 0:
            yield from drawn(node.children, below, lead + ("  " if is_last else "│ "))


def drawn_with_depth[S: PlacedStep](nodes: Sequence[StepNode[S]], depth: int = 0) -> list[tuple[int, S]]:
    """Every step in the order of the tree, with the number of levels above it."""
    found: list[tuple[int, S]] = []
    left = [(depth, node) for node in reversed(nodes)]
    while left:
        level, node = left.pop()
        found.append((level, node.step))
        left += [(level + 1, child) for child in reversed(node.children)]
    return found


def count(node: StepNode[Any]) -> int:
    """How many there are under it."""
    return sum(1 + count(child) for child in node.children)


def _natural(text: str) -> tuple[str, int]:
    """The order of ids as people count: `.10` after `.9`."""
    front = text.rstrip("0123456789")
    return front, int(text[len(front) :] or -1)
