"""Running cells (specs/session.md E1-E8), in a real worker."""

from __future__ import annotations

import pytest

from bridge.protocol.messages import Error, Result
from durable.core.errors import NotEncodable
from tests.protocol.desk import Desk


async def test_value_of_the_last_expression_is_evaluated_once(desk: Desk) -> None:
    assert await desk.value("n = []\ndef f():\n    n.append(1)\n    return len(n)\nf()") == 1
    assert await desk.value("len(n)") == 1


async def test_a_statement_has_neither_value_nor_repr(desk: Desk) -> None:
    result = await desk.run("x = 5")
    assert isinstance(result, Result)
    assert (result.value, result.repr) == (None, "")
    assert result.execution_time > 0


@pytest.mark.parametrize(
    "late",
    [
        "x ===",
        "return 1",
        "break",
        "def f(): await g()",
        "y = 1\nglobal y",
        "yield 1",
        "x = 1\nfrom __future__ import annotations",
        "def f():\n    nonlocal q",
        "lambda: (await x)",
    ],
)
async def test_late_errors_run_nothing(desk: Desk, late: str) -> None:
    error = await desk.error(f"ran = True\n{late}")
    assert error.exception_type == "SyntaxError"
    assert "bridge" not in error.traceback
    assert (await desk.error("ran")).exception_type == "NameError"


async def test_syntax_error_shows_line_and_caret(desk: Desk) -> None:
    error = await desk.error("a = 1\nb = = 2")
    assert "line 2" in error.traceback
    assert "b = = 2" in error.traceback
    assert "^" in error.traceback


@pytest.mark.parametrize("code", ["\0", "(" * 5000, "'é"])
async def test_code_that_cannot_be_compiled_is_an_error_of_the_cell(desk: Desk, code: str) -> None:
    assert isinstance(await desk.run(code), Error)
    assert await desk.value("1 + 1") == 2


async def test_code_that_cannot_be_sent_changes_nothing(desk: Desk) -> None:
    with pytest.raises(NotEncodable):
        await desk.run("'\ud800'")
    assert await desk.value("1 + 1") == 2


async def test_traceback_holds_the_users_lines_only(desk: Desk) -> None:
    error = await desk.error("def f():\n    return 1 / 0\n\nf()")
    assert error.exception_type == "ZeroDivisionError"
    assert "return 1 / 0" in error.traceback
    assert "line 4" in error.traceback
    assert "bridge" not in error.traceback
    assert error.statement == 1


async def test_traceback_of_causes_groups_and_calls_is_cut_too(desk: Desk) -> None:
    desk.answers["input"] = lambda call: {"not": "text"}
    error = await desk.error(
        "async def f(): raise KeyError('inner')\n"
        "import asyncio\n"
        "async with asyncio.TaskGroup() as group:\n    group.create_task(f())"
    )
    assert error.exception_type == "ExceptionGroup"
    assert "KeyError: 'inner'" in error.traceback
    assert "bridge" not in error.traceback


async def test_await_works_wherever_the_language_allows_it(desk: Desk) -> None:
    code = (
        "async def one(): return 1\n"
        "def d(x): return lambda f: f\n"
        "a = f'{await one()}'\n"
        "def g(x=await one()): return x\n"
        "@d(await one())\ndef h(): pass\n"
        "b = [await one() for _ in range(2)]\n"
        "match await one():\n    case 1: c = 'matched'\n"
        "(a, g(), b, c)"
    )
    assert await desk.value(code) == ["1", 1, [1, 1], "matched"]


async def test_functions_see_later_changes_of_globals(desk: Desk) -> None:
    await desk.run("y = 1\ndef f(): return y\ndef g():\n    global y\n    y = 3")
    await desk.run("y = 2")
    assert await desk.value("f()") == 2
    assert await desk.value("g(); y") == 3
    assert await desk.value("f.__globals__ is globals() is vars(__import__('__main__'))") is True


async def test_future_flags_carry_over(desk: Desk) -> None:
    await desk.run("from __future__ import annotations")
    assert await desk.value("def f(x: nowhere): pass\nf.__annotations__['x']") == "nowhere"


async def test_a_bare_string_later_does_not_become_the_docstring(desk: Desk) -> None:
    await desk.run("'the doc'\nx = 1\n'not the doc'\ny = 2")
    assert await desk.value("__doc__") == "the doc"
    await desk.run("'a value'")
    assert await desk.value("__doc__") == "the doc"


