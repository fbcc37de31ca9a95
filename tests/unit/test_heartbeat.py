"""Tasks that an engine holds: while a pass of one runs, also when an older pass of it ends beside that."""

from __future__ import annotations

from durable.functions.resonate.lease_keeper import HeldTasks


def test_an_older_pass_that_ends_leaves_the_newer() -> None:
    held = HeldTasks()
    held.start("exec:f", 1)
    held.start("exec:f", 2)
    held.start("exec:g", 1)
    held.stop("exec:f")
    assert held.versions() == {"exec:f": 2, "exec:g": 1}
    assert held.holds("exec:f", 2)
    assert not held.holds("exec:f", 1)
    held.stop("exec:f")
    assert held.versions() == {"exec:g": 1}


def test_a_task_that_is_held_again_after_its_end_is_held_in_its_new_version() -> None:
    held = HeldTasks()
    held.start("exec:f", 1)
    held.stop("exec:f")
    held.start("exec:f", 2)
    assert held.versions() == {"exec:f": 2}
    held.shutdown()
    assert held.versions() == {}
