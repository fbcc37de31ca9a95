"""Short texts of a namespace's values, for people who compare two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.worker.values import bounded_repr

SHORT_CHARS = 80


def short_reprs(namespace: Mapping[str, object], names: Iterable[str]) -> dict[str, str]:
    """Of the names that are there, each value's repr on one line, cut."""
    return {name: _short(namespace[name]) for name in names if name in namespace}


def _short(value: object) -> str:
    text = " ".join(("None" if value is None else bounded_repr(value)).split()).encode(errors="replace").decode()
    return text if len(text) <= SHORT_CHARS else f"{text[: SHORT_CHARS - 1]}…"
