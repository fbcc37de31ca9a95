"""`durable exec`, real processes and real kills."""

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.cli_process import Terminal, read_until
from tests.warm_python import PYTHON


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_variables_are_there_in_the_next_process(terminal: Terminal) -> None:
    assert terminal.durable("exec", "s", "x = 41").out == ""
    done = terminal.durable("exec", "s", "print('here'); x + 1")
    assert (done.code, done.out) == (0, "here\n42\n")


def test_variables_survive_sigkill_of_everything(terminal: Terminal) -> None:
    code = "x = 41\nprint('saved', flush=True)\nimport time\ntime.sleep(60)"
    with terminal.running("exec", "s", "--checkpoint", "statement", code) as process:
        read_until(process, "saved")
        os.killpg(process.pid, signal.SIGKILL)
    assert terminal.durable("cancel", "s@1").code == 0
    done = terminal.durable("exec", "s", "x + 1")
    assert (done.code, done.out) == (0, "42\n")


def test_a_killed_cell_goes_on_at_its_statement_before_the_next_one(terminal: Terminal) -> None:
    code = (
        "open('ran', 'a').write('first\\n')\nprint('one', flush=True)\n"
        "import os, time\nos.path.exists('go') or time.sleep(60)\nx = 'two'"
    )
    with terminal.running("exec", "s", "--checkpoint", "statement", code) as process:
        read_until(process, "one")
        os.killpg(process.pid, signal.SIGKILL)
    terminal.write("go", "")
    done = terminal.durable("exec", "s", "x")
    assert done.out == "'two'\n"
    assert "s@1 has not ended" in done.err
    assert terminal.lines("ran") == ["first"]


def test_errors_are_the_users_own(terminal: Terminal) -> None:
    done = terminal.durable("exec", "s", "def f():\n    return 1 / 0\nf()")
    assert done.code == 1
    assert done.out == ""
    assert "ZeroDivisionError: division by zero" in done.err
    assert "return 1 / 0" in done.err
    assert "executor" not in done.err


SHOWS = "print('again')\nclass B:\n    def _repr_html_(self): return '<b>7</b>'\ndisplay(B())\n6 * 7"


def test_code_from_a_file_and_from_stdin_and_json(terminal: Terminal) -> None:
    terminal.write("cell.py", "import sys\nprint('out')\nprint('err', file=sys.stderr)\n{'a': 1}")
    done = terminal.durable("exec", "s", "-f", "cell.py")
    assert (done.out, "err\n" in done.err) == ("out\n{'a': 1}\n", True)
    found = terminal.durable("exec", "s", "-", "--json", stdin=SHOWS).data
    assert (found["id"], found["state"], found["value"], found["repr"]) == ("s@2", "completed", 42, "42")
    assert found["stdout"] == "again\n"
    assert [one["data"]["text/html"] for one in found["displays"]] == ["<b>7</b>"]
    failed = terminal.durable("--json", "exec", "s", "1 / 0")
    assert failed.code == 1
    assert failed.data["error"]["exception_type"] == "ZeroDivisionError"


def test_a_second_terminal_is_a_client_of_the_first_and_its_heir(terminal: Terminal) -> None:
    with terminal.running("exec", "first", "print('up', flush=True)\nimport time\ntime.sleep(60)") as engine:
        read_until(engine, "up")
        assert terminal.durable("exec", "second", "6 * 7").out == "42\n"
        sessions = {each["name"]: each for each in terminal.durable("session", "list", "--json").data}
        assert sessions["second"]["owner_pid"] == sessions["first"]["owner_pid"] == engine.pid
        # One statement prints and waits: between two a slow machine may save, and go on there.
        waits = "if not print('begun', flush=True):\n while not os.path.exists('go'): time.sleep(0.01)"
        code = f"import os, time\n{waits}\n'done'"
        with terminal.running("exec", "third", code) as client:
            read_until(client, "begun")
            os.killpg(engine.pid, signal.SIGKILL)
            terminal.write("go", "")
            out, err = client.communicate(timeout=30)
            assert (out, client.returncode) == ("begun\n'done'\n", 0)
            assert "from character 0 on counts no more" in err


def test_input_waits_for_a_person_in_another_process(terminal: Terminal) -> None:
    waits = terminal.durable("exec", "s", "name = input('Who?')\nprint(f'hello {name}')\nlen(name)")
    assert (waits.code, waits.out) == (4, "Who?\n")
    assert "durable answer exec:s@1:input:1 VALUE" in waits.err
    assert terminal.durable("inbox", "--json").data[0]["question"] == "Who?"
    behind = terminal.durable("exec", "s", "name.upper()")
    assert behind.code == 4
    assert "s@2 is behind it" in behind.err
    answered = terminal.durable("answer", "exec:s@1:input:1", "ana", "--by", "me")
    assert (answered.code, answered.out) == (0, "3\n")
    assert terminal.durable("logs", "s@1").out == "Who?hello ana\n"
    assert terminal.durable("result", "s@2").out == "ANA\n"


