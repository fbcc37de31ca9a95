"""The audit: who asked for what, what was decided and why. The same over and over again becomes one entry (U1 of
specs/permission.md), so that a flood of calls is no flood of entries.
"""

from __future__ import annotations

import asyncio

from capabilities.call import CapabilityCall
from capabilities.permissions.policy import PolicyDecision
from durable.core.background import retrieved
from durable.core.frozen_record import FrozenRecord
from durable.store.port import StoreFace

REPEATS_S = 1.0
"""For so long equal decisions after the first are counted, then written as one entry."""

TEXT_CHARS_MAX = 500
KINDS_MAX = 1_000
"""Different decisions that are counted at a time; more are written at once."""


class AuditEntry(FrozenRecord, frozen=True):
    """A decision, or a change of permissions (`execution` is "" then). `at` in ms since the epoch.

    `verdict`: allowed, denied, limited, granted, revoked, reloaded. `policy`: the version that decided.
    """

    id: int
    at: int
    who: str
    execution: str
    what: str
    resource: str
    verdict: str
    reason: str
    policy: int
    times: int


type _Entry = tuple[str, str, str, str, str, str, int]


class Audit:
    """Writes entries of one engine. Posted, never waited for: they commit before what follows them."""

    def __init__(self, store: StoreFace) -> None:
        self._store = store
        self._repeats: dict[_Entry, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def decided(self, call: CapabilityCall, decision: PolicyDecision) -> None:
        """Note a decision about a call."""
        resource = decision.resource.shown() if decision.resource is not None else ""
        verdict = "limited" if decision.verdict == "ask" else decision.verdict
        what = f"{call.capability}.{call.method}" if call.method else call.capability
        who, version = call.who or call.session, call.policy.version
        self.note(who, call.execution, what, resource, verdict, decision.reason, version)

    def note(
        self, who: str, execution: str, what: str, resource: str, verdict: str, reason: str, policy: int = 0
    ) -> None:
        """Note anything else."""
        texts = [_short(text) for text in (who, execution, what, resource, verdict, reason)]
        entry: _Entry = (texts[0], texts[1], texts[2], texts[3], texts[4], texts[5], policy)
        if entry in self._repeats:
            self._repeats[entry] += 1
            return
        self._write([(*entry, 1)])
        if len(self._repeats) < KINDS_MAX:
            self._repeats[entry] = 0
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(REPEATS_S, self.flush)

    def flush(self) -> None:
        """Write what was counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counted, self._repeats = self._repeats, {}
        self._write([(*entry, times) for entry, times in counted.items() if times])

    def _write(self, entries: list[tuple[str, str, str, str, str, str, int, int]]) -> None:
        if entries:
            posted = self._store.post("audit.append", {"entries": entries})
            posted.add_done_callback(retrieved)  # a store that cannot be written says so to whoever waits for it


def _short(text: str) -> str:
    cut = text if len(text) <= TEXT_CHARS_MAX else f"{text[:400]} … {text[-80:]}"
    return cut.encode("utf-8", "replace").decode()


async def read_audit(store: StoreFace, who: str | None, limit: int, before: int | None) -> list[AuditEntry]:
    """The newest entries, newest first."""
    asked = {"who": who, "limit": limit, "before": before}
    found = (await store.request("audit.list", asked)).data
    return [AuditEntry(**entry) for entry in found["entries"]]
