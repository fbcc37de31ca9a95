"""Every standard capability is where the registry says."""

from __future__ import annotations

import pytest

from capabilities.registry import STANDARD, load


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_capability_is_found(name: str) -> None:
    assert load(name).name == name