def test_logs_follow_what_another_terminal_runs(terminal: Terminal) -> None:
    code = (
        "import os, time\nprint('first', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\nprint('last', flush=True)"
    )
    with terminal.running("exec", "s", code) as engine:
        read_until(engine, "first")
        with terminal.running("logs", "-f", "s@1") as reader:
            read_until(reader, "first")
            terminal.write("go", "")
            assert reader.communicate(timeout=30)[0] == "last\n"
            assert reader.returncode == 0


def test_output_that_counts_no_more_is_said_by_everybody_who_showed_it(terminal: Terminal) -> None:
    code = (
        "import os, time\nprint('kept')\n"
        "if os.path.exists('seen'): print('instead')\n"
        "else:\n    print('lost', flush=True)\n    while not os.path.exists('seen'): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), 9)"
    )
    said = "durable: s@1 went on from a checkpoint: what it had printed from character 5 on counts no more"
    with terminal.running("exec", "s", "--checkpoint", "statement", code) as engine:
        read_until(engine, "lost")
        with terminal.running("logs", "-f", "s@1") as reader:
            read_until(reader, "lost")
            terminal.write("seen", "")
            for process in (engine, reader):
                out, err = process.communicate(timeout=30)
                assert (out, process.returncode) == ("instead\n", 0)
                assert said in err


def test_a_cell_that_kills_its_worker_ends_after_its_attempts(terminal: Terminal) -> None:
    done = terminal.durable("exec", "s", "import os; os.kill(os.getpid(), 9)")
    assert done.code == 1
    assert "given up after 3 attempts" in done.err
    assert terminal.durable("exec", "s", "1 + 1").out == "2\n"


def test_what_could_not_be_brought_back_is_named(terminal: Terminal) -> None:
    terminal.durable("exec", "s", "import socket; s = socket.socket(); x = 1")
    assert "could not bring back s" in terminal.durable("exec", "s", "x").err
    used = terminal.durable("exec", "s", "s")
    assert used.code == 1
    assert "'s' was lost" in used.err


def test_a_corrupt_checkpoint_is_refused_and_can_be_skipped(terminal: Terminal) -> None:
    terminal.durable("exec", "s", "x = 'older'")
    terminal.durable("exec", "s", "x = 'newer'")
    with closing(sqlite3.connect(terminal.directory / ".durable" / "state.db")) as connection, connection:
        [(manifest,)] = connection.execute("SELECT manifest FROM checkpoints WHERE id = 2").fetchall()
        changed = bytes([*manifest[:-1], manifest[-1] ^ 1])
        connection.execute("UPDATE checkpoints SET manifest = ? WHERE id = 2", (changed,))
    terminal.durable("exec", "s", "x").failed(
        1, "s@3 is interrupted", "checkpoint 2 of session 's' is refused", "durable resume --skip-checkpoint 2"
    )
    listed = terminal.durable("ps", "--json").data
    assert [(each["id"], each["state"]) for each in listed] == [("s@3", "interrupted")]
    terminal.durable("resume", "--skip-checkpoint", "9").failed(3, "no checkpoint '9'")
    assert terminal.durable("resume", "s@3", "--skip-checkpoint", "2").out == "older\n"


def test_sigterm_keeps_the_cell_and_a_reader_that_leaves_is_no_failure(terminal: Terminal) -> None:
    code = "print('up', flush=True)\nimport os, time\nos.path.exists('go') or time.sleep(60)\nprint('line\\n' * 100000)"
    with terminal.running("exec", "s", code) as process:
        read_until(process, "up")
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 143
        assert "durable resume s@1" in said
    terminal.write("go", "")
    with terminal.running("exec", "s", "for i in range(100_000): print(i)") as process:
        assert process.stdout is not None
        read_until(process, "1")
        process.stdout.close()
        assert process.stderr is not None
        assert "Error" not in process.stderr.read()
        assert process.wait(timeout=30) == 141


def test_bad_usage_is_told(terminal: Terminal) -> None:
    terminal.durable("exec", "bad name!", "1").failed(2, "'bad name!' is not a valid id")
    terminal.durable("exec", "s").failed(2, "give the code")
    terminal.durable("exec", "s", "-f", "absent.py").failed(2, "absent.py", "No such file")
    terminal.durable("exec", "s", "1", "--frob").failed(2, "--frob", "--help")


