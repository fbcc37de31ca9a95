"""FILE::FUNC and function ids to functions: loading the user's file as a module of its own."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from durable.cli.exits import Unusable
from durable.core.defined import FILE_MARK
from durable.core.errors import DurableError
from durable.functions.function import KNOWN, Function

if TYPE_CHECKING:
    from capabilities.capability import Capabilities, Capability
    from durable.sandbox.declared import Component

type AnyFunction = Function[..., Any]


class LoadFailed(DurableError):
    """The user's file raised while it was imported. `shown` is the user's own traceback."""

    code = "LOAD_FAILED"

    def __init__(self, message: str, shown: str) -> None:
        super().__init__(message)
        self.shown = shown


def split_target(target: str) -> tuple[str, str]:
    """`where` (an absolute path or a module's name) and function of FILE::FUNC; loads nothing. Raises Unusable."""
    place, separator, name = target.rpartition("::")
    if not separator or not place or not name:
        example = f"{target}::main" if target.endswith(".py") else f"jobs.py::{name or 'main'}"
        raise Unusable(f"{target!r} names no function; write FILE::FUNC, for instance {example}")
    return _place(place), name


def _place(text: str) -> str:
    """The absolute path of a file, or a module's name."""
    if os.path.exists(text) or text.endswith(".py") or os.sep in text or not _is_module_name(text):
        return os.path.realpath(text)
    return text


def _is_module_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def load(where: str) -> ModuleType:
    """The module at a path, or of a dotted name. Raises Unusable when there is none, LoadFailed when it raises."""
    return _load_file(where) if os.path.isabs(where) else _import(where)


def _load_file(path: str) -> ModuleType:
    # A name of its own, the same in every process: pickles and tracebacks of it stay valid.
    name = f"durable_file_{hashlib.blake2b(path.encode('utf-8', 'surrogateescape'), digest_size=6).hexdigest()}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    if not os.path.isfile(path):
        raise Unusable(f"there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Unusable(f"{path!r} is not a Python file; its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    setattr(module, FILE_MARK, path)
    sys.modules[name] = module
    _first_on_path(os.path.dirname(path))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _failed(path, error) from None
    return module


def _import(name: str) -> ModuleType:
    _first_on_path(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Unusable(f"there is no file and no module {name!r}") from None
        raise _failed(name, error) from None
    except BaseException as error:
        raise _failed(name, error) from None


def _first_on_path(directory: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _failed(where: str, error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        return error
    frames = traceback.TracebackException.from_exception(error)
    first = next((n for n, frame in enumerate(frames.stack) if frame.filename == where), None)
    kept = frames.stack[first:] if first is not None else [f for f in frames.stack if not _ours(f.filename)]
    frames.stack = traceback.StackSummary.from_list(kept)
    return LoadFailed(f"{where} could not be loaded: {type(error).__name__}: {error}", "".join(frames.format()))


def _ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or "importlib" in filename.split(os.sep)


def find(where: str, name: str) -> AnyFunction:
    """The durable function of that name (its own or the attribute's); raises Unusable saying what there is."""
    module = load(where)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Function):
        return found
    here = [function for function in KNOWN.values() if function.where == where]
    named = [function for function in here if name in (function.name, f"{function.name}@{function.version}")]
    if named:
        return max(named, key=lambda function: function.version)
    if found is not None:
        raise Unusable(
            f"{name!r} in {where} is not a durable function; decorate its `async def` with @durable.function"
        )
    names = ", ".join(sorted({function.name for function in here}))
    raise Unusable(f"{where} has no durable function {name!r}; " + (f"it has {names}" if names else "it has none"))


def load_ids(functions: Iterable[str]) -> dict[str, str]:
    """Load what defines these function ids (`where::name@version`). Returns why those that are still unknown are."""
    missing = {}
    for function in sorted(set(functions)):
        if function in KNOWN:
            continue
        where, _, name = function.rpartition("::")
        try:
            load(where)
        except DurableError as error:
            missing[function] = str(error)
            continue
        if function not in KNOWN:
            missing[function] = f"{where} does not define {name} any more"
    return missing


def load_capabilities(places: Iterable[str]) -> Capabilities:
    """What an engine of the command line knows: the user's own that are names of these files or modules, and those of
    each session, from where its record says that they are defined. Unusable, LoadFailed."""
    from capabilities.capability import Capabilities, Capability  # looking at a store needs none of this

    own: dict[int, Capability] = {}
    for place in places:
        found = [each for each in vars(load(_place(place))).values() if isinstance(each, Capability)]
        if not found:
            raise Unusable(f"{place} has no capability: decorate a function with @durable.capability")
        own |= {id(each): each for each in found}
    return Capabilities(own.values(), find=load_capability)


def load_capability(name: str, where: str) -> Capability:
    """The capability of that name from where a session's record says that it is defined, "" for the modules of the
    functions loaded so far. Unusable, LoadFailed.
    """
    from capabilities.capability import Capability

    for module in [load(where)] if where else _loaded():
        for found in vars(module).values():
            if isinstance(found, Capability) and found.name == name:
                return found
    raise Unusable(f"{where or 'what was loaded'} has no capability {name!r} that is a name of the module")


def _loaded() -> list[ModuleType]:
    return [load(where) for where in sorted({function.where for function in KNOWN.values()})]


def declared(component: str) -> list[Component]:
    """The components of that id that are names of the modules of the functions loaded so far."""
    from durable.sandbox.declared import Component

    found = [each for module in _loaded() for each in vars(module).values()]
    return [each for each in found if isinstance(each, Component) and each.id == component]
