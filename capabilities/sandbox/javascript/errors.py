"""How a script fails by itself. What stops it from outside is in `capabilities.sandbox.errors`."""

from __future__ import annotations

from capabilities.sandbox.errors import SandboxError


class ScriptError(SandboxError):
    """The script threw, and nothing caught it. `name`, `message` and `stack` are the script's own words."""

    code = "SCRIPT_ERROR"
    about = ("name", "message", "stack")

    def __init__(self, name: str, message: str, stack: str = "") -> None:
        super().__init__(f"{name}: {message}" if name else message)
        self.name = name
        self.message = message
        self.stack = stack.rstrip()
        self.foreign_traceback = f"{self}\n{self.stack}".rstrip() + "\n"
        if self.stack:
            self.add_note(self.stack)


class ScriptSyntaxError(ScriptError):
    """The script is no JavaScript: nothing of it ran."""

    code = "SCRIPT_SYNTAX"


class StateLost(SandboxError):
    """The instance was ended by force, its state with it: `reset` it, or restore a snapshot."""

    code = "SCRIPT_STATE_LOST"


class InvalidSnapshot(SandboxError):
    """Bytes that are no snapshot, of another version, or not as they were written."""

    code = "SCRIPT_SNAPSHOT"


class InstanceBusy(SandboxError):
    """An instance runs one script at a time."""

    code = "SCRIPT_BUSY"
