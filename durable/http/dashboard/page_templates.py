"""Templates and assets of the dashboard: pages as text, files under the digest of their bytes, and the headers of both.

Jinja2 escapes whatever a template puts into a page. Nothing is loaded from elsewhere, and nothing stands in the page
itself that a browser would run or style by (specs/dashboard.md, V1).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
ASSETS = HERE / "assets"

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
"""Of every page: only files of ours run and style it, and no other site shows it."""

GLYPHS = {
    "pending": "○",
    "running": "●",
    "waiting": "◔",
    "interrupted": "‖",
    "completed": "✓",
    "failed": "✗",
    "lost": "✗",
    "cancelled": "⊘",
    "timed_out": "⊗",
    "answered": "✓",
    "declined": "⊘",
    "expired": "⊗",
    "rejected": "✗",
    "idle": "○",
    "busy": "●",
    "unfinished": "◔",
    "closed": "⊘",
    "stopped": "⊘",
    "open": "●",
    "paused": "‖",
    "draining": "◔",
}
"""The sign of each state of executions, questions, sessions and actors; the word stands beside it."""

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file of ours as it is sent: its bytes, the same compressed, its type, and its address."""

    data: bytes
    compressed: bytes
    media_type: str
    url: str


@lru_cache(maxsize=1)
def assets() -> dict[str, Asset]:
    """All assets by name; read once, so that an address always leads to the bytes that it names."""
    found = {}
    for path in sorted(ASSETS.rglob("*")):
        if path.suffix in _TYPES:
            name, data = path.relative_to(ASSETS).as_posix(), path.read_bytes()
            url = f"/ui/assets/{hashlib.sha256(data).hexdigest()[:16]}/{name}"
            found[name] = Asset(data, gzip.compress(data, 9, mtime=0), _TYPES[path.suffix], url)
    return found


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The templates, each compiled when it is first used."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals |= {"asset": lambda name: assets()[name].url, "glyph": lambda word: GLYPHS.get(word, "·")}
    found.filters |= {"since": since, "moment": moment, "duration": duration}
    return found


def rendered(name: str, context: dict[str, Any]) -> str:
    """A template with its values filled in."""
    return templates().get_template(name).render(context)


def rendered_part(name: str, block: str, context: dict[str, Any]) -> str:
    """One block of a template alone, for the part of a page that is asked for again."""
    template = templates().get_template(name)
    run: Callable[..., Any] = template.blocks[block]
    return "".join(run(template.new_context({**context, "parts": templates().get_template("parts.html").module})))


def duration(seconds: float) -> str:
    """A duration in one or two units: 12 ms, 0.3 s, 4 m 10 s, 3 h 20 m, 5 d 2 h."""
    if seconds < 0.1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, length, below, length_below in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // length_below} {below}"
    return f"{whole} s"


def since(iso: str) -> str:
    """How long ago a time was."""
    return f"{duration(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds()))} ago"


def moment(iso: str) -> str:
    """A time to the second, in UTC."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
