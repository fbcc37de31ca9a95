"""The names in the path of a request. One may have a slash, as the stream `reports/daily`: it is sent as `%2F`.

Servers give applications the path with `%2F` read already, where it is a slash like any other. Here each part of the
path is read by itself, and a slash inside of one is carried past the router as a character that no name has.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_SLASH = "\0"


class PathParts:
    """Reads each part of a path by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and b"%2f" in raw.lower() and _SLASH not in scope["path"]:
            parts = (unquote(each).replace("/", _SLASH) for each in raw.decode("ascii").split("/"))
            scope = {**scope, "path": "/".join(parts)}
        await self._app(scope, receive, send)


def path_names(request: Request) -> dict[str, str]:
    """The names in the path, by what the route calls them."""
    names: dict[str, str] = request.path_params
    if b"%00" in request.scope["raw_path"]:  # the character itself was sent, and nothing was put in its place
        return dict(names)
    return {name: each.replace(_SLASH, "/") for name, each in names.items()}


def sent_path(request: Request) -> str:
    """The path as it was sent."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("ascii", "replace")
