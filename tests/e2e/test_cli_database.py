"""The commands on a store in a database, as somebody types them whose user needs a password, which nothing shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres_server import PostgresServer

from .cli_process import Done, Terminal, read_until

PASSWORD = "hush-9Zq"
JOBS = """
import durable

async def one(n):
    return n + 1

@durable.function
async def add(ctx: durable.Context, n: int) -> int:
    return await ctx.run(one, n)

@durable.function
async def asks(ctx: durable.Context) -> str:
    return await ctx.ask("Which?", schema=str)
"""


class Database(Terminal):
    """A terminal whose store is a schema of a database. Whatever a command says is looked at for the password."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self.url = url

    def durable(self, *words: str, stdin: str = "") -> Done:
        done = super().durable("--store", self.url, *words, stdin=stdin)
        assert PASSWORD not in done.out + done.err, words
        return done


@pytest.fixture
def database(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Database]:
    found = Database(tmp_path, postgres_server.password_url("clerk", PASSWORD))
    found.write("jobs.py", JOBS)
    yield found
    assert not list(tmp_path.glob("*postgres*"))


def findings(database: Database) -> list[tuple[str, str]]:
    """What the doctor says, but for the settings that make the tests' server fast."""
    done = database.durable("doctor", "--json")
    return [(each["check"], each["message"]) for each in done.data if each["check"] != "durability"]


def test_functions_and_questions(database: Database) -> None:
    database.durable("list").failed(1, "no store at 'postgresql://clerk@/postgres?schema=")
    database.durable("show", "first").failed(3, "no store at")
    assert database.durable("run", "jobs.py::add", "1", "--id", "first").out == "2\n"
    moved = (database.directory / "jobs.py").rename(database.directory / "away.py")
    again = database.durable("run", "jobs.py::add", "1", "--id", "first")  # from the record: nothing is loaded
    assert (again.code, again.out) == (0, "2\n")
    moved.rename(database.directory / "jobs.py")
    database.durable("run", "jobs.py::add", "2", "--id", "first").failed(6, "exists as")
    asked = database.durable("run", "jobs.py::asks", "--id", "q")
    assert asked.code == 4
    for words in (("inbox", "--json"), ("show", "q", "--json"), ("run", "jobs.py::asks", "--id", "q", "--json")):
        found = database.durable(*words).data
        (prompt,) = found["prompts"] if isinstance(found, dict) else found
        assert "--store 'postgresql://clerk@/postgres?host=" in prompt["command"]
    assert database.durable("answer", "q", "this").out == "this\n"
    assert database.durable("result", "q").out == "this\n"
    assert database.durable("wait", "first").out == "completed\n"
    record = database.durable("show", "first", "--json").data["record"]
    database.durable("import", "-", stdin=json.dumps(record)).failed(6)
    assert "first.1 step one: completed" in database.durable("tree", "first").out
    assert database.durable("alias", "jobs.py::add", "jobs.py::plus").code == 0
    assert [row["id"] for row in database.durable("list", "--json").data] == ["q", "first"]


def test_what_a_command_shows_can_be_typed(database: Database) -> None:
    database.durable("run", "jobs.py::asks", "--id", "q")
    (prompt,) = database.durable("inbox", "--json").data
    shown = Terminal(database.directory)
    shown.environment |= {"DURABLE_STORE_PASSWORD": PASSWORD}
    _, *words = [each.strip("'") for each in prompt["command"].split()]
    assert shown.durable(*words[:-1], "this").out == "this\n"
    wrong = Terminal(database.directory)
    wrong.environment |= {"DURABLE_STORE_PASSWORD": "wr0ng"}
    done = wrong.durable(*words[:2], words[2], "list")
    done.failed(1, "the password is wrong", "DURABLE_STORE_PASSWORD")
    assert "wr0ng" not in done.err
    named = Terminal(database.directory)
    named.environment |= {"DURABLE_STORE": words[2], "DURABLE_STORE_PASSWORD": PASSWORD}
    assert [row["id"] for row in named.durable("list", "--json").data] == ["q"]
    (database.directory / "pass").write_text(f"*:*:*:clerk:{PASSWORD}\n")
    (database.directory / "pass").chmod(0o600)
    filed = Terminal(database.directory)
    filed.environment |= {"DURABLE_STORE": words[2], "PGPASSFILE": str(database.directory / "pass")}
    assert [row["id"] for row in filed.durable("list", "--json").data] == ["q"]


