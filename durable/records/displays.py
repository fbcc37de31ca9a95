"""The displays of an execution, as pieces of its output (specs/namespace.md, D1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec

DISPLAY = "display"
"""The stream of bundles."""


@dataclass(frozen=True, slots=True)
class Display:
    """An object that code showed with `display(obj)`: `data` by MIME type (bytes as base64), and `metadata`."""

    data: dict[str, Any]
    metadata: dict[str, Any]

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
        metadata = found.get("metadata")
        return cls(found["data"], metadata if isinstance(metadata, dict) else {})


def shown(stream: str, text: str) -> str:
    """A piece of output as a terminal shows it: of a display its plain text."""
    if stream != DISPLAY:
        return text
    display = Display.read(text)
    return "" if display is None else f"{display.text}\n"
