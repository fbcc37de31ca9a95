"""Habits of people and language models from IPython (specs/namespace.md, Habits and Displays)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import durable
from tests.waiting import first_prompt

CELLS = {
    "fences": ("```python\nx = 5\nx + 1\n```", 6, ""),
    "fences in prose's manner": ("\n```\n'a'\n```\n", "a", ""),
    "shell": ("!echo hello", None, "hello\n"),
    "shell with names": ("who = 'ada'\n!echo $who {who.upper()}", None, "ada ADA\n"),
    "shell's lines": ("found = !printf 'a\\nb\\n'\nfound", ["a", "b"], ""),
    "shell in a block": ("for i in range(2):\n    !echo {i}", None, "0\n1\n"),
    "its exit code": ("!exit 3\n_exit_code", 3, ""),
    "a string that looks like one": ("text = '''\n%time x\n!ls\n'''\n%pwd\nlen(text)", 13, ""),
    "matplotlib": ("%matplotlib inline\n1", 1, ""),
    "environment": ("%env MINE=7\n%env MINE", "7", "env: MINE=7\n"),
    "bash": ("%%bash\necho one\necho two", None, "one\ntwo\n"),
    "modulo stays": ("a = 7\na \\\n%3", 1, ""),
    "indented as a whole": ("    if True:\n        print('in')\n    4", 4, "in\n"),
    "an example from documentation": (
        ">>> def f():\n...     return 5\n...\n>>> print(f())\n5\n>>> f() + 1\n6",
        6,
        "5\n",
    ),
}


@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("what", CELLS)
async def test_a_cell_in_the_manner_of_ipython(tmp_path: Path, what: str, journal: bool) -> None:
    code, value, stdout = CELLS[what]
    async with durable.open(tmp_path / "w.db") as engine:
        result = await (await engine.session("desk")).execute(code, journal=journal)
        assert result.error is None, result.error.traceback
        assert (result.value, result.stdout) == (value, stdout)


@pytest.mark.parametrize(
    "make", ["_ = max", "for _ in [max]: pass", "def _(*args): return max(*args)", "import builtins as _"]
)
async def test_what_code_puts_into_the_underscore_stays(tmp_path: Path, make: str) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        for cell in (make, "5", "6"):
            assert (await session.execute(cell)).error is None
        (await engine.live("desk")).kill_worker()
        assert (await session.execute("7")).value == 7
        assert (
            await session.execute("_.max(1, 2) if 'builtins' in repr(_) and hasattr(_, 'max') else _(1, 2)")
        ).value == 2
        assert (await session.execute("del _")).error is None
        assert (await session.execute("8")).value == 8
        assert [(await session.execute(name)).value for name in ("_", "Out[3]")] == [8, 6]


@pytest.mark.parametrize("shown", ["10 ** 30", "'text' * 3", "[1]", "max"])
async def test_the_underscore_goes_on_after_a_restore(tmp_path: Path, shown: str) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute(shown)
        (await engine.live("desk")).kill_worker()
        assert (await session.execute(f"_ == {shown}")).value is True
        assert (await session.execute(f"_ is True and __ == {shown}")).value is True


async def test_an_underscore_among_the_builtins_is_not_hidden(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("import gettext\ngettext.install('app')")
        await session.execute("5")
        assert (await session.execute("_('text')")).value == "text"
        await session.execute("import builtins\ndel builtins._\n7")
        assert (await session.execute("_")).value == 7


async def test_history_with_keys_of_the_users_own_goes_on_after_a_restore(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("Out['best'] = 1\n5")
        (await engine.live("desk")).kill_worker()
        assert (await session.execute("6")).value == 6
        assert (await session.execute("[Out['best'], Out[1], Out[2]]")).value == [1, 5, 6]


@pytest.mark.parametrize(
    "code", ["return 3", "if True:\n    return", "yield 3", "class V:\n    return", "nonlocal a", "await = 1"]
)
async def test_what_belongs_into_a_function_is_a_syntax_error(tmp_path: Path, code: str) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        assert isinstance((await session.execute(code)).error, SyntaxError)


async def test_a_session_goes_on_after_exit(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        for code, said in (("exit()", "None"), ("quit(4)", "4"), ("import sys\nsys.exit('bye')", "bye")):
            error = (await session.execute(code)).error
            assert isinstance(error, durable.ExecutionError), error
            assert (error.exception_type, error.exception_message) == ("SystemExit", said)
        assert (await session.execute("x")).value == 1


async def test_a_size_bounds_what_is_read_from_standard_input(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        code = "[found.read(0), found.readline(0), found.read(2), found.readline(), found.isatty()]"
        execution = await session.submit(f"import sys\nfound = sys.stdin\n{code}")
        await engine.answer((await first_prompt(engine)).id, "ada")
        assert (await session.result(execution.id)).value == ["", "", "ad", "a\n", False]


async def test_time_and_help(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        timed = await session.execute("import asyncio\n%time await asyncio.sleep(0, 41) + 1")
        assert timed.value == 42
        assert "Wall time: " in timed.stdout
        assert "CPU times: " in timed.stdout
        whole = await session.execute("%%time\nx = 1\nx + 1")
        assert whole.value == 2
        assert "Wall time: " in whole.stdout
        assert "Wall time" not in (await session.execute("1")).stdout
        assert "per loop" in (await session.execute("%timeit -n 10 -r 2 x + 1")).stdout
        await session.execute("def f(a, *, b=1):\n    'Adds.'\n    return a + b")
        for asked in ("f?", "?f", "%pinfo f"):
            told = (await session.execute(asked)).stdout
            assert "f(a, *, b=1)" in told
            assert "Adds." in told
        assert "return a + b" in (await session.execute("f??")).stdout
        assert "not found" in (await session.execute("nothing?")).stdout


async def test_what_has_no_meaning_here_says_what_to_write(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        for code, hint in (("%run x.py", "exec(open"), ("%%writefile x\nabc", "write_text"), ("%what", "plain Python")):
            error = (await session.execute(code)).error
            assert isinstance(error, SyntaxError)
            assert hint in str(error)
        broken = (await session.execute("x = (1\n%time y")).error
        assert isinstance(broken, SyntaxError)
        assert (await session.execute("1 +")).error is not None


async def test_install(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        for code in ("%pip --version", "!pip --version", "%pip list"):
            result = await session.execute(code)
            assert result.error is None or "there is no uv" in str(result.error)


async def test_the_last_error_is_there_for_debuggers(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("def f(): 1 / 0\nf()")
        code = "import sys\nt = sys.last_traceback\n"
        code += "[type(sys.last_exc).__name__, t.tb_frame.f_code.co_name, t.tb_next.tb_frame.f_code.co_name, "
        code += "_exception is sys.last_exc]"
        assert (await session.execute(code)).value == ["ZeroDivisionError", "<module>", "f", True]
        await session.execute("import sys; sys.exit(4)")
        assert (await session.execute("_exit_code")).value == 4


RICH = """
class Both:
    def _repr_html_(self): return '<b>both</b>'
    def __repr__(self): return 'both'
