"""Requests that record what an engine runs: they wait for a store that cannot be reached, however long it is away."""

PATIENT = frozenset(
    (
        "actor.fulfill", "audit.append", "call.create", "checkpoint.publish", "output.append", "output.truncate",
        "task.fail", "task.fence", "task.fulfill", "task.halt", "task.suspend",
    )
)  # fmt: skip
