"""The memory that sessions' workers are lent to read: JavaScript, compiled by the engine (specs/javascript.md, E9)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from checkpoint.blobs.memory_file import MemoryFile
from durable.core.errors import DurableError

if TYPE_CHECKING:
    from capabilities.sandbox.wasm.runtime import Runtime

NAME = "javascript"
"""Under which a worker finds it."""


class Images:
    """The compiled image of JavaScript, once for each kind of worker: made when the first of its sessions begins."""

    def __init__(self) -> None:
        self._made: dict[bool, MemoryFile | None] = {}
        self._lock = asyncio.Lock()

    async def get(self, *, sparing: bool) -> MemoryFile | None:
        """The image; None where it cannot be made here: workers say why. sparing: for limited address space."""
        async with self._lock:
            if sparing not in self._made:
                try:
                    self._made[sparing] = await asyncio.to_thread(_made, sparing)
                except (DurableError, ImportError, OSError):
                    return None
            return self._made[sparing]


def _made(sparing: bool) -> MemoryFile:
    from capabilities.sandbox.javascript.warm_image import forget, packed

    runtime = _runtime(sparing)
    try:
        data = packed(runtime)
    finally:
        forget(runtime)
        runtime.close()
    file = MemoryFile(len(data))
    file.write(data, 0)
    file.seal()
    return file


def _runtime(sparing: bool) -> Runtime:
    """A runtime with the user's cache, unless that cannot be used."""
    from capabilities.sandbox.errors import CacheUnsafe
    from capabilities.sandbox.wasm.compiled_cache import users_cache
    from capabilities.sandbox.wasm.runtime import Runtime

    try:
        return Runtime(users_cache(), metered=False, sparing=sparing)
    except (CacheUnsafe, OSError, RuntimeError):
        return Runtime(metered=False, sparing=sparing)
