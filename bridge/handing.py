"""What a worker is given in a memory file: told of its size first, sent once it awaits a descriptor (W6b, W6d)."""

from __future__ import annotations

from typing import Protocol

from bridge.messages import Lend, Lent, Message, Restore, Restored
from checkpoint.memory_file import MemoryFile

PROBLEM = "it waits for a descriptor that it was not to get"


class Ask(Protocol):
    """Sends a message and waits for its reply. Raises Busy, WorkerDied."""

    async def __call__[R: Message](
        self, message: Message, reply: type[R], *, attached: MemoryFile | None = None
    ) -> R: ...


async def restored(ask: Ask, asked: Restore, payload: bytes | MemoryFile) -> Restored:
    """The worker's reply, with a `problem` where it changed nothing."""
    if not isinstance(payload, MemoryFile):
        reply = await ask(asked.model_copy(update={"data": payload}), Restored)
    else:
        asked = asked.model_copy(update={"memory": payload.size})
        reply = await ask(asked, Restored)
        if reply.ready:
            reply = await ask(asked.model_copy(update={"attached": True}), Restored, attached=payload)
    return reply.model_copy(update={"problem": PROBLEM}) if reply.ready else reply


async def lent(ask: Ask, name: str, file: MemoryFile) -> str:
    """Let the worker read the file under this name; "", or what the problem is."""
    asked = Lend(name=name, memory=file.size)
    reply = await ask(asked, Lent)
    if reply.ready:
        reply = await ask(asked.model_copy(update={"attached": True}), Lent, attached=file)
    return PROBLEM if reply.ready else reply.problem
