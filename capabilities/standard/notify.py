"""Telling people something without waiting for an answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability, Kind
from capabilities.permissions.levels import Resource
from durable.core.limits import PROMPT_CHARS_MAX

TITLE_CHARS_MAX = 200


class Notify(Capability):
    """Tell people something: whoever watches this engine's events gets it."""

    name = "notify"
    kind: Kind = "send_only"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("message", "send", call.arguments["title"] or ""),)

    async def call(
        self,
        call: CapabilityCall,
        message: Annotated[str, Field(min_length=1, max_length=PROMPT_CHARS_MAX)],
        *,
        title: Annotated[str, Field(max_length=TITLE_CHARS_MAX)] | None = None,
    ) -> None:
        """Send a message of at most 1,000 characters; nobody answers it."""
        call.host.notified(call, message, title)
