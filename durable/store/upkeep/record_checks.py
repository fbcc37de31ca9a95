"""Checks of what is recorded, in any kind of store: for both doctors (specs/store.md, "Doctor").

Each check reads rows by a function that runs a statement, and yields what is wrong with what to do.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from durable.core.errors import DurableError, StoreError
from durable.core.ids import PREFIX
from durable.core.limits import LIVENESS_CHECK_S
from durable.core.value_codec import SEALED
from durable.store.operations.large_values import Reference, is_blob_of, reference_of
from durable.store.operations.row_records import Row
from durable.store.upkeep.invariants import broken

SHOWN_MAX = 20
"""Problems of one kind that are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `check` is the name of what found it; `message` says what to do, too."""

    check: str
    message: str


type Runs = Callable[[str, tuple[Any, ...]], Iterable[Row]]
"""Runs a statement, with its parameters, and gives its rows."""

type Opens = Callable[[bytes, bytes], object]
"""Reads a checkpoint's manifest with the store's key; DurableError says why it is refused."""


def invariants(run: Runs) -> Iterator[str]:
    """Rules that do not hold."""
    for rule, what in broken(run):
        yield f"{what}: does not hold: {rule}; report it, and restore a backup if something does not go on"


def engines(run: Runs, alive: Callable[[str], bool], now_ms: int) -> Iterator[str]:
    """Engines that are dead, and leases that are over although their engine lives."""
    gone = set()
    for engine, pid, joined_at in run("SELECT engine, pid, joined_at FROM engines ORDER BY engine", ()):
        if not alive(engine):
            gone.add(engine)
            seconds = (now_ms - joined_at) // 1000
            yield f"engine {engine[:8]} (pid {pid}), begun {seconds} s ago, is dead; `durable resume` goes on for it"
    slack = int(LIVENESS_CHECK_S * 1000)
    for task, holder, lease_at in run(
        "SELECT id, pid, lease_at FROM tasks WHERE state='acquired' AND lease_at < ? ORDER BY lease_at, id",
        (now_ms - slack,),
    ):
        if holder not in gone:
            late = (now_ms - lease_at) // 1000
            yield f"{task} is held by {holder}, whose lease ended {late} s ago; `durable resume` frees it"


def deployments(run: Runs, alive: Callable[[str], bool]) -> Iterator[str]:
    """Deployments with executions that could go on or begin, and no engine that is alive."""
    living = {deployment for engine, deployment in run("SELECT engine, deployment FROM engines", ()) if alive(engine)}
    for deployment, count in run(
        "SELECT deployment, count(*) FROM tasks WHERE deployment IS NOT NULL AND deployment <> '' AND listed IN"
        " ('pending', 'running', 'waiting', 'interrupted') GROUP BY deployment ORDER BY deployment",
        (),
    ):
        if deployment not in living:
            yield (
                f"{count} executions belong to the deployment {deployment}, of which no engine is alive; start one, or"
                f" `durable deployment move NAME --from {deployment}`"
            )
    for deployment, count in run(_NEW_WORK, ()):
        if deployment not in living:
            yield (
                f"{count} new executions go to the deployment {deployment}, of which no engine is alive; start one, or"
                " `durable deployment use NAME`"
            )


_NEW_WORK = (
    "SELECT r.deployment, count(*) FROM deployment_routes r JOIN tasks t ON t.function = r.function"
    " WHERE t.listed='pending' AND t.version=0 AND t.deployment IS NULL AND t.session IS NULL"
    " GROUP BY r.deployment ORDER BY r.deployment"
)


def values(run: Runs) -> Iterator[str]:
    """Recorded values that are not base64 of JSON; databases do not look inside."""
    rows = run(
        "SELECT id, state, param_data, value_data FROM promises"
        " WHERE id >= 'exec:' AND id < 'exec;' AND (param_data IS NOT NULL OR value_data IS NOT NULL) ORDER BY id",
        (),
    )
    damaged = 0
    for promise, state, param, value in rows:
        named = "value" if value is not None and not _is_json(value) else "arguments"
        if named == "arguments" and (param is None or _is_json(param)):
            continue
        damaged += 1
        if damaged <= SHOWN_MAX:
            yield f"{promise}: its recorded {named} are no JSON; {_how_to_go_on(promise, state)}"
    if damaged > SHOWN_MAX:
        yield f"{damaged - SHOWN_MAX} more recorded values are no JSON; restore a backup"


def checkpoints(run: Runs, key: bytes, opens: Opens) -> Iterator[str]:
    """Checkpoints whose manifest is refused."""
    newest: dict[str, int] = {}
    refused: list[tuple[int, str, str]] = []
    for checkpoint, session, manifest in run("SELECT id, session, manifest FROM checkpoints ORDER BY id", ()):
        newest[session] = checkpoint
        try:
            opens(bytes(manifest), key)
        except DurableError as error:
            refused.append((checkpoint, session, str(error)))
    bad = {checkpoint for checkpoint, _, _ in refused}
    for checkpoint, session, why in refused:
        back = f"`durable checkpoint drop {session} {checkpoint}`"
        if newest[session] in bad:
            back = f"`durable resume --skip-checkpoint {checkpoint}` goes on from the one before, where that is whole"
        yield f"checkpoint {checkpoint} of session {session!r} is refused: {why}; restore a backup, or {back}"


def missing(run: Runs, there: Container[str], back: str) -> Iterator[str]:
    """Checkpoints that lack chunks. `there`: the digests of large chunks; `back`: where they can come from."""
    rows = run(
        "SELECT u.checkpoint, c.session, u.digest FROM checkpoint_uses u JOIN checkpoints c ON c.id=u.checkpoint"
        " WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.digest=u.digest) ORDER BY u.checkpoint",
        (),
    )
    lacking: dict[tuple[int, str], int] = {}
    for checkpoint, session, digest in rows:
        if digest not in there:
            lacking[checkpoint, session] = lacking.get((checkpoint, session), 0) + 1
    for (checkpoint, session), count in lacking.items():
        yield f"checkpoint {checkpoint} of session {session!r} lacks {count} chunks; {back}"


def large_values(run: Runs, read: Callable[[str], bytes | None]) -> Iterator[str]:
    """Recorded values and signals whose blob is gone or damaged. `read`: the bytes of a blob by its address."""
    known, count = dict[Reference, str](), 0
    for promise, state, *texts in run(_LARGE, ()):
        for reference in filter(None, map(_reference, texts)):
            if reference not in known:
                known[reference] = _why_unreadable(reference, read)
            if known[reference]:
                count += 1
                if count <= SHOWN_MAX:
                    how = "restore a backup" if state is None else _how_to_go_on(promise, state)
                    yield f"{promise}: the blob of a recorded value is {known[reference]}; {how}"
    if count > SHOWN_MAX:
        yield f"{count - SHOWN_MAX} more recorded values lack their blobs; restore a backup"


def _why_unreadable(reference: Reference, read: Callable[[str], bytes | None]) -> str:
    try:
        data = read(reference.address)
    except StoreError as error:
        return f"not readable ({error})"
    if data is None:
        return "gone"
    return "" if is_blob_of(reference, data) else "damaged"


_LARGE = (
    "SELECT id, state, param_data, value_data FROM promises"
    " WHERE substr(param_data, 1, 1) = '@' OR substr(value_data, 1, 1) = '@'"
    " UNION ALL SELECT execution || ', a signal ' || name, NULL, data, NULL FROM signals WHERE substr(data, 1, 1) = '@'"
    " ORDER BY 1"
)


def _reference(text: str | None) -> Reference | None:
    try:
        return reference_of(text)
    except StoreError:
        return None  # told of as a value that is no JSON


def _is_json(data: str) -> bool:
    if data.startswith(SEALED) or _reference(data) is not None:
        return True  # whoever has the key can tell
    try:
        msgspec.json.decode(base64.b64decode(data, validate=True))
    except (ValueError, msgspec.MsgspecError):
        return False
    return True


def _how_to_go_on(promise: str, state: str) -> str:
    execution = promise.removeprefix(PREFIX)
    root = execution.partition(":")[0].partition(".")[0]
    if state == "pending":
        return f"restore a backup, or `durable cancel {root}` and start it under another id"
    if root != execution:
        return (
            f"whatever of {root} reads it stops there: restore a backup, or `durable cancel {root}` and start it anew"
        )
    return f"its result cannot be read: restore a backup, or start {root} under another id"
