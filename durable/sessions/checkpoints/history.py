"""A session's checkpoints as its user sees them: listed, shown, compared, and begun from under another name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import Call, CallResult, Checkpoint, Execute, Namespace, Result
from checkpoint.blobs.memory_file import MemoryFile
from checkpoint.format.group_table import GroupTable
from checkpoint.format.payload import PayloadPart
from durable.core.errors import CheckpointError, Conflict, NotFound, StoreRefused
from durable.core.ids import check_session_name
from durable.records.result import Lost
from durable.sessions.calls.call_results import refused
from durable.sessions.checkpoints import export
from durable.sessions.checkpoints.checkpoint_reader import Opened, Stored
from durable.sessions.checkpoints.export import Exported
from durable.sessions.language import language_of
from durable.sessions.namespace import Variable, read_variables
from durable.sessions.ownership.session_confinement import confinement_of

if TYPE_CHECKING:
    from durable.sessions.ownership.owner import SessionHost
    from durable.sessions.services import House

COMPARE_S = 30.0
"""For the short reprs of both sides: a repr is the user's code and may take forever."""

HISTORY = "\0"
"""Starts the saved names of the engine's own history, which no comparison shows."""


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """One checkpoint: its number, its label if it has one, after which statement of which execution, when (ms)."""

    id: int
    label: str | None
    execution: str
    statement: int
    final: bool
    created_at_ms: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From the store's row."""
        return cls(row["id"], row["label"], row["execution"] or "", row["statement"], row["final"], row["created_at"])


