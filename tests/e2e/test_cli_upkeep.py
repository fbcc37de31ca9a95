"""`gc`, `doctor`, `backup`, `promise` and `schedule` as real processes."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import pytest

from .cli_process import Terminal, read_errors_until, read_until

JOBS = """
import asyncio
import durable

@durable.function
async def add(ctx: durable.Context, n: int) -> int:
    return n + 1

@durable.function
async def asks(ctx: durable.Context) -> str:
    return await ctx.ask("Which?", schema=str)
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.write("jobs.py", JOBS)
    return found


def test_gc_forgets_what_ended_and_keeps_the_rest(terminal: Terminal) -> None:
    assert terminal.durable("run", "jobs.py::add", "1", "--id", "first").out == "2\n"
    assert terminal.durable("exec", "desk", "x = 41").code == 0
    assert terminal.durable("run", "jobs.py::asks", "--id", "open").code == 4
    assert terminal.durable("gc").out.startswith("forgot 0 executions")
    planned = terminal.durable("gc", "--older-than", "0", "--dry-run", "--json").data
    assert (planned["executions"], planned["dry_run"]) == (2, True)
    assert terminal.durable("gc", "--older-than", "0", "--keep", "1", "--json").data["executions"] == 1
    assert [each["id"] for each in terminal.durable("list", "--json").data] == ["open", "desk@1"]
    assert terminal.durable("gc", "--older-than", "0", "--json").data["executions"] == 1
    assert terminal.durable("exec", "desk", "x + 1").out == "42\n"
    terminal.durable("gc", "--older-than", "soon").failed(2, "30d, 12h")
    terminal.durable("gc", "--store", "http://127.0.0.1:1").failed(2, "--store PATH")


def test_doctor_is_silent_until_something_is_wrong(terminal: Terminal) -> None:
    terminal.durable("doctor").failed(1, "there is no store")
    terminal.durable("run", "jobs.py::add", "1")
    well = terminal.durable("doctor")
    assert (well.code, well.out, well.err) == (0, "", "")
    assert terminal.durable("doctor", "--json").data == []
    state = terminal.directory / ".durable" / "state.db"
    state.chmod(0o644)
    ill = terminal.durable("doctor")
    assert (ill.code, ill.err) == (1, "")
    assert ill.out.startswith("permissions: ")
    assert ill.out.count("\n") == 1
    assert [each["check"] for each in terminal.durable("doctor", "--json").data] == ["permissions"]


def test_a_backup_made_beside_an_engine_goes_on_from_its_moment(terminal: Terminal) -> None:
    code = "x = 41\nprint('in', flush=True)\nname = input('Who? ')\nprint(x + 1, name)"
    with terminal.running("exec", "desk", code) as process:
        read_until(process, "in")
        read_errors_until(process, "durable answer")
        assert process.wait(60) == 4
    with terminal.running("exec", "other", "print('runs', flush=True)\nimport time\ntime.sleep(60)") as process:
        read_until(process, "runs")
        made = terminal.durable("backup", "copies/b.db", "--json")
        assert made.code == 0, made
        assert process.poll() is None
        terminal.durable("backup", "copies/b.db").failed(1, "exists")
        copy = terminal.directory / "copies" / "b.db"
        assert {stat.S_IMODE(each.stat().st_mode) for each in copy.parent.rglob("*") if each.is_file()} == {0o600}
        store = ("--store", str(copy))
        (prompt,) = terminal.durable("inbox", *store, "--json").data
        # The copy's session is restored in a worker of its own; the original's engine and worker live on.
        assert terminal.durable("answer", *store, prompt["id"], "Ana").code == 0
        assert "42 Ana" in terminal.durable("logs", *store, "desk@1").out
        assert len(terminal.durable("inbox", "--json").data) == 1
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)


def test_promises_by_hand(terminal: Terminal) -> None:
    made = terminal.durable("promise", "create", "gate", "--param", '{"a": 1}', "--tag", "team=blue", "--json").data
    assert (made["state"], made["param"], made["tags"]["team"]) == ("pending", {"a": 1}, "blue")
    terminal.durable("promise", "create", "gate").failed(6, "exists")
    assert terminal.durable("promise", "resolve", "gate", "[1, 2]").code == 0
    terminal.durable("promise", "reject", "gate", "no").failed(6, "it is resolved")
    assert terminal.durable("promise", "get", "gate", "--json").data["value"] == [1, 2]
    terminal.durable("promise", "get", "nothing").failed(3, "no promise 'nothing'")
    found = terminal.durable("promise", "list", "--tag", "team=blue", "--json").data
    assert [each["id"] for each in found] == ["gate"]
    assert terminal.durable("promise", "list", "--state", "pending", "--json").data == []
    terminal.durable("promise", "create", "x", "--tag", "team").failed(2, "KEY=VALUE")