async def test_statements_share_one_context(desk: Desk) -> None:
    code = (
        "import asyncio, contextvars\nv = contextvars.ContextVar('v', default=0)\n"
        "async def setter(): v.set(1)\nawait setter()\nfirst = v.get()\nv.set(2)\n"
        "async def reader(): return v.get()\n(first, await reader())"
    )
    assert await desk.value(code) == [1, 2]
    assert await desk.value("v.get()") == 2


async def test_create_task_without_await_and_the_loop_lives_on(desk: Desk) -> None:
    code = (
        "import asyncio\nseen = []\ngo = asyncio.Event()\n"
        "async def background():\n    await go.wait()\n    await asyncio.sleep(0)\n"
        "    seen.append(1)\n    print('done')\n"
        "task = asyncio.create_task(background())\nasyncio.get_running_loop() is task.get_loop()"
    )
    assert await desk.value(code) is True
    await desk.run("go.set()")
    await desk.until(lambda: "done" in desk.text())
    assert await desk.value("seen") == [1]
    assert desk.text(execution="") == "done\n", "no execution ran"


async def test_a_callback_from_a_thread_reaches_the_idle_loop(desk: Desk) -> None:
    code = (
        "import asyncio, threading, time\nloop = asyncio.get_running_loop()\n"
        "async def hello(): print('hello from the loop')\n"
        "def later():\n    time.sleep(0.05)\n    asyncio.run_coroutine_threadsafe(hello(), loop)\n"
        "threading.Thread(target=later).start()"
    )
    await desk.run(code)
    await desk.until(lambda: "hello from the loop" in desk.text())


@pytest.mark.parametrize(
    "start",
    [
        "asyncio.run(main())",
        "asyncio.Runner().run(main())",
        "asyncio.new_event_loop().run_until_complete(main())",
        "asyncio.get_event_loop().run_until_complete(main())",
    ],
)
async def test_synchronous_statements_may_run_loops(desk: Desk, start: str) -> None:
    code = f"import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 'ran'\nresult = {start}\n"
    assert await desk.value(f"{code}asyncio.create_task(main())\nresult") == "ran"
    assert await desk.value("await asyncio.sleep(0, 'still')") == "still"


async def test_asyncio_run_inside_a_coroutine_is_refused_as_everywhere(desk: Desk) -> None:
    error = await desk.error("import asyncio\nasync def f(): asyncio.run(g())\nasync def g(): pass\nawait f()")
    assert error.exception_type == "RuntimeError"


@pytest.mark.parametrize("what", ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "BaseException('b')"])
@pytest.mark.parametrize("how", ["raise {}", "async def f(): raise {}\nawait f()"])
async def test_base_exceptions_end_the_cell_only(desk: Desk, what: str, how: str) -> None:
    error = await desk.error(how.format(what))
    assert error.exception_type == what.partition("(")[0]
    assert await desk.value("1 + 1") == 2


async def test_exit_ends_the_cell_and_leaves_stdin_open(desk: Desk) -> None:
    assert (await desk.error("exit()")).exception_type == "SystemExit"
    desk.answers["input"] = lambda call: "a line"
    assert await desk.value("import sys\nsys.stdin.readline()") == "a line\n"


@pytest.mark.parametrize("when", ["while idle", "during a cell"])
async def test_system_exit_in_a_background_task_does_not_end_the_worker(desk: Desk, when: str) -> None:
    wait = "\nawait asyncio.sleep(0.05)" if when == "during a cell" else ""
    await desk.run(f"import asyncio\nasync def f(): raise SystemExit('bye')\nt = asyncio.create_task(f()){wait}")
    await desk.until(lambda: "SystemExit: bye" in desk.text("stderr"))
    assert await desk.value("1 + 1") == 2


