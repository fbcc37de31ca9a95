from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.launch.launcher import ColdLauncher, WorkerLauncher
from bridge.launch.zygote import Zygote
from tests.protocol.desk import Desk, running


@pytest.fixture(params=["cold", "forked"])
async def launcher(request: pytest.FixtureRequest) -> AsyncIterator[WorkerLauncher]:
    """Both ways in which a worker starts: what holds for one holds for the other."""
    if request.param == "cold":
        yield ColdLauncher()
        return
    zygote = Zygote()
    yield zygote
    await zygote.close()


@pytest.fixture
async def desk(launcher: WorkerLauncher) -> AsyncIterator[Desk]:
    async with running(("fetch",), launcher) as one:
        yield one
