"""Variables of the engine's environment, those that are granted."""

from __future__ import annotations

import os

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource


class Environment(Capability):
    """Variables of the host's environment."""

    name = "env"
    pure = True

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("environment", "read", call.arguments["name"]),)

    async def call(self, call: CapabilityCall, name: str, default: str | None = None) -> str | None:  # noqa: ARG002
        """The variable's value, or `default` when it is not set."""
        return os.environ.get(name, default)
