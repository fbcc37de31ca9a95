"""The manifest of a session that was made without one: it allows nothing.

It says by itself what decides whether code may ask, so that an engine whose sessions have no manifest imports no
pydantic; its tables are those of `Manifest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from capabilities.permissions.levels import CALLS_PER_S, NETWORK_BYTES_PER_S

if TYPE_CHECKING:
    from capabilities.permissions.levels import Level, Trust
    from capabilities.permissions.manifest import Manifest


class UsualQuotas:
    """A `QuotasTable` in which nothing is said."""

    calls_per_s = CALLS_PER_S
    network_bytes_per_s = NETWORK_BYTES_PER_S


class EmptyManifest:
    """A `Manifest` in which nothing is said."""

    level: Level = "sandbox"
    trust: Trust = "strict"
    grant: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    quotas = UsualQuotas
    rates: Mapping[str, float] = MappingProxyType({})

    def __getattr__(self, name: str) -> Any:
        return getattr(_whole(), name)


@cache
def _whole() -> Manifest:
    from capabilities.permissions.manifest import Manifest

    return Manifest.model_construct()


EMPTY: Any = EmptyManifest()
"""Shared: it never changes."""
