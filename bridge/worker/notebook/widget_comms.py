"""Comms of widgets (ipywidgets, tqdm.notebook) as messages of the session's output (specs/jupyter.md, Widgets).

`adapt` is called when user code has imported the package `comm`. Without a front end the messages are shown by nobody.
"""

from __future__ import annotations

import base64
import builtins
import sys
from typing import Any

import msgspec

_state: dict[str, Any] = {}
"""The manager of comms, once `comm` was imported."""

JSON_AS_TEXT = msgspec.json.Encoder(enc_hook=str)


def adapt(comm: Any) -> None:
    """Let `comm.create_comm` make comms that reach the front end."""

    class NotebookComm(comm.base_comm.BaseComm):  # type: ignore[misc]
        """A comm whose messages are part of the session's output. It belongs to the page that shows it."""

        def publish_msg(
            self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
        ) -> None:
            content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
            message = {
                "msg_type": msg_type,
                "content": msgspec.json.decode(JSON_AS_TEXT.encode(content)),
                "metadata": msgspec.json.decode(JSON_AS_TEXT.encode(metadata or {})),
                "buffers": [base64.b64encode(buffer).decode() for buffer in buffers or ()],
            }
            _displays().send_comm(message)

        def __reduce__(self) -> Any:
            return no_comm, ()  # it belongs to the page that shows it; `open_again` makes another

    manager = comm.base_comm.CommManager()
    _state["manager"] = manager
    comm.create_comm = NotebookComm
    comm.get_comm_manager = lambda: manager


def no_comm() -> None:
    """The comm of a widget that came back from a checkpoint."""
    return


def open_again(value: object) -> None:
    """Let a widget that came back from a checkpoint, and the parts of it, be known to the front end."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    if module is None or not isinstance(value, module.Widget) or value.comm is not None:
        return
    for name in value.keys:
        _open_parts(getattr(value, name, None))
    value.open()


def _open_parts(value: object) -> None:
    for one in value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else (value,):
        open_again(one)


def deliver(message: dict[str, Any]) -> bool:
    """Run what a front end's message is for; False where nothing here knows of widgets."""
    manager = _state.get("manager")
    if manager is None:
        return False
    whole = {**message, "buffers": [base64.b64decode(buffer) for buffer in message.get("buffers") or ()]}
    handler = {"comm_open": manager.comm_open, "comm_msg": manager.comm_msg, "comm_close": manager.comm_close}
    handler[str(message["header"]["msg_type"])](None, None, whole)
    return True


def _displays() -> Any:
    function: Any = builtins.display  # type: ignore[attr-defined]
    return function.__wrapped__.__self__
