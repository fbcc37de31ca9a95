"""The stored copy of output: rows that cover everything, lines collapsed, gaps counted (K1-K5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.records.stored_output import (
    COLLAPSED_MAX,
    GAP_CHARS,
    CopyRow,
    StoredCopy,
    Stream,
    collapse,
    place,
)

TEXT = st.text(alphabet="ab\r\n", min_size=1, max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["stdout", "stderr"]), TEXT, st.just(0)),
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.just(""), st.integers(1, 5)),
        st.none(),
    ),
    max_size=25,
)


def shown(text: str) -> str:
    """What a terminal that has no memory of longer paints shows: the reference for `collapse`."""
    out = []
    for line in text.replace("\r\n", "\n").split("\n"):
        last = ""
        for paint in line.split("\r"):
            last = paint or last
        out.append(last)
    return "\n".join(out)


def fed(steps: list[tuple[Stream, str, int] | None], limit: int = 10**9) -> tuple[StoredCopy, list[CopyRow], list[int]]:
    copy, rows, sealed = StoredCopy(limit), list[CopyRow](), [0]
    for step in steps:
        if step is None:
            sealed.append(copy.offset)
        for row in copy.seal() if step is None else copy.add(*step):
            assert rows == [] or row.start in (rows[-1].start, rows[-1].start + rows[-1].length)
            place(rows, row)
    for row in copy.seal():
        place(rows, row)
    return copy, rows, sealed


@given(STEPS, st.integers(0, 60))
def test_rows_cover_everything_and_the_limit_holds(steps: list[tuple[Stream, str, int] | None], limit: int) -> None:
    copy, rows, _ = fed(steps, limit)
    at = 0
    for row in rows:
        assert row.start == at
        assert 0 <= len(row.text) <= row.length
        at += row.length
    total = sum(len(step[1]) + step[2] for step in steps if step is not None)
    assert at == total == copy.offset
    assert sum(len(row.text) for row in rows) == copy.kept <= limit


@given(STEPS)
def test_each_stream_looks_the_same_and_dropped_is_dropped(steps: list[tuple[Stream, str, int] | None]) -> None:
    """Without a limit, one stream alone: nothing but what was painted over is missing."""
    texts = [(step[1], step[2]) for step in steps if step is not None]
    _, rows, _ = fed([("stdout", text, dropped) for text, dropped in texts])
    printed = "".join(text or "\n" for text, _ in texts)  # a gap ends the line that it interrupts
    kept = "".join(row.text or "\n" for row in rows)
    runs = [[one for one in shown(found).split("\n") if one] for found in (printed, kept)]
    assert runs[0] == runs[1]


@given(STEPS)
def test_no_line_is_rewritten_across_a_checkpoint(steps: list[tuple[Stream, str, int] | None]) -> None:
    _, rows, sealed = fed(steps)
    for offset in sealed:
        inside = [row for row in rows if row.start < offset < row.start + row.length]
        assert all(len(row.text) in (0, row.length) for row in inside)


@given(STEPS)
def test_before_a_checkpoint_nothing_depends_on_what_comes_after(steps: list[tuple[Stream, str, int] | None]) -> None:
    cut = steps.index(None) if None in steps else len(steps)
    _, before, _ = fed(steps[:cut])
    _, whole, _ = fed(steps)
    end = sum(row.length for row in before)
    kept = [row if row.start + row.length <= end else row._replace(length=end - row.start) for row in whole]
    assert [row for row in kept if row.start < end][: len(before)] == before


@pytest.mark.parametrize(
    ("writes", "text"),
    [
        (["\r 10%", "\r 20%", "\r 30%\n", "done\n"], "\r 30%\ndone\n"),
        (["10%\r", "20%\r", "30%\r", "\n"], "\r30%\r\n"),
        (["before\n\r1%", "\r2%"], "before\n\r2%"),
        (["a\r\nb\r\n"], "a\r\nb\r\n"),
        (["\r50%\r    \r"], "\r    \r"),
        (["one\rtwo\rthree\nfour\n"], "\rthree\nfour\n"),
    ],
)
def test_progress_lines(writes: list[str], text: str) -> None:
    _, rows, _ = fed([("stderr", write, 0) for write in writes])
    assert "".join(row.text for row in rows) == text


def test_an_hour_of_a_progress_bar_is_one_row() -> None:
    copy, rows = StoredCopy(10**9), list[CopyRow]()
    for i in range(36_000):
        for row in copy.add("stderr", f"\r{i / 360:5.1f}%|{'#' * 60}"):
            place(rows, row)
    assert len(rows) == 1
    assert copy.kept == len(rows[0].text) < 80
    assert copy.offset == rows[0].length > 2_000_000


def test_a_flood_of_progress_lines_becomes_no_flood_of_rows() -> None:
    copy = StoredCopy(10**9)
    rows = copy.add("stdout", "a\rb\n" * 16_000)
    assert len(rows) <= 2 * COLLAPSED_MAX + 2
    assert copy.offset == 64_000


def test_a_gap_is_told_of_as_it_grows_and_at_a_checkpoint() -> None:
    copy = StoredCopy(10)
    assert copy.add("stdout", "x" * 25) == [CopyRow(0, "stdout", "x" * 10, 10)]
    assert copy.add("stdout", "y" * 5) == []
    assert copy.seal() == [CopyRow(10, "stdout", "", 20)]
    assert copy.seal() == []
    assert copy.add("stderr", "z" * GAP_CHARS) == [CopyRow(10, "stdout", "", 20 + GAP_CHARS)]


@given(TEXT)
def test_collapse_never_grows_and_is_stable(line: str) -> None:
    line = line.replace("\n", "") + "\n"
    once = collapse(line)
    assert len(once) <= len(line)
    assert collapse(once) == once
