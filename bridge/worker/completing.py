"""What could stand for a name that is being typed, from the live namespace (specs/session.md, E9)."""

from __future__ import annotations

import builtins
import keyword
import re

from bridge.worker.gate import Gate
from bridge.worker.namespace import Namespace
from durable.core.limits import COMPLETIONS_MAX

_DOTTED = re.compile(r"((?:\w+\.)*)(\w*)\Z")


def completions(text: str, namespace: Namespace, gate: Gate) -> list[str]:
    """Sorted names that begin with the dotted name `text`. Those with an underscore only where one was typed.

    Attributes are looked up without running properties; a `__getattr__` or `__dir__` of the user's does run, and SIGINT
    ends it. Nothing is raised: what fails has no completions.
    """
    found = _DOTTED.match(text)
    if found is None:
        return []
    path, start = found[1].split(".")[:-1], found[2]
    gate.begin()
    try:
        gate.enter()
        names = _attributes(path, namespace) if path else {*namespace, *keyword.kwlist, *dir(builtins)}
        fitting = {n for n in names if isinstance(n, str) and n.startswith(start)}
    except BaseException:
        return []
    finally:
        gate.leave()
        gate.end()
    shown = sorted(n for n in fitting if start.startswith("_") or not n.startswith("_"))
    return [found[1] + name for name in shown[:COMPLETIONS_MAX]]


def _attributes(path: list[str], namespace: Namespace) -> set[str]:
    value: object = namespace[path[0]] if path[0] in namespace else getattr(builtins, path[0])
    for name in path[1:]:
        if isinstance(getattr(type(value), name, None), property):
            return set()
        value = getattr(value, name)
    return set(dir(value))
