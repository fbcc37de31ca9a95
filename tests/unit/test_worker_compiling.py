"""Statement by statement must equal whole-module execution (E1, E2)."""

from __future__ import annotations

import linecache

import pytest

from bridge.worker.run.code_cache import TEXTS_MAX
from bridge.worker.run.compiler import SOURCES_MAX, _compiled, compile_cell, remember_source

CELLS = [
    "x = 1\ny = x + 1",
    "a: int = 3\nb: 'str'\n",
    "'doc'\nx = 1\n'not doc'",
    "from os.path import *\nfound = callable(join)",
    "if (n := 10) > 5: m = n\ndel n",
    "class A[T]:\n    x: T\ntype B = list[int]\ndef f[U](u: U) -> U: return u\nr = f(3)",
    "global g\ng = 1",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    kind = type(e).__name__\nfinally:\n    done = True",
    "from __future__ import annotations\ndef f(x: nowhere): pass\nkept = f.__annotations__",
    "squares = [i * i for i in range(4)]\ni = 'outer'\nk = {i: j for i, j in zip('ab', (1, 2))}",
    "def fact(n): return 1 if n < 2 else n * fact(n - 1)\nr = fact(5)",
    "import sys as s, os\nx, *rest = 1, 2, 3\nx += 1",
]


def plain(names: dict[str, object]) -> dict[str, object]:
    hidden = ("__builtins__",)
    return {k: v if not callable(v) else type(v).__name__ for k, v in names.items() if k not in hidden}


@pytest.mark.parametrize("code", CELLS)
def test_equals_whole_module_execution(code: str) -> None:
    whole: dict[str, object] = {"__name__": "__main__", "__doc__": None}
    exec(compile(code, "<cell t>", "exec", dont_inherit=True), whole)
    split: dict[str, object] = {"__name__": "__main__", "__doc__": None}
    for statement in compile_cell(code, "<cell t>", 0).statements:
        eval(statement.code, split)
    wholes, splits = plain(whole), plain(split)
    for names in (wholes, splits):
        names.pop("B", None)  # a lazily evaluated alias compares by identity
        names.pop("annotations", None)
        names.pop("e", None)
    assert splits == wholes


def test_values_and_awaits_are_told_apart() -> None:
    statements = compile_cell("x = 1\nx\nawait f()\ny = await f()\n[await f() for _ in x]", "<cell t>", 0).statements
    assert [(one.has_value, one.awaits) for one in statements] == [
        (False, False),
        (True, False),
        (True, True),
        (False, True),
        (True, True),
    ]


def test_an_empty_cell_has_no_statements() -> None:
    assert compile_cell("# nothing\n", "<cell t>", 0).statements == []


def test_future_flags_are_returned_and_taken() -> None:
    flags = compile_cell("from __future__ import annotations", "<cell t>", 0).future_flags
    assert flags
    assert compile_cell("x = 1", "<cell t>", flags).future_flags == flags


def test_sources_are_bounded() -> None:
    for i in range(SOURCES_MAX + 5):
        remember_source("x\n", f"<cell bound {i}>")
    assert linecache.getline("<cell bound 0>", 1) == ""
    assert linecache.getline(f"<cell bound {SOURCES_MAX + 4}>", 1) == "x\n"


def test_the_same_text_again_is_code_of_its_own_cell() -> None:
    text = "def f():\n    return [g() for g in (lambda: 1 / 0,)]\nf()"
    for filename in ("<cell first>", "<cell second>"):
        names: dict[str, object] = {}
        define, call = compile_cell(text, filename, 0).statements
        eval(define.code, names)
        with pytest.raises(ZeroDivisionError) as caught:
            eval(call.code, names)
        assert {entry.path for entry in caught.traceback[1:]} == {filename}


def test_the_same_text_under_other_future_flags_is_compiled_anew() -> None:
    flags = compile_cell("from __future__ import annotations", "<cell t>", 0).future_flags
    text = "a: nowhere = 1"
    for given in (0, flags):
        code = compile_cell(text, "<cell t>", given).statements[0].code
        assert bool(code.co_flags & flags) == bool(given)


def test_compiled_cells_are_bounded() -> None:
    for i in range(TEXTS_MAX + 5):
        compile_cell(f"x{i}", "<cell t>", 0)
    assert len(_compiled) == TEXTS_MAX
