"""The namespace from outside, transactions, displays, modes (specs/namespace.md), in a real worker."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.protocol.messages import Error, Namespace, NamespaceReply, Result
from tests.protocol.desk import Desk


async def asked(desk: Desk, action: str, **fields: Any) -> NamespaceReply:
    return await desk.session.namespace(Namespace(action=action, **fields))  # type: ignore[arg-type]


async def update(desk: Desk, updates: dict[str, object], **fields: Any) -> Any:
    reply = await asked(desk, "update", updates=updates, **fields)
    assert not reply.problem
    return reply.value


async def test_updates_by_strategy_say_what_changed_and_keep_the_mapping(desk: Desk) -> None:
    before = await desk.value("identity = id(globals())\na = 1\nb = [1]\ndef f(): return a\nidentity")
    assert await update(desk, {"a": 2, "c": 3}) == {"a": 2, "c": 3}
    assert await update(desk, {"a": 5, "d": 4}, strategy="preserve") == {"d": 4}
    smart: dict[str, object] = {"a": None, "b": [], "c": 3, "d": 4.5, "e": None}
    assert await update(desk, smart, strategy="smart") == {"d": 4.5, "e": None}
    assert await desk.value("[f(), b, c, d, e, id(globals()), id(f.__globals__)]") == [
        2,
        [1],
        3,
        4.5,
        None,
        before,
        before,
    ]


async def test_the_engines_names_are_refused_and_nothing_is_changed(desk: Desk) -> None:
    for name in ("_", "Out", "_exit_code", "__name__", "__builtins__"):
        reply = await asked(desk, "update", updates={"x": 1, name: 2})
        assert name in reply.problem
    assert (await desk.error("x")).exception_type == "NameError"
    assert await update(desk, {"_": 7}, source="engine") == {"_": 7}
    assert await desk.value("_ + 1") == 8


@pytest.mark.parametrize(
    ("limits", "exceeded"),
    [
        ({"name": 3}, ["name", 3, 4]),
        ({"value": 10}, ["value", 10, 102]),
        ({"namespace": 100}, ["namespace", 100]),
        ({"name": 4, "value": 200, "namespace": 100_000}, None),
    ],
)
async def test_limits_refuse_an_update_whole(desk: Desk, limits: dict[str, int], exceeded: list[object] | None) -> None:
    reply = await asked(desk, "update", updates={"x": 1, "long": "y" * 100}, limits=limits)
    assert (reply.exceeded or [])[: len(exceeded or [])] == (exceeded or [])
    assert await desk.value("'x' in globals()") is (exceeded is None)


async def test_values_variables_and_clear(desk: Desk) -> None:
    await desk.run(
        "a = [1]\nb = b'no JSON'\nclass C:\n    def __repr__(self): raise ValueError\nc = C()\nlarge = 'x' * 10**6"
    )
    assert (await asked(desk, "values", names=["a"])).value == {"a": [1]}
    assert set((await asked(desk, "values")).value) == {"a", "large"}
    assert "'b'" in (await asked(desk, "values", names=["b"])).problem
    assert "'z'" in (await asked(desk, "values", names=["z"])).problem
    rows: Any = (await asked(desk, "variables")).value
    found = {name: (kind, text, size) for name, kind, text, size in rows}
    assert set(found) == {"a", "b", "C", "c", "large"}
    assert found["a"][:2] == ("list", "[1]")
    assert found["c"][:2] == ("__main__.C", "<C object whose repr raised ValueError>")
    assert found["large"][2] > 10**6
    assert len(found["large"][1]) <= 80
    cleared: Any = (await asked(desk, "clear")).value
    assert sorted(cleared) == sorted(found)
    assert await desk.value("[name for name in globals() if name[0] != '_' and name not in ('In', 'Out')]") == []
    assert await desk.value("__name__ + str(len(In))") == "__main__3"


async def test_reprs_that_never_end_do_not_keep_the_variables_back(desk: Desk) -> None:
    await desk.run(
        "import bridge.worker.namespace.variables as showing\nshowing.SHORT_S, showing.SHORT_EACH_S = 0.1, 0.05\n"
        "class Never:\n    def __repr__(self):\n        while True: pass\nn = [Never() for _ in range(50)]\n"
        "for i in range(50): globals()[f'n{i}'] = n[i]"
    )
    rows: Any = (await asked(desk, "variables")).value
    texts = {name: text for name, _kind, text, _size in rows}
    assert "took longer" in texts["Never" if "Never" not in texts else "n"]
    assert texts["n9"] == "…"


async def test_sources_of_functions_classes_and_imports(desk: Desk) -> None:
    await desk.run(
        "import math, os.path as p\nfrom json import dumps as d, loads\nfrom math import pi\nimport sys\ndel sys"
    )
    await desk.run("def f():\n    return 1  # f\n\n@property\nasync def g(): pass\nasync def h(): pass\ng = h")
    await desk.run("class C:\n    x = 1  # C\nexec('def made(): pass')")
    found: Any = (await asked(desk, "sources")).value
    assert set(found["functions"]) == {"f", "g", "h"}
    assert "# f" in found["functions"]["f"]
    assert "# C" in found["classes"]["C"]
    assert found["imports"] == sorted(
        [
            "from json import dumps as d",
            "from json import loads",
            "from math import pi",
            "import math",
            "import posixpath as p",
        ]
    )


# --- transactions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "end", "kept"),
    [
        ("commit_always", "", True),
        ("commit_always", "1 / 0", True),
        ("rollback_on_failure", "", True),
        ("rollback_on_failure", "1 / 0", False),
        ("rollback_on_failure", "raise SystemExit", False),
        ("rollback_always", "", False),
        ("rollback_always", "1 / 0", False),
    ],
)
async def test_transactions(desk: Desk, policy: str, end: str, kept: bool) -> None:
    await desk.run("a = [1]\ngone = 1\nidentity = id(globals())")
    code = f"a.append(2)\ndel gone\nnew = given\n{end}\n'the value'"
    reply = await desk.run(code, transaction=policy, inputs={"given": 5})
    assert isinstance(reply, Error if end else Result)
    assert (reply.rollback is None) is kept
    assert await desk.value("a") == ([1, 2] if kept else [1])
    names = await desk.value("[name in globals() for name in ('gone', 'new', 'given')] + [id(globals()) == identity]")
    assert names == ([False, True, True, True] if kept else [True, False, False, True])
    if isinstance(reply, Result):
        assert reply.value == "the value"


async def test_what_a_rollback_cannot_put_back_is_named(desk: Desk) -> None:
    await desk.run("g = (n for n in range(3))\nx = {}")
    error = await desk.error("x[1] = next(g)\n1 / 0", transaction="rollback_on_failure")
    assert error.rollback is not None
    assert error.rollback.restored == ["x"]
    assert [name for name, _why in error.rollback.kept] == ["g"]
    assert await desk.value("[x, list(g)]") == [{}, [1, 2]]


async def test_a_transaction_is_saved_as_it_ends_not_inside(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: 1
    await desk.run("a = 1")
    await desk.run("a = fetch()\na = 3\n", transaction="rollback_always", checkpoint="auto")
    assert [one.final for one in desk.checkpoints] == [True]
    outcome = desk.checkpoints[0].outcome
    assert outcome is not None
    assert outcome.rollback is not None
    assert (outcome.rollback.restored, outcome.rollback.kept) == ([], [])
    await desk.session.restore(desk.checkpoints[0].data, clear_existing=True)
    assert await desk.value("a") == 1


# --- modes -------------------------------------------------------------------------------------------------------


async def test_modes_and_warnings_are_on_the_outcome(desk: Desk) -> None:
    async def mode(code: str) -> tuple[str, list[str]]:
        reply = await desk.run(code)
        return reply.mode, reply.warnings

    assert await mode("1 + 1") == ("simple_sync", [])
    assert await mode("time.sleep(0)") == ("simple_sync", [])
    assert await mode("import time, asyncio") == ("simple_sync", [])
    found, warnings = await mode("time.sleep(0)")
    assert found == "blocking_sync"
    assert len(warnings) == 1
    assert "await asyncio.sleep" in warnings[0]
    assert (await mode("await asyncio.sleep(0)\ntime.sleep(0)"))[0] == "top_level_await"
    assert (await mode("z = time.sleep"))[0] == "simple_sync"
    assert (await mode("z(0)"))[0] == "blocking_sync"
    assert (await mode("(lambda: z(0))"))[0] == "blocking_sync"
    assert (await mode("async def f(): pass"))[0] == "async_def"
    assert (await mode("x ="))[0] == "unknown"
    assert (await mode("time = None\n1 / 0"))[0] == "simple_sync"
    assert (await mode("time.sleep(0)"))[0] == "simple_sync"


# --- displays ----------------------------------------------------------------------------------------------------


def bundles(desk: Desk) -> list[Any]:
    return [json.loads(one.data) for one in desk.outputs if one.stream == "display"]


async def test_display_shows_bundles_in_order_with_the_output(desk: Desk) -> None:
    code = (
        "class Figure:\n    def _repr_html_(self): return '<b>f</b>'\n"
        "    def _repr_png_(self): return b'\\x89PNG', {'width': 2}\n"
        "    def _repr_svg_(self): raise ValueError\n    def __repr__(self): return 'a figure'\n"
        "class Bundle:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'text/x': 'x', 'bad': object()}\n"
        "print('before', end='')\ndisplay(Figure(), Bundle())\nprint('after')\ndisplay(5)"
    )
    await desk.run(code)
    figure, bundle, five = bundles(desk)
    assert figure == {
        "data": {"text/plain": "a figure", "text/html": "<b>f</b>", "image/png": "iVBORw=="},
        "metadata": {"image/png": {"width": 2}},
    }
    assert bundle["data"].keys() == {"text/plain", "text/x"}
    assert five["data"] == {"text/plain": "5"}
    assert [one.stream for one in desk.outputs] == ["stdout", "display", "display", "stdout", "display"]
    assert [one.offset for one in desk.outputs[:2]] == [0, 6]


async def test_displays_are_bounded_in_size_number_and_time(desk: Desk) -> None:
    await desk.run(
        "import bridge.worker.io.display as d\nd.DISPLAYS_MAX = 3\n"
        "class Large:\n    def _repr_html_(self): return 'x' * 2**21\n    def _repr_markdown_(self): return 'small'\n"
        "class Never:\n    def _repr_html_(self):\n        while True: pass\n"
        "d._ask.__defaults__ = None\nd.bundle_of.__defaults__ = (0.05,)\n"
        "display(Large())\ndisplay(Never())\ndisplay(3)\ndisplay(4)"
    )
    large, never, _three = bundles(desk)
    assert large["data"].keys() == {"text/plain", "text/markdown"}
    assert large["metadata"]["omitted"] == ["text/html"]
    assert never["data"].keys() == {"text/plain"}
    assert desk.text() == "4\n"


async def test_display_in_threads_tasks_and_forked_children(desk: Desk) -> None:
    await desk.run(
        "import asyncio, threading, os\nasync def f(): display('task')\nawait asyncio.create_task(f())\n"
        "t = threading.Thread(target=display, args=('thread',))\nt.start()\nt.join()\n"
        "pid = os.fork()\nif pid == 0:\n    display('child')\n    os._exit(0)\nos.waitpid(pid, 0)"
    )
    assert [one["data"]["text/plain"] for one in bundles(desk)] == ["'task'", "'thread'"]
    await desk.until(lambda: "'child'" in desk.text())


# --- what is shown of values and sources --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("class Never:\n    def __repr__(self):\n        while True: pass\nNever()", "took longer than 0.1 s"),
        (
            "class Sleeps:\n    def __repr__(self):\n        import time\n        time.sleep(60)\n[Sleeps()]",
            "took longer",
        ),
        (
            "class Holds:\n    def __repr__(self):\n        while True:\n"
            "            try:\n                while True: pass\n            except Exception: pass\nHolds()",
            "took longer",
        ),
        ("[0] * 10_000_000", "more]"),
        ("'x' * 100_000_000", "characters"),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: list\nP([0] * 10_000_000)", "P(x=[0, 0,"),
    ],
)
async def test_reprs_are_bounded_in_time_and_size(desk: Desk, code: str, shown: str) -> None:
    await desk.run("import bridge.worker.namespace.values as v\nv.bounded_repr.__defaults__ = (10_000, 0.1)")
    async with asyncio.timeout(10):
        result = await desk.run(code)
    assert isinstance(result, Result)
    assert shown in result.repr
    assert len(result.repr) <= 10_000


async def test_a_repr_leaves_the_users_timer_and_handler_alone(desk: Desk) -> None:
    await desk.run(
        "import signal\nseen = []\nsignal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\nclass R: pass\nR()"
    )
    await desk.run("while not seen: signal.pause()")
    assert await desk.value("seen") == [1]


async def test_source_of_classes_dataclasses_and_nested_ones(desk: Desk) -> None:
    await desk.run("import dataclasses, inspect")
    await desk.run(
        "x = 1\n\n@dataclasses.dataclass(slots=True)\nclass P:\n    x: int  # P's\n"
        "    class Inner:\n        y = 1  # inner's"
    )
    await desk.run(
        "class Q:\n    def method(self): return 1  # Q's\n"
        "def make():\n    class Local: z = 1  # local's\n    return Local"
    )
    for expression, comment in (
        ("P", "P's"),
        ("P.Inner", "inner's"),
        ("Q", "Q's"),
        ("make()", "local's"),
        ("Q.method", "Q's"),
    ):
        assert f"# {comment}" in str(await desk.value(f"inspect.getsource({expression})"))
    assert str(await desk.value("inspect.getsource(P)")).startswith("@dataclasses.dataclass(slots=True)\nclass P:")
    await desk.run("class P:\n    other = 1  # new")
    assert "# new" in str(await desk.value("inspect.getsource(P)"))


async def test_cells_that_share_an_id_keep_their_own_lines(desk: Desk) -> None:
    for name in "fg":
        request = desk.request(f"def {name}():\n    return {name}.missing  # of {name}", id="quick")
        await desk.session.execute(request)
    await desk.run("import inspect")
    assert "# of f" in str(await desk.value("inspect.getsource(f)"))
    assert "# of g" in str(await desk.value("inspect.getsource(g)"))
    assert "# of f" in (await desk.error("f()")).traceback


async def test_code_that_exec_runs_has_no_lines_of_ours(desk: Desk) -> None:
    error = await desk.error("exec('def f():\\n    1 / 0\\nf()')")
    assert "importlib" not in error.traceback
    assert 'File "<string>", line 2, in f' in error.traceback
