"""Commands that only look, and what is said when there is nothing to look at."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.cli_process import Terminal, read_until

JOB = """
import durable

@durable.function
async def item(ctx, number: int) -> int:
    return await ctx.run(abs, -number)

@durable.function
async def items(ctx) -> int:
    return sum([await ctx.run(item, number) for number in range(11)])

def flaky() -> int:
    with open("tries", "a+") as file:
        file.write("x")
        file.seek(0)
        if len(file.read()) < 3:
            raise ConnectionError("not yet")
    return 1

@durable.function
async def tries(ctx) -> int:
    return await ctx.options(retry=durable.Retry(max_retries=5, delay=0.01)).run(flaky)

@durable.function
async def job(ctx) -> int:
    await ctx.run(abs, -1)
    cell = await ctx.execute("print('from the cell'); 6 * 7", session="desk")
    return cell.value
"""


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    found = Terminal(tmp_path_factory.mktemp("looking"))
    found.write("jobs.py", JOB)
    assert found.durable("run", "jobs.py::job", "--id", "a").out == "42\n"
    return found


def test_show_tells_everything(terminal: Terminal) -> None:
    found = terminal.durable("show", "a", "--json").data
    assert (found["state"], found["result"], found["arguments"]) == ("completed", 42, {"args": [], "kwargs": {}})
    steps = [(step["id"], step["kind"], step["name"], step["state"]) for step in found["steps"]]
    assert steps == [("a.1", "step", "abs", "completed"), ("a.2", "execute", "desk", "completed")]
    text = terminal.durable("show", "a").out
    assert "result     42" in text
    assert "a.2\texecute\tdesk\tcompleted" in text


def test_children_are_shown_with_what_is_under_them(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::items", "--id", "i").out == "55\n"
    lines = [line.split(": ")[0] for line in terminal.durable("tree", "i").out.splitlines()]
    assert lines[:5] == ["i items", "├ i.1 step item", "│ └ i.1.1 step abs", "├ i.2 step item", "│ └ i.2.1 step abs"]
    assert lines[-2:] == ["└ i.11 step item", "  └ i.11.1 step abs"]
    shallow = terminal.durable("tree", "i", "--depth", "1").out.splitlines()
    assert len(shallow) == 12
    assert shallow[1].startswith("├ i.1 step item: completed, ")
    assert shallow[1].endswith("s, 1 under it")
    found = terminal.durable("tree", "i", "--json").data
    assert (found["id"], found["state"], len(found["children"])) == ("i", "completed", 11)
    assert [each["id"] for each in found["children"][9]["children"]] == ["i.10.1"]
    assert terminal.durable("tree", "i", "--json", "--depth", "1").data["children"][0]["children"] == []
    steps = terminal.durable("show", "i", "--json").data["steps"]
    assert {step["id"]: step["parent"] for step in steps if step["id"].startswith("i.7")} == {
        "i.7": "i",
        "i.7.1": "i.7",
    }
    rows = [line.split("\t")[0] for line in terminal.durable("show", "i").out.splitlines()]
    assert rows[rows.index("STEP") :][:5] == ["STEP", "i.1", "i.1.1", "i.2", "i.2.1"]


def test_the_first_try_of_a_step_counts(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::tries", "--id", "t").out == "1\n"
    (step,) = terminal.durable("show", "t", "--json").data["steps"]
    assert (step["tries"], step["attempts"], len(step["retries"])) == (3, 2, 2)
    row = next(line for line in terminal.durable("show", "t").out.splitlines() if line.startswith("t.1\t"))
    assert row.split("\t")[5] == "3"
    assert "3 tries" in terminal.durable("tree", "t").out


def test_lists_are_filtered(terminal: Terminal) -> None:
    def ids(*words: str) -> list[str]:
        return [each["id"] for each in terminal.durable("list", "--json", *words).data]

    assert ids("--session", "desk") == ["a.2"]
    assert ids("--function", "job") == ["a"]
    assert [each for each in ids() if each in ("a", "a.2")] == ["a.2", "a"]
    assert ids("--state", "failed") == []
    assert ids("--before", "a.2") == ["a"]
    assert terminal.durable("list").out.splitlines()[0] == "ID\tSTATE\tWHAT\tAGE\tTOOK\tTRIES\tENGINE\tNOTE"
    nothing = terminal.durable("ps")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "durable: nothing runs or waits\n")


def test_the_documented_fields_are_there(terminal: Terminal) -> None:
    execution = [
        "id",
        "kind",
        "state",
        "stuck",
        "function",
        "name",
        "session",
        "n",
        "created_at",
        "settled_at",
        "duration",
        "timeout_at",
        "starts",
        "attempts",
        "last_error",
        "note",
        "engine",
        "engine_pid",
        "waits_for",
        "error",
        "retry",
        "worker_stuck",
        "unknown_capabilities",
        "tags",
        "signals",
        "deployment",
        "forked_from",
        "rewound_as",
        "retried_as",
    ]
    assert list(terminal.durable("list", "--json").data[0]) == execution
    shown = terminal.durable("show", "a", "--json").data
    assert list(shown) == [*execution, "arguments", "result", "traceback", "steps", "discards", "prompts", "record"]
    step = ["id", "kind", "name", "state", "created_at", "settled_at", "duration", "attempts", "error", "note", "value"]
    step += ["retries", "tries", "parent"]
    assert list(shown["steps"][0]) == step
    session = ["name", "state", "executions", "unfinished", "owner", "owner_pid", "worker_pid", "created_at"]
    assert list(terminal.durable("session", "list", "--json").data[0]) == session


def test_logs_show_the_cells_of_a_function(terminal: Terminal) -> None:
    assert terminal.durable("logs", "a").out == "from the cell\n"
    assert terminal.durable("logs", "a", "-f", "--json").data == {
        "execution": "a.2",
        "offset": 0,
        "stream": "stdout",
        "text": "from the cell\n",
        "chars": 14,
    }


def test_unknown_ids_end_with_3(terminal: Terminal) -> None:
    for words in (["show", "x"], ["wait", "x"], ["result", "x"], ["logs", "x"], ["resume", "x"], ["cancel", "x"]):
        terminal.durable(*words).failed(3, "no execution 'x' in this store")
    terminal.durable("answer", "x", "1").failed(3, "no prompt 'x' in this store", "durable inbox")


def test_stores_that_cannot_be_used_are_named(terminal: Terminal, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.db")
    terminal.durable("--store", absent, "ps").failed(1, "there is no store at")
    for words in (("show", "x"), ("result", "x"), ("answer", "x", "yes"), ("logs", "x"), ("session", "show", "s")):
        terminal.durable("--store", absent, *words).failed(3, "there is no store at")
    terminal.durable("--store", absent, "checkpoint", "import", "none.zip").failed(3, "there is no file 'none.zip'")
    terminal.durable("--store", absent, "import", "none.json").failed(3, "there is no file 'none.json'")
    terminal.durable("--store", absent, "tree", "x").failed(3, "there is no store at")
    assert not (tmp_path / "absent.db").exists()
    missing = terminal.durable("--json", "run", "none.py::f")
    missing.failed(2, "there is no file")
    assert missing.data["error"]["code"] == "USAGE"
    terminal.durable("ps", "--store", str(tmp_path)).failed(1, "is a directory")
    (tmp_path / "text.db").write_text("this is not a database, only a text that is long enough to be one" * 20)
    terminal.durable("ps", "--store", str(tmp_path / "text.db")).failed(1, "not a database")
    newer = tmp_path / "newer.db"
    terminal.durable("exec", "s", "1", "--store", str(newer))
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    terminal.durable("exec", "s", "1", "--store", str(newer)).failed(1, "version 99", "upgrade durable-exec")


READ_ONLY = """
mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" || exit 99
for words in list 'show a' 'tree a' 'logs a' inbox 'session show desk' 'checkpoint list desk' 'result a'
do "$@" $words >/dev/null || exit 1
done
"$@" exec desk 1 2>&1
[ $? = 1 ]
"""


def test_a_store_that_cannot_be_written_can_be_looked_at(terminal: Terminal) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "durable.cli"]
    environment = {**terminal.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=terminal.directory, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "cannot be opened for writing: Read-only file system" in done.stdout, done
    assert done.returncode == 0, done


def test_errors_are_json_when_asked_for(terminal: Terminal) -> None:
    done = terminal.durable("--json", "show", "x")
    assert done.code == 3
    assert done.data["error"]["code"] == "NOT_FOUND"


def test_a_mistyped_command_is_guessed(terminal: Terminal) -> None:
    terminal.durable("lst").failed(2, "did you mean `durable list`?")


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom durable.cli.command_group import run\n"
        "assert run(['--help']) == 0\nassert run(['--version']) == 0\n"
        "print([m for m in ('asyncio', 'pydantic', 'resonate', 'rich', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "answer" in done.stdout


def test_looking_imports_no_engine(terminal: Terminal) -> None:
    code = (
        "import sys\nfrom durable.cli.command_group import run\nassert run(['list']) == 0\n"
        "print([m for m in ('pydantic', 'resonate', 'aiohttp', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=terminal.directory, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_worker_that_cannot_go_on_is_shown_as_stuck(terminal: Terminal) -> None:
    code = "print('begun', flush=True)\nimport threading\nlock = threading.Lock(); lock.acquire(); lock.acquire()"
    with terminal.running("exec", "stuck", code) as engine:
        read_until(engine, "begun")
        while not (found := terminal.durable("ps", "--json").data) or not found[0]["stuck"]:
            assert engine.poll() is None
        assert "all its threads wait for locks" in found[0]["worker_stuck"]
        assert "`durable interrupt stuck@1` ends it" in terminal.durable("ps").out


def test_show_cuts_megabytes_and_tells_how_many(terminal: Terminal) -> None:
    terminal.write("long.py", LONG)
    assert terminal.durable("run", "long.py::long", "x" * 20_000, "--id", "long").code == 1
    shown = terminal.durable("show", "long").out
    assert len(shown) < 40_000
    assert "… (20,028 characters; --full or --json shows all)" in shown
    assert "x" * 20_000 in terminal.durable("show", "long", "--full").out
    assert terminal.durable("show", "long", "--json").data["arguments"]["args"] == ["x" * 20_000]
    for command in (("list",), ("tree", "long")):
        assert "x… (20,0" in terminal.durable(*command).out


LONG = """
import durable

@durable.function
async def long(ctx, text: str) -> int:
    raise ValueError(text)
"""


def test_what_is_named_is_not_there_without_a_store(terminal: Terminal, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.db")
    for words in (
        "show x",
        "actor show A x",
        "deployment use x",
        "queue show x",
        "tag x a=b",
        "fork x --at 1",
        "fork x y",
    ):
        terminal.durable("--store", absent, *words.split()).failed(3, "there is no store at")
    terminal.durable("--store", absent, "tag", "--state", "failed", "a=b").failed(1, "there is no store at")
