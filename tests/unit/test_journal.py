"""Matching a replay with its record (specs/execution.md, J1-J4)."""

from __future__ import annotations

import itertools
import random

import pytest

from durable.core.errors import NonDeterminism
from durable.functions.journal import Journal, Made, Sequence


def made(name: str, digest: str = "0" * 32, scope: str = "") -> Made:
    return Made("step", name, digest, scope)


def sequence(*names: str, concurrent: bool = False) -> Sequence:
    found = Sequence("exec:x.", concurrent=concurrent)
    for position, name in enumerate(names, 1):
        found.add(position, made(name))
    return found


def test_sequential_code_matches_in_order_and_goes_on_above() -> None:
    found = sequence("a", "b")
    assert [found.take(made(name)) for name in ("a", "b", "c", "d")] == [1, 2, 3, 4]


@pytest.mark.parametrize("attempted", [made("b"), made("x"), made("a", "1" * 32), Made("sleep", "a", "0" * 32)])
def test_sequential_code_that_does_something_else_is_named_and_takes_nothing(attempted: Made) -> None:
    found = sequence("a", "b")
    with pytest.raises(NonDeterminism) as caught:
        found.take(attempted)
    assert caught.value.position == "exec:x.1"
    assert "'a'" in caught.value.recorded
    assert found.take(made("a")) == 1


def test_equal_operations_are_told_apart_by_position() -> None:
    found = sequence("a", "a", "a", concurrent=True)
    assert [found.take(made("a")) for _ in range(4)] == [1, 2, 3, 4]


def test_concurrent_code_finds_each_recorded_operation_once_in_any_order() -> None:
    names = ["a", "b", "c", "b"]
    for order in itertools.permutations(range(4)):
        found = sequence(*names, concurrent=True)
        taken = [found.take(made(names[i])) for i in order]
        assert sorted(taken) == [1, 2, 3, 4]
        assert all(names[position - 1] == names[i] for position, i in zip(taken, order, strict=True))
        assert found.take(made("new")) == 5


def test_random_interleavings_never_reuse_a_position() -> None:
    random_ = random.Random(5)
    for _ in range(300):
        names = [random_.choice("abc") for _ in range(random_.randint(0, 6))]
        found = sequence(*names, concurrent=True)
        wanted = [*names, *(random_.choice("abcd") for _ in range(4))]
        random_.shuffle(wanted)
        taken = [found.take(made(name)) for name in wanted]
        assert len(set(taken)) == len(taken)
        for name, position in zip(wanted, taken, strict=True):
            assert position > len(names) or names[position - 1] == name


def test_calls_of_a_finished_nested_function_do_not_stand_in_the_way() -> None:
    journal = Journal("exec:x")
    tags = {"durable:kind": "input", "durable:name": "input", "durable:digest": "1"}
    journal.load("exec:x:input:1", {**tags, "durable:scope": "x.1"})
    journal.load("exec:x:input:2", {**tags, "durable:scope": "x"})
    assert journal.calls("input").take(Made("input", "input", "1", "x")) == 2


def test_a_journal_reads_ids_and_counts_calls() -> None:
    journal = Journal("exec:x")
    for promise_id in ("exec:x.1", "exec:x.1.1", "exec:x:now:1", "exec:x:now:2", "exec:x", "exec:x.a"):
        journal.load(promise_id, {"durable:kind": "step", "durable:name": "a", "durable:digest": "0" * 32})
    journal.load("exec:x.2", {})  # not ours: no digest
    assert journal.children("exec:x").take(made("a")) == 1
    assert journal.unmatched() is None
    assert journal.taken() == {}
    journal.calls("now").take(made("a"))
    assert journal.taken() == {"now": 1}
    journal.children("exec:x.1")
    assert journal.unmatched() == ("exec:x.1.1", made("a"))


def test_a_checkpoint_makes_the_journal_forget_what_it_holds() -> None:
    found = sequence("a", "b", "c")
    found.skip(2)
    assert found.taken() == 2
    assert found.take(made("c")) == 3
    assert found.taken() == 3
