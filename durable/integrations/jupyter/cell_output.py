"""A cell's output as Jupyter's messages (specs/jupyter.md, Output). No I/O."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from durable.records.displays import DISPLAY, Display
from durable.sessions.output.live_output import OutputEvent

STREAM_CHARS = 2**16
"""Of one stream message: what is printed is sent on in pieces of about this size."""

type Publish = Callable[[str, dict[str, Any], dict[str, Any], list[bytes]], None]
"""Takes a message: its type, content, metadata, buffers."""


class CellOutput(msgspec.Struct, eq=False):
    """The output of one cell on its way to front ends."""

    publish: Publish
    execution_count: int = 0
    hides_result: bool = False
    parents: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Ids of front ends' messages by what the worker calls them, for widgets that take the output of a cell."""
    comms: dict[str, str] = msgspec.field(default_factory=dict)
    """The targets of comms that are open, by id."""
    has_result: bool = False
    payloads: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Wishes of the code to the front end, by source: of each the last one, which its reply has."""
    _stream: str = ""
    _texts: list[str] = msgspec.field(default_factory=list)
    _chars: int = 0

    def add(self, event: OutputEvent) -> None:
        """Take what was printed or shown next."""
        if event.dropped:
            self._text("stderr", f"[{event.dropped:,} characters were not kept]\n")
        if event.stream == DISPLAY:
            self.flush()
            display = Display.read(event.data) if event.data else None
            if display is not None:
                self._show(display)
        elif event.data and event.stream in ("stdout", "stderr"):
            self._text(event.stream, event.data)
        elif event.data and event.stream == "failure":
            self._text("stderr", event.data.rstrip("\n") + "\n")

    def _text(self, stream: str, text: str) -> None:
        if stream != self._stream or self._chars >= STREAM_CHARS:
            self.flush()
        self._stream = stream
        self._texts.append(text)
        self._chars += len(text)

    def flush(self) -> None:
        """Send the text that was gathered."""
        if self._texts:
            text = "".join(self._texts)
            self._texts, self._chars = [], 0
            self.publish("stream", {"name": self._stream, "text": text}, {}, [])

    def rewind(self) -> None:
        """Send the text that was gathered; what follows may end with a value again."""
        self.flush()
        self.has_result = False
        self.payloads.clear()

    def result(self, text: str) -> None:
        """Send the cell's value as text, where it was not shown as more than that."""
        self.flush()
        if text and not self.has_result and not self.hides_result:
            self._result({"text/plain": text}, {})

    def _result(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.has_result = True
        content = {"execution_count": self.execution_count, "data": data, "metadata": metadata}
        self.publish("execute_result", content, {}, [])

    def _show(self, display: Display) -> None:
        transient = {"display_id": display.display_id} if display.display_id else {}
        content = {"data": _without_empty_text(display.data), "metadata": display.metadata, "transient": transient}
        match display.action:
            case "result":
                if display.metadata.get("shown"):  # by its own `_ipython_display_`
                    self.has_result = True
                elif not self.hides_result:
                    self._result(display.data, display.metadata)
            case "update":
                self.publish("update_display_data", content, {}, [])
            case "clear":
                self.publish("clear_output", {"wait": bool(display.metadata.get("wait"))}, {}, [])
            case "comm":
                self._comm(display.comm)
            case "payload":
                self._wish(display.comm)
            case _:
                self.publish("display_data", content, {}, [])

    def _wish(self, payload: dict[str, Any]) -> None:
        """A payload, which came from a worker: what no front end knows is left out."""
        match payload:
            case {"source": "set_next_input", "text": str(text)}:
                wish = {"text": text, "replace": payload.get("replace") is True}
                if isinstance(clears := payload.get("clear_output"), bool):
                    wish["clear_output"] = clears
            case {"source": "page", "data": {"text/plain": str()} as data}:
                start = payload.get("start")
                wish = {"data": data, "start": start if isinstance(start, int) else 0}
            case _:
                return
        source = str(payload["source"])
        self.payloads[source] = {"source": source, **wish}

    def _comm(self, comm: dict[str, Any]) -> None:
        """A message of a widget, which came from a worker: what does not fit is left out."""
        kind, content, metadata = comm.get("msg_type"), comm.get("content"), comm.get("metadata")
        if kind not in ("comm_open", "comm_msg", "comm_close") or not isinstance(content, dict):
            return
        name = str(content.get("comm_id", ""))
        if kind == "comm_open":
            self.comms[name] = str(content.get("target_name", ""))
        elif kind == "comm_close":
            self.comms.pop(name, None)
        try:
            buffers = [base64.b64decode(str(buffer)) for buffer in comm.get("buffers") or ()]
        except (ValueError, TypeError):
            return
        self._name_parent(content)
        self.publish(kind, content, metadata if isinstance(metadata, dict) else {}, buffers)

    def _name_parent(self, content: dict[str, Any]) -> None:
        data = content.get("data")
        state = data.get("state") if isinstance(data, dict) else None
        if isinstance(state, dict) and state.get("msg_id") in self.parents:
            state["msg_id"] = self.parents[state["msg_id"]]


def _without_empty_text(data: dict[str, Any]) -> dict[str, Any]:
    """A bundle that code made without text: our record has an empty one for it, front ends get none."""
    if len(data) > 1 and data.get("text/plain") == "":
        return {kind: value for kind, value in data.items() if kind != "text/plain"}
    return data
