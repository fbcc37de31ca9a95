"""What a reference by module and name is enough for."""

from __future__ import annotations

import sys


def importable(value: object, name: str | None = None) -> bool:
    """Whether `value` is found by its module and (qualified) name in any process."""
    module_name, qualified = getattr(value, "__module__", None), name or getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualified, str) or module_name == "__main__":
        return False
    found: object = sys.modules.get(module_name)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found is not None and found is value
