"""`durable run` and what goes on with its executions, real processes and real kills."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.cli_process import Terminal, read_errors_until

JOBS = """
import asyncio, os, time
from dataclasses import dataclass
import durable

def noted(name):
    with open("ran", "a") as file:
        file.write(name + "\\n")
    return name

def slow(name):
    noted(name)
    while not os.path.exists("go"):
        time.sleep(0.01)
    return name

@dataclass
class Order:
    amount: int
    rush: bool = False

@durable.function
async def greet(ctx, name: str, times: int = 1) -> str:
    print("noise of the function")
    return await ctx.run(noted, name * times)

@durable.function
async def order(ctx, order: Order) -> dict:
    return {"amount": order.amount, "rush": order.rush}

@durable.function
async def steps(ctx) -> list[str]:
    one = await ctx.run(noted, "one")
    two = await ctx.run(slow, "two")
    return [one, two, await ctx.run(noted, "three")]

@durable.function
async def publish(ctx, topic: str) -> str:
    order = await ctx.ask(f"{topic}: how much?", schema=Order)
    return f"{order.amount} {'now' if order.rush else 'later'}"

@durable.function
async def both(ctx) -> list[str]:
    return list(await asyncio.gather(ctx.ask("Well?", choices=["yes", "no"]), ctx.run(slow, "beside")))

@durable.function
async def says(ctx) -> str:
    ctx.log("begins with %s", 1)
    ctx.log("a detail", level=10)
    return await ctx.run(noted, "said")

@durable.function
async def books(ctx) -> str:
    seat = await ctx.run(noted, "booked")
    try:
        return await ctx.ask("Go?")
    except asyncio.CancelledError:
        await ctx.run(noted, "given back")
        raise

@durable.function
async def books_slowly(ctx) -> None:
    await ctx.run(noted, "booked")
    try:
        await ctx.run(slow, "slow")
    except asyncio.CancelledError:
        await ctx.run(noted, "given back")
        raise

@durable.function
async def fails(ctx) -> None:
    raise ValueError("the user's own")

@durable.function
async def unencodable(ctx) -> object:
    return object()

@durable.function
async def sleeps(ctx, seconds: float) -> str:
    await ctx.sleep(seconds)
    return "slept"

@durable.function
async def kills(ctx) -> None:
    os.kill(os.getpid(), 9)

@durable.function
async def spins(ctx) -> None:
    await ctx.run(noted, "spins")
    while True:
        pass

async def plain(ctx): ...
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.write("jobs.py", JOBS)
    return found


def test_the_result_is_data_and_everything_else_is_not(terminal: Terminal) -> None:
    done = terminal.durable("run", "jobs.py::greet", "ana", "--times", "2", "--id", "a")
    assert (done.code, done.out) == (0, "anaana\n")
    assert "noise of the function" in done.err
    assert "a.1 step noted: completed" in done.err
    assert terminal.durable("result", "a", "--json").out == '"anaana"\n'


def test_an_ended_id_is_answered_without_loading_anything(terminal: Terminal) -> None:
    terminal.durable("run", "jobs.py::greet", "ana", "--id", "a")
    terminal.write("jobs.py", "raise SystemError('loaded')")
    done = terminal.durable("run", "jobs.py::greet", "ana", "--id", "a")
    assert (done.code, done.out, done.err) == (0, "ana\n", "")
    assert terminal.lines("ran") == ["ana"]


