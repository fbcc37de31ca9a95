"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from capabilities.sandbox.wasm.runtime import Runtime


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    """An engine of WebAssembly without a cache on disk."""
    from capabilities.sandbox.wasm.runtime import Runtime

    made = Runtime()
    yield made
    made.close()
