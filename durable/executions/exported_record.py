"""The record of an execution as a JSON document: what `durable show --json` holds and `durable import` reads.

`{"version": 1, "promises": [...], "starts": n, "halted": false, "note": null, "lost": false, "logged": null,
"cancelled": null, "cancelled_at": null}`: the promises of the execution itself and of all under it, as the store has
them, and what its task says beside them (specs/execution.md, Records).
"""

from __future__ import annotations

import json
from typing import Any

from durable.core import ids
from durable.core.errors import BadArguments, Conflict, StoreRefused
from durable.functions.replay.recorded_promises import read_record
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

VERSION = 1

_FIELDS = frozenset(
    ("version", "promises", "starts", "halted", "note", "lost", "logged", "cancelled", "cancelled_at"),
)
"""What a record says. A request can say more, as which execution it takes the place of: no document may."""


async def export(store: StoreFace, row: ExecutionRow) -> dict[str, Any]:
    """The record of an execution."""
    own = ids.execution_promise(row.id)
    root = (await store.request("promise.get", {"id": own})).data["promise"]
    found = await read_record(store, own)
    return {
        "version": VERSION,
        "promises": [root, *found.promises],
        "starts": row.starts,
        "halted": row.state == "interrupted",
        "note": row.note if row.state == "interrupted" else None,
        "lost": row.state == "lost",
        "logged": found.logged,
        "cancelled": found.cancelled,
        "cancelled_at": found.cancelled_at,
    }


def read(text: str) -> dict[str, Any]:
    """The record in what `durable show --json` printed, or in a document that is one; BadArguments."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the record is not JSON: {error}; `durable show ID --json` prints one") from None
    return check(document.get("record", document) if isinstance(document, dict) else None)


def check(found: Any) -> dict[str, Any]:
    """A record, or BadArguments for what is none, or is of another version."""
    if not isinstance(found, dict) or not isinstance(found.get("promises"), list) or not found["promises"]:
        raise BadArguments("this is no record of an execution; `durable show ID --json` prints one")
    if found.get("version") != VERSION:
        raise BadArguments(
            f"the record has version {found.get('version')!r}, this durable-exec reads version {VERSION}; import it "
            "with the durable-exec that wrote it, or a newer one"
        )
    return found


async def import_(store: StoreFace, record: dict[str, Any]) -> str:
    """Recreate an execution from its record, whole or not at all; its id. Conflict when it exists, BadArguments."""
    unknown = [key for key in record if key not in _FIELDS]
    if unknown:
        raise BadArguments(f"the record cannot be imported: no record says {unknown[0]!r}")
    try:
        await store.request("execution.import", {key: value for key, value in record.items() if key != "version"})
    except StoreRefused as refused:
        if refused.status == 409:
            raise Conflict(refused.message) from None
        if refused.status == 400:
            raise BadArguments(f"the record cannot be imported: {refused.message}") from None
        raise
    return str(record["promises"][0]["id"]).removeprefix(ids.PREFIX)
