"""The names of a store: a path, `sqlite:///PATH`, `:memory:`, `postgresql://…`, or the URL of `durable serve`.

No message shows more of a URL than its scheme: it may hold a password.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from durable.core.errors import StoreError

MEMORY = ":memory:"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+|$)")
"""One slash is enough: a URL that went through `Path` has lost the other."""

_POSTGRES = {"postgres", "postgresql"}
_DATABASES = {"mysql", "mariadb", "mongodb", "redis", "cockroachdb"}
_WHAT_THERE_IS = (
    "give a path or sqlite:///PATH (one SQLite file), postgresql://USER@HOST/DATABASE, or the http(s):// URL of"
    " `durable serve`"
)


def parsed(target: str | os.PathLike[str]) -> str | Path:
    """A path, the URL of a database, that of a server without a slash at its end, or MEMORY. StoreError says what it
    cannot be."""
    text = os.fspath(target)
    if text == MEMORY:
        return text
    if not text.strip():
        raise StoreError("a store is named by a path or a URL, not by nothing; leave it out for .durable/state.db")
    found = _SCHEME.match(text)
    if found is None:
        return Path(target)
    scheme = found[1].lower()
    base = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return _server(text, scheme)
    if scheme == "sqlite":
        return _sqlite(text)
    if scheme in _POSTGRES:
        return _postgres(text, scheme)
    if base in _POSTGRES:
        raise StoreError(f"a store's URL names no driver: write postgresql://… instead of {scheme}://…")
    if base in _DATABASES:
        raise StoreError(f"a store is no {scheme}:// database; {_WHAT_THERE_IS}")
    raise StoreError(f"a store has no address of the kind {scheme}:/…; {_WHAT_THERE_IS}")


def is_url(target: str | os.PathLike[str]) -> bool:
    """Whether a store is named by the URL of a server. StoreError when it is named by nothing that can be one."""
    found = parsed(target)
    return isinstance(found, str) and found.startswith("http")


def is_database(target: str | os.PathLike[str]) -> bool:
    """Whether a store is named by the URL of a database. StoreError when it is named by nothing that can be one."""
    found = parsed(target)
    return isinstance(found, str) and found.startswith("postgresql:")


def shown(target: str | os.PathLike[str]) -> str:
    """The name of a store in messages: the URL of a database without its password."""
    if not is_database(target):
        return str(target)
    from durable.store.postgres.address import address_of

    return address_of(str(parsed(target))).shown


def _postgres(text: str, scheme: str) -> str:
    if not text[len(scheme) :].startswith("://"):
        raise StoreError(f"the {scheme}: URL of the store lost a slash; give {scheme}://USER@HOST/DATABASE as text")
    from durable.store.postgres.address import address_of

    url = f"postgresql{text[len(scheme) :]}"
    address_of(url)
    return url


def _server(text: str, scheme: str) -> str:
    from urllib.parse import urlsplit

    wrong, parts, host = "", urlsplit(f"{scheme}://"), None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        wrong = "its port is no number from 0 to 65535" if "ort" in str(error) else "it is not written as URLs are"
    if wrong:  # raised out here: the other error, which would hang on this one, shows the URL
        raise StoreError(f"the {scheme}:// URL of the store cannot be read: {wrong}")
    if not text[len(scheme) :].startswith("://") or not host:
        raise StoreError(f"the {scheme}:// URL of the store has no host; it is {scheme}://HOST:PORT, as text")
    if parts.username is not None or parts.password is not None:
        raise StoreError(
            f"the {scheme}:// URL of the store holds a user or password; the token goes into DURABLE_TOKEN"
        )
    if parts.query or parts.fragment:
        raise StoreError(f"the {scheme}:// URL of the store has a query; it is {scheme}://HOST:PORT")
    return f"{scheme}{text[len(scheme) :]}".rstrip("/")


def _sqlite(text: str) -> Path:
    path = text[len("sqlite:") :]
    if not path.startswith("///") or len(path) == len("///"):
        raise StoreError("a SQLite file is sqlite:///PATH, or sqlite:////PATH from the root; or give its path alone")
    if "?" in path or "#" in path:
        raise StoreError("sqlite:///PATH takes no options; give the path alone")
    return Path(path[len("///") :])