async def test_forked_children_end_where_the_cell_ends(desk: Desk) -> None:
    code = (
        "import os, sys\npid = os.fork()\n"
        "if pid == 0:\n    print('child')\n    {end}\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    )
    for end, code_seen in (("raise ValueError('in the child')", 1), ("sys.exit(7)", 7)):
        assert await desk.value(f"{code.format(end=end)}status") == code_seen
    assert "in the child" in desk.text("stderr")
    assert desk.text().count("child") == 2
    assert await desk.value("pid = os.fork()\n(os.waitpid(pid, 0)[1] if pid else 0)") == 0
    assert desk.session.unknown_replies == 0


async def test_multiprocessing_and_subprocess_work(desk: Desk) -> None:
    code = (
        "import multiprocessing, subprocess, sys\n"
        "def square(x): return x * x\n"
        "context = multiprocessing.get_context('fork')\n"
        "with context.Pool(2) as pool: squares = pool.map(square, range(4))\n"
        "text = subprocess.run([sys.executable, '-c', 'print(6)'], capture_output=True, text=True).stdout\n"
        "(squares, text)"
    )
    assert await desk.value(code) == [[0, 1, 4, 9], "6\n"]


async def test_main_is_a_real_module(desk: Desk) -> None:
    code = (
        "import pickle, dataclasses, sys\n@dataclasses.dataclass\nclass P:\n    x: int\n"
        "(pickle.loads(pickle.dumps(P(3))) == P(3), sys.modules['__main__'].P is P, __name__)"
    )
    assert await desk.value(code) == [True, True, "__main__"]


async def test_source_of_a_cells_function(desk: Desk) -> None:
    await desk.run("def f():\n    return 'seen'  # a comment")
    assert "# a comment" in str(await desk.value("import inspect\ninspect.getsource(f)"))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("raise ValueError('no')", "repr raised ValueError"),
        ("return 7", "repr raised TypeError"),
        ("raise SystemExit", "repr raised SystemExit"),
        ("return 'x' * 10_000_000", "characters"),
        ("return '\\ud800'", "\\ud800"),
    ],
)
async def test_reprs_are_guarded_and_bounded(desk: Desk, body: str, shown: str) -> None:
    result = await desk.run(f"class R:\n    def __repr__(self): {body}\nR()")
    assert isinstance(result, Result)
    assert shown in result.repr
    assert len(result.repr) <= 10_000
    assert result.value is None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(1, [2.5, None], {'a': True})", [1, [2.5, None], {"a": True}]),
        ("2**63", 2**63),
        ("2**64", None),
        ("float('nan')", None),
        ("{1: 2}", None),
        ("b'bytes'", None),
        ("'\\ud800'", None),
        ("[object()]", None),
        ("(lambda x: (x.append(x), x)[1])([])", None),
        ("[0] * 5_000_000", None),
    ],
)
async def test_values_are_sent_when_they_are_plain_json(desk: Desk, expression: str, value: object) -> None:
    result = await desk.run(expression)
    assert isinstance(result, Result)
    assert result.value == value
    assert result.repr


async def test_deep_recursion_raises_cleanly(desk: Desk) -> None:
    error = await desk.error("def f(n): return f(n + 1)\nf(0)")
    assert error.exception_type == "RecursionError"
    assert len(error.traceback) < 10_000


async def test_errors_whose_text_raises(desk: Desk) -> None:
    error = await desk.error("class E(Exception):\n    def __str__(self): raise ValueError\nraise E")
    assert error.exception_type == "E"
    assert "raised ValueError" in error.exception_message


async def test_history(desk: Desk) -> None:
    await desk.run("40 + 2")
    await desk.run("x = 1")
    await desk.run("None")
    assert await desk.value("_ + 1") == 43
    assert await desk.value("[__, _, Out[1], In[0], _i]") == [42, 43, 42, "40 + 2", "_ + 1"]
    await desk.run("_ = 'mine'")
    assert await desk.value("_") == "mine"


async def test_inputs_become_variables_but_not_the_engines_names(desk: Desk) -> None:
    assert await desk.value("a + b", inputs={"a": 1, "b": 2}) == 3
    error = await desk.error("_", inputs={"_": 1})
    assert "engine" in error.exception_message


async def test_continuing_at_a_statement_runs_only_the_rest(desk: Desk) -> None:
    await desk.run("ran = []")
    code = "ran.append(0)\nran.append(1)\nran.append(2)\nran"
    assert await desk.value(code, start_statement=2, inputs={"ran": "not again"}) == [2]


async def test_the_users_signal_handler_cannot_end_the_worker_between_cells(desk: Desk) -> None:
    await desk.run("import signal\ndef h(*_): raise RuntimeError('from a handler')\nsignal.signal(signal.SIGUSR1, h)")
    await desk.run("import os, threading\nthreading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()")
    await desk.until(lambda: "from a handler" in desk.text("stderr"))
    assert await desk.value("1 + 1") == 2
