"""Programs with one step changed where the record had passed.

Not every change can be seen in a record. A change is made only at a site of which an operation was recorded, and these
are left out:
- a site inside a nested function that had ended: its result is recorded, it does not run again;
- what `asyncio.sleep` is given: that it waits is recorded, how long is the business of its timer;
- what a step's callable hides from the record (a closure, the arguments of a partial or of an object): only the name
  and the arguments that `ctx.run` was given are changed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .journal import Told
from .program import Block, Node, Program

_STEPS = ("step", "later", "key", "direct", "ask", "sleep")


@dataclass(frozen=True)
class Change:
    """A changed program, and what was changed."""

    program: Program
    words: str


def changed(program: Program, told: Told, chance: random.Random) -> Change | None:
    """The program with one change that its record must notice; None where nothing that was recorded can be changed."""
    passed = passed_sites(program, told)
    sites = [node for node in program.nodes() if node.kind in _STEPS and node.site in passed]
    if not sites:
        return None
    node = chance.choice(sites)
    kind, change = chance.choice(ways(node, chance))
    return Change(Program(_mapped(program.body, node.site, change)), f"site {node.site}: {kind}")


def passed_sites(program: Program, told: Told) -> set[int]:
    """Sites of operations that were recorded, and are made again on a replay. The run was killed while it was idle."""
    ended = {line["path"] for line in told.of("ended")}
    found: set[int] = set()
    for line in told.of("effect"):
        tag = line["tag"]
        site = re.search(r"/s(\d+)[^/]*$", tag)
        assert site is not None
        above = {tag[: slash.start()] for slash in re.finditer("/", tag)}
        if not above & ended:
            found.add(int(site[1]))
    return found | set(_waits(program.body, found))


def _waits(block: Block, passed: set[int]) -> Iterator[int]:
    """Sleeps and questions that come before a step of the same branch that was performed."""
    waits: list[int] = []
    for node in block:
        if node.site in passed:
            yield from waits
            waits.clear()
        if node.kind in ("sleep", "ask"):
            waits.append(node.site)
        for inner in node.blocks:
            yield from _waits(inner, passed)


def ways(node: Node, chance: random.Random) -> list[tuple[str, Callable[[Node], Block]]]:
    """What can be done to a node."""
    step = Node("step", 900, {"form": "plain", "argument": 1, "fails": False, "caught": False, "name": None})
    found: list[tuple[str, Callable[[Node], Block]]] = [
        ("a step is added before it", lambda node: (step, node)),
        ("the branch returns before it", lambda node: (Node("return", 901), node)),
    ]
    if node.kind in ("step", "later"):
        found.append(("another name", lambda node: (node.with_values(name="other"),)))
        if node["form"] != "lambda":
            found.append(("another argument", lambda node: (node.with_values(argument="other"),)))
    if node.kind == "ask":
        found.append(("another question", lambda node: (node.with_values(question="changed?"),)))
    if node.kind == "sleep" and node["durable"]:
        found.append(("another duration", lambda node: (node.with_values(seconds=2.999),)))
    if node.kind in ("key", "direct"):
        found.append(("another argument", lambda node: (node.with_values(argument=99),)))
    if node.kind in ("key", "later"):
        found.append(("left out", lambda node: node.blocks[0]))
    else:
        found.append(("left out", lambda node: (Node("left_out", node.site),)))
    return found


def _mapped(block: Block, site: int, change: Callable[[Node], Block]) -> Block:
    found: list[Node] = []
    for node in block:
        inner = replace(node, blocks=tuple(_mapped(each, site, change) for each in node.blocks))
        found += change(inner) if node.site == site else [inner]
    return tuple(found)
