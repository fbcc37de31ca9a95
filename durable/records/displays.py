"""The displays of an execution, as pieces of its output (specs/namespace.md, D1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec

DISPLAY = "display"
"""The stream of bundles."""


@dataclass(frozen=True, slots=True)
class Display:
    """An object that code showed with `display(obj)`: `data` by MIME type (bytes as base64), and `metadata`.

    `action` is "display", or "result" for a cell's value; "update" takes the place of what was shown under this
    `display_id`, "clear" clears what was shown before, "comm" is a message of a widget, "payload" a wish to a
    notebook's front end, in `comm` too (specs/namespace.md, D4).
    """

    data: dict[str, Any]
    metadata: dict[str, Any]
    action: str = field(default="display", compare=False, repr=False)
    display_id: str = field(default="", compare=False, repr=False)
    comm: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def text(self) -> str:
        """Its plain text."""
        return str(self.data.get("text/plain", ""))

    @classmethod
    def read(cls, piece: str) -> Self | None:
        """From a piece of output, which is untrusted; None for what is not a bundle, or not a whole one."""
        try:
            found = msgspec.json.decode(piece)
        except (msgspec.DecodeError, RecursionError):
            return None
        if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
            return None
        metadata, comm = found.get("metadata"), found.get("comm")
        return cls(
            found["data"],
            metadata if isinstance(metadata, dict) else {},
            str(found.get("action") or "display"),
            str(found.get("display_id") or ""),
            comm if isinstance(comm, dict) else {},
        )

    @property
    def is_shown(self) -> bool:
        """Whether it shows something, and is no message about others."""
        return self.action not in ("clear", "comm", "payload")


def shown(stream: str, text: str) -> str:
    """A piece of output as a terminal shows it: of a display its plain text."""
    if stream != DISPLAY:
        return text
    display = Display.read(text)
    return f"{display.text}\n" if display is not None and display.is_shown else ""


def applied(displays: Iterable[Display]) -> tuple[Display, ...]:
    """The displays as they are seen at the end: updates in the place of what they update, without what was cleared."""
    seen: list[Display] = []
    for display in displays:
        if display.action == "clear":
            seen.clear()
        elif display.action == "update":
            seen = [
                replace(display, action=one.action) if one.display_id == display.display_id else one for one in seen
            ]
        elif display.is_shown:
            seen.append(display)
    return tuple(seen)
