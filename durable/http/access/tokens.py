"""The tokens that clients show: the server's own, and those of a file, each with a name and a role."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from durable.core.errors import BadArguments, DurableError, NotFound, StoreError
from durable.http.access.roles import OWNER, ROLES, Role, TokenHolder
from durable.store.owner_check import read_secret

VARIABLE = "DURABLE_TOKEN"
_CHARS_MIN = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")

_HEAD = "# NAME ROLE TOKEN [TEAM...]; a token is kept as its SHA-256 digest. `durable token` adds and removes lines.\n"


def token_for(file: Path, store: Path | None = None, variable: str = VARIABLE) -> tuple[str, bool]:
    """The token, and whether it was made just now. Raises StoreError when the file cannot be read or is no token.

    StoreForeign when others could have written it, or can read it, unless its store is trusted.
    """
    given = os.environ.get(variable)
    if given:
        return checked_token(given, f"the environment variable {variable}"), False
    made = False
    try:
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_urlsafe(32) + "\n")
            made = True
        text = read_secret(file, file if store is None else store).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"the token file {str(file)!r} cannot be used: {error}; name another (--token-file)"
        ) from error
    return checked_token(text, f"the token file {str(file)!r}"), made


def checked_token(token: str, where: str) -> str:
    """A token that can travel in a header. StoreError."""
    if len(token) < _CHARS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise StoreError(f"{where} holds no token: at least {_CHARS_MIN} printable ASCII characters without spaces")
    return token


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A line of the file of tokens. `digest` is the SHA-256 of the token, by which it is known."""

    holder: TokenHolder
    digest: bytes

    def line(self) -> str:
        """The line as it is written."""
        holder = self.holder
        return " ".join((holder.name, holder.role, f"sha256:{self.digest.hex()}", *holder.teams)) + "\n"


class TokensFile:
    """A file with a line `NAME ROLE TOKEN [TEAM...]` for each token, which only its user may read."""

    def __init__(self, path: Path, store: Path | None = None) -> None:
        self.path = path
        self._store = path if store is None else store

    def read(self) -> dict[str, NamedToken]:
        """The tokens, by name; none where there is no file. StoreError for a line that says something else."""
        try:
            lines = read_secret(self.path, self._store).decode("ascii").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the file of tokens {str(self.path)!r} cannot be used: {error}") from error
        found: dict[str, NamedToken] = {}
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            where = f"line {number} of {str(self.path)!r}"
            token = _read_line(words, where)
            if token.holder.name in found or token.digest in {each.digest for each in found.values()}:
                raise StoreError(f"{where} has the name or the token of a line before it")
            found[token.holder.name] = token
        return found

    def add(self, name: str, role: Role, teams: tuple[str, ...] = ()) -> str:
        """Make a token, keep its digest, and return it: nobody can read it later. BadArguments, StoreError."""
        token = secrets.token_urlsafe(32)
        found = self.read()
        if name in found:
            raise BadArguments(f"there is a token named {name!r}; remove it first, or choose another name")
        made = NamedToken(TokenHolder(name, role, teams), digest_of(token))
        try:
            read = _read_line(made.line().split(), "the new token")
        except StoreError as error:
            raise BadArguments(str(error)) from None
        self._write({**found, name: read})
        return token

    def remove(self, name: str) -> None:
        """Revoke a token; a server that runs notices within a second. NotFound, StoreError."""
        found = self.read()
        if name not in found:
            raise NotFound("token", name, "`durable token list` lists them")
        self._write({other: token for other, token in found.items() if other != name})

    def stamp(self) -> tuple[int, int, int]:
        """Changes when the file does."""
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _write(self, tokens: Mapping[str, NamedToken]) -> None:
        """Replace the file at once, so that a server reads the old one or the new one."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(_HEAD + "".join(token.line() for token in tokens.values()))
                stream.flush()
                os.fsync(stream.fileno())
            draft.rename(self.path)
        except OSError as error:
            raise StoreError(f"the file of tokens {str(self.path)!r} cannot be written: {error}") from error


def digest_of(token: str) -> bytes:
    """The digest by which a token is known."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _read_line(words: list[str], where: str) -> NamedToken:
    """One line of the file. StoreError."""
    if len(words) < 3 or words[1] not in ROLES or not _NAME.match(words[0]) or words[0] == OWNER:
        raise StoreError(
            f"{where} is not `NAME ROLE TOKEN [TEAM...]`: a name of at most 64 letters, digits and . _ @ - other than "
            f"{OWNER!r}, a role ({', '.join(ROLES)}), and a token"
        )
    role = next(each for each in ROLES if each == words[1])
    if any(not _NAME.match(team) for team in words[3:]):
        raise StoreError(f"{where} has a team that is no name of at most 64 letters, digits and . _ @ -")
    digest = words[2]
    known = bytes.fromhex(digest[7:]) if _DIGEST.match(digest) else digest_of(checked_token(digest, where))
    return NamedToken(TokenHolder(words[0], role, tuple(words[3:])), known)


class Tokens:
    """The tokens of one server: its own, and those of its file, which is read again when it changes."""

    def __init__(self, own: str, file: TokensFile | None = None) -> None:
        self._own = digest_of(own)
        self._owner = TokenHolder(OWNER, "admin", owner=True)
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._named: dict[bytes, TokenHolder] = {}

    def refresh(self) -> None:
        """Read the file when it has changed. StoreError where it cannot be read: then none of its tokens is good."""
        if self._file is None or (stamp := self._file.stamp()) == self._stamp:
            return
        self._stamp, self._named = stamp, {}
        self._named = {token.digest: token.holder for token in self._file.read().values()}

    def refreshed(self) -> DurableError | None:
        """The same; returns the error."""
        try:
            self.refresh()
        except DurableError as error:
            return error
        return None

    def holder(self, authorization: str | None) -> TokenHolder | None:
        """The holder of the token that a header `Authorization: Bearer <token>` shows, None for no known one."""
        scheme, _, token = (authorization or "").partition(" ")
        return self.holder_of(token.strip()) if scheme.lower() == "bearer" else None

    def holder_of(self, token: str) -> TokenHolder | None:
        """The holder of a token, None for no known one; takes the same time for each that is wrong."""
        given, found = digest_of(token), None
        if hmac.compare_digest(given, self._own):
            found = self._owner
        for digest, holder in self._named.items():
            if hmac.compare_digest(given, digest) and found is None:
                found = holder
        return found
