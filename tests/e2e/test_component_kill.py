"""Two components that talk while an engine is killed: no mail is lost (specs/actors.md, W5, W7, W12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import component_campaign

pytestmark = pytest.mark.usefixtures("cached")


async def test_every_request_has_one_answer_or_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_campaign, "EVERY", 10)
    monkeypatch.setattr(component_campaign, "BATCH", 10)
    done = await component_campaign.campaign(str(tmp_path / "work.db"), requests=20, kills=1, every_s=1.0, seed=7)
    assert "18 answered, 2 failed" in done
