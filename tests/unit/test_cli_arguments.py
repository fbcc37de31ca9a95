"""Words of the command line as arguments."""

import json
from datetime import date
from importlib import import_module
from typing import Any, get_args

import pytest

import durable
from durable.cli.arguments import Word, fit, parse
from durable.cli.command_group import COMMANDS
from durable.cli.execution_filter import STATES
from durable.cli.exit_codes import Unusable
from durable.cli.load_target import split_target
from durable.records.duration_text import duration
from durable.store.rows import State


@durable.function
async def target(ctx: durable.Context, text: str, number: int = 0, *rest: float, day: date | None = None) -> None: ...


@durable.function  # type: ignore[arg-type]  # mypy 2 cannot solve P for *args beside **options
async def anything(ctx: durable.Context, *args: Any, **options: str) -> None: ...


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        (["a", "2"], ["a", 2], {}),
        (["2", "2"], ["2", 2], {}),
        (["true", "2", "1.5", "3"], ["true", 2, 1.5, 3], {}),
        (["a", "--number", "2"], ["a"], {"number": 2}),
        (["a", "--number=2", "--day", "2026-01-02"], ["a"], {"number": 2, "day": "2026-01-02"}),
        (["a", "number=2"], ["a"], {"number": 2}),
        (["other=2"], ["other=2"], {}),
        (["--", "--number"], ["--number"], {}),
        (["a", "often"], ["a", "often"], {}),
        ([""], [""], {}),
    ],
)
def test_words_are_json_or_text_as_annotated(words: list[str], args: list[Any], kwargs: dict[str, Any]) -> None:
    assert fit(target, words) == (args, kwargs)


def test_without_annotations_json_is_json() -> None:
    assert fit(anything, ["1", "[1, 2]", "NaN", "x", "a=1"]) == ([1, [1, 2], "NaN", "x"], {"a": "1"})


def test_an_option_without_a_value_is_true() -> None:
    args, kwargs = parse(["--dry-run", "--name", "x"])
    assert (args, kwargs) == ([], {"dry_run": Word("true"), "name": Word("x")})


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(Unusable, match="'number' is given twice"):
        parse(["--number", "1", "number=2"])


def test_deep_json_is_text() -> None:
    assert Word("[" * 100_000).value == "[" * 100_000
    assert Word(json.dumps({"a": None})).value == {"a": None}


def test_targets() -> None:
    assert split_target("package.module::name") == ("package.module", "name")
    where, name = split_target("some/file.py::outer.inner")
    assert where.endswith("/some/file.py")
    assert name == "outer.inner"
    for wrong in ("file.py", "::f", "file.py::", ""):
        with pytest.raises(Unusable, match="FILE::FUNC"):
            split_target(wrong)


def test_every_command_is_there_with_the_line_of_help_that_the_list_shows() -> None:
    for name, line in COMMANDS.items():
        assert import_module(f"durable.cli.commands.{name}_command").command.short_help == line


def test_every_state_can_be_listed() -> None:
    assert set(STATES) == set(get_args(State.__value__))


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (0, 0.04, 9.94, 12, 250, 12_000, 500_000)] == [
        "0.0 s",
        "40 ms",
        "9.9 s",
        "12 s",
        "4 m 10 s",
        "3 h 20 m",
        "5 d 18 h",
    ]
