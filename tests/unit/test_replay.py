"""The record of a function and its replay, without promises or loops (specs/execution.md, X2-X4)."""

from __future__ import annotations

import random

import pytest

from durable.core.errors import NonDeterminism
from durable.functions.replay.record import (
    CANCEL,
    Begun,
    OperationKey,
    Recorded,
    Replay,
    pack_ordinals,
    read,
    unpack_ordinals,
)


def operation(name: str, digest: str = "0" * 32, kind: str = "step") -> OperationKey:
    return OperationKey(kind, name, digest)


class Live:
    """A function that runs for the first time, and what a store would have of it."""

    def __init__(self, *recorded: Recorded) -> None:
        self.replay = Replay(recorded)
        self.promises: dict[str, dict[str, str]] = {}
        self.calls = 0

    def begin(self, name: str, task: int = 1, kind: str = "step") -> Begun:
        made = operation(name, kind=kind)
        begun = self.replay.begin(made, task)
        if begun.recorded is None:
            if kind == "input":
                self.calls += 1
                promise_id = f"exec:x:input:{self.calls}"
            else:
                promise_id = f"exec:x.{begun.number}"
            tags = {"durable:kind": made.kind, "durable:name": made.name, "durable:digest": made.digest}
            self.promises[promise_id] = tags | begun.tags
        return begun

    def deliver(self, *ordinals: int) -> None:
        for ordinal in ordinals:
            self.replay.delivered(ordinal)

    def record(self) -> list[Recorded]:
        found = [read(promise_id, tags, settled=True) for promise_id, tags in self.promises.items()]
        return [each for each in found if each is not None]


def own_tags(live: Live) -> dict[str, dict[str, str]]:
    known = ("durable:kind", "durable:name", "durable:digest")
    return {
        promise_id: {tag: value for tag, value in tags.items() if tag not in known}
        for promise_id, tags in live.promises.items()
    }


def test_code_that_does_one_thing_after_another_has_one_tag_more_in_all() -> None:
    live = Live()
    for ordinal, name in enumerate("abc", 1):
        live.begin(name)
        live.deliver(ordinal)
    assert own_tags(live) == {"exec:x.1": {"durable:record": "2"}, "exec:x.2": {}, "exec:x.3": {}}


def test_branches_say_what_came_before_them_and_which_task_they_are() -> None:
    live = Live()
    for task in (2, 3, 4):
        live.begin("get", task)
    live.deliver(3, 1)
    live.begin("put", 4)
    live.begin("who?", 2, "input")
    live.deliver(2)
    live.begin("end")
    assert own_tags(live) == {
        "exec:x.1": {"durable:record": "2", "durable:task": "2"},
        "exec:x.2": {"durable:after": "", "durable:task": "3"},
        "exec:x.3": {"durable:after": "", "durable:task": "4"},
        "exec:x.4": {"durable:after": "3 1", "durable:task": "4"},
        "exec:x:input:1": {"durable:after": "", "durable:ordinal": "5", "durable:task": "2"},
        "exec:x.5": {"durable:after": "2", "durable:ordinal": "6"},
    }


def branches() -> Live:
    """Two branches, the second of which was answered first."""
    live = Live()
    live.begin("get", 2)
    live.begin("get", 3)
    live.deliver(2)
    live.begin("put", 3)
    live.deliver(1, 3)
    live.begin("end")
    return live


def test_a_replay_delivers_in_the_recorded_order() -> None:
    replay = Replay(branches().record())
    assert replay.due() is None
    assert [replay.begin(operation("get"), task).recorded is not None for task in (2, 3)] == [True, True]
    assert replay.due() == 2
    replay.delivered(2)
    assert replay.due() is None
    replay.begin(operation("put"), 3)
    assert replay.due() == 1
    replay.delivered(1)
    assert replay.due() == 3
    replay.delivered(3)
    assert not replay.live
    replay.begin(operation("end"), 1)
    assert replay.live
    assert replay.missing("nothing") is None
    assert replay.begin(operation("new"), 1).number == 5


@pytest.mark.parametrize(
    ("attempted", "task", "shown"),
    [
        (operation("pot"), 3, "step 'pot'"),
        (operation("put", "1" * 32), 3, "arguments 11111111"),
        (operation("put", kind="sleep"), 3, "sleep 'put'"),
        (operation("put"), 2, "in task 2"),
    ],
)
def test_another_operation_in_its_place_is_named(attempted: OperationKey, task: int, shown: str) -> None:
    replay = Replay(branches().record())
    replay.begin(operation("get"), 2)
    replay.begin(operation("get"), 3)
    replay.delivered(2)
    with pytest.raises(NonDeterminism) as caught:
        replay.begin(attempted, task)
    assert caught.value.position == "exec:x.3"
    assert "step 'put'" in caught.value.recorded
    assert shown in caught.value.attempted


