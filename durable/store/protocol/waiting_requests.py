"""Requests that record what an engine runs: they wait for a store that cannot be reached, or whose disk is full."""

from http import HTTPStatus

NO_ROOM = int(HTTPStatus.INSUFFICIENT_STORAGE)
"""The status with which a server answers what was not done for want of room on its disk."""

PATIENT = frozenset(
    (
        "actor.fulfill", "audit.append", "call.create", "checkpoint.publish", "output.append", "output.truncate",
        "task.fail", "task.fence", "task.fulfill", "task.halt", "task.suspend",
    )
)  # fmt: skip
