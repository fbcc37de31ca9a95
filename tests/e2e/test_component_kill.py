"""Two components that talk while an engine is killed: no mail is lost (specs/actors.md, W5, W7, W12)."""

from __future__ import annotations

import subprocess

from tests.warm_python import PYTHON

SMALL = ["--requests", "20", "--trap-every", "10", "--batch", "10", "--kills", "1", "--every", "1", "--seed", "7"]


def test_every_request_has_one_answer_or_one_failure() -> None:
    """In a process of its own, as its class of actors is another one than that of other tests."""
    command = [PYTHON, "-m", "tests.e2e.component_campaign", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 kills: 18 answered, 2 failed" in done.stdout
