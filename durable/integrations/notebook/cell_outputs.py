"""Jupyter's messages as the outputs of cells in a file, as nbclient writes them (specs/notebook.md). No I/O."""

from __future__ import annotations

from typing import Any


class NotebookOutputs:
    """The outputs of a notebook's cells; displays with an id are updated wherever they stand."""

    def __init__(self) -> None:
        self._shown: dict[str, list[Any]] = {}
        self._clears = False
        self._cell: Any = None

    def begin(self, cell: Any) -> None:
        """Begin with the outputs of this cell."""
        self._cell = cell
        cell.outputs = []
        self._clears = False

    def take(self, kind: str, content: dict[str, Any], _metadata: dict[str, Any], _buffers: list[bytes]) -> None:
        """Take the next message; those of widgets are not kept in files."""
        if kind in ("comm_open", "comm_msg", "comm_close"):
            return
        if kind == "clear_output":
            self._clears = True
            if not content.get("wait"):
                self._clear()
            return
        display_id = (content.get("transient") or {}).get("display_id")
        if kind == "update_display_data":
            for output in self._shown.get(str(display_id), []):
                output["data"], output["metadata"] = content["data"], content["metadata"]
            return
        if self._clears:
            self._clear()
        self._append(kind, content, display_id)

    def _append(self, kind: str, content: dict[str, Any], display_id: str | None) -> None:
        import nbformat

        outputs = self._cell.outputs
        if kind == "stream" and outputs and outputs[-1].output_type == "stream" and outputs[-1].name == content["name"]:
            outputs[-1].text += content["text"]
            return
        output = nbformat.v4.output_from_msg({"header": {"msg_type": kind}, "content": content})
        outputs.append(output)
        if display_id:
            self._shown.setdefault(display_id, []).append(output)

    def _clear(self) -> None:
        self._clears = False
        gone = {id(output) for output in self._cell.outputs}
        self._shown = {name: [one for one in outputs if id(one) not in gone] for name, outputs in self._shown.items()}
        self._cell.outputs = []
