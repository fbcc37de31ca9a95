"""Which of the values that come from outside change a namespace (specs/namespace.md, the table of strategies)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

type Strategy = Literal["overwrite", "preserve", "smart"]


def assigned(existing: Mapping[str, object], updates: Mapping[str, object], strategy: Strategy) -> dict[str, object]:
    """Those of `updates` that the strategy sets."""
    if strategy == "overwrite":
        return dict(updates)
    if strategy == "preserve":
        return {name: value for name, value in updates.items() if name not in existing}
    if strategy == "smart":
        return {name: value for name, value in updates.items() if name not in existing or better(existing[name], value)}
    raise ValueError(f"no merge strategy {strategy!r}; there are overwrite, preserve, smart")


def better(old: object, new: object) -> bool:
    """Whether `smart` puts `new` in the place of `old`."""
    if new is None:
        return False
    if isinstance(new, list | tuple | dict | set | str | bytes) and not new and not _empty(old):
        return False
    return not same(old, new)


def same(old: object, new: object) -> bool:
    """Equal and of one type. What cannot be compared, such as an array, is not the same."""
    if old is new:
        return True
    try:
        return type(old) is type(new) and bool(old == new)
    except Exception:
        return False


def _empty(value: object) -> bool:
    try:
        return value is None or len(value) == 0  # type: ignore[arg-type]
    except TypeError:
        return False
