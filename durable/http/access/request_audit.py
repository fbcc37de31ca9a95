"""The audit of requests: which token did what, written beside the decisions on calls (specs/http-api.md, Audit)."""

from __future__ import annotations

from durable.http.access.roles import Role, TokenHolder
from durable.sessions.calls.audit import Audit
from durable.store.direct_store import DirectStore


class RequestAudit:
    """Notes what the holders of tokens changed, and what they were refused. Looking is not noted."""

    def __init__(self, store: DirectStore) -> None:
        self._audit = Audit(store)

    def done(self, holder: TokenHolder, operation: str, of: str, status: int) -> None:
        """Note a request that changes something. `of`: the id of what it is about; `status`: of its answer."""
        self._audit.note(holder.audited, "", operation, of, "allowed", f"{holder.role}; answered with {status}")

    def denied(self, holder: TokenHolder, operation: str, of: str, needed: Role) -> None:
        """Note a request that its holder's role is not enough for."""
        self._audit.note(holder.audited, "", operation, of, "denied", f"{holder.role}, but it needs {needed}")

    def flush(self) -> None:
        """Write what was counted."""
        self._audit.flush()
