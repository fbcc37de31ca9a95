"""The picture of the layers in specs/architecture.md, made from the imports: `python -m tests.tidy.picture`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.tidy.sources import imported, modules
from tests.unit.test_layers import LAYERS, within


def group_of(name: str) -> str:
    """The entry of `LAYERS` that holds a module."""
    return max((each for layer in LAYERS for each in layer if within(name, {each})), key=len)


def edges() -> set[tuple[str, str]]:
    """Which groups import which when they run, without those that follow from others and without the root package."""
    direct: dict[str, set[str]] = {entry: set() for layer in LAYERS for entry in layer}
    for name in modules():
        direct[group_of(name)] |= {group_of(module) for module in imported(name, typing=False)}
    for group, below in direct.items():
        below -= {group, "durable"}
    del direct["durable"]

    def reach(group: str, seen: set[str]) -> set[str]:
        for each in direct[group] - seen:
            seen.add(each)
            reach(each, seen)
        return seen

    return {
        (group, each)
        for group, below in direct.items()
        for each in below
        if not any(each in reach(other, {group}) - {group} for other in below - {each})
    }


def mermaid() -> Iterator[str]:
    """The lines of a Mermaid graph, from the surfaces down."""
    yield "graph TD"
    for group, below in sorted(edges()):
        yield f"  {group.replace('.', '_')}[{group}] --> {below.replace('.', '_')}[{below}]"


if __name__ == "__main__":
    print("\n".join(mermaid()))