def test_an_operation_that_comes_before_its_results_is_named() -> None:
    replay = Replay(branches().record())
    replay.begin(operation("get"), 2)
    replay.begin(operation("get"), 3)
    with pytest.raises(NonDeterminism, match=r"before the result of operation 2"):
        replay.begin(operation("put"), 3)


def test_what_is_left_out_is_named() -> None:
    replay = Replay(branches().record())
    replay.begin(operation("get"), 2)
    error = replay.missing("nothing: it ended")
    assert error is not None
    assert (error.position, error.attempted) == ("exec:x.2", "nothing: it ended")


def test_a_cancellation_has_its_place_among_the_deliveries() -> None:
    live = Live()
    live.begin("a")
    live.deliver(CANCEL)
    live.begin("clean")
    replay = Replay(live.record())
    replay.begin(operation("a"), 1)
    assert replay.due() == CANCEL
    replay.delivered(CANCEL)
    replay.begin(operation("clean"), 1)
    assert replay.live


def old(name: str, number: int, kind: str = "step", concurrent: bool = False) -> Recorded:
    promise_id = f"exec:x:input:{number}" if kind == "input" else f"exec:x.{number}"
    return Recorded(
        promise_id, operation(name, kind=kind), number, number, versioned=False, settled=True, concurrent=concurrent
    )


def test_an_old_record_is_matched_one_after_another_and_goes_on_in_the_new_form() -> None:
    live = Live(old("a", 1), old("q", 1, "input"), old("b", 2))
    live.calls = 1
    for ordinal, (name, kind) in enumerate((("a", "step"), ("q", "input"), ("b", "step")), 1):
        assert live.begin(name, kind=kind).recorded is not None
        assert live.replay.due() == ordinal or live.replay.live
        live.deliver(ordinal)
    live.begin("c", 2)
    assert own_tags(live) == {
        "exec:x.3": {"durable:record": "2", "durable:after": "3", "durable:ordinal": "4", "durable:task": "2"}
    }
    again = Replay([old("a", 1), old("q", 1, "input"), old("b", 2), *live.record()])
    for ordinal, (name, kind) in enumerate((("a", "step"), ("q", "input"), ("b", "step")), 1):
        again.begin(operation(name, kind=kind), 1)
        again.delivered(ordinal)
    assert again.due() is None
    again.begin(operation("c"), 2)
    assert again.live


def test_an_old_record_that_does_not_fit_says_that_it_is_old() -> None:
    with pytest.raises(NonDeterminism, match=r"before 0\.2"):
        Replay([old("a", 1)]).begin(operation("b"), 1)
    assert Replay([old("a", 1, concurrent=True)]).old_concurrent


def test_lists_of_ordinals_are_short_and_come_back() -> None:
    assert pack_ordinals(()) == ""
    assert pack_ordinals((4, 1, 2, 3, 9)) == "4 1-3 9"
    draw = random.Random(7)
    for size in (1, 5, 400, 20_000):
        ordinals = list(range(1, size + 1))
        draw.shuffle(ordinals)
        packed = pack_ordinals(ordinals)
        assert unpack_ordinals(packed) == tuple(ordinals)
        assert len(packed) < 60_000


@pytest.mark.parametrize("seed", range(30))
def test_any_history_replays_to_itself_from_any_cut(seed: int) -> None:
    """A random function: what it begins is a pure function of what was delivered. Cut anywhere and run again."""
    draw = random.Random(seed)
    history: list[tuple[str, int]] = []
    live = Live()
    outstanding: list[int] = []
    for n in range(40):
        if outstanding and draw.random() < 0.5:
            ordinal = outstanding.pop(draw.randrange(len(outstanding)))
            live.deliver(ordinal)
            history.append(("deliver", ordinal))
        else:
            task, kind = draw.randint(1, 4), draw.choice(("step", "input"))
            outstanding.append(live.begin(f"s{n % 3}", task, kind).ordinal)
            history.append((f"{kind} s{n % 3}", task))
    for cut in range(0, 40, 3):
        begun = sum(what != "deliver" for what, _ in history[:cut])
        kept = sorted(live.record(), key=lambda each: each.ordinal)[:begun]
        replay = Replay(kept)
        for what, value in history:
            if replay.live:
                break
            if what == "deliver":
                assert replay.due() == value
                replay.delivered(value)
            else:
                assert replay.due() is None
                kind, name = what.split()
                assert replay.begin(operation(name, kind=kind), value).recorded is not None
        assert replay.missing("nothing") is None
