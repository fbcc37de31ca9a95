"""`display(obj)`: objects as MIME bundles in the execution's output (specs/namespace.md, Displays)."""

from __future__ import annotations

import base64
import builtins
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
"""`data`: value by MIME type; `metadata`: by MIME type, and `omitted`."""


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

        def display(*objects: object) -> None:
            """Show objects: what they have as HTML, a picture, Markdown… and as text, kept with the execution."""
            for one in objects:
                self._show(one)

        display.__module__ = "builtins"
        builtins.display = display  # type: ignore[attr-defined]

    def show_value(self, value: object) -> None:
        """The last expression's value, where there is more of it than its text."""
        if is_rich(value):
            self._show(value)

    def _show(self, value: object) -> None:
        own = None if isinstance(value, type) else getattr(type(value), "_ipython_display_", None)
        if callable(own):
            own(value)
            return
        execution = self._tag()
        if execution != self._execution:
            self._execution, self._count = execution, 0
        self._count += 1
        if self._count > DISPLAYS_MAX:
            self._plain(f"{_text(value)}\n")
        else:
            self._send(encoded(bundle_of(value)))


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
        text = msgspec.json.encode({"data": data, "metadata": metadata}).decode()
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
