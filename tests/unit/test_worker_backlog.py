"""Output that waits: what is kept, what is dropped, where that is marked (specs/worker-protocol.md, B1-B5)."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.output_rules import OutputRules
from bridge.worker.io.backlog import Backlog, OutputOverflow, OutputPiece
from durable.core.errors import BadArguments

SIZE = 3
STEPS = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(["stdout", "stderr"]), st.integers(1, 9))), max_size=40)


def taken(backlog: Backlog) -> OutputPiece | None:
    piece = backlog.first()
    if piece is not None:
        backlog.sent(piece)
    return piece


@given(st.sampled_from(["drop_new", "drop_oldest", "error"]), STEPS)
def test_kept_and_dropped_add_up_in_order(policy: str, steps: list[tuple[str, int] | None]) -> None:
    """Any order of writing and taking: each character is there or counted, in its own place of its stream."""
    backlog = Backlog(policy, SIZE)
    written: dict[str, list[int]] = {"stdout": [], "stderr": []}
    got: list[OutputPiece] = []
    number = 0
    for step in steps:
        if step is None:
            piece = taken(backlog)
            got += [piece] if piece else []
        else:
            number += 1
            written[step[0]] += [number] * step[1]
            full = len(backlog) >= SIZE
            try:
                backlog.add(OutputPiece("e", step[0], 0, chr(number) * step[1]))
            except OutputOverflow:
                assert policy == "error"
                assert full
        assert len(backlog) <= SIZE + 4  # at most one gap at each end for each stream
    while (piece := taken(backlog)) is not None:
        got.append(piece)
    for stream, expected in written.items():
        at = 0
        for piece in (one for one in got if one.stream == stream):
            assert isinstance(piece.text, str)
            assert [ord(one) for one in piece.text] == expected[
                at + piece.dropped : at + piece.dropped + len(piece.text)
            ]
            at += piece.dropped + len(piece.text)
        assert at == len(expected)
    assert len(backlog) == 0


@pytest.mark.parametrize(("policy", "kept"), [("drop_new", "012"), ("drop_oldest", "789")])
def test_which_end_is_dropped(policy: str, kept: str) -> None:
    backlog = Backlog(policy, SIZE)
    for i in range(10):
        backlog.add(OutputPiece("e", "stdout", 0, str(i)))
    got = list(iter(lambda: taken(backlog), None))
    assert "".join(str(one.text) for one in got) == kept
    assert [(dropped, len(list(run))) for dropped, run in groupby(one.dropped for one in got)] in (
        [(0, 3), (7, 1)],
        [(7, 1), (0, 3)],
    )


def test_giving_up_leaves_only_marks() -> None:
    backlog = Backlog("drop_new", SIZE)
    for text in ("ab", "c", b"\xff\xfe"):
        backlog.add(OutputPiece("e", "stdout", 0, text))
    assert backlog.give_up() == 5
    assert taken(backlog) == OutputPiece("e", "stdout", 5, "")
    assert taken(backlog) is None


def test_rules_say_what_they_take() -> None:
    assert OutputRules().to_json() == {}
    rules = OutputRules(policy="drop_new", drain="warn", stored=7)
    assert OutputRules.read(rules.to_json()) == rules
    for wrong in ({"policy": "lose"}, {"drain": 1}, {"stored": -1}, {"drain_ms": True}, {"other": 1}):
        with pytest.raises(BadArguments):
            OutputRules.read(wrong)
