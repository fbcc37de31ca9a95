"""Tables on terminals that are wide, usual and narrow."""

from __future__ import annotations

from durable.cli.terminal_table import cells_of, cut, lines

COLUMNS = ("id", "state", "what", "engine", "note")
UUID = "01a22d4a-7725-75f0-90ec-e1d754a8ab6a"
NOTE = "no living engine serves shop.py::order; `durable resume 01a22d4a-7725-75f0-90ec-e1d754a8ab6a`"
ROWS = [
    [UUID, "running (stuck)", "a function with a name that is long", "", NOTE],
    ["b", "completed", "order", "", ""],
]


def drawn(width: int) -> list[str]:
    found = list(lines(COLUMNS, ROWS, width))
    assert all(cells_of(line) <= width for line in found), found
    return found


def test_a_note_has_lines_of_its_own_and_empty_columns_are_left_out() -> None:
    assert drawn(80) == [
        "ID                                    STATE            WHAT",
        "─" * 80,
        f"{UUID}  running (stuck)  a function with a name t…",
        "  no living engine serves shop.py::order; `durable resume",
        f"  {UUID}`",
        "b                                     completed        order",
    ]


def test_on_a_narrow_terminal_ids_stay_whole_and_all_else_is_there() -> None:
    assert drawn(46) == [
        "ID",
        "  STATE            WHAT",
        "─" * 46,
        UUID,
        "  running (stuck)  a function with a name tha…",
        "  no living engine serves shop.py::order;",
        "  `durable resume",
        f"  {UUID}`",
        "b",
        "  completed        order",
    ]


def test_a_long_note_is_cut_after_three_lines() -> None:
    found = list(lines(("id", "note"), [["a", "word " * 200]], 40))
    assert len(found) == 6
    assert found[-1].endswith("…")
    assert all(cells_of(line) <= 40 for line in found)


def test_a_terminal_of_no_width_to_speak_of() -> None:
    assert list(lines(COLUMNS, ROWS, 5))


def test_wide_characters_take_two_columns() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("abc", 2) == "a…"
