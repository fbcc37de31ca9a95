"""`display(obj)`: objects as MIME bundles in the execution's output (specs/namespace.md, Displays)."""

from __future__ import annotations

import base64
import builtins
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.worker.timed import OutOfTime, within
from bridge.worker.values import NotJson, bounded_repr, to_json
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
        """Give it to user code."""

        def display(*objects: object) -> None:
            """Show objects: what they have as HTML, a picture, Markdown… and as text, kept with the execution."""
            for one in objects:
                self._show(one)

        display.__module__ = "builtins"
        builtins.display = display  # type: ignore[attr-defined]

    def _show(self, value: object) -> None:
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
    """What of a bundle can be written; bytes as base64."""
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
