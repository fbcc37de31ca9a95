"""Methods of registered objects on the command line, and what is said where the object is not there."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal

JOBS = """
import os
import durable

class Mailer:
    def __init__(self, host):
        self.host = host

    @durable.function
    async def send(self, ctx, to):
        return f"{to} {await ctx.ask('Which word?')} {self.host}"

durable.register(Mailer("host.example"), os.environ["REGION"])
"""


def test_an_execution_goes_on_only_where_its_object_is_registered(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.environment["REGION"] = "eu"
    assert terminal.durable("run", "jobs.py::Mailer(eu).send", "ana", "--id", "m").code == 4
    terminal.durable("run", "jobs.py::Mailer(us).send", "ana").failed(2, "it has Mailer(eu).send")
    terminal.environment["REGION"] = "us"
    answered = terminal.durable("answer", "exec:m:input:1", "hello")
    assert "jobs.py registers no Mailer as 'eu': durable.register(Mailer(…), 'eu')" in answered.err, answered
    assert "none has a Mailer registered as 'eu'" in terminal.durable("list").out
    terminal.environment["REGION"] = "eu"
    assert terminal.durable("resume", "m").code == 0
    assert terminal.durable("result", "m").out == "ana hello host.example\n"
