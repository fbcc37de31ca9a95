"""JavaScript's engine as a file: brought by the build, pinned by its digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capabilities.sandbox.javascript import engine_file


def test_the_build_brought_the_pinned_engine() -> None:
    assert len(engine_file.read()) == 637_405


def test_a_changed_engine_is_refused(tmp_path: Path) -> None:
    data = bytearray(engine_file.read())
    data[1000] ^= 1
    changed = tmp_path / "quickjs.wasm"
    changed.write_bytes(data)
    with pytest.raises(engine_file.EngineMissing, match="not the pinned one"):
        engine_file.read(changed)


def test_a_missing_engine_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(engine_file.EngineMissing, match="durable sandbox install"):
        engine_file.read(tmp_path / "quickjs.wasm")


def test_without_npm_there_is_no_engine_and_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine_file.EngineMissing, match="npm is not installed"):
        engine_file.install(tmp_path / "engine" / "quickjs.wasm")
    assert os.listdir(tmp_path) == []
