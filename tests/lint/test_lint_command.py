"""`durable lint`, and warnings at import (docs/lint.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli_process import Done, Terminal

SOURCE = """import time
import durable

raise SystemExit("it is never run")

@durable.function
async def flow(ctx):
    ctx.sleep(1)
    return time.time()
"""


def typed(*words: str, cwd: Path) -> Done:
    return Terminal(cwd).durable(*words)


def test_findings_are_printed_as_linters_do_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit('it is never run')")
    (tmp_path / "package" / "inner" / "jobs.py").write_text(SOURCE)
    (tmp_path / "package" / "__pycache__").mkdir()
    (tmp_path / "package" / "__pycache__" / "x.py").write_text("def (")
    for target in ("package", "package/inner/jobs.py", "package.inner.jobs", "package.inner", "."):
        done = typed("lint", target, cwd=tmp_path)
        assert done.code == 1, done
        first, second = done.out.splitlines()
        assert first.startswith("package/inner/jobs.py:8:5: DUR008 ctx.sleep(…) is begun and not awaited in flow")
        assert second == (
            "package/inner/jobs.py:9:12: DUR001 time.time() in flow: a replay reads another time; write ctx.now()"
        )
        assert "2 problems in " in done.err
    done = typed("lint", "package", "--json", cwd=tmp_path)
    assert [each["code"] for each in done.data] == ["DUR008", "DUR001"]
    assert set(done.data[0]) == {"file", "code", "line", "column", "function", "message", "instead", "reason"}
    assert typed("lint", "package", "--ignore", "DUR00", cwd=tmp_path).code == 0
    assert typed("lint", "package", "--select", "DUR001", cwd=tmp_path).out.count("\n") == 1


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    typed("lint", "nothing.py", cwd=tmp_path).failed(2, "no file, folder or module 'nothing.py'")
    (tmp_path / "a.py").write_text("")
    typed("lint", "a.py", "--select", "DUR9", cwd=tmp_path).failed(2, "there is no code 'DUR9'")
    assert typed("lint", "a.py", cwd=tmp_path).code == 0
    (tmp_path / "b.py").write_bytes(b"# coding: no-such\n")
    assert "DUR000" in typed("lint", "b.py", cwd=tmp_path).out


@pytest.mark.parametrize("mode", ["", "warn", "error", "loud"])
def test_functions_are_checked_at_import_for_whoever_asks(tmp_path: Path, mode: str) -> None:
    (tmp_path / "jobs.py").write_text(SOURCE.replace("raise SystemExit", "str"))
    code = "import sys, jobs; print('durable.lint.source_check' in sys.modules)"
    command = [sys.executable, "-W", "always", "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"DURABLE_LINT": mode, "PATH": ""}
    )
    if mode == "":
        assert (done.stdout, done.stderr) == ("False\n", "")
    elif mode == "warn":
        assert done.stdout == "True\n"
        assert "jobs.py:9: DurableLintWarning: " in done.stderr
        assert "DUR008" in done.stderr
    elif mode == "error":
        assert "LintFailed" in done.stderr
        assert "DUR001" in done.stderr
    else:
        assert "DURABLE_LINT is one of warn, error" in done.stderr


def test_json_of_nothing_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    assert json.loads(typed("lint", "a.py", "--json", cwd=tmp_path).out) == []
