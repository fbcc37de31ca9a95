"""Needs of a test of isolation; on the machine that runs CI, lacking one is a failure."""

from __future__ import annotations

import os
from functools import cache

import pytest

from bridge.confine.probe import Ability, probe


@cache
def _abilities() -> dict[str, Ability]:
    return {one.name: one for one in probe()}


def need(what: str, *, can: bool | None = None) -> None:
    """Skip the test, or fail it where CI=true, unless the machine can (as probed, where it is not given)."""
    lacks = ""
    if can is None:
        found = _abilities()[what]
        can, lacks = found.can, found.lacks
    if can:
        return
    reason = f"this machine lacks {lacks or what}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; the machine that runs CI must have it")
    pytest.skip(reason)
