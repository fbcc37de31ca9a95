"""When `durable repl` reads another line of a script."""

from __future__ import annotations

import pytest

from durable.cli.javascript_input import needs_more


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
