"""Matching a replay with its record (specs/execution.md, J1-J4)."""

from __future__ import annotations

import itertools
import random

import pytest

from durable.core.errors import NonDeterminism
from durable.functions.replay.matching import Journal, Made, Sequence


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


class Sifting(dict[int, Made]):
    """Counts how often matching looks at all that is left."""

    sifted = 0

    def items(self):  # type: ignore[no-untyped-def]
        self.sifted += 1
        return super().items()

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.sifted += 1
        return super().__iter__()


def test_a_long_record_is_matched_without_sifting_through_it_at_each_step() -> None:
    found = Sequence("exec:x.", recorded=Sifting())
    numbers = list(range(1, 1001))
    random.Random(1).shuffle(numbers)  # the store lists ids in order of text
    for n in numbers:
        found.add(n, made(f"s{n}"))
    assert [found.take(made(f"s{n}")) for n in range(1, 1001)] == list(range(1, 1001))
    assert isinstance(found.recorded, Sifting)
    assert found.recorded.sifted == 0


@pytest.mark.parametrize("seed", range(20))
def test_matching_is_what_the_rules_say_word_for_word(seed: int) -> None:
    """J2 and J3 by their definition, beside what runs: the same positions and the same refusals."""
    draw = random.Random(seed)
    found = Sequence("exec:x.", concurrent=draw.random() < 0.5)
    record = {n: made(draw.choice("ab"), scope=draw.choice(("", "x"))) for n in draw.sample(range(1, 30), 20)}
    for n, one in record.items():
        found.add(n, one)
    highest, skipped = max(record), draw.choice((0, 0, 5))
    found.skip(skipped)
    record = {n: one for n, one in record.items() if n > skipped}
    for _ in range(40):
        one = made(draw.choice("ab"), scope=draw.choice(("", "x")))
        equal = min((n for n, other in record.items() if other == one), default=0)
        lowest = min((n for n, other in record.items() if other.scope == one.scope), default=0)
        if not found.concurrent and equal != lowest:
            with pytest.raises(NonDeterminism):
                found.take(one)
            continue
        if not equal:
            highest += 1
        record.pop(equal, None)
        assert found.take(one) == (equal or highest)
