"""Tags of executions: words that they are found by (specs/store.md, Tags).

They stand among the tags of the execution's promise, as `durable:tag:<name>`; the table is an index of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.limits import EXECUTION_TAGS_MAX, TAG_NAME_CHARS_MAX, TAG_VALUE_CHARS_MAX
from durable.store.operations.row_records import dump, load_tags
from durable.store.protocol.requests import Answer, ExecutionTag, Refused, is_kept

if TYPE_CHECKING:
    from durable.store.operations.transaction import Tx

TAG = "durable:tag:"


def tags_of(tags: dict[str, str]) -> dict[str, str]:
    """The tags that an execution is found by, of all that its promise has."""
    return {name.removeprefix(TAG): value for name, value in tags.items() if name.startswith(TAG)}


def check(found: dict[str, str]) -> None:
    """Refuse tags that are too long, too many, or have no name."""
    if len(found) > EXECUTION_TAGS_MAX:
        raise Refused(400, f"an execution has at most {EXECUTION_TAGS_MAX} tags (EXECUTION_TAGS_MAX)")
    for name, value in found.items():
        if not 0 < len(name) <= TAG_NAME_CHARS_MAX or len(value) > TAG_VALUE_CHARS_MAX or not is_kept(name + value):
            raise Refused(
                400,
                f"not a tag: {name[:TAG_NAME_CHARS_MAX]!r}: a name has 1 to {TAG_NAME_CHARS_MAX} characters, a value"
                f" at most {TAG_VALUE_CHARS_MAX}, and neither has NUL or lone surrogates",
            )


def enter(tx: Tx, promise_id: str, found: dict[str, str], created_at: int) -> None:
    """Enter the tags of an execution that has none yet."""
    tx.execute_many(
        "INSERT INTO execution_tags (name, value, created_at, id) VALUES (?,?,?,?)",
        [(name, value, created_at, promise_id) for name, value in found.items()],
    )


def change(tx: Tx, request: ExecutionTag) -> Answer:
    """Set tags of an execution, also of one that has ended; those given as None are taken off."""
    row = tx.row(
        "SELECT p.tags, t.created_at FROM promises p JOIN tasks t ON t.id=p.id WHERE p.id=? AND t.listed IS NOT NULL",
        (request.id,),
    )
    if row is None:
        raise Refused(404, f"there is no execution {request.id!r}")
    tags = load_tags(row[0])
    for name, value in request.tags.items():
        tags.pop(f"{TAG}{name}", None)
        if value is not None:
            tags[f"{TAG}{name}"] = value
    found = tags_of(tags)
    check(found)
    tx.execute("UPDATE promises SET tags=? WHERE id=?", (dump(tags), request.id))
    forget(tx, request.id)
    enter(tx, request.id, found, row[1])
    return Answer(200, {"tags": found})


def forget(tx: Tx, promise_id: str) -> None:
    """Take the tags of an execution out of the index."""
    tx.execute("DELETE FROM execution_tags WHERE id=?", (promise_id,))
