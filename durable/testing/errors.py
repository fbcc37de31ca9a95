"""The errors of the test kit: each is a failed expectation of a test, and says what was found instead."""

from __future__ import annotations

from durable.core.errors import DurableError


class Stuck(DurableError, AssertionError):
    """Nothing can go on: what is waited for waits for somebody, and no timer is left that could change that."""

    code = "STUCK"


class ScriptFailed(DurableError, AssertionError):
    """An answer, a signal or a value that the script gives was refused; its cause says why."""

    code = "SCRIPT_FAILED"


class ReplayDiffers(DurableError, AssertionError):
    """Today's code does not do what the history says, though it makes the same operations."""

    code = "REPLAY_DIFFERS"


class CrashDiffers(DurableError, AssertionError):
    """A function that was killed and went on did something else than undisturbed. `crashes` has each point."""

    code = "CRASH_DIFFERS"

    def __init__(self, message: str, crashes: list[str]) -> None:
        super().__init__(message)
        self.crashes = crashes
