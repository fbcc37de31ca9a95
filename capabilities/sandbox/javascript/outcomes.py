"""The outcomes of a script each time it runs: an end, or host calls that it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ScriptHostCall:
    """A call of an asynchronous host function that the script waits for."""

    id: str
    function: str
    args: list[Any]


@dataclass(frozen=True, slots=True)
class ScriptDone:
    """The script ended with this value."""

    value: Any
    shown: str = ""
    """The text by which JavaScript shows the value, where that was asked for."""


@dataclass(frozen=True, slots=True)
class ScriptWaits:
    """The script waits for host calls; these are new."""

    calls: Sequence[ScriptHostCall]


type Step = ScriptDone | ScriptWaits