def test_a_schedule_is_made_shown_and_deleted(terminal: Terminal) -> None:
    terminal.durable("schedule", "create", "tick", "* * * * *", "jobs.py::nothing").failed(2, "nothing")
    terminal.durable("schedule", "create", "tick", "* * *", "jobs.py::add", "3").failed(2, "cron '* * *'", "3 fields")
    terminal.durable("schedule", "create", "tick", "@often", "jobs.py::add", "3").failed(2, "@daily")
    terminal.durable("schedule", "create", "tick", "CRON_TZ=Mars/X @daily", "jobs.py::add").failed(
        2, "time zone 'Mars/X'"
    )
    made = terminal.durable("schedule", "create", "tick", "0 0 29 2 *", "jobs.py::add", "3", "--missed", "skip")
    assert made.code == 0, made
    terminal.durable("schedule", "create", "tick", "0 0 29 2 *", "jobs.py::add", "3").failed(6, "exists")
    (shown,) = terminal.durable("schedule", "list", "--json").data
    assert (shown["name"], shown["arguments"], shown["missed"]) == ("add", {"args": [3], "kwargs": {}}, "skip")
    assert shown["next_run_at"].endswith("-02-29T00:00:00.000Z")
    assert json.dumps(shown)
    assert terminal.durable("schedule", "delete", "tick", "--json").data == {"id": "tick", "state": "deleted"}
    terminal.durable("schedule", "delete", "tick").failed(3, "no schedule 'tick'")
    for line in ("0 6 L * *", "CRON_TZ=Europe/Paris 0 6 L * *"):
        assert terminal.durable("schedule", "next", line, "--count", "2").out.count(":00:00Z\n") == 2
    policies = ("--overlap", "skip", "--timeout", "10m", "--json")
    made = terminal.durable(
        "schedule", "create", "tick", "@every 1h30m", "jobs.py::add", "3", "--paused", *policies
    ).data
    assert (made["paused"], made["next_run_at"], made["timeout"]) == (True, None, 600)
    made = terminal.durable("schedule", "create", "tick", "@daily", "jobs.py::add", "4", "--replace", "--json").data
    assert (made["paused"], made["cron"], made["arguments"]["args"]) == (True, "@daily", [4]), "its pause goes on"
    assert terminal.durable("schedule", "show", "tick", "--json").data == made
    terminal.durable("schedule", "show", "nothing").failed(3, "no schedule 'nothing'")
    span = ("2026-03-01T00:00+01:00", "2026-03-01T00:00Z")
    assert terminal.durable("schedule", "backfill", "tick", *span).out == ""
    terminal.durable("schedule", "backfill", "tick", *reversed(span)).failed(2, "is later than until")
    daily = terminal.durable("schedule", "create", "daily", "CRON_TZ=Asia/Tokyo @daily", "jobs.py::add", "3", "--json")
    assert daily.data["next_run_at"].endswith("T15:00:00.000Z")


def test_rights_that_change_are_data_when_asked_for(terminal: Terminal) -> None:
    assert terminal.durable("exec", "desk", "1").code == 0
    granted = terminal.durable("session", "grant", "desk", "fetch", "--seconds", "60", "--by", "ana", "--json")
    assert granted.data == {"session": "desk", "grant": "fetch", "state": "granted", "seconds": 60.0, "by": "ana"}
    revoked = terminal.durable("session", "revoke", "desk", "fetch", "--json")
    assert revoked.data == {"session": "desk", "grant": "fetch", "state": "revoked", "seconds": None, "by": None}


def test_a_checkpoint_that_is_labelled_or_dropped_is_said(terminal: Terminal) -> None:
    assert terminal.durable("exec", "desk", "a = 1").code == 0
    (found,) = terminal.durable("checkpoint", "list", "desk", "--json").data
    number = str(found["id"])
    said = terminal.durable("checkpoint", "label", "desk", number, "good").err
    assert said == f"durable: checkpoint {number} of desk is called good\n"
    assert "has no label" in terminal.durable("checkpoint", "label", "desk", "good").err
    assert terminal.durable("exec", "desk", "b = 1").code == 0
    assert "is forgotten" in terminal.durable("checkpoint", "drop", "desk", number).err
