from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.protocol.desk import Desk, running


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with running(("fetch",)) as one:
        yield one
