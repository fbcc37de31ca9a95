"""The place where a durable function is defined, and whether a second definition of an id takes the first one's place.

A module that is loaded again, a notebook cell that is run again and a test that runs again define a function anew: the
newest counts. Two functions of one id side by side are a mistake, which nobody would see until the wrong one runs: a
decorator that hides their names, a loop or factory that gives all the same one, two files of one name.
"""

from __future__ import annotations

import os
import sys
import weakref
from types import FrameType, ModuleType

from durable.core.frozen_record import FrozenRecord

_DEFINING = (__name__, "durable.actors.actor", "durable.actors.component_actor")
"""Modules whose decorators define functions for others: the place is where those are used."""

_MARK = "__durable_definitions__"
"""Local variable of a call in which functions were defined: it tells this call from the next one."""


class Definition(FrozenRecord, frozen=True):
    """Where `@durable.function` stands, and the run of that code in which it was reached."""

    file: str
    line: int
    at_import: bool
    """Reached while the module itself was run, not in a call later on."""
    _run: tuple[object, int]
    _module_name: str
    _module: weakref.ref[ModuleType] | None

    @classmethod
    def here(cls, ours: str) -> Definition:
        """The place that is reached now, outside of the module `ours`."""
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__") in (ours, *_DEFINING) and frame.f_back is not None:
            frame = frame.f_back
        outermost, caller = frame, frame.f_back
        while caller is not None:
            if caller.f_globals is frame.f_globals and not _is_module(outermost):
                outermost = caller
            caller = caller.f_back
        name = str(frame.f_globals.get("__name__"))
        module = sys.modules.get(name)
        loaded = module is not None and vars(module) is frame.f_globals
        file = frame.f_code.co_filename
        return cls(
            file=file if file.startswith("<") else os.path.abspath(file),
            line=frame.f_lineno,
            at_import=_is_module(outermost),
            _run=_run_of(outermost),
            _module_name=name,
            _module=weakref.ref(module) if module is not None and loaded else None,
        )

    def is_beside(self, newer: Definition) -> bool:
        """Whether both are there at once, so that an id cannot mean both."""
        if self._run[0] is newer._run[0] and self._run[1] == newer._run[1]:
            return True
        if self.file == newer.file or os.path.realpath(self.file) == os.path.realpath(newer.file):
            return False
        if os.path.exists(self.file):
            return self._module is None or sys.modules.get(self._module_name) is self._module()
        # It was moved, or typed somewhere: a notebook's cells have names of their own, their module is one.
        return not os.path.exists(newer.file) and self._module_name != newer._module_name

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def _run_of(frame: FrameType) -> tuple[object, int]:
    """A key that is the same for all that one run of a module, or one call, defines."""
    if _is_module(frame):
        return frame.f_code, id(frame)  # loading a module again makes its code anew
    return frame.f_locals.setdefault(_MARK, object()), 0


def _is_module(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>"
