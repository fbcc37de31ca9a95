"""The start of a kernel: its imports, processes and reads of the store are counted, since time is not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.connect import write_connection_file
from psutil import Process

from durable.integrations.jupyter.cell_runner import CellRunner
from durable.integrations.jupyter.early_listening import listen_early
from durable.integrations.jupyter.kernel import KernelOptions
from durable.integrations.jupyter.kernel_sockets import KernelSockets
from durable.integrations.jupyter.kernel_wire import KernelMessage
from durable.integrations.jupyter.notebook_session import NotebookSession
from tests.jupyter.front_end import FrontEnd

zmq: Any = import_module("zmq")

MODULES = """
import json, sys
import durable.integrations.jupyter.__main__
import durable.integrations.jupyter.kernel_sockets
import durable.integrations.jupyter.cell_runner
print(json.dumps([*sys.modules]))
"""

SPARED = {
    "argparse",
    "aiohttp",
    "capabilities.actors.topics",
    "capabilities.permissions.hosts",
    "capabilities.sandbox.errors",
    "durable.core.cron",
    "durable.functions.context",
    "durable.functions.dispatcher",
    "durable.prompts.inbox",
    "durable.queues.queue_place",
    "durable.store.operations.actors",
    "durable.store.operations.schedules",
    "ipykernel",
    "pydantic",
    "shutil",
    "traitlets",
    "tornado",
    "zmq.asyncio",
}
"""Of durable functions, schedules, queues, actors, the sandbox and questions: no cell needs them to begin."""

OURS_MAX = 246
"""Modules of ours that are imported until cells can be run."""


def test_a_kernel_imports_no_more_than_cells_need() -> None:
    command = [sys.executable, "-c", MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert sorted(SPARED & loaded) == []
    ours = [name for name in loaded if name.partition(".")[0] in ("durable", "bridge", "capabilities", "checkpoint")]
    assert len(ours) <= OURS_MAX


def test_one_process_is_started_and_it_begins_as_a_fork(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "start.ipynb") as page:
        assert page.run("1+1").value == "2"
        kernel = Process(page.pid)
        (zygote,) = kernel.children()
        (worker,) = zygote.children()
        assert zygote.cmdline() == worker.cmdline() == kernel.cmdline(), "neither was a Python of its own"
        assert zygote.net_connections("inet") == worker.net_connections("inet") == [], "they are the kernel's"
        code = "import os\nos.getpid(), os.getsid(0), [os.readlink(f'/proc/self/fd/{fd}') for fd in (0,)]"
        assert page.run(code).value == f"({worker.pid}, {worker.pid}, ['/dev/null'])"
        worker.kill()
        assert page.run("2+2").value == "4"
        assert kernel.children() == [zygote]


def test_a_client_is_let_in_before_zeromq_is_there(tmp_path: Path) -> None:
    """And its greeting is answered once it is; what cannot be listened on is left to ZeroMQ, which says why."""
    _, connection = write_connection_file(str(tmp_path / "kernel.json"))
    listening = listen_early(connection)
    assert sorted(listening) == ["control_port", "hb_port", "iopub_port", "shell_port", "stdin_port"]
    assert not any(os.get_inheritable(descriptor) for descriptor in listening.values())
    with socket.create_connection((connection["ip"], connection["shell_port"])) as client:
        assert listen_early(connection) == {}
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.USE_FD, listening.pop("shell_port"))
        router.bind(f"tcp://{connection['ip']}:{connection['shell_port']}")
        assert client.recv(10) == b"\xff\0\0\0\0\0\0\0\x01\x7f"
        router.close(0)
        context.term()
    for descriptor in listening.values():
        os.close(descriptor)
    assert listen_early({**connection, "transport": "ipc"}) == {}
    assert listen_early({**connection, "ip": "localhost"}) == {}
    assert listen_early({**connection, **dict.fromkeys(connection, 0)}) == {}


def test_no_worker_stays_where_the_store_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell tries again, with a worker that is begun beside it."""
    store = tmp_path / "state.db"
    store.write_bytes(b"no store at all" * 400)
    monkeypatch.setenv("DURABLE_STORE", str(store))
    with FrontEnd(tmp_path, "none.ipynb") as page:
        for _ in range(3):
            assert page.run("1+1").reply["status"] == "error"
        assert Process(page.pid).children(recursive=True) == []


async def test_a_cell_that_prints_nothing_reads_nothing_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output would be read in another thread, between its code's end and its reply."""
    notebook = await NotebookSession.open(str(tmp_path / "state.db"), "desk")
    reads = notebook.engine.store.reads
    asked: list[str] = []
    printed = reads.printed

    async def counted(execution: str, *arguments: Any, **options: Any) -> Any:
        asked.append(execution)
        return await printed(execution, *arguments, **options)

    monkeypatch.setattr(reads, "printed", counted)
    for number in range(3):
        execution = await notebook.submit("1+1")
        events = [event async for event in notebook.follow(execution, fresh=True) if event is not None]
        assert [type(event).__name__ for event in events] == ["CellValue", "PromiseRow"], number
        assert number == 0 or execution not in asked
    await notebook.close(forget=True)


def _cell(code: str, *, client: str = "page", **content: Any) -> KernelMessage:
    header = {"msg_id": code, "msg_type": "execute_request", "session": client}
    return KernelMessage((), header, {}, {}, {"code": code, **content})


async def test_a_cell_is_being_recorded_when_front_ends_are_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one of a front end is not: what that missed is told before it."""
    _file, connection = write_connection_file(str(tmp_path / "kernel.json"))
    sockets = KernelSockets(connection)
    store = str(tmp_path / "state.db")
    options = KernelOptions(store, "desk", unnamed=False, notebook="desk.ipynb", profile=None, directory=tmp_path)
    runner = CellRunner(sockets, options, asyncio.Queue())
    assert runner.begin_recording(_cell("1")) is None  # its store is not open
    await runner.open()
    done: list[str] = []
    for place, name in ((runner.notebook.engine.store, "enqueue"), (sockets, "publish")):
        monkeypatch.setattr(place, name, _noted(getattr(place, name), done))
    for number in range(3):
        done.clear()
        message = _cell(f"{number} + 1")
        recording = runner.begin_recording(message)
        assert (recording is None) == (number == 0)
        reply = await runner.execute(message, recording)
        assert (reply["status"], reply["execution_count"]) == ("ok", number + 1)
        sent = [kind for kind in done if kind in ("cell.submit", "execute_input", "execute_result", "task.fulfill")]
        assert sent[:2] == (["cell.submit", "execute_input"] if number else ["execute_input", "cell.submit"])
        assert sorted(sent[2:]) == ["execute_result", "task.fulfill"]
    others = (_cell("%durable vars"), _cell("len?"), _cell("1", silent=True), _cell("1", store_history=False))
    assert [runner.begin_recording(one) for one in (*others, _cell("1", client="another page"))] == [None] * 5
    await runner.close(forget=True)
    sockets.close()


def _noted(call: Callable[..., Any], kinds: list[str]) -> Callable[..., Any]:
    def noted(kind: str, *arguments: Any, **options: Any) -> Any:
        kinds.append(kind)
        return call(kind, *arguments, **options)

    return noted
