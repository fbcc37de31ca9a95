"""The unpickler of one group: `GroupPickler`'s counterpart (worker side)."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

from checkpoint.pickling.loaders import Loading
from checkpoint.pickling.moved_modules import MOVED


class GroupUnpickler(pickle.Unpickler):
    """Resolves names of `__main__` in the namespace being restored."""

    def __init__(self, file: io.BytesIO, buffers: Iterator[object], state: Loading) -> None:
        super().__init__(file, buffers=buffers)
        self._state = state

    def find_class(self, module: str, name: str) -> Any:
        """The object that a pickle names."""
        if module != "__main__":
            return super().find_class(MOVED.get(module, module), name)
        first, *rest = name.split(".")
        found: Any = self._state.loaded.get(first, self._state.namespace.get(first))
        for attribute in rest:
            found = getattr(found, attribute)
        if found is None:
            raise LookupError(f"it refers to {name!r} of the session, which is not there")
        return found
