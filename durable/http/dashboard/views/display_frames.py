"""Displays of user code as they are shown: text and pictures in the page, HTML in a frame that can do nothing. Pure.

What code displays is hostile until shown otherwise. HTML and SVG are sent as documents of their own, under a policy
that runs nothing, loads nothing and has no origin (specs/dashboard.md, V4).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.value_text import CutText, cut
from durable.http.pages.markdown import markdown_block
from durable.records.displays import Display

FRAME_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of each document that user code made: no scripts, no loads, no forms, an origin that is nobody's."""

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
FRAMES = ("text/html", *PICTURES)
"""Types that are sent as documents of their own."""

DOCUMENT_BYTES_MAX = 20 * 2**20
"""Of one display; a larger one is not sent."""


@dataclass(frozen=True, slots=True)
class ShownDisplay:
    """A display in a page: of one kind, with the address of its document or with its text."""

    kind: Literal["frame", "picture", "markdown", "text"]
    url: str = ""
    text: CutText | None = None
    markup: Markup | None = None
    label: str = ""


def shown_display(display: Display, execution: str, offset: int) -> ShownDisplay:
    """How a display is shown: the richest of its forms that is known here. offset: of its piece of the output."""
    data = display.data
    for kind in PICTURES:
        if kind in data:
            label = display.text or "picture"
            return ShownDisplay("picture", url_of("executions", execution, "displays", str(offset), kind), label=label)
    if "text/html" in data:
        url = url_of("executions", execution, "displays", str(offset), "text/html")
        return ShownDisplay("frame", url, label=display.text[:200] or "HTML that the code displayed")
    if "text/markdown" in data:
        return ShownDisplay("markdown", markup=Markup(markdown_block(str(data["text/markdown"]))))  # noqa: S704
    for kind in ("text/plain", "text/latex", "application/json"):
        if kind in data:
            found = data[kind]
            text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, indent=2)
            return ShownDisplay("text", text=cut(text))
    return ShownDisplay("text", text=CutText(f"({', '.join(sorted(map(str, data))) or 'nothing'})"))


def document(display: Display, kind: str) -> bytes | None:
    """One form of a display as a document; None where it has none of that type, or one that cannot be read."""
    found: Any = display.data.get(kind)
    if kind not in FRAMES or not isinstance(found, str) or len(found) > DOCUMENT_BYTES_MAX:
        return None
    if kind in ("text/html", "image/svg+xml"):
        return found.encode("utf-8", "replace")
    try:
        return base64.b64decode(found)
    except (binascii.Error, ValueError):
        return None
