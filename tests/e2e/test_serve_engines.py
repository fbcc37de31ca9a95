"""Engines elsewhere: the server killed and back, engines killed, cut off, and the command line on a URL."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import resource
import signal
import sys
from pathlib import Path

import pytest

import durable
from durable.core.errors import StoreError, StoreRefused
from durable.core.events import Event, StoreSilent, WorkerEnded, WorkerStarted
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.remote.store import RemoteStore
from durable.store.sqlite.store import Store
from tests.conftest import TOKEN, end_server, start_server
from tests.e2e.cli_process import Terminal, read_errors_until
from tests.waiting import first_prompt, until
from tests.warm_python import PYTHON

FUNCTIONS = """
import durable

def note(text):
    with open("ran", "a") as file: file.write(text + "\\n")
    return len(text)

@durable.function
async def report(ctx: durable.Context, topic: str) -> int:
    first = await ctx.run(note, topic)
    answer = await ctx.ask("go on?")
    cell = await ctx.execute("print('in a session'); n + 1", session="desk", inputs={"n": first})
    return cell.value + await ctx.run(note, answer)
"""

steps: list[str] = []


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    steps.clear()


def step(name: str) -> str:
    steps.append(name)
    return name


@durable.function
async def three(ctx: durable.Context) -> list[str]:
    first = await ctx.run(step, "first")
    answer = await ctx.ask("and?")
    return [first, answer, await ctx.run(step, "last")]


@durable.function
async def once(ctx: durable.Context, n: int) -> int:
    return await ctx.run(lambda: n + 1)


class Seen:
    """Events, with a wait for one of a kind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._came.set()

    async def wait_for(self, kind: type[Event], count: int = 1) -> None:
        async with asyncio.timeout(30):
            while sum(isinstance(event, kind) for event in self.events) < count:
                self._came.clear()
                await self._came.wait()


async def test_a_server_that_is_killed_and_started_again_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "work.db"
    server, url = start_server(file)
    port = url.rpartition(":")[2]
    try:
        async with durable.open(url, observer=(seen := Seen())) as engine:
            execution = await engine.start(three, id="one")
            prompt = await first_prompt(engine, "and?")
            result = asyncio.ensure_future(execution.result(40))
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
            await seen.wait_for(StoreSilent)
            answering = asyncio.ensure_future(engine.answer(prompt.id, "yes"))
            server, _ = await asyncio.to_thread(start_server, file, "--port", port)
            await answering
            assert await result == ["first", "yes", "last"]
            assert steps == ["first", "last"]
    finally:
        assert end_server(server) == 0


async def test_an_engine_that_is_cut_off_ends_its_workers_and_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "work.db", durability="process")
    try:
        with listen("127.0.0.1", 0) as sock:
            port = sock.getsockname()[1]
            async with serving(Site(store, TOKEN, lease_s=1.0), sock) as url:
                engine = await durable.open(url, observer=(seen := Seen())).open()
                session = await engine.session("desk")
                await session.execute("log = []")
                go = tmp_path / "go"
                code = f"import os, time\nlog.append(1)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nlog"
                execution = await session.submit(code)

                async def runs() -> bool:
                    return (await execution.info()).state == "running"

                await until(engine, runs)
                ended = sum(isinstance(event, WorkerEnded) for event in seen.events)
        try:
            await seen.wait_for(WorkerEnded, ended + 1)
            go.touch()
            with listen("127.0.0.1", port) as sock:
                async with serving(Site(store, TOKEN, lease_s=1.0), sock):
                    result = await asyncio.wait_for(session.result(execution.id), 30)
                    assert result.value in ([1], [1, 1])  # the statement in flight may run again
                    assert sum(isinstance(event, WorkerStarted) for event in seen.events) == 2
                    await engine.close()
        finally:
            await engine.close()
    finally:
        await store.close()


