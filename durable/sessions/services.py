"""The services of an engine for its sessions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.launch.pool import WorkerPool
from capabilities.call import EngineServices
from capabilities.capability import Capabilities
from durable.core.observers import Observers
from durable.functions.step import StepThreads
from durable.sessions.calls.audit import Audit
from durable.sessions.calls.call_settlement import CallsUnderWay
from durable.sessions.checkpoints.retention import Retention
from durable.sessions.ownership.javascript_image import Images
from durable.store.changes import Changes
from durable.store.port import StoreFace


class House(msgspec.Struct):
    """The engine's parts that its sessions use, and what they do for each other."""

    store: StoreFace
    engine_id: str
    capabilities: Capabilities
    threads: StepThreads
    observer: Observers
    parked_s: float
    launcher: WorkerPool
    keeping: Retention
    audit: Audit
    performing: CallsUnderWay = msgspec.field(default_factory=CallsUnderWay)
    epochs: dict[str, int] = {}
    """The epoch under which each cell that runs here is run, by promise id."""
    forget: Callable[[str], None] = lambda _name: None
    """Drops what the engine has in memory of a session."""
    rested: Callable[[], None] = lambda: None
    """Told when a worker came to rest: others may wait for its place."""
    begun: Changes = msgspec.field(default_factory=Changes)
    """Told when the pass of a cell begins: whoever follows it reads on in this process."""
    images: Images = msgspec.field(default_factory=Images)
    """The compiled images that sessions of JavaScript are lent."""
    lent: EngineServices | None = None
    """The services of the engine for capabilities; set once, as it opens."""