def test_variables_of_a_session_that_another_process_has(terminal: Terminal) -> None:
    code = (
        "class Odd:\n    def __repr__(self): raise SystemExit(1)\n"
        "rows = list(range(10**5)); odd = Odd(); text = 'a\\nb' * 999\nname = input('Who?')"
    )
    assert terminal.durable("exec", "s", code, "--checkpoint", "statement").code == 4
    with terminal.running("exec", "live", f"{code.partition('name =')[0]}\nprint('up', flush=True)\n"
                          "while True: pass", "--checkpoint", "statement") as engine:  # fmt: skip
        read_until(engine, "up")
        for session in ("s", "live"):
            found = terminal.durable("session", "vars", session, "--json").data
            known = {each["name"]: each for each in found["variables"]}
            assert (known["rows"]["type"], known["text"]["type"]) == ("list", "str")
            assert known["rows"]["size"] > 10**5 * 8
            assert known["rows"]["repr"].startswith("[0, 1, 2")
            assert known["text"]["repr"].startswith("'a\\nba")
            assert len(known["text"]["repr"]) <= 80
            assert "SystemExit" in known["odd"]["repr"]
        assert engine.poll() is None


DESK = """
import asyncio
import durable

@durable.capability
def lookup(sku: str) -> str:
    return sku.upper()

async def main():
    async with durable.open(".durable/state.db", capabilities=[lookup]) as engine:
        session = await engine.session("desk", grants=["lookup"])
        await session.submit("sku = input('Which?')\\nlookup(sku)")
        while (change := engine.changed()) and not await engine.prompts():
            await change

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_capabilities_of_ones_own_are_loaded_from_where_they_are_defined(terminal: Terminal) -> None:
    terminal.write("desk.py", DESK)
    (terminal.directory / ".durable").mkdir()
    subprocess.run([PYTHON, "desk.py"], cwd=terminal.directory, env=terminal.environment, check=True)
    answered = terminal.durable("answer", "exec:desk@1:input:1", "a1")
    assert (answered.code, answered.out) == (0, "A1\n"), answered
    elsewhere = (terminal.directory / "desk.py").rename(terminal.directory / "moved.py")
    terminal.durable("exec", "desk", "lookup('b2')").failed(1, "desk@2 cannot go on here", "lookup", "desk.py")
    note = "waits for an engine that knows the capability lookup; `durable resume desk@2`"
    assert note in terminal.durable("ps").out
    assert note in terminal.durable("show", "desk@2").out
    assert terminal.durable("ps", "--json").data[0]["unknown_capabilities"] == ["lookup"]
    assert terminal.durable("resume").code == 1
    elsewhere.rename(terminal.directory / "desk.py")
    gone_on = terminal.durable("resume", "desk@2")
    assert (gone_on.code, gone_on.out) == (0, "B2\n"), gone_on


def test_a_session_of_javascript(terminal: Terminal, sandbox_cache: Path) -> None:
    terminal.environment["XDG_CACHE_HOME"] = str(sandbox_cache)
    assert terminal.durable("exec", "js", "--language", "javascript", "let n = 41; n + 1").out == "42\n"
    failed = terminal.durable("exec", "js", "function f() { null.x }\nf()")
    assert (failed.code, failed.err.splitlines()[0]) == (1, "TypeError: cannot read property 'x' of null")
    assert "Traceback" not in failed.err, "the script's own stack, nothing of ours"
    assert terminal.durable("session", "show", "js", "--json").data["language"] == "javascript"


def test_exec_takes_capabilities_of_ones_own_from_a_file(terminal: Terminal) -> None:
    terminal.write("desk.py", DESK)
    terminal.write("none.py", "")
    made = terminal.durable("exec", "shop", "lookup('a1')", "--capabilities", "desk.py", "--grant", "lookup")
    assert (made.code, made.out) == (0, "'A1'\n"), made
    again = terminal.durable("exec", "shop", "lookup('b2')")
    assert (again.code, again.out) == (0, "'B2'\n"), again
    terminal.durable("exec", "mall", "1", "--capabilities", "none.py").failed(2, "none.py has no capability")
    terminal.durable("exec", "mall", "1", "--capabilities", "gone.py").failed(2, "there is no file")
    terminal.durable("exec", "mall", "1", "--grant", "lookup").failed(2, "lookup", "--capabilities")


def test_a_living_engine_that_does_not_know_the_capability_is_not_waited_for(terminal: Terminal) -> None:
    terminal.write("desk.py", DESK)
    code = "import os, time\nprint('runs', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)"
    with terminal.running("exec", "other", code) as process:
        read_until(process, "runs")
        made = terminal.durable("exec", "shop", "lookup('a1')", "--capabilities", "desk.py", "--grant", "lookup")
        assert (made.code, made.out) == (0, "'A1'\n"), made
        assert process.poll() is None
        terminal.write("go", "")
        assert process.wait() == 0
