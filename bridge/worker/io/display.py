"""`display(obj)`: objects as MIME bundles in the execution's output (specs/namespace.md, Displays)."""

from __future__ import annotations

import base64
import builtins
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.worker.namespace.time_limit import OutOfTime, within
from bridge.worker.namespace.values import NotJson, bounded_repr, to_json
from durable.core.limits import DISPLAY_CHARS_MAX, DISPLAYS_MAX, REPR_S

REPRS: Mapping[str, str] = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_latex_": "text/latex",
    "_repr_json_": "application/json",
}
"""The methods that are asked, and the type of what each gives."""

type Bundle = dict[str, Any]
"""`data`: value by MIME type; `metadata`: by MIME type, and `omitted`; `action`, `display_id` (namespace.md, D4)."""

COMM_CHARS_MAX = DISPLAY_CHARS_MAX
"""One message of a widget as JSON, its buffers as base64."""


SHOWN = "shown"
"""In the metadata of a result that its own `_ipython_display_` has shown: a notebook shows no text of it besides."""


class DisplayHandle:
    """A display that can be changed: what `display(obj, display_id=True)` returns."""

    def __init__(self, displays: Displays, display_id: str) -> None:
        self._displays = displays
        self.display_id = display_id

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handle_of, (self.display_id,)

    def display(self, obj: object, **options: Any) -> None:
        """Show an object once more under this id."""
        self._displays.display(obj, display_id=self.display_id, **options)

    def update(self, obj: object, **options: Any) -> None:
        """Let an object take the place of what is shown."""
        self._displays.display(obj, display_id=self.display_id, update=True, **options)


def handle_of(display_id: str) -> DisplayHandle:
    """A handle that came back from a checkpoint."""
    function: Any = builtins.display  # type: ignore[attr-defined]
    return DisplayHandle(function.__wrapped__.__self__, display_id)


