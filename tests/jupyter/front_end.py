"""A front end for tests: a kernel of its own in a directory, cells and what came of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

REPLY_S = 60


@dataclass
class Ran:
    """A cell's reply, and the messages that it caused, but for status and its own code."""

    reply: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [message["msg_type"] for message in self.messages]

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    def _text(self, name: str) -> str:
        return "".join(
            one["content"]["text"]
            for one in self.messages
            if one["msg_type"] == "stream" and one["content"]["name"] == name
        )

    @property
    def notices(self) -> str:
        return "\n".join(
            one["content"]["data"]["text/plain"]
            for one in self.messages
            if one["msg_type"] == "display_data" and one["content"]["metadata"].get("durable") == "notice"
        )

    @property
    def value(self) -> str | None:
        found = [one["content"]["data"]["text/plain"] for one in self.messages if one["msg_type"] == "execute_result"]
        return found[-1] if found else None


class FrontEnd:
    """One kernel and a client of it. `kill` and `start` are what a crash and Jupyter's restarter do."""

    def __init__(self, directory: Path, notebook: str | None = None, kernel: str = "durable") -> None:
        self.directory = directory
        self._environment = {**os.environ, **({"JPY_SESSION_NAME": notebook} if notebook is not None else {})}
        self.manager = KernelManager(kernel_name=kernel)
        self.client: BlockingKernelClient = None

    def __enter__(self) -> FrontEnd:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> FrontEnd:
        self.manager.start_kernel(cwd=str(self.directory), env=self._environment)
        self.connect()
        return self

    def connect(self) -> None:
        """As a page does that is opened: a client with a session id of its own."""
        if self.client is not None:
            self.client.stop_channels()
        self.client = BlockingKernelClient(parent=self.manager)
        self.client.load_connection_info(self.manager.get_connection_info(session=False))
        self.client.start_channels()
        self.client.wait_for_ready(timeout=REPLY_S)

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)

    def worker_pids(self) -> list[int]:
        return [one.pid for one in psutil.Process(self.pid).children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL, and its end."""
        process = self.manager.provisioner.process
        os.kill(self.pid, signal.SIGKILL)
        process.wait()

    def again(self) -> None:
        """Start it again after `kill`, as the restarter of a server does: the connection file stays."""
        self.manager.start_kernel(cwd=str(self.directory), env=self._environment)
        self.connect()

    def restart(self) -> None:
        """The user's Restart."""
        self.manager.restart_kernel(now=False)
        self.connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    def run(
        self,
        code: str,
        *,
        answers: Callable[[dict[str, Any]], str] | None = None,
        timeout: float = REPLY_S,
        **options: Any,
    ) -> Ran:
        """Run a cell to its end. `answers` gets each question's content."""
        messages: list[dict[str, Any]] = []

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] not in ("status", "execute_input"):
                messages.append(message)

        def ask(message: dict[str, Any]) -> None:
            assert answers is not None
            self.client.input(answers(message["content"]))

        reply = self.client.execute_interactive(
            code, timeout=timeout, output_hook=take, stdin_hook=ask, allow_stdin=answers is not None, **options
        )
        return Ran(reply["content"], messages)

    def submit(self, code: str) -> str:
        """Send a cell and go on."""
        return str(self.client.execute(code))

    def until(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = REPLY_S) -> dict[str, Any]:
        """The first message of output that is wanted."""
        deadline = time.monotonic() + timeout
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if wanted(message):
                return message

    def prints(self, text: str) -> None:
        """Wait until that is printed."""
        self.until(lambda message: message["msg_type"] == "stream" and text in message["content"]["text"])
