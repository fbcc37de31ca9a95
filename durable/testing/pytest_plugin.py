"""The plugin of pytest: a fixture, a marker, and histories as tests (docs/testing.md). It imports no engine by itself.

`*.history.json` files are tests: each is replayed against today's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, override

import pytest

from durable import testing

SUFFIX = ".history.json"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and the fixture for whoever runs asynchronous tests here."""
    config.addinivalue_line(
        "markers", "durable(**options): options of durable.testing.open for the fixture durable_engine"
    )
    config.pluginmanager.register(_fixtures(asyncio=config.pluginmanager.hasplugin("asyncio")), "durable-fixtures")


def _fixtures(*, asyncio: bool) -> ModuleType:
    """A module with the fixtures, asynchronous ones by the plugin that runs the asynchronous tests."""
    fixture: Any = pytest.fixture
    if asyncio:
        import pytest_asyncio  # loaded already

        fixture = pytest_asyncio.fixture

    async def durable_engine(request: pytest.FixtureRequest) -> Any:
        """An open `durable.testing` engine with fake time, on a store of its own."""
        marker = request.node.get_closest_marker("durable")
        async with testing.open(**({} if marker is None else marker.kwargs)) as engine:
            yield engine

    module: Any = ModuleType("durable_fixtures")
    module.durable_engine = fixture(durable_engine)
    found: ModuleType = module
    return found


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A history is a file with one test."""
    return HistoryFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


class HistoryFile(pytest.File):
    """A file that `durable.testing.record` wrote."""

    @override
    def collect(self) -> Iterator[pytest.Item]:
        yield HistoryItem.from_parent(self, name="replay")


class HistoryItem(pytest.Item):
    """The replay of one history."""

    @override
    def runtest(self) -> None:
        testing.replay(self.path)

    @override
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from durable.core.errors import DurableError

        if isinstance(excinfo.value, DurableError):
            return f"{type(excinfo.value).__name__}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    @override
    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"replay of {self.path.name}"
