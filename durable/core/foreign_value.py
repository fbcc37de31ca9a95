"""The value of code in another language, for a worker whose own language is Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shown:
    """A value, and the text by which its own language shows it; "" where that shows nothing."""

    value: Any
    text: str
