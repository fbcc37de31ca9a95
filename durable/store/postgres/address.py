"""The URL of a database: `postgresql://…` as libpq reads it, with `schema=` of our own. No password is ever shown."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from durable.core.errors import StoreError

PASSWORD = "DURABLE_STORE_PASSWORD"  # noqa: S105 - a variable's name
SCHEMA = "durable"
_OWN = ("schema", "direct")
"""Our own parameters, which libpq does not know."""
_PLACE = ("host", "hostaddr", "port")
_SECRETS = ("sslpassword",)
"""Parameters of libpq beside `password` that nobody may see."""
_OPTION = re.compile(r"[a-z_]+\Z")
_HOST = re.compile(r"[A-Za-z0-9_.-]+(:[0-9]+)?\Z|\[[0-9A-Fa-f:.]+\](:[0-9]+)?\Z")
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
    past_pooler: str | None = field(default=None, repr=False)
    """The conninfo of the database itself, where `direct=` names it beside the pooler."""

    @property
    def pg_dump_url(self) -> str:
        """The `url` as programs of PostgreSQL itself take it: without our own parameters."""
        base, _, query = self.url.partition("?")
        return _with(base, [each for each in parse_qsl(query) if each[0] not in _OWN])

    @property
    def search_path(self) -> str:
        """The schema, as the setting of that name takes it: letters keep their case."""
        return f'"{self.schema}"'

    @property
    def channel(self) -> str:
        """The channel on which engines of the same store tell each other to look."""
        return f"durable_{hashlib.sha256(self.schema.encode()).hexdigest()[:16]}"

    @property
    def direct(self) -> Address | None:
        """The database itself, past the pooler; None where none is named."""
        return None if self.past_pooler is None else replace(self, conninfo=self.past_pooler)


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
    left = [(name, value) for name, value in options if name not in (*_OWN, "password")]
    place = parts.netloc.rpartition("@")[2]
    account = f"{quote(user)}@" if user else ""
    own = f"{account}{place}"
    shown = f"postgresql://{own}{parts.path}"
    if schema != SCHEMA:
        shown += f"?schema={schema}"
    base = f"postgresql://{own}{parts.path}"
    told = [(name, value) for name, value in left if name not in _SECRETS]
    told += [("schema", schema)] if schema != SCHEMA else []
    past_pooler = None
    for direct in (value for name, value in options if name == "direct"):
        told.append(("direct", direct))
        past_pooler = _direct(direct, f"postgresql://{account}{{}}{parts.path}", left)
    return Address(schema, shown, _with(base, told), _with(base, left), password, past_pooler)


def _direct(place: str, base: str, options: list[tuple[str, str]]) -> str:
    """The conninfo with another host, HOST[:PORT] or the directory of a socket, in the place of the pooler's."""
    left = [each for each in options if each[0] not in _PLACE]
    if place.startswith("/"):
        return _with(base.format(""), [("host", place), *left])
    if not _HOST.match(place):
        raise StoreError("direct= is no HOST[:PORT] or directory of a socket: it names the database behind the pooler")
    return _with(base.format(place), left)


def _with(base: str, options: list[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(options, quote_via=quote)}" if options else base
