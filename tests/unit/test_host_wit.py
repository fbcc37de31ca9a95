"""`host.wit` is valid, bound to what there is, and its bindings are not stale (requirements A69, A70)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from capabilities.sandbox.wit.__main__ import main
from capabilities.sandbox.wit.bind import SOURCE, bindings, current
from capabilities.sandbox.wit.parse import BadWit, parse

TEXT = SOURCE.read_text()


def test_the_bindings_are_those_of_the_source() -> None:
    assert current(), "run `python -m capabilities.sandbox.wit`"
    assert main(["--check"]) == 0


def test_another_reader_of_wit_takes_it(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("componentize-py")
    if not tool.exists():
        pytest.skip("componentize-py is not there: it is in the group dev, for x86_64")
    for world in parse(TEXT).worlds:
        done = subprocess.run([tool, "-d", SOURCE, "-w", world, "bindings", tmp_path / world], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


def test_each_operation_is_there() -> None:
    package = parse(TEXT)
    assert (package.id, package.version) == ("durable:host", "0.1.0")
    exports = package.interfaces[package.worlds["living"].exports[0]].functions
    assert set(exports) == {"init", "execute", "handle-message", "handle-callback", "metadata", "health", "shutdown"}
    given = {each for name in package.worlds["guest"].imports for each in package.interfaces[name].functions}
    assert given >= {"log", "send-message", "send-request", "cancel-request", "current-time-millis", "sleep-millis"}
    assert given >= {
        "list-components",
        "get-component-metadata",
        "get",
        "set",
        "delete",
        "exists",
        "list-keys",
        "usage",
    }


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("capability: kv.get", "capability: kv.got", "storage.get: kv has no 'got'"),
        ("capability: kv.get", "capability: kw.get", "there is no capability 'kw'"),
        ("  /// capability: kv.get\n", "", "storage.get: its comment says once which"),
        ("get: func(key: string, namespace", "get: func(kee: string, namespace", "storage.get: kv takes no 'kee'"),
        ("encoding=base64", "encodink=base64", "filesystem.read: read_file takes no 'encodink'"),
        ("result<bool, failure>", "result<bool, fail>", r"line \d+: there is no type 'fail'"),
        ("record quota {", "record quota", "where '{' is expected"),
        ("u64, keys: u64", "u64, used: u64", "'used' is defined more than once"),
        ("use types.{failure}", "use typos.{failure}", "no interface 'typos'"),
        ("use types.{failure}", "use types.{failures}", "types has no type 'failures'"),
        ("option<string>", "option<string, string>", "option of 2 types"),
        ("import log;", "import logg;", "import 'logg' is not understood"),
        ("world guest", "world guests", "guest"),
        ("u64", "u64 $", "is not understood"),
        ("package durable:host@0.1.0;", "package durable:host;", "where a version is expected"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(before: str, after: str, says: str) -> None:
    assert before in TEXT
    with pytest.raises(BadWit, match=says):
        bindings(TEXT.replace(before, after, 1))
