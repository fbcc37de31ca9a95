"""Addresses of the dashboard's pages."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def url_of(kind: str, name: str, *rest: str, **filters: str) -> str:
    """The address of a page about one thing: `url_of("executions", id)`."""
    asked = urlencode({key: value for key, value in filters.items() if value})
    path = "/".join(quote(each, safe="@~=:,") for each in (kind, name, *rest))
    return f"/ui/{path}{'?' if asked else ''}{asked}"
