"""A NameError says why the name is not there, in a sentence that Python's own suggestion can follow."""

from __future__ import annotations

import pytest

from bridge.worker.run.checkpoint_timing import explain
from checkpoint import restore


def test_the_reason_ends_without_a_period_since_python_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "explain_name_error", lambda name: f"{name!r} was lost. Make it again.")
    error = NameError("name 'line' is not defined", name="line")
    explain(error)
    assert str(error) == "name 'line' is not defined: 'line' was lost. Make it again"


def test_a_name_that_was_never_there_stays_as_python_says_it() -> None:
    error = NameError("name 'nothing' is not defined", name="nothing")
    explain(error)
    assert str(error) == "name 'nothing' is not defined"
