"""When `durable repl` reads another line of a script."""

from __future__ import annotations

import pytest

from durable.cli.javascript_input import needs_more
from durable.cli.repl_input import Burst


@pytest.mark.parametrize(
    "text",
    [
        "function f() {", "let a = [1,", "`abc", "`a ${b", "`a ${f({", "if (x) {\n y", "f(", "1 +", "/* x", "let x =",
        "for (;;", "x =>", "a.", "a ? b :", "`a\n", "f(/[(/]\\//,", "({ a: '}'", "class A { // }", "`${`",
        "x = a ||", "`\\",
    ],
)  # fmt: skip
def test_what_is_open_goes_on(text: str) -> None:
    assert needs_more(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "a b", "}", "f(]", "'abc", '"abc', "let a = '('", "/[(]/.test(x)", "a / b", "(a) / b; c / d",
        "`a ${b} c`", "// {", "/* { */ 1", "function f() { return 1 }", "let s = \"\\\"(\"", "i++", "`\\``", "`$`",
        "`a ${`b ${c}`} d`",
        "if (1) {\n}\n", "return /'/", "x = /}/", "'a\\'('",
    ],
)  # fmt: skip
def test_what_is_whole_or_wrong_does_not(text: str) -> None:
    assert not needs_more(text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    if x:\n        return 1\n    return 2\n\nf(1)",
        "for n in range(2):\n    print(n)\n    print(n)\n\nn",
        "class A:\n    def f(self):\n        return [\n            1,\n        ]\n\nA",
    ],
)
def test_pasted_lines_keep_their_own_indentation(text: str) -> None:
    assert at_once(text) == text


def test_lines_typed_ahead_are_indented() -> None:
    assert (
        at_once("for n in range(2):\nprint(n)\nprint(-n)\n") == "for n in range(2):\n    print(n)\n    print(-n)\n    "
    )


def test_a_line_that_a_person_ends_is_indented() -> None:
    assert Burst().indentation("def f():", "", "python") == "    "
    assert Burst().indentation("    x = 1", "", "python") == "    "


def at_once(text: str) -> str:
    """The buffer after these lines came in one piece."""
    burst, buffer = Burst(), ""
    for n, character in enumerate(text):
        buffer += character
        if character == "\n":
            buffer += burst.indentation(buffer[:-1], text[n + 1 : n + 2], "python")
    return buffer
