"""The URL of a database: `postgresql://…` as libpq reads it, with `schema=` of our own. No password is ever shown."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from durable.core.errors import StoreError

PASSWORD = "DURABLE_STORE_PASSWORD"  # noqa: S105 - a variable's name
SCHEMA = "durable"
_SECRETS = ("sslpassword",)
"""Parameters of libpq beside `password` that nobody may see."""
_OPTION = re.compile(r"[a-z_]+\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `shown` is what messages call it: without password and parameters. `url` opens it again,
    given the password some other way: for commands that are shown."""

    schema: str
    shown: str
    url: str
    conninfo: str = field(repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def pg_dump_url(self) -> str:
        """The `url` as programs of PostgreSQL itself take it: without our own parameter."""
        base, _, query = self.url.partition("?")
        return _with(base, [each for each in parse_qsl(query) if each[0] != "schema"])

    @property
    def search_path(self) -> str:
        """The schema, as the setting of that name takes it: letters keep their case."""
        return f'"{self.schema}"'

    @property
    def channel(self) -> str:
        """The channel on which engines of the same store tell each other to look."""
        return f"durable_{hashlib.sha256(self.schema.encode()).hexdigest()[:16]}"


def address_of(url: str) -> Address:
    """Take a URL apart. StoreError says what is wrong with it, without showing it."""
    try:
        parts = urlsplit(url)
        readable = parts.port is None or bool(parts.port)  # a port that is no number raises
    except ValueError:
        readable = False
    if not readable:  # raised out here: the other error, which would hang on this one, shows the URL
        raise StoreError("the postgresql:// URL of the store cannot be read: a port is no number, or it has a stray [")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if "@" in parts.path or parts.fragment or not all(_OPTION.match(name) for name, _ in options):
        raise StoreError(
            "the postgresql:// URL of the store cannot be read: in a user, password or database, write"
            " @ as %40, / as %2F, ? as %3F, # as %23, % as %25"
        )
    schema = next((value for name, value in options if name == "schema"), SCHEMA)
    if not _NAME.match(schema):
        raise StoreError(f"{schema!r} is no name of a schema: letters, digits and _, at most 63 of them")
    user = unquote(parts.username or "")
    password = unquote(parts.password) if parts.password is not None else os.environ.get(PASSWORD)
    password = next((value for name, value in options if name == "password"), password)
    left = [(name, value) for name, value in options if name not in ("schema", "password")]
    place = parts.netloc.rpartition("@")[2]
    own = f"{quote(user)}@{place}" if user else place
    shown = f"postgresql://{own}{parts.path}"
    if schema != SCHEMA:
        shown += f"?schema={schema}"
    base = f"postgresql://{own}{parts.path}"
    told = [(name, value) for name, value in left if name not in _SECRETS]
    told += [("schema", schema)] if schema != SCHEMA else []
    return Address(schema, shown, _with(base, told), _with(base, left), password)


def _with(base: str, options: list[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(options, quote_via=quote)}" if options else base
