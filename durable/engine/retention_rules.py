"""The rules of how long executions are kept once they have ended, as engines declared them (specs/store.md, G8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from durable.core.definition_id import one_of_each

if TYPE_CHECKING:
    from durable.core.durations import EndedState
    from durable.store.port import StoreFace


class RetentionRule(NamedTuple):
    """How long executions of a function that ended in a state are kept, in seconds; None for ever.

    function: `*` for those that say nothing themselves.
    """

    function: str
    state: EndedState
    seconds: float | None


async def list_retention_rules(store: StoreFace) -> list[RetentionRule]:
    """All rules of a store, by function."""
    return read_rules((await store.request("retention.list", {})).data["rules"])


def read_rules(rules: Mapping[str, Mapping[EndedState, int | None]]) -> list[RetentionRule]:
    """The rules that the store has: milliseconds by function and state."""
    return [
        RetentionRule(function, state, None if age_ms is None else age_ms / 1000)
        for function in one_of_each(rules)
        for state, age_ms in rules[function].items()
    ]