@dataclass(frozen=True, slots=True)
class CheckpointDetail:
    """The contents of a checkpoint: variables, modules by name, what was left out and why, and its size in bytes."""

    info: CheckpointInfo
    names: tuple[str, ...]
    modules: tuple[tuple[str, str, str], ...]
    lost: tuple[Lost, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Change:
    """A name in two checkpoints, as short reprs; None where it is not there."""

    name: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        """added, removed or changed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


class CheckpointHistory:
    """The checkpoints of one session, read without owning it."""

    def __init__(self, house: House, session: str) -> None:
        self._house = house
        self._session = session

    async def listing(self) -> list[CheckpointInfo]:
        """Oldest first. NotFound when there is no such session."""
        return [CheckpointInfo.of(row) for row in await (await self._stored()).rows()]

    async def show(self, which: str | int) -> CheckpointDetail:
        """One checkpoint, by number or label; every byte of it is verified."""
        info, opened = await self._read(which)
        contents, table = opened.manifest.contents, opened.table
        return CheckpointDetail(
            info,
            tuple(sorted(name for name in _groups(table))),
            tuple((module.name, module.module, module.version) for module in contents.modules),
            tuple(Lost(entry.name, entry.kind, entry.reason, entry.execution) for entry in contents.lost),
            sum(table.digests.values()),
        )

    async def diff(self, before: str | int, after: str | int) -> list[Change]:
        """The changes between two checkpoints, by name. Both are loaded, each in a worker that is made for it."""
        (_, old), (_, new) = await self._read(before), await self._read(after)
        old_groups, new_groups = _groups(old.table), _groups(new.table)
        names = sorted(name for name in {*old_groups, *new_groups} if old_groups.get(name) != new_groups.get(name))
        if not names:
            return []
        shown = await asyncio.gather(self._reprs(old.payload, names), self._reprs(new.payload, names))
        changes = [Change(name, shown[0].get(name), shown[1].get(name)) for name in names]
        # Small values are saved some together, so their group says little; but their repr is all there is of them.
        together = {name for name in names if old_groups.get(name, ("",))[0] == "atoms"}
        return [change for change in changes if change.before != change.after or change.name not in together]

    async def changed(self, before: str | int, after: str | int) -> dict[str, str]:
        """The names that two checkpoints have otherwise, each with "added", "removed" or "changed"; nothing is loaded.

        Small values are saved some together: one of them that changed has the others named as well.
        """
        (_, old), (_, new) = await self._read(before), await self._read(after)
        old_groups, new_groups = _groups(old.table), _groups(new.table)
        return {
            name: "added" if name not in old_groups else "removed" if name not in new_groups else "changed"
            for name in sorted({*old_groups, *new_groups})
            if old_groups.get(name) != new_groups.get(name)
        }

    async def fork(self, host: SessionHost, name: str, which: str | int | None) -> None:
        """Make a session of that name, with the grants and profile of this one, from a checkpoint (the newest).

        Conflict, NotServed.
        """
        check_session_name(name)
        options = await self._options()
        options = {**options, "forked_from": [self._session, *options.get("forked_from", ())]}
        host.know(self._session, options)
        known = await self.listing()
        if which is None and known:
            which = known[-1].id
        payload = None if which is None else (await self._read(which))[1].payload
        store = self._house.store
        made = (await store.request("session.open", {"session": name, "engine": None, "options": options})).data
        if not made["created"]:
            raise Conflict(f"session {name!r} exists; fork into another name")
        if payload is not None:
            await (await host.live(name)).between.begin_from(payload if isinstance(payload, bytes) else payload.view())

    async def export(self, which: str | int, path: Path) -> Exported:
        """Write a checkpoint to a new file, from which any store can make a session."""
        info, opened = await self._read(which)
        language = language_of(await self._options())
        return await export.export(self._house, await self._stored(), opened, info.label, path, language)

    async def label(self, which: str | int, label: str | None) -> CheckpointInfo:
        """Give a checkpoint another label, or none: one with a label is kept."""
        row = await (await self._stored()).find(which)
        await self._house.store.request("checkpoint.label", {"checkpoint": row["id"], "label": label})
        return _info({**row, "label": label})

    async def drop(self, which: str | int) -> CheckpointInfo:
        """Forget a checkpoint. Conflict for the newest while a worker of the session lives on it."""
        row = await (await self._stored()).find(which)
        try:
            await self._house.store.request("checkpoint.drop", {"checkpoint": row["id"]})
        except StoreRefused as error:
            raise Conflict(error.message) from None
        return _info(row)

    async def _options(self) -> dict[str, Any]:
        try:
            row = (await self._house.store.request("session.get", {"session": self._session})).data
        except StoreRefused as error:
            if error.status != 404:
                raise
            raise NotFound("session", self._session) from None
        options: dict[str, Any] = row.get("options") or {}
        return options

    async def _stored(self) -> Stored:
        options = await self._options()
        grants, profile = tuple(options.get("grants") or ()), options.get("profile", "open")
        return Stored(self._house.store, self._house.keeping.blobs, self._session, grants, profile)

    async def _read(self, which: str | int) -> tuple[CheckpointInfo, Opened]:
        stored = await self._stored()
        row = await stored.find(which)
        return _info(row), await stored.open(row["id"])

    async def variables(self, which: str | int) -> list[Variable]:
        """The variables of a checkpoint as `Session.variables` has them, loaded in a worker that is made for it."""
        _, opened = await self._read(which)
        async with self._loaded(opened.payload) as worker:
            found = read_variables(await worker.namespace(Namespace(action="variables")))
        names = _groups(opened.table)
        return [each for each in found if each.name in names]

    @asynccontextmanager
    async def _loaded(self, payload: bytes | MemoryFile) -> AsyncIterator[WorkerSession]:
        """A worker that holds a checkpoint, as the session's own would."""
        worker = WorkerSession(
            self._session,
            on_call=self._on_call,
            on_checkpoint=_no_checkpoint,
            observer=self._house.observer,
            confinement=confinement_of(self._house.store, self._session, await self._options()),
            launcher=self._house.launcher,
        )
        await worker.start()
        try:
            async with asyncio.timeout(COMPARE_S):
                await worker.restore(payload, override_environment=True)
                yield worker
        except TimeoutError:
            raise CheckpointError(f"the values could not be shown within {COMPARE_S:g} s") from None
        finally:
            worker.kill()
            await worker.wait_ended()

    async def _reprs(self, payload: bytes | MemoryFile, names: list[str]) -> dict[str, str]:
        module = "bridge.worker.namespace.variables"
        code = f"__import__({module!r}, fromlist=['*']).short_reprs(globals(), {json.dumps(names)})"
        async with self._loaded(payload) as worker:
            reply = await worker.execute(Execute(id="diff", code=code, checkpoint="none", capabilities=[]))
        if not isinstance(reply, Result) or not isinstance(reply.value, dict):
            raise CheckpointError(f"the values of session {self._session!r} could not be shown")
        return {str(name): str(text) for name, text in reply.value.items()}

    async def _on_call(self, call: Call) -> CallResult:
        return refused(call, self._session)


def _info(row: dict[str, Any]) -> CheckpointInfo:
    return CheckpointInfo.of(row)


def _groups(table: GroupTable) -> dict[str, tuple[str, tuple[PayloadPart | bytes, ...]]]:
    """The kind and data of each variable's group."""
    return {
        name: (group.kind, group.parts)
        for group in table.groups
        for name in group.names
        if not name.startswith(HISTORY)
    }


async def _no_checkpoint(_message: Checkpoint) -> None:
    """Nothing is kept of a comparison."""
