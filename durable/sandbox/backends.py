"""The backends of an engine's sandbox: JavaScript and WebAssembly in this process, Python in a confined worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from capabilities.sandbox.front import Backend
from capabilities.sandbox.routing import Name
from durable.sandbox.javascript import JavaScript
from durable.sandbox.python import Python
from durable.sandbox.shared_runtimes import Shared
from durable.sandbox.wasm import Wasm

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.sandbox.components import Components


def backends(engine: Engine, shared: Shared, components: Callable[[], Components]) -> dict[Name, Backend]:
    """All that an engine has."""
    return {"python": Python(engine), "javascript": JavaScript(shared), "wasm": Wasm(shared, components)}