def test_sessions_and_checkpoints(database: Database) -> None:
    assert database.durable("exec", "desk", "x = 41").code == 0
    waiting = database.durable("exec", "desk", "print('in')\nname = input('Who? ')\nprint(x + 1, name)")
    assert waiting.code == 4
    answered = database.durable("answer", "desk@2", "Ana")
    assert answered.code == 0, answered
    assert database.durable("logs", "desk@2").out.endswith("42 Ana\n")
    assert database.durable("logs", "-f", "desk@2").code == 0
    assert [each["name"] for each in database.durable("session", "vars", "desk", "--json").data["variables"]]
    (newest, *_) = database.durable("checkpoint", "list", "desk", "--json").data[::-1]
    assert database.durable("checkpoint", "label", "desk", str(newest["id"]), "base").code == 0
    archive = database.directory / "desk.checkpoint"
    assert database.durable("checkpoint", "export", "desk", "base", str(archive)).code == 0
    assert database.durable("checkpoint", "import", str(archive), "copy").code == 0
    assert database.durable("exec", "copy", "x").out == "41\n"
    assert database.durable("fork", "desk", "twin").code == 0
    assert database.durable("exec", "twin", "x").out == "41\n"
    assert database.durable("session", "grant", "desk", "fetch").code == 0
    assert database.durable("session", "revoke", "desk", "fetch").code == 0
    assert database.durable("audit", "desk", "--json").data[0]["what"]
    assert database.durable("session", "restart", "desk", "--clear").code == 0
    assert "NameError" in database.durable("exec", "desk", "x").err
    assert database.durable("session", "close", "twin").code == 0
    states = {each["name"]: each["state"] for each in database.durable("session", "list", "--json").data}
    assert (states["twin"], sorted(states)) == ("closed", ["copy", "desk", "twin"])


def test_a_worker_of_a_living_engine_is_shown_and_interrupted(database: Database) -> None:
    code = "print('in', flush=True)\nimport time\nwhile True:\n    time.sleep(0.01)"
    with database.running("--store", database.url, "exec", "desk", code) as process:
        read_until(process, "in")
        (row,) = database.durable("ps", "--json").data
        assert (row["id"], row["state"], row["stuck"]) == ("desk@1", "running", False)
        assert database.durable("session", "show", "desk", "--json").data["worker_memory"] > 0
        assert database.durable("interrupt", "desk@1").code == 0
        assert process.wait(30) == 130
    assert database.durable("cancel", "desk@1").code == 0
    database.durable("resume", "desk@1").failed(1, "cancelled")


def test_promises_schedules_and_trust(database: Database) -> None:
    assert database.durable("promise", "create", "gate", "--tag", "team=blue").code == 0
    assert database.durable("promise", "resolve", "gate", "[1, 2]").code == 0
    assert database.durable("promise", "get", "gate", "--json").data["value"] == [1, 2]
    assert [each["id"] for each in database.durable("promise", "list", "--tag", "team=blue", "--json").data] == ["gate"]
    assert database.durable("schedule", "create", "tick", "@yearly", "jobs.py::add", "3").code == 0
    assert [each["id"] for each in database.durable("schedule", "list", "--json").data] == ["tick"]
    assert database.durable("schedule", "delete", "tick").code == 0
    assert database.durable("--trust-store", "list").code == 0  # a database belongs to its server: nothing to trust


def test_gc_forgets_what_ended_and_unused_chunks(database: Database, postgres_server: PostgresServer) -> None:
    assert database.durable("run", "jobs.py::add", "1", "--id", "first").code == 0
    assert database.durable("run", "jobs.py::add", "1", "--id", "second").code == 0
    assert database.durable("run", "jobs.py::asks", "--id", "open").code == 4
    schema = database.url.rpartition("schema=")[2]
    postgres_server.sql(
        f"INSERT INTO {schema}.blobs VALUES ('{'a' * 64}', 3, 0), ('{'b' * 64}', 5, 9000000000000)",
        f"INSERT INTO {schema}.blob_parts VALUES ('{'a' * 64}', 0, 'abc')",
    )
    assert findings(database) == [("blobs", "1 blobs (3 bytes) are used by nothing; `durable gc` deletes them")]
    planned = database.durable("gc", "--older-than", "0", "--keep", "1", "--dry-run", "--json").data
    assert (planned["executions"], planned["blobs"], planned["bytes"]) == (1, 1, 3)
    done = database.durable("gc", "--older-than", "0", "--keep", "1", "--json").data
    assert (done["executions"], done["blobs"], done["dry_run"]) == (1, 1, False)
    assert [each["id"] for each in database.durable("list", "--json").data] == ["open", "second"]
    assert postgres_server.sql(f"SELECT count(*) FROM {schema}.blob_parts") == [(0,)]
    assert findings(database) == []


