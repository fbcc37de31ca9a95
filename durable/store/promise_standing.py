"""How a promise stands, as far as can be told without asking the writer."""

from __future__ import annotations

from typing import NamedTuple


class Standing(NamedTuple):
    """How a promise stands: it surely exists and waits to be settled; something may hold it up."""

    pending: bool
    may_be_held: bool


UNKNOWN = Standing(pending=False, may_be_held=True)
