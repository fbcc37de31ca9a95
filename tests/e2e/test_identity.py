"""Functions that move, are renamed, and meet by module and by file; records that move to another store.

Real commands and programs in real directories (specs/execution.md, Identity and Records).
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.cli_process import Done, Terminal
from tests.warm_python import PYTHON

NIGHTLY = """
import durable

def note(text):
    with open("ran", "a") as file:
        print(text, file=file)

@durable.function
async def nightly(ctx: durable.Context, n: int) -> int:
    await ctx.run(note, "step")
    more = await ctx.ask("More?", schema=int)
    return n + more
"""
SCRIPT = """
import asyncio, sys
import durable
{imports}

async def main():
    async with durable.open({store!r}) as engine:
        execution = await engine.start(nightly, 40, id=sys.argv[1])
        while (change := engine.changed()) and (await execution.info()).state != "waiting":
            await change
    print("waits")

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.environment["DURABLE_STORE"] = str(tmp_path / "work.db")
    return found


def place(terminal: Terminal, name: str, text: str = NIGHTLY) -> Path:
    (terminal.directory / name).parent.mkdir(parents=True, exist_ok=True)
    return terminal.write(name, text)


def python(terminal: Terminal, *words: str, folder: str = ".") -> Done:
    """A program of the user's, run to its end."""
    done = subprocess.run(
        [PYTHON, *words],
        cwd=terminal.directory / folder,
        env=terminal.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def program(terminal: Terminal, imports: str) -> str:
    return SCRIPT.format(imports=imports, store=terminal.environment["DURABLE_STORE"])


def recorded(terminal: Terminal, execution: str) -> tuple[str, str]:
    """What an execution's function is known by, and where it is loaded from."""
    with closing(sqlite3.connect(terminal.environment["DURABLE_STORE"])) as file:
        ((tags,),) = file.execute("SELECT tags FROM promises WHERE id=?", (f"exec:{execution}",)).fetchall()
    found = json.loads(tags)
    return found["durable:function"], found["durable:source"]


def test_a_release_that_moves_on_and_a_file_that_is_moved_go_on(terminal: Terminal) -> None:
    for release in ("1", "2"):
        place(terminal, f"releases/{release}/nightly.py")
    current = terminal.directory / "current"
    current.symlink_to("releases/1")
    assert terminal.durable("run", "current/nightly.py::nightly", "40", "--id", "a").code == 4
    assert recorded(terminal, "a") == ("nightly.py::nightly@1", str(current / "nightly.py"))
    assert (
        python(terminal, "-m", "durable.cli", "run", "nightly.py::nightly", "40", "--id", "b", folder="current").code
        == 4
    )
    current.unlink()
    current.symlink_to("releases/2")
    for execution in ("a", "b"):
        again = python(
            terminal, "-m", "durable.cli", "run", "nightly.py::nightly", "40", "--id", execution, folder="current"
        )
        assert again.code == 4, again
    shutil.rmtree(terminal.directory / "releases/1")
    assert terminal.durable("answer", "a", "2").out == "42\n"
    shutil.move(terminal.directory / "releases/2/nightly.py", terminal.directory / "moved.py")
    (terminal.directory / "elsewhere").mkdir()
    shutil.move(terminal.directory / "moved.py", terminal.directory / "elsewhere/nightly.py")
    terminal.durable("answer", "b", "3").failed(1, "there is no file")
    assert terminal.durable("run", "elsewhere/nightly.py::nightly", "40", "--id", "b").out == "43\n"
    assert terminal.durable("run", "elsewhere/nightly.py::nightly", "40", "--id", "b").out == "43\n"
    assert recorded(terminal, "b")[0] == "nightly.py::nightly@1"
    assert len(terminal.lines("ran")) == 1


def test_a_script_its_file_and_its_module_meet(terminal: Terminal) -> None:
    place(terminal, "nightly.py", NIGHTLY + program(terminal, ""))
    place(terminal, "app.py", program(terminal, "from nightly import nightly"))
    for way in (["nightly.py"], ["-m", "nightly"], ["app.py"]):
        assert python(terminal, *way, "x").out == "waits\n", way
    assert terminal.durable("run", "nightly::nightly", "40", "--id", "x").code == 4
    assert terminal.durable("answer", "x", "2").out == "42\n"
    assert terminal.durable("run", "nightly.py::nightly", "40", "--id", "x").out == "42\n"
    assert len(terminal.lines("ran")) == 1


def test_a_file_of_a_package_is_its_module(terminal: Terminal) -> None:
    place(terminal, "pkg/__init__.py", "")
    place(terminal, "pkg/names.py", "MORE = 0")
    place(terminal, "pkg/nightly.py", "from . import names\n" + NIGHTLY)
    place(terminal, "app.py", program(terminal, "from pkg.nightly import nightly"))
    assert terminal.durable("run", "pkg/nightly.py::nightly", "40", "--id", "y").code == 4
    assert recorded(terminal, "y")[0] == "pkg.nightly::nightly@1"
    assert python(terminal, "app.py", "y").out == "waits\n"
    assert terminal.durable("run", "pkg.nightly::nightly", "40", "--id", "y").code == 4
    done = python(terminal, "-m", "durable.cli", "answer", "y", "3", folder="pkg")
    assert done.out == "43\n", done


def test_two_files_of_one_name_are_a_conflict(terminal: Terminal) -> None:
    place(terminal, "a/nightly.py")
    place(terminal, "b/nightly.py")
    assert terminal.durable("run", "a/nightly.py::nightly", "40", "--id", "x").code == 4
    terminal.durable("run", "b/nightly.py::nightly", "40", "--id", "x").failed(
        6, "a/nightly.py", "b/nightly.py", "name="
    )
    assert terminal.durable("answer", "x", "2").out == "42\n"
    terminal.durable("run", "b/nightly.py::nightly", "40", "--id", "x").failed(6, "name=")
    assert terminal.durable("run", "a/nightly.py::nightly", "40", "--id", "x").out == "42\n"


@pytest.mark.parametrize("target", ["nightly.py::nightly", "nightly::nightly"])
def test_a_schedule_is_served_by_a_program_that_imports_the_module(terminal: Terminal, target: str) -> None:
    place(terminal, "nightly.py", "import durable\n@durable.function\nasync def nightly(ctx):\n    return 'ran'\n")
    assert terminal.durable("schedule", "create", "tick", "* * * * *", target).code == 0
    store = terminal.environment["DURABLE_STORE"]
    with closing(sqlite3.connect(store)) as file:  # the minute is over
        file.execute("UPDATE schedules SET next_run_at = next_run_at - 60000")
        file.commit()
    text = f"""
import asyncio, durable, nightly
async def main():
    async with durable.open({store!r}) as engine:
        reads = engine.store.reads
        while (change := engine.changed()) and not (rows := await reads.list_executions(state="completed")):
            await change
        print(rows[0].id, rows[0].value)
asyncio.run(asyncio.wait_for(main(), 50))
"""
    place(terminal, "serves.py", text)
    done = python(terminal, "serves.py")
    assert done.out.startswith("tick-"), done
    assert done.out.endswith(" ran\n")


def as_before(terminal: Terminal, execution: str, path: Path) -> None:
    """Make its record one of an earlier version, which knew functions by the absolute path of their file."""
    with closing(sqlite3.connect(terminal.environment["DURABLE_STORE"])) as file:
        own, function = f"exec:{execution}", f"{path}::nightly@1"
        ((tags_text, data),) = file.execute("SELECT tags, param_data FROM promises WHERE id=?", (own,)).fetchall()
        tags, param = json.loads(tags_text), json.loads(base64.b64decode(data))
        del tags["durable:source"]
        tags["durable:function"], param["func"] = function, f"{path}::nightly"
        changed = json.dumps(tags), base64.b64encode(json.dumps(param).encode()).decode(), own
        file.execute("UPDATE promises SET tags=?, param_data=? WHERE id=?", changed)
        file.execute("UPDATE tasks SET function=? WHERE id=?", (function, own))
        file.commit()


def test_executions_recorded_by_an_absolute_path_are_served(terminal: Terminal) -> None:
    path = place(terminal, "nightly.py")
    for execution, where in (("a", path), ("b", Path("/gone/releases/1/nightly.py")), ("c", path)):
        assert terminal.durable("run", "nightly.py::nightly", "40", "--id", execution).code == 4
        as_before(terminal, execution, where)
    assert terminal.durable("run", "nightly.py::nightly", "40", "--id", "b").code == 4
    for execution in ("a", "b"):
        assert terminal.durable("answer", execution, "2").out == "42\n"
    place(terminal, "app.py", program(terminal, "from nightly import nightly"))
    assert python(terminal, "app.py", "c").out == "waits\n"
    assert len(terminal.lines("ran")) == 3


def test_what_was_renamed_goes_on_under_its_new_name(terminal: Terminal) -> None:
    path = place(terminal, "nightly.py")
    for execution in ("a", "b", "ended"):
        assert terminal.durable("run", "nightly.py::nightly", "40", "--id", execution).code == 4
    assert terminal.durable("answer", "ended", "1").out == "41\n"
    assert terminal.durable("schedule", "create", "tick", "0 0 29 2 *", "nightly.py::nightly", "1").code == 0
    path.unlink()
    renamed = NIGHTLY.replace("def nightly", "def each_night")
    place(terminal, "jobs.py", renamed)
    terminal.durable("answer", "a", "2").failed(1, "durable alias nightly.py::nightly@1 NEW")
    done = terminal.durable("alias", "nightly.py::nightly", "jobs.py::each_night", "--json")
    assert done.data == {
        "old": "nightly.py::nightly", "new": "jobs.py::each_night", "executions": 3, "schedules": 1,
    }  # fmt: skip
    assert terminal.durable("resume", "a").out == "42\n"
    assert terminal.durable("run", "jobs.py::each_night", "40", "--id", "ended").out == "41\n"
    assert terminal.durable("schedule", "list", "--json").data[0]["function"] == "jobs.py::each_night@1"
    terminal.durable("alias", "nightly.py::nightly", "jobs.py::each_night").failed(3, "nothing is recorded")
    terminal.durable("alias", "a::", "b").failed(2, "names no function")
    for target, example in (
        ("jobs.py:count", "jobs.py::count"),
        ("jobs.py::", "jobs.py::main"),
        ("count", "jobs.py::count"),
    ):
        terminal.durable("run", target).failed(2, f"for instance {example}")
    # In code: a program that says what it was called before serves what is recorded so.
    place(
        terminal,
        "jobs.py",
        renamed.replace("@durable.function", '@durable.function(name="night", aliases=["jobs::each_night"])'),
    )
    assert terminal.durable("answer", "b", "2").out == "42\n"
    assert len(terminal.lines("ran")) == 3


def test_a_record_goes_on_in_another_store(terminal: Terminal) -> None:
    place(terminal, "nightly.py")
    other = str(terminal.directory / "other.db")
    assert terminal.durable("run", "nightly.py::nightly", "40", "--id", "a").code == 4
    shown = terminal.durable("show", "a", "--json")
    assert shown.data["record"]["version"] == 1
    terminal.write("a.json", shown.out)
    made = terminal.durable("import", "a.json", "--store", other, "--json")
    assert (made.code, made.data["id"], made.data["state"]) == (0, "a", "running")
    assert terminal.durable("show", "a", "--json", "--store", other).data["record"] == shown.data["record"]
    terminal.durable("import", "a.json", "--store", other).failed(6, "'a' exists")
    assert terminal.durable("answer", "a", "2", "--store", other).out == "42\n"
    assert len(terminal.lines("ran")) == 1
    ended = terminal.durable("show", "a", "--json", "--store", other)
    assert terminal.durable("import", "-", "--store", "third.db", stdin=ended.out).code == 0
    again = terminal.durable("show", "a", "--json", "--store", "third.db").data
    assert again["record"] == ended.data["record"]
    assert (again["state"], again["result"]) == ("completed", 42)
    assert terminal.durable("doctor", "--store", "third.db").code == 0
    assert terminal.durable("result", "a", "--store", "third.db").out == "42\n"


def test_a_record_that_is_none_is_refused_whole(terminal: Terminal) -> None:
    place(terminal, "nightly.py")
    assert terminal.durable("run", "nightly.py::nightly", "40", "--id", "a").code == 4
    record = terminal.durable("show", "a", "--json").data["record"]
    step = record["promises"][1]

    def refused(changed: object, *parts: str) -> None:
        terminal.durable("import", "-", "--store", "other.db", stdin=json.dumps(changed)).failed(2, *parts)

    refused({**record, "version": 9}, "version 9")
    refused([], "no record")
    refused({**record, "promises": record["promises"][1:]}, "not the one of a durable function")
    refused({**record, "promises": [*record["promises"], {**step, "id": "exec:b.1"}]}, "not under 'exec:a'")
    refused({**record, "promises": [*record["promises"], step]}, "twice")
    refused({**record, "promises": [*record["promises"], {**step, "state": "odd"}]}, "state")
    refused({**record, "promises": [*record["promises"], {**step, "id": "exec:a.9", "state": "pending"}]}, "settledAt")
    terminal.durable("import", "absent.json", "--store", "other.db").failed(3, "there is no file")
    assert terminal.durable("list", "--store", "other.db", "--json").data == []
