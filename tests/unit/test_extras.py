"""Messages about extras that are not installed name where the package is."""

from __future__ import annotations

import json

import pytest

from durable.core.extras import command_for, wasmtime_missing


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ({"url": "file:///home/ana/durable%20exec", "dir_info": {}}, "pip install '/home/ana/durable exec[sandbox]'"),
        ({"url": "file:///srv/durable_exec-0.1.0.whl", "archive_info": {}}, "'/srv/durable_exec-0.1.0.whl[sandbox]'"),
        (
            {"url": "https://git.example/d.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "'durable-exec[sandbox] @ git+https://git.example/d.git@abc'",
        ),
        (None, "install durable-exec again from where you have it"),
    ],
)
def test_the_command_names_where_it_was_installed_from(origin: object, shown: str) -> None:
    assert shown in command_for("sandbox", None if origin is None else json.dumps(origin))


def test_what_is_said_of_wasmtime_is_no_name_of_an_index() -> None:
    assert wasmtime_missing().startswith("wasmtime is not installed; ")
    assert "install durable-exec[sandbox]" not in wasmtime_missing()