async def test_what_a_killed_engine_held_goes_to_another_one_after_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server, url = start_server(tmp_path / "work.db", "--lease", "1")
    script = (
        "import asyncio, sys, durable\n"
        "async def main():\n"
        "    async with durable.open(sys.argv[1]) as engine:\n"
        "        session = await engine.session('desk')\n"
        "        await session.execute('x = 41')\n"
        "        await session.submit('import os, time\\nwhile not os.path.exists(\"go\"): time.sleep(0.01)\\nx + 1')\n"
        "        print('submitted', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    try:
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", script, url, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"submitted\n"
        process.send_signal(signal.SIGKILL)
        await process.wait()
        (tmp_path / "go").touch()
        async with durable.open(url) as engine:
            session = await engine.session("desk")
            assert (await asyncio.wait_for(session.result("desk@2"), 40)).value == 42
    finally:
        assert end_server(server) == 0


async def test_engines_on_the_path_and_on_the_url_share_one_store(tmp_path: Path) -> None:
    server, url = start_server(tmp_path / "work.db")
    try:
        async with durable.open(tmp_path / "work.db") as here, durable.open(url) as there:
            executions = [await engine.start(three) for engine in (here, there) for _ in range(4)]
            for _ in executions:
                prompt = await first_prompt(there)
                await here.answer(prompt.id, "yes")
            for execution in executions:
                found = await there.get(execution.id)
                assert await found.result(30) == ["first", "yes", "last"]
            assert sorted(steps) == sorted(["first", "last"] * 8)
            engines = {row.engine for row in await there.store.reads.engines()}
            assert engines == {here.engine_id, there.engine_id}
            assert all(there.store.engine_alive(engine) and here.store.engine_alive(engine) for engine in engines)
    finally:
        assert end_server(server) == 0


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 11_000, reason="this process may not have 10,000 connections"
)
async def test_ten_thousand_connections_that_say_nothing_keep_nobody_from_being_served(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    server, url = start_server(tmp_path / "work.db")
    host, port = url.removeprefix("http://").split(":")
    silent: list[asyncio.StreamWriter] = []
    try:
        async with durable.open(url) as engine:
            for n in range(20):
                opening = (asyncio.open_connection(host, int(port)) for _ in range(500))
                silent += [writer for _, writer in await asyncio.gather(*opening)]
                execution = await engine.start(once, n)
                assert await execution.result(20) == n + 1
    finally:
        for writer in silent:
            writer.close()
        assert end_server(server) == 0
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.write("work.py", FUNCTIONS)
    return found


def test_the_command_line_works_on_a_url(terminal: Terminal) -> None:
    server, url = start_server(terminal.directory / "work.db")
    terminal.environment |= {"DURABLE_TOKEN": TOKEN, "DURABLE_STORE": url}
    try:
        waiting = terminal.durable("run", "work.py::report", "lathes", "--id", "r1")
        assert waiting.code == 4, waiting
        assert "r1" in terminal.durable("ps").out
        (prompt,) = terminal.durable("inbox", "--json").data
        answered = terminal.durable("answer", prompt["id"], "yes")
        assert answered.code == 0, answered
        done = terminal.durable("result", "r1")
        assert (done.code, done.out) == (0, f"{len('lathes') + 1 + len('yes')}\n"), done
        assert terminal.durable("exec", "desk", "n").out == "6\n"
        assert "in a session" in terminal.durable("logs", "r1").out
        assert terminal.lines("ran") == ["lathes", "yes"]
        terminal.durable("result", "nobody").failed(3, "nobody")
    finally:
        assert end_server(server) == 0


def test_a_command_says_that_its_server_is_gone_and_goes_on_when_it_is_back(terminal: Terminal) -> None:
    file = terminal.directory / "work.db"
    server, url = start_server(file)
    terminal.environment |= {"DURABLE_TOKEN": TOKEN, "DURABLE_STORE": url}
    code = "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\n6 * 7"
    with terminal.running("exec", "desk", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
        read_errors_until(process, "does not answer")
        (terminal.directory / "go").touch()
        server, _ = start_server(file, "--port", url.rpartition(":")[2])
        assert process.wait(40) == 0
        assert process.stdout.read() == "42\n"
    assert end_server(server) == 0


def test_serve_makes_a_token_that_only_its_owner_reads_and_prints_the_url(terminal: Terminal) -> None:
    with terminal.running("--store", "work.db", "serve", "--port", "0", "--json") as process:
        said = read_errors_until(process, "token made")
        file = terminal.directory / "work.db.token"
        token = file.read_text().strip()
        assert token not in said  # what a service says goes into logs
        assert file.stat().st_mode & 0o777 == 0o600
        assert process.stdout is not None
        url = json.loads("".join(iter(lambda: process.stdout.readline(), "}\n")) + "}")["url"]  # type: ignore[union-attr]
        terminal.environment["DURABLE_TOKEN"] = token
        assert terminal.durable("--store", url, "list").code == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
    with terminal.running("--store", "work.db", "serve", "--port", "0") as process:
        assert token not in read_errors_until(process, "serving")  # told once, kept in the file
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("json_output", [False, True], ids=["as text", "as JSON"])
@pytest.mark.parametrize("source", ["its own file", "a file that is named", "the environment"])
def test_no_surface_of_serve_shows_the_token(terminal: Terminal, source: str, json_output: bool) -> None:
    file = terminal.directory / ("named" if source == "a file that is named" else "work.db.token")
    named = ["--token-file", str(file)] if source == "a file that is named" else []
    if source == "the environment":
        terminal.environment["DURABLE_TOKEN"] = TOKEN
    terminal.environment["PYTHONASYNCIODEBUG"] = "1"  # which logs what the loop calls, with arguments
    options = [*named, *(["--json"] if json_output else [])]
    own = sys.executable  # with a command line that the process list shows
    with terminal.running("--store", "work.db", "serve", "--port", "0", *options, python=own) as process:
        said = read_errors_until(process, "serving")
        assert process.stdout is not None
        first = process.stdout.readline()
        if json_output:
            first += "".join(iter(process.stdout.readline, "}\n"))
        address = next(iter(re.findall(r"http://[0-9.:]+", first)))
        token = TOKEN if source == "the environment" else file.read_text().strip()
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert token.encode() not in arguments  # every user of the machine reads those
        for header in (f"Bearer {token}", f"Bearer {token}x", f"Basic {token}"):  # let in, and turned away
            assert token not in _get(address, f"/chunk/nothing?token={token}", header)
        terminal.environment["DURABLE_TOKEN"] = token
        assert terminal.durable("--store", address, "list").code == 0
        refused = terminal.durable("--store", address.replace("http://", f"http://{token}@"), "list")
        assert refused.code != 0
        assert token not in refused.out + refused.err
        process.terminate()
        assert process.wait(20) == 0
        said += first + process.stdout.read() + (process.stderr.read() if process.stderr is not None else "")
    assert token not in said


def _get(address: str, path: str, authorization: str) -> str:
    """The answer to a request, with its head."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers={"Authorization": authorization})
    answer = connection.getresponse()
    found = f"{answer.status} {answer.headers} {answer.read().decode()}"
    connection.close()
    return found


def test_a_file_that_is_no_token_is_not_shown(terminal: Terminal) -> None:
    file = terminal.directory / "secret"
    file.write_text("a secret of another program\n")
    file.chmod(0o600)
    ended = terminal.durable("--store", "work.db", "serve", "--port", "0", "--token-file", "secret")
    ended.failed(1, "holds no token")
    assert "another program" not in ended.out + ended.err


def test_what_cannot_be_served_or_reached_is_said(terminal: Terminal) -> None:
    server, url = start_server(terminal.directory / "work.db")
    try:
        port = url.rpartition(":")[2]
        terminal.durable("--store", "other.db", "serve", "--port", port).failed(1, f"127.0.0.1:{port}", "--port")
        terminal.durable("--store", url, "list").failed(1, "needs a token", "DURABLE_TOKEN")
        terminal.environment["DURABLE_TOKEN"] = "x" * 32
        terminal.durable("--store", url, "list").failed(1, "refuses the token")
        terminal.environment["DURABLE_TOKEN"] = "short"
        terminal.durable("--store", "other.db", "serve", "--port", "0").failed(1, "DURABLE_TOKEN", "16")
        terminal.environment["DURABLE_TOKEN"] = TOKEN
        terminal.durable("--store", f"{url}/elsewhere", "list").failed(1, "neither a store served by")
    finally:
        assert end_server(server) == 0
    terminal.durable("--store", url, "list").failed(1, "does not answer", "durable serve")
    (terminal.directory / "token").write_text("a b\n")
    (terminal.directory / "token").chmod(0o600)
    del terminal.environment["DURABLE_TOKEN"]
    terminal.durable("--store", "other.db", "serve", "--token-file", "token").failed(1, "holds no token")
    terminal.durable("serve", "--lease", "0").failed(2, "--lease")


async def test_a_closed_remote_store_fails_its_waiters_at_once(tmp_path: Path) -> None:
    server, url = start_server(tmp_path / "work.db")
    try:
        store = await RemoteStore.open(url)
        await store.request("promise.create", {"id": "a", "timeoutAt": 2**50, "tags": {"resonate:external": "true"}})
        waiting = asyncio.ensure_future(store.settled("a"))
        with pytest.raises(StoreRefused, match="404"):
            await store.settled("nothing")
        await store.close()
        with pytest.raises(durable.EngineClosed):
            await waiting
        with pytest.raises(durable.EngineClosed):
            await store.request("promise.get", {"id": "a"})
    finally:
        assert end_server(server) == 0
    with pytest.raises(StoreError, match="does not answer"):
        await RemoteStore.open(url)