def test_arguments_are_json_or_text_as_the_annotation_wants(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::greet", "42", "times=2").out == "4242\n"
    given = terminal.durable("run", "jobs.py::order", '{"amount": 3, "rush": true}')
    assert given.data == {"amount": 3, "rush": True}


def test_a_cancel_cleans_up_where_no_engine_is_alive(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::books", "--id", "a").code == 4
    assert terminal.durable("cancel", "a").code == 0
    assert terminal.lines("ran") == ["booked", "given back"]
    assert [each["name"] for each in terminal.durable("show", "a", "--json").data["steps"]].count("noted") == 2
    with terminal.running("run", "jobs.py::books_slowly", "--id", "b") as process:
        while terminal.lines("ran")[2:] != ["booked", "slow"]:
            os.sched_yield()
        os.killpg(process.pid, signal.SIGKILL)
    assert terminal.durable("cancel", "b").code == 0
    assert terminal.lines("ran")[2:] == ["booked", "slow", "given back"]


def test_a_cancel_without_a_clean_up_says_why(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::books", "--id", "a").code == 4
    assert terminal.durable("run", "jobs.py::books", "--id", "b").code == 4
    assert terminal.durable("cancel", "b", "--grace", "0").code == 0
    (terminal.directory / "jobs.py").unlink()
    done = terminal.durable("cancel", "a")
    assert done.code == 0
    assert "a ends without its clean-up, which nobody can run: there is no file" in done.err
    assert terminal.lines("ran") == ["booked", "booked"]


def test_what_a_function_logs_is_said(terminal: Terminal) -> None:
    done = terminal.durable("run", "jobs.py::says", "--id", "a")
    assert "durable: a: begins with 1\n" in done.err
    assert "a detail" not in done.err


def test_killed_it_goes_on_with_the_same_command(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::steps", "--id", "a") as process:
        read_errors_until(process, "a.1 step noted: completed")
        while terminal.lines("ran") != ["one", "two"]:
            os.sched_yield()
        os.killpg(process.pid, signal.SIGKILL)
    listed = terminal.durable("ps", "--json").data
    assert [(each["id"], each["stuck"]) for each in listed] == [("a", True)]
    terminal.write("go", "")
    done = terminal.durable("run", "jobs.py::steps", "--id", "a")
    assert done.data == ["one", "two", "three"]
    assert "1 recorded step is not run again" in done.err
    assert terminal.lines("ran") == ["one", "two", "two", "three"]


def test_ctrl_c_keeps_it_and_resume_ends_it(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::steps", "--id", "a") as process:
        read_errors_until(process, "a.1 step noted: completed")
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "durable resume a" in said
        assert "Traceback" not in said
    terminal.write("go", "")
    assert terminal.durable("resume", "a").data == ["one", "two", "three"]


def test_ctrl_c_while_resumed_code_sleeps_says_that_it_is_kept(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::sleeps", "3600", "--id", "z") as process:
        read_errors_until(process, "runs as z")
        process.kill()
    with terminal.running("resume", "z") as process:
        read_errors_until(process, "z exists and goes on")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (130, "durable: z is kept; go on with: durable resume z\n")
    with terminal.running("run", "jobs.py::steps", "--id", "a") as process:
        read_errors_until(process, "a.1 step noted: completed")
        process.kill()
        process.wait()
    before = terminal.lines("ran")
    with terminal.running("resume") as process:
        while terminal.lines("ran") == before:
            os.sched_yield()  # its second step begins
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (130, "durable: what has not ended is kept; go on with: durable resume\n")


def test_an_execution_that_waits_for_a_person_is_not_said_to_go_on(terminal: Terminal) -> None:
    terminal.durable("run", "jobs.py::publish", "tea", "--id", "p")
    again = terminal.durable("run", "jobs.py::publish", "tea", "--id", "p")
    again.failed(4, "p exists and waits for an answer")
    assert "goes on" not in again.err
    other = terminal.durable("run", "jobs.py::publish", "coffee", "--id", "p")
    other.failed(6, "execution 'p' exists as")
    assert "goes on" not in other.err
    assert terminal.durable("run", "jobs.py::fails", "--id", "f").code == 1
    assert "exists" not in terminal.durable("run", "jobs.py::fails", "--id", "f").err


def test_a_terminal_that_is_closed_ends_it_as_sigterm_does(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::steps", "--id", "a") as process:
        read_errors_until(process, "a.1 step noted: completed")
        os.kill(process.pid, signal.SIGHUP)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGHUP
        assert "durable resume a" in said
        assert "Traceback" not in said
    terminal.write("go", "")
    assert terminal.durable("resume", "a").data == ["one", "two", "three"]


def test_nohup_is_left_alone(terminal: Terminal) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        running = terminal.running("run", "jobs.py::steps", "--id", "a")
        with running as process:
            read_errors_until(process, "a.1 step noted: completed")
            os.kill(process.pid, signal.SIGHUP)
            terminal.write("go", "")
            process.communicate(timeout=30)
            assert process.returncode == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_twice_ends_code_that_never_lets_go(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::spins", "--id", "a") as process:
        while not terminal.lines("ran"):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        while process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
        assert process.returncode == 130
    assert terminal.durable("cancel", "a", "--grace", "1").code == 0


def test_cancel_is_recorded_before_anything_goes_on(terminal: Terminal) -> None:
    terminal.write(
        "pays.py",
        "import os\nimport durable\n\n"
        "def noted(text):\n    with open('ran', 'a') as file:\n        print(text, file=file)\n\n"
        "@durable.function\nasync def pays(ctx):\n    try:\n        await ctx.run(noted, 'ordered')\n"
        "        if 'DIES' in os.environ:\n            os.kill(os.getpid(), 9)\n"
        "        await ctx.run(noted, 'paid')\n        await ctx.run(noted, 'sent')\n"
        "    finally:\n        await ctx.run(noted, 'given back')\n",
    )
    terminal.environment["DIES"] = "1"
    assert terminal.durable("run", "pays.py::pays", "--id", "p").code == -signal.SIGKILL
    del terminal.environment["DIES"]
    assert terminal.durable("cancel", "p").code == 0
    assert terminal.lines("ran") == ["ordered", "given back"]


def test_cancel_ends_after_the_grace_although_the_code_never_lets_go(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::spins", "--id", "a") as process:
        while not terminal.durable("show", "a", "--json").out.count('"completed"'):  # delivered before the cancel
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    done = terminal.durable("cancel", "a", "--grace", "1")
    assert (done.code, "its code did not let go" in done.err) == (0, True), done
    assert terminal.durable("show", "a", "--json").data["state"] == "cancelled"
    assert len(terminal.lines("ran")) == 1


def test_resume_without_an_id_goes_on_with_everything(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::steps", "--id", "a") as process:
        read_errors_until(process, "a.1 step noted: completed")
        os.killpg(process.pid, signal.SIGKILL)
    terminal.durable("run", "jobs.py::publish", "lathes", "--id", "p")
    terminal.write("go", "")
    done = terminal.durable("resume", "--json")
    assert done.code == 4
    assert {each["id"]: each["state"] for each in done.data} == {"a": "completed", "p": "waiting"}


@pytest.mark.parametrize("when", ["while it is loaded", "at once", "at its first step"])
def test_after_ctrl_c_it_says_it_is_kept_only_if_it_exists(terminal: Terminal, when: str) -> None:
    at = {"while it is loaded": "os.kill(os.getpid(), signal.SIGINT)"}.get(when, "")
    inside = "os.kill(os.getpid(), signal.SIGINT)" if when == "at its first step" else ""
    terminal.write(
        "stopped.py",
        f"import os, pathlib, signal, time\nimport durable\n{at}\n"
        f"def long():\n    {inside}\n    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n"
        "@durable.function\nasync def stopped(ctx):\n    return await ctx.run(long)\n",
    )
    with terminal.running("run", "stopped.py::stopped", "--id", "s") as process:
        said = ""
        if when == "at once":
            said = read_errors_until(process, "runs as s")
            process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[1]
        assert process.returncode == 130
    exists = terminal.durable("show", "s").code == 0
    assert exists == (when != "while it is loaded")
    assert ("s is kept; go on with: durable resume s" in said) == exists, said
    assert ("s had not begun" in said) == (not exists)


def test_a_prompt_survives_all_processes_and_its_answer_ends_the_run(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::both", "--id", "b") as process:
        while not terminal.durable("--json", "inbox").out.startswith("[\n  {"):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    prompt = terminal.durable("inbox", "--json").data[0]
    assert (prompt["id"], prompt["choices"]) == ("exec:b:input:1", ["yes", "no"])
    terminal.write("go", "")
    terminal.durable("answer", prompt["id"], "maybe").failed(2, "choose one of: yes, no")
    done = terminal.durable("answer", prompt["id"], "yes")
    assert (done.code, done.data) == (0, ["yes", "beside"])
    terminal.durable("answer", prompt["id"], "no").failed(6, "already answered with 'yes'")


def test_an_answer_leaves_the_rest_to_the_engine_that_lives(terminal: Terminal) -> None:
    with terminal.running("run", "jobs.py::both", "--id", "b") as engine:
        read_errors_until(engine, "runs as b")
        while (answered := terminal.durable("answer", "b", "no", "--by", "ana")).code == 3:
            assert engine.poll() is None
        assert (answered.code, answered.out) == (0, "")
        assert "its engine goes on with b" in answered.err
        shown = terminal.durable("show", "b", "--json").data
        assert (shown["state"], shown["stuck"], shown["engine_pid"]) == ("running", False, engine.pid)
        terminal.write("go", "")
        assert engine.communicate(timeout=30)[0] == '["no", "beside"]\n'
        assert engine.returncode == 0


def test_an_answer_is_checked_and_may_be_declined(terminal: Terminal) -> None:
    waits = terminal.durable("run", "jobs.py::publish", "lathes", "--id", "p", "--json")
    assert waits.code == 4
    assert waits.data["prompts"][0]["id"] == "exec:p:input:1"
    terminal.durable("answer", "p", "--json", '{"amount": "many"}').failed(2, "amount", "integer")
    terminal.durable("answer", "p", "--json", "{").failed(2, "is not JSON")
    terminal.durable("answer", "p").failed(2, "give the answer")
    assert terminal.durable("answer", "p", "--json", '{"amount": 3}').out == "3 later\n"
    terminal.durable("run", "jobs.py::publish", "lathes", "--id", "q")
    declined = terminal.durable("answer", "q", "--decline", "--by", "ana")
    assert declined.code == 1
    assert "declined by ana" in declined.err


def test_other_code_or_arguments_under_an_id_conflict(terminal: Terminal) -> None:
    terminal.durable("run", "jobs.py::greet", "ana", "--id", "a")
    terminal.durable("run", "jobs.py::greet", "bob", "--id", "a").failed(6, "greet@1('ana')", "greet@1('bob')")
    terminal.durable("run", "jobs.py::fails", "--id", "a").failed(6, "use another id")


def test_the_same_id_in_two_terminals_runs_once(terminal: Terminal) -> None:
    with (
        terminal.running("run", "jobs.py::steps", "--id", "a") as first,
        terminal.running("run", "jobs.py::steps", "--id", "a") as second,
    ):
        while "two" not in terminal.lines("ran"):
            assert first.poll() is None
            assert second.poll() is None
        terminal.write("go", "")
        outputs = [process.communicate(timeout=30)[0] for process in (first, second)]
    assert outputs == ['["one", "two", "three"]\n'] * 2
    assert terminal.lines("ran") == ["one", "two", "three"]


def test_a_function_that_kills_its_engine_is_lost_after_its_attempts(terminal: Terminal) -> None:
    codes: list[int] = []
    while len(codes) < 12 and 1 not in codes:
        codes.append(terminal.durable("run", "jobs.py::kills", "--id", "k").code)
    assert codes == [-9] * 10 + [1]
    assert terminal.durable("list", "--json").data[0]["state"] == "lost"


def test_failures_are_the_users_own(terminal: Terminal) -> None:
    done = terminal.durable("run", "jobs.py::fails", "--id", "f")
    assert (done.code, done.out) == (1, "")
    assert "raise ValueError" in done.err
    assert "durable: f failed: ValueError: the user's own" in done.err
    assert "/durable/" not in done.err
    failed = terminal.durable("result", "f", "--json")
    assert failed.data["error"]["exception_type"] == "ValueError"
    bad = terminal.durable("run", "jobs.py::unencodable")
    assert bad.code == 1
    assert "the result of unencodable cannot be recorded" in bad.err


def test_what_cannot_be_loaded_or_called_is_named(terminal: Terminal) -> None:
    terminal.durable("run", "absent.py::f").failed(2, "there is no file", "absent.py")
    terminal.durable("run", "jobs.py").failed(2, "FILE::FUNC")
    terminal.durable("run", "jobs.py::nothing").failed(2, "has no durable function 'nothing'", "greet")
    terminal.durable("run", "jobs.py::plain").failed(2, "@durable.function")
    terminal.durable("run", "jobs.py::greet").failed(2, "greet(name: str", "missing a required argument: 'name'")
    terminal.durable("run", "jobs.py::greet", "a", "--times", "often").failed(2, "argument 'times'", "integer")
    terminal.durable("run", "jobs.py::greet", "a", "--id", "no good").failed(2, "'no good' is not a valid id")
    terminal.write("broken.py", "import durable\ndef f():\n    raise OSError('at import')\nf()")
    broken = terminal.durable("run", "broken.py::f")
    assert broken.code == 1
    assert "raise OSError('at import')" in broken.err
    assert "could not be loaded: OSError: at import" in broken.err
    assert "importlib" not in broken.err
    assert not (terminal.directory / ".durable").exists()


def test_deadlines_and_patience_end_with_5(terminal: Terminal) -> None:
    late = terminal.durable("run", "jobs.py::sleeps", "60", "--id", "a", "--timeout", "0.5")
    late.failed(5, "a passed its deadline")
    with terminal.running("run", "jobs.py::sleeps", "60", "--id", "b") as process:
        read_errors_until(process, "runs as b")
        while terminal.durable("show", "b").code != 0:
            assert process.poll() is None
        terminal.durable("wait", "b", "--timeout", "0.2").failed(5, "has not ended after 0.2 s")
        assert terminal.durable("cancel", "b", "--reason", "enough").code == 0
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "b was cancelled" in said
    terminal.durable("cancel", "a").failed(6, "it is timed_out")


def test_a_function_nobody_serves_is_named_and_nothing_is_lost(terminal: Terminal) -> None:
    terminal.durable("run", "jobs.py::publish", "lathes", "--id", "p")
    (terminal.directory / "jobs.py").rename(terminal.directory / "elsewhere.py")
    terminal.durable("answer", "p", "--json", '{"amount": 1}').failed(
        1, "the answer is recorded", "there is no file", "durable resume p"
    )
    terminal.durable("wait", "p").failed(1, "p cannot go on", "publish@1")
    (terminal.directory / "elsewhere.py").rename(terminal.directory / "jobs.py")
    assert terminal.durable("resume", "p").out == "1 later\n"
