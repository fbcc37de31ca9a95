"""Child executions: a link, one of the parent's promises, and the child's own (specs/children.md).

The link is settled as the child is. A link that is settled without its child, since its parent has ended, or wants the
child no more, leaves an orphan behind, which is cancelled with time to clean up, unless it was started to go on.
"""

from __future__ import annotations

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.definition_id import SOURCE
from durable.core.ids import DEPLOYMENT, PREFIX
from durable.core.limits import CANCEL_GRACE_S
from durable.store.operations.attempts import rejection
from durable.store.operations.cancellation import cancel
from durable.store.operations.promises import check_create, create_promise
from durable.store.operations.settlement import CHILD, link_to, settle
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import ExecutionCancel, PromiseCreate, Record, Refused, Value

PARENT = "durable:parent"
"""Tag of a child's promise: the link."""
UNTIL = "durable:until"
"""Tag of a link: the child's own deadline, in milliseconds."""
TARGET = "durable:target"
"""Tag of a link: the child's resonate:target."""

_KEPT = ("durable:function", SOURCE, "durable:arguments", "durable:nonce")
"""Tags of a link that are the child's."""


def root_of(link: PromiseCreate) -> PromiseCreate:
    """The child's promise as its link says it; refused where that is no execution of a function."""
    tags = link.tags or {}
    child, until = tags.get(CHILD, ""), tags.get(UNTIL, str(TIME_MAX_MS))
    if not child.startswith(PREFIX) or child == link.id or not tags.get("durable:function") or not until.isdecimal():
        raise Refused(400, f"the link {link.id!r} names no execution of a function that it could be to: {child!r}")
    own = {
        "resonate:scope": "global",
        "resonate:target": tags.get(TARGET, ""),
        "resonate:origin": PREFIX[:-1],
        "resonate:branch": child,
        "resonate:parent": child,
        PARENT: link.id,
        **{name: tags[name] for name in _KEPT if name in tags},
    }
    root = PromiseCreate(id=child, timeout_at=min(int(until), TIME_MAX_MS), param=link.param, tags=own)
    check_create(root, own)
    return root


def begin(tx: Tx, link: Record, root: PromiseCreate, *, deployment: str | None) -> Record:
    """A link was made: its child begins, or is found; the link as it is then. deployment: the parent's, and so its;
    None where that is not decided."""
    if deployment is not None:
        root = msgspec.structs.replace(root, tags={**(root.tags or {}), DEPLOYMENT: deployment})
    tx.lock_promise(root.id)
    child, made = create_promise(tx, root)
    if not made and not is_call_of(child["tags"], root.tags or {}):
        text = f"execution {root.id.removeprefix(PREFIX)!r} exists with another function or other arguments"
        return settle(tx, link["id"], "rejected", Value(data=rejection(text)))
    if child["state"] == "pending":
        link_to(tx, link["id"], root.id)
        return link
    value = Value(data=child["value"].get("data"))
    return settle(tx, link["id"], child["state"], value)


def is_call_of(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two executions call the same function with the same arguments, by their tags."""
    return all(one.get(name) == other.get(name) for name in ("durable:function", "durable:arguments"))


def cancel_orphans(tx: Tx) -> None:
    """Cancel the children whose links were settled without them in this transaction, and theirs."""
    while tx.effects.orphans:
        child, reason = tx.effects.orphans.popitem()
        tx.lock_promise(child)
        if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (child,)) is not None:
            cancel(tx, ExecutionCancel(id=child, reason=reason, grace_ms=int(CANCEL_GRACE_S * 1000)))
