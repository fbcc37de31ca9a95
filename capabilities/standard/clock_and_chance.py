"""Time and chance, recorded: a replay sees what the first run saw."""

from __future__ import annotations

import random
import time
import uuid
from typing import Annotated

from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability, Kind

SLEEP_S_MAX = 100 * 365 * 86_400.0


class Now(Capability):
    """Seconds since the Unix epoch, as recorded the first time."""

    name = "now"
    pure = True

    async def call(self, call: CapabilityCall) -> float:  # noqa: ARG002
        """Seconds since the Unix epoch, as recorded the first time."""
        return time.time()


class Random(Capability):
    """A random float in [0, 1), as recorded the first time."""

    name = "random"
    pure = True

    async def call(self, call: CapabilityCall) -> float:  # noqa: ARG002
        """A random float in [0, 1), as recorded the first time."""
        return random.SystemRandom().random()


class Uuid(Capability):
    """A random UUID, as recorded the first time."""

    name = "uuid"
    pure = True

    async def call(self, call: CapabilityCall) -> str:  # noqa: ARG002
        """A random UUID, as recorded the first time."""
        return str(uuid.uuid4())


class Sleep(Capability):
    """Wait durably: neither a process nor a place is held, and a crash does not begin it anew."""

    name = "sleep"
    kind: Kind = "scheduled"
    performs = False

    async def call(self, call: CapabilityCall, seconds: Annotated[float, Field(ge=0, le=SLEEP_S_MAX)]) -> None:
        """Wait so many seconds. Holds nothing meanwhile, and ends when it would have ended whatever crashes."""
