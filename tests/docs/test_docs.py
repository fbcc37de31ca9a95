"""The documentation does what it says: every block of ours runs, and what a console shows is what is printed."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, RUN, CodeBlock, TypedCommand, blocks, commands, name_of, pattern
from tests.warm_python import PYTHON

NOT_RUN = {
    "py": "code of other systems, which are not installed here",
    "toml": "a configuration",
    "yaml": "a configuration",
    "ini": "a unit of systemd",
    "sql": "what the owner of a database runs; tests/contract/test_postgres_roles.py grants the same",
    "dockerfile": "an image of the reader's",
    "text": "no code",
    "json": "no code",
    "javascript": "code that a block of Python or a console names",
}
"""Languages of blocks that are not run, and why."""

NOT_RUN_HERE = {
    "README.md": ["CI runs it by itself", "it is what runs this"],
    "docs/export.md": ["needs an execution"],
    "docs/encryption.md": ["needs a store with encrypted values"] * 2,
    "docs/versions.md": ["needs executions that wait", "two processes"],
    "docs/streams.md": ["needs an execution that writes, and a server"],
    "docs/signals.md": ["needs an execution that waits, and a server"],
    "docs/install.md": [
        "CI runs it by itself, and it takes ten seconds",
        "it installs over the network",
        "it installs over the network",
        "it installs over the network",
        "it installs over the network",
    ],
    "docs/http-api.md": ["the test of this page has no shell"],
    "docs/jupyter.md": ["it needs Jupyter's packages; tests/jupyter runs it"] * 2,
    "docs/integrations.md": ["it needs the extra; tests/integrations runs it"] * 3,
    "docs/telemetry.md": ["it installs over the network"],
    "docs/scale-out.md": ["it installs over the network"],
    "docs/dashboard.md": [
        "it opens a browser and stays until Ctrl-C",
        "it stays until Ctrl-C",
        "the token is another one each time",
    ],
    "docs/people.md": ["there is no chat to send it to"],
}
"""Blocks of ours that are not run, by page: a page says why before each."""

PORT = "18001"
"""The port in the pages; a free one takes its place."""

DATABASE = "postgresql://me@db.example/work"
"""The database in the pages; one of the tests' own takes its place."""

UNABLE = re.compile(r"Unenforceable|SandboxUnavailable")
"""What a program ends with on a machine that cannot do what it asks for; in CI it has to."""


class PageTypist:
    """Runs the pages' commands and programs: each a process of its own."""

    def __init__(self, variables: dict[str, str]) -> None:
        usual = {k: v for k, v in os.environ.items() if not k.startswith(("DURABLE", "PYTEST_CURRENT"))}
        self.environment = {**usual, **variables}

    def command_line(self, words: list[str]) -> list[str]:
        """The words of a process for a command as a page has it."""
        program, *rest = words
        start: dict[str, list[str]] = {"durable": [PYTHON, "-m", "durable.cli"], "python": [PYTHON]}
        return [*start.get(program, [program]), *rest]

    def run(self, directory: Path, words: list[str], variables: dict[str, str]) -> tuple[int, str]:
        """How it ended, as a shell says it, and what it said."""
        done = subprocess.run(
            self.command_line(words),
            cwd=directory,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout.decode()


class PageReader:
    """Somebody who does what a page says, in a directory of their own."""

    def __init__(self, typist: PageTypist, directory: Path) -> None:
        self.typist = typist
        self.directory = directory
        self._behind: list[subprocess.Popen[bytes]] = []

    def program(self, block: CodeBlock, name: str) -> None:
        code, said = self.typist.run(self.directory, ["python", name], {})
        if code and UNABLE.search(said) and "CI" not in os.environ:
            pytest.skip(said.strip().splitlines()[-1])
        assert code == 0, f"line {block.line}: {name} ended with {code}:\n{said}"

    def command(self, command: TypedCommand) -> None:
        if command.words[0] == "kill":
            for process in self._behind:
                process.send_signal(signal.SIGKILL if "-9" in command.words else signal.SIGTERM)
                process.wait(20)
            return
        if command.behind:
            self.begin(command)
            return
        code, said = self.typist.run(self.directory, command.words, command.variables)
        assert code == command.code, f"{command.words} ended with {code}:\n{said}"
        if command.shown:
            found = " ".join(said.split())
            assert pattern(command.shown).fullmatch(found), f"{command.words} printed:\n{said}"

    def begin(self, command: TypedCommand) -> None:
        """A process behind; the lines shown are those that are waited for."""
        process = subprocess.Popen(
            self.typist.command_line(command.words),
            cwd=self.directory,
            env={**self.typist.environment, **command.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._behind.append(process)
        assert process.stdout is not None
        for line in filter(None, command.shown):
            said = process.stdout.readline().decode()
            assert pattern([line]).fullmatch(" ".join(said.split())), f"{command.words} printed {said!r}"

    def close(self) -> None:
        for process in self._behind:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def typist(sandbox_cache: Path) -> PageTypist:
    return PageTypist({"XDG_CACHE_HOME": str(sandbox_cache)})


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(each.language in RUN for each in blocks(page))], ids=name_of
)
def test_a_page_does_what_it_says(
    page: Path, typist: PageTypist, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = list(blocks(page))
    if any(DATABASE in each.text for each in found):
        url = request.getfixturevalue("postgres_server").url()
        found = [dataclasses.replace(each, text=each.text.replace(DATABASE, url)) for each in found]
    typed = "\n".join(each.text for each in found if each.language == "console")
    reader = PageReader(typist, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    found = [dataclasses.replace(each, text=each.text.replace(PORT, port)) for each in found]
    try:
        for number, block in enumerate(found):
            if block.title and not block.reason:
                (tmp_path / block.title).write_text(block.text)
            if block.reason or block.language not in RUN:
                continue
            if block.language == "console":
                for command in commands(block.text):
                    reader.command(command)
            elif block.title not in typed or not block.title:
                name = block.title or f"block_{number}.py"
                (tmp_path / name).write_text(block.text)
                reader.program(block, name)
    finally:
        reader.close()
        shutil.rmtree(tmp_path / ".durable", ignore_errors=True)


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    reasons = {}
    for page in PAGES:
        for block in blocks(page):
            assert block.language in (*RUN, *NOT_RUN), f"{page}, line {block.line}: a block of {block.language!r}"
            assert not block.reason or block.language in RUN, f"{page}, line {block.line}: it never runs"
        if found := [block.reason for block in blocks(page) if block.reason]:
            reasons[name_of(page)] = found
    assert reasons == NOT_RUN_HERE