def test_doctor_tells_what_is_wrong(database: Database, postgres_server: PostgresServer) -> None:
    database.durable("doctor").failed(1, "there is no store")
    database.durable("exec", "desk", "x = 41")
    assert findings(database) == []
    schema = database.url.rpartition("schema=")[2]
    admin = postgres_server.sql
    admin(
        f"INSERT INTO {schema}.engines VALUES ('dead-engine', 'g', 7, '[]', 0, 0)",
        f"UPDATE {schema}.promises SET value_data = 'no base64!' WHERE id = 'exec:desk@1'",
        f"UPDATE {schema}.tasks SET ended = 'failed' WHERE id = 'exec:desk@1'",
        f"UPDATE {schema}.checkpoints SET manifest = 'nothing'",
    )
    found = findings(database)
    assert {check for check, _ in found} == {"engines", "values", "invariants", "checkpoints"}, found
    assert any("engine dead-eng (pid 7)" in message for _, message in found)
    admin(f"REVOKE DELETE ON {schema}.promises FROM clerk")
    ((check, message),) = findings(database)
    assert (check, message.partition(";")[0]) == ("grants", "user clerk may not DELETE in table promises")
    admin(f"GRANT DELETE ON {schema}.promises TO clerk", f"UPDATE {schema}.store_version SET version = 99")
    ((check, message),) = findings(database)
    assert check == "schema"
    assert "upgrade durable-exec" in message


def test_backup_names_pg_dump(database: Database) -> None:
    database.durable("run", "jobs.py::add", "1")
    schema = database.url.rpartition("schema=")[2]
    database.durable("backup", "b.db").failed(2, f"pg_dump --schema={schema} 'postgresql://clerk@/postgres?host=")


def test_a_served_database_is_used_by_url(database: Database) -> None:
    database.durable("run", "jobs.py::asks", "--id", "q")
    database.environment["XDG_STATE_HOME"] = str(database.directory / "state")
    with database.running("--store", database.url, "serve", "--port", "0", "--json") as server:
        assert server.stdout is not None
        told = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")
        token = Path(told["token_file"])
        assert token.is_relative_to(database.directory / "state" / "durable")
        client = Terminal(database.directory)
        client.environment |= {"DURABLE_TOKEN": token.read_text().strip()}
        assert [row["id"] for row in client.durable("--store", told["url"], "list", "--json").data] == ["q"]
        assert client.durable("--store", told["url"], "answer", "q", "this").out == "this\n"
        server.terminate()
        assert server.wait(20) == 0
        assert server.stderr is not None
        said = server.stderr.read()
    assert "serving postgresql://clerk@/postgres?schema=" in said
    assert PASSWORD not in said


def test_a_copy_goes_on_in_the_database(database: Database) -> None:
    file = Terminal(database.directory)
    assert file.durable("exec", "desk", "x = 41").code == 0
    assert file.durable("run", "jobs.py::asks", "--id", "q").code == 4
    moved = database.durable("copy", ".durable/state.db", database.url, "--json").data
    assert (moved["tables"]["sessions"], moved["tables"]["tasks"]) == (1, 2)
    assert moved["target"].startswith("postgresql://clerk@/postgres?host=")
    database.durable("copy", ".durable/state.db", database.url).failed(6, "is not empty")
    database.durable("copy", database.url, "http://127.0.0.1:1").failed(2, "is a server")
    assert database.durable("exec", "desk", "x + 1").out == "42\n"
    assert database.durable("answer", "q", "this").out == "this\n"
    assert database.durable("copy", database.url, "back.db").out.startswith("back.db\t")
    assert file.durable("--store", "back.db", "exec", "desk", "x + 1").out == "42\n"
    code = "print('in', flush=True)\nimport time\ntime.sleep(60)"
    with database.running("--store", database.url, "exec", "desk", code) as process:
        read_until(process, "in")
        database.durable("copy", database.url, "other.db").failed(6, "is alive", "end it first")