class Bundle:
    def _repr_mimebundle_(self, include=None, exclude=None): return {'application/x': {'a': 1}, 'text/plain': 'own'}
class Itself:
    def _ipython_display_(self): display(Both())
"""


@pytest.mark.parametrize("journal", [True, False])
async def test_last_expressions_are_shown_as_what_they_are(place: str, journal: bool) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        await session.execute(RICH)
        result = await session.execute("Both()", journal=journal)
        assert [one.data for one in result.displays] == [{"text/plain": "both", "text/html": "<b>both</b>"}]
        assert result.repr == "both"
        bundle = await session.execute("Bundle()", journal=journal)
        assert bundle.displays[0].data == {"application/x": {"a": 1}, "text/plain": "own"}
        itself = await session.execute("Itself()", journal=journal)
        assert [one.data["text/html"] for one in itself.displays] == ["<b>both</b>"]
        for plain in ("1", "'text'", "[Both()]", "Both", "None", "x = Both()", "Both();"):
            assert (await session.execute(plain, journal=journal)).displays == ((),)[0], plain
        frame = await session.execute("import pandas as pd\npd.DataFrame({'a': [1]})", journal=journal)
        assert "<table" in frame.displays[0].data["text/html"]


async def test_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed here")
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        shown = await session.execute(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.get_fignums()"
        )
        assert shown.error is None, shown.error.traceback
        assert shown.value == []
        for code in ("fig, ax = plt.subplots()\nax.plot([1])\nplt.close(fig)\nfig", "display(fig)", "fig.show()"):
            shown = await session.execute(code)
            (display,) = shown.displays
            assert base64.b64decode(display.data["image/png"])[:4] == b"\x89PNG"
            assert "<svg" in display.data["image/svg+xml"]
        drawn = await session.execute("n = plt.plot([1])")
        assert len(drawn.displays) == 1, "as IPython shows at the end of a cell what it drew"
