"""The test kit: engines with fake time, scripted people, replayed histories, crashes everywhere (docs/testing.md).

Importing it imports nothing of the engine; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.testing.crashes import CrashReport as CrashReport
    from durable.testing.crashes import crash_everywhere as crash_everywhere
    from durable.testing.engine_under_test import EngineUnderTest as EngineUnderTest
    from durable.testing.engine_under_test import open as open
    from durable.testing.errors import (
        CrashDiffers as CrashDiffers,
    )
    from durable.testing.errors import (
        ReplayDiffers as ReplayDiffers,
    )
    from durable.testing.errors import (
        ScriptFailed as ScriptFailed,
    )
    from durable.testing.errors import (
        Stuck as Stuck,
    )
    from durable.testing.fake_time import FakeTime as FakeTime
    from durable.testing.recorded_history import Replayed as Replayed
    from durable.testing.recorded_history import record as record
    from durable.testing.recorded_history import replay as replay
    from durable.testing.scripted_replies import InTurn as InTurn
    from durable.testing.scripted_replies import Reply as Reply
    from durable.testing.scripted_replies import Unanswered as Unanswered
    from durable.testing.store_under_test import StoreFault as StoreFault
    from durable.testing.store_under_test import StoreFaults as StoreFaults
    from durable.testing.store_under_test import When as When

_HOME = {
    "crashes": ("CrashReport", "crash_everywhere"),
    "engine_under_test": ("EngineUnderTest", "open"),
    "errors": ("CrashDiffers", "ReplayDiffers", "ScriptFailed", "Stuck"),
    "fake_time": ("FakeTime",),
    "recorded_history": ("Replayed", "record", "replay"),
    "scripted_replies": ("InTurn", "Reply", "Unanswered"),
    "store_under_test": ("StoreFault", "StoreFaults", "When"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - one list: checkers have the imports above


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'durable.testing' has no attribute {name!r}")
    return getattr(import_module(f"durable.testing.{where}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
