"""JavaScript's engine as a file: brought by the build, pinned by its digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capabilities.javascript import quickjs


def test_the_build_brought_the_pinned_engine() -> None:
    assert len(quickjs.read()) == 637_405


def test_a_changed_engine_is_refused(tmp_path: Path) -> None:
    data = bytearray(quickjs.read())
    data[1000] ^= 1
    changed = tmp_path / "quickjs.wasm"
    changed.write_bytes(data)
    with pytest.raises(quickjs.EngineMissing, match="not the pinned one"):
        quickjs.read(changed)


def test_a_missing_engine_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(quickjs.EngineMissing, match="durable sandbox install"):
        quickjs.read(tmp_path / "quickjs.wasm")


def test_without_npm_there_is_no_engine_and_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(quickjs.EngineMissing, match="npm is not installed"):
        quickjs.install(tmp_path / "engine" / "quickjs.wasm")
    assert os.listdir(tmp_path) == []
