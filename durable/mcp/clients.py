"""The clients of one MCP server: who shows which token, and which part of the store each may name."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from durable.core import ids
from durable.core.errors import NotFound, StoreError
from durable.http.access.tokens import checked_token
from durable.store.owner_check import read_secret

OPERATOR = ""
"""The client without a name: it may name everything in the store."""

_NAME = re.compile(r"[a-z][a-z0-9]{0,31}\Z")


@dataclass(frozen=True, slots=True)
class ClientScope:
    """The part of the store that one client may name: sessions and executions that begin with its name and a dash."""

    name: str = OPERATOR

    @property
    def prefix(self) -> str:
        """The beginning of every id of this client; empty for the operator."""
        return f"{self.name}-" if self.name else ""

    def session(self, name: str) -> str:
        """The session's name in the store. InvalidId."""
        return ids.check_session_name(f"{self.prefix}{name}")

    def shown(self, session: str | None) -> str | None:
        """The session's name as this client knows it."""
        return None if session is None else session.removeprefix(self.prefix)

    def has(self, execution_or_session: str) -> bool:
        """Whether an execution or session of the store is this client's."""
        return execution_or_session.startswith(self.prefix)

    def execution(self, execution_id: str) -> str:
        """An execution id that this client may name. NotFound for others', as for those that are not there."""
        found = execution_id.removeprefix(ids.PREFIX)
        ids.execution_promise(found)
        if not self.has(found):
            raise NotFound("execution", execution_id)
        return found

    def prompt(self, prompt_id: str) -> str:
        """A prompt id that this client may name. NotFound."""
        call = ids.parse_call(prompt_id)
        if call is None or call.capability != "input" or not self.has(call.execution):
            raise NotFound("prompt", prompt_id, "`inbox` lists the open ones")
        return prompt_id


def current_scope() -> ClientScope:
    """The scope of whoever sent the request that is being handled."""
    token = get_access_token()
    return ClientScope(OPERATOR if token is None else token.client_id.removeprefix("client:"))


class ClientTokens:
    """Verifies bearer tokens: the operator's, and those of named clients."""

    def __init__(self, operator: str | None, clients: Mapping[str, str] | None = None) -> None:
        self._digests = {_digest(token): name for name, token in (clients or {}).items()}
        if operator is not None:
            self._digests[_digest(operator)] = OPERATOR

    async def verify_token(self, token: str) -> AccessToken | None:
        """The client that a token belongs to; takes the same time for each token that is wrong."""
        given, found = _digest(token), None
        for digest, name in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = name
        return None if found is None else AccessToken(token="", client_id=f"client:{found}", scopes=[])


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def read_clients(file: Path, store: Path) -> dict[str, str]:
    """Names and tokens of a file with a line `NAME TOKEN` for each client. StoreError, StoreForeign."""
    try:
        lines = read_secret(file, store).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"the clients file {str(file)!r} cannot be used: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.match(words[0]) or words[0] in found:
            raise StoreError(
                f"line {number} of {str(file)!r} is not `NAME TOKEN`: a name of its own, of at most 32 lower-case "
                "letters and digits, and a token"
            )
        found[words[0]] = checked_token(words[1], f"line {number} of {str(file)!r}")
    if len(set(found.values())) < len(found):
        raise StoreError(f"two clients of {str(file)!r} have the same token")
    return found
