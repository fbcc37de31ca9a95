"""`durable serve` in a fork of a process that has imported it: a real process for each test, without the imports.

`python -m tests.forked_server` answers one JSON line for each that it reads: `{"serve": [argument, …], "log": file,
"environment": {…}}` with the server's `pid` and `url`; `{"end": pid}` sends SIGTERM and gives its exit `code`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import IO, Any

_IMPORTED = (
    "durable.cli.commands.serve_command",
    "durable.http.serve",
    "durable.prompts.webhooks",
    "durable.store.sqlite.store",
)


class ForkedServers:
    """Servers that are forked from one process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, file: Path, *options: str, **environment: str) -> tuple[int, str]:
        """Serve the store in a file on a free port: the process, and its URL."""
        arguments = ["--store", str(file), "serve", "--port", "0", *options]
        answer = self._ask(serve=arguments, log=f"{file}.serve", environment={**os.environ, **environment})
        assert answer["url"].startswith("http://"), Path(f"{file}.serve").read_text()
        return answer["pid"], answer["url"]

    def end(self, pid: int) -> int:
        """SIGTERM and its exit code: it ends cleanly whatever was connected."""
        return int(self._ask(end=pid)["code"])

    def close(self) -> None:
        """End the process that forks. No server runs any more."""
        self._process.communicate()


def _begin(request: dict[str, Any], pipes: dict[int, IO[str]]) -> dict[str, Any]:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(writer, 1)
        os.dup2(os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["durable", *request["serve"]]
        from durable.cli import main as durable

        try:
            durable()
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    os.close(writer)
    pipes[pid] = os.fdopen(reader)
    return {"pid": pid, "url": pipes[pid].readline().strip()}


def main() -> None:
    """Import what a server needs, then fork one for each request."""
    for name in _IMPORTED:
        importlib.import_module(name)
    pipes: dict[int, IO[str]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "serve" in request:
            answer = _begin(request, pipes)
        else:
            os.kill(request["end"], signal.SIGTERM)
            code = os.waitstatus_to_exitcode(os.waitpid(request["end"], 0)[1])
            pipes.pop(request["end"]).close()
            answer = {"code": code}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