class Displays:
    """The function `display` of user code. `send` takes a bundle as JSON, `plain` text for standard output."""

    def __init__(self, send: Callable[[str], None], tag: Callable[[], str], plain: Callable[[str], None]) -> None:
        self._send = send
        self._tag = tag
        self._plain = plain
        self._execution = ""
        self._count = 0

    def install(self) -> None:
        """Give `display` to user code."""

        def display(*objects: object, **options: Any) -> DisplayHandle | None:
            """Show objects: what they have as HTML, a picture, Markdown… and as text, kept with the execution.

            display_id: True or a text, for a display that `update_display` or the returned handle changes. raw: the
            objects are bundles, data by MIME type. clear: clear the cell's output first.
            """
            return self.display(*objects, **options)

        display.__module__ = "builtins"
        display.__wrapped__ = self.display  # type: ignore[attr-defined]
        builtins.display = display  # type: ignore[attr-defined]

    def display(
        self,
        *objects: object,
        display_id: str | bool | None = None,
        update: bool = False,
        raw: bool = False,
        clear: bool = False,
        metadata: Mapping[str, object] | None = None,
        **_ignored: Any,
    ) -> DisplayHandle | None:
        """The function that user code calls; `_ignored` are options of IPython's that choose among types."""
        if clear:
            self.clear_output(wait=True)
        if display_id is True or (display_id is None and update):
            display_id = os.urandom(16).hex()
        name = str(display_id) if display_id else ""
        for one in objects:
            if raw and isinstance(one, Mapping):
                data = _plain(one)
                data.setdefault("text/plain", "")
                bundle = {"data": data, "metadata": _plain(metadata or {})}
                self._send_bundle(bundle, "update" if update else "display", name)
            else:
                self._show(one, "update" if update else "display", name, metadata)
        return DisplayHandle(self, name) if name else None

    def clear_output(self, wait: bool = False) -> None:
        """Clear what the cell has shown so far; `wait`: when something else is shown."""
        self._count = 0
        self._send(encoded({"data": {"text/plain": ""}, "metadata": {"wait": wait}, "action": "clear"}))

    def send_comm(self, message: Mapping[str, object]) -> None:
        """Send a message of a widget. ValueError when it is too long."""
        text = msgspec.json.encode({"data": {"text/plain": ""}, "metadata": {}, "action": "comm", "comm": message})
        if len(text) > COMM_CHARS_MAX:
            raise ValueError(f"a widget's message of {len(text):,} characters; at most {COMM_CHARS_MAX:,} can be sent")
        self._send(text.decode())

    def send_payload(self, payload: Mapping[str, object]) -> None:
        """Ask the front end for something at the end of the cell: a pager, text in the next cell."""
        self._send(encoded({"data": {"text/plain": ""}, "metadata": {}, "action": "payload", "comm": _plain(payload)}))

    def show_value(self, value: object) -> None:
        """The last expression's value, where there is more of it than its text."""
        if is_rich(value):
            self._show(value, "result")
        elif value is not None and _in_notebook() and _figures_wait():
            self._send_bundle({"data": {"text/plain": _text(value)}, "metadata": {}}, "result", "")

    def _show(
        self,
        value: object,
        action: str = "display",
        display_id: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        comms = sys.modules.get("bridge.worker.notebook.widget_comms")
        if comms is not None:
            comms.open_again(value)
        own = None if isinstance(value, type) else getattr(type(value), "_ipython_display_", None)
        if callable(own):
            own(value)
            if action == "result" and _in_notebook():
                self._send_bundle({"data": {"text/plain": ""}, "metadata": {SHOWN: True}}, "result", "")
            return
        execution = self._tag()
        if execution != self._execution:
            self._execution, self._count = execution, 0
        self._count += action != "update"
        if self._count > DISPLAYS_MAX:
            self._plain(f"{_text(value)}\n")
            return
        bundle = bundle_of(value)
        bundle["metadata"].update(_plain(metadata or {}))
        self._send_bundle(bundle, action, display_id)

    def _send_bundle(self, bundle: Bundle, action: str, display_id: str) -> None:
        more = {"action": action} if action != "display" else {}
        self._send(encoded({**bundle, **more, **({"display_id": display_id} if display_id else {})}))


def bundle_of(value: object, seconds: float = REPR_S) -> Bundle:
    """The bundle of one object; what raises, is None or takes too long is left out. There always is `text/plain`."""
    data: dict[str, object] = {"text/plain": _text(value)}
    metadata: dict[str, object] = {}
    if isinstance(value, type):
        return {"data": data, "metadata": metadata}  # its methods are its instances'
    if is_figure(value):
        data.update(_plain(_pictures(value, seconds)))
        return {"data": data, "metadata": metadata}
    found = _ask(value, "_repr_mimebundle_", seconds)
    if isinstance(found, tuple) and len(found) == 2:
        found, more = found
        metadata.update(_plain(more) if isinstance(more, dict) else {})
    if isinstance(found, dict) and found:
        data.update(_plain(found))
    else:
        asked = {kind: _ask(value, method, seconds) for method, kind in REPRS.items()}
        for kind, one in asked.items():
            if isinstance(one, tuple) and len(one) == 2:
                asked[kind] = one[0]
                metadata.update(_plain({kind: one[1]}))
        data.update(_plain(asked))
    return {"data": data, "metadata": metadata}


def _in_notebook() -> bool:
    return os.environ.get("DURABLE_NOTEBOOK") == "1"


def _figures_wait() -> bool:
    """Whether figures are shown at the end of the cell: its value comes before them."""
    if "matplotlib.pyplot" not in sys.modules:
        return False
    from bridge.worker.io.figures import are_open

    return are_open()


def is_figure(value: object) -> bool:
    """Whether this is a figure of matplotlib, which has no methods that give pictures."""
    figures = sys.modules.get("matplotlib.figure")
    return figures is not None and isinstance(value, figures.Figure)


def _pictures(value: object, seconds: float) -> Mapping[Any, object]:
    from bridge.worker.io.figures import pictures_of

    try:
        with within(max(seconds, FIGURE_S)):
            return pictures_of(value)
    except KeyboardInterrupt:
        raise
    except (Exception, OutOfTime, SystemExit):
        return {}


def is_rich(value: object) -> bool:
    """Whether an object has more to show than its text."""
    kind = type(value)
    if kind.__module__ == "builtins" or isinstance(value, type):
        return False
    return any(hasattr(kind, name) for name in _RICH) or is_figure(value)


_RICH = ("_repr_mimebundle_", "_ipython_display_", *REPRS)

FIGURE_S = 20.0
"""Seconds that drawing a figure may take, twice: it is computation, as the code itself is."""


def encoded(bundle: Bundle) -> str:
    """The bundle as JSON, without its largest types when it is too long."""
    text = msgspec.json.encode(bundle).decode()
    data: dict[str, object] = dict(bundle["data"])
    omitted: list[str] = []
    while len(text) > DISPLAY_CHARS_MAX:
        metadata: dict[str, object] = {"omitted": omitted}
        sizes = {kind: len(msgspec.json.encode(value)) for kind, value in data.items() if kind != "text/plain"}
        if sizes:
            largest = max(sizes, key=sizes.__getitem__)
            del data[largest]
            omitted.append(largest)
            metadata |= {kind: value for kind, value in bundle["metadata"].items() if kind in data}
        text = msgspec.json.encode({**bundle, "data": data, "metadata": metadata}).decode()
        if not sizes:
            break
    return text


def plain_text(bundle: str) -> str:
    """The `text/plain` of an encoded bundle."""
    return str(msgspec.json.decode(bundle)["data"]["text/plain"])


def _text(value: object) -> str:
    return "None" if value is None else bounded_repr(value)


def _ask(value: object, method: str, seconds: float) -> object:
    try:
        with within(seconds):
            function = getattr(value, method, None)
            if not callable(function) or getattr(value, "_ipython_canary_method_should_not_exist_", None) is not None:
                return None  # the canary: of an object that has every attribute
            return function()
    except KeyboardInterrupt:
        raise
    except (Exception, OutOfTime, SystemExit):
        return None


def _plain(found: Mapping[Any, object]) -> dict[str, object]:
    """The part of a bundle that can be written; bytes as base64."""
    plain: dict[str, object] = {}
    for kind, value in found.items():
        if isinstance(kind, str) and value is not None:
            try:
                plain[str(to_json(kind))] = to_json(
                    base64.b64encode(value).decode() if isinstance(value, bytes) else value
                )
            except (NotJson, RecursionError):
                continue
    return plain
