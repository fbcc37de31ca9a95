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

from durable.actors.actor_class import DESCRIBED
from durable.cli.exit_codes import Unusable
from durable.core.definition_id import FILE_MARK, absolute, instance_of, module_of_file, source_of
from durable.core.errors import DurableError, StoreLacks
from durable.functions.definition import KNOWN, Function, known_as

if TYPE_CHECKING:
    from capabilities.capability import Capabilities, Capability
    from durable.cli.text_output import Out
    from durable.sandbox.component_registry import Component
    from durable.store.port import ReadsFace

_SOURCES_MAX = 20
"""Executions of a function that are looked at for where it is: the newest of a file that moved is among them."""

type AnyFunction = Function[..., Any]


class LoadFailed(DurableError):
    """The user's file raised while it was imported. `shown` is the user's own traceback."""

    code = "LOAD_FAILED"

    def __init__(self, message: str, shown: str) -> None:
        super().__init__(message)
        self.shown = shown


def split_target(target: str) -> tuple[str, str]:
    """Where to load from (an absolute path or a module's name) and function of FILE::FUNC; loads nothing. Unusable."""
    place, separator, name = target.rpartition("::")
    if not separator or not place or not name:
        file, suffix, function = target.partition(".py")
        example = f"{file}.py::{function.strip(':') or 'main'}" if suffix else f"jobs.py::{name or 'main'}"
        raise Unusable(f"{target!r} names no function; write FILE::FUNC, for instance {example}")
    return place_of(place), name


def place_of(text: str) -> str:
    """The absolute path of a file, or a module's name: where a module that was named on a command line is."""
    if os.path.exists(text) or text.endswith(".py") or os.sep in text or not _is_module_name(text):
        return absolute(text)
    return text


def _is_module_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def load(source: str) -> ModuleType:
    """The module at a path, or of a dotted name. Raises Unusable when there is none, LoadFailed when it raises."""
    return _load_file(source) if os.path.isabs(source) else _import(source)


def _load_file(path: str) -> ModuleType:
    packaged = module_of_file(path)
    known = _loaded_from(path)
    if known is not None:
        return known
    if not os.path.isfile(path):
        raise Unusable(f"there is no file {path!r}")
    if packaged is not None:
        return _import_from(*packaged, path)
    # A name of its own, the same in every process: pickles and tracebacks of it stay valid.
    real = os.path.realpath(path)
    name = f"durable_file_{hashlib.blake2b(real.encode('utf-8', 'surrogateescape'), digest_size=6).hexdigest()}"
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


def _loaded_from(path: str) -> ModuleType | None:
    """The module of this process that was loaded from that file, be it imported or a file of its own."""
    real = os.path.realpath(path)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        same_name = isinstance(file, str) and os.path.basename(file) == os.path.basename(real)
        if same_name and name not in ("__main__", "__mp_main__") and os.path.realpath(str(file)) == real:
            return module
    return None


def _import_from(name: str, root: str, path: str) -> ModuleType:
    """The module of a package, imported from the directory that holds the package."""
    _first_on_path(os.path.dirname(path))  # for `import beside`, which works in a script
    module = _import(name, root)
    if os.path.realpath(getattr(module, "__file__", None) or "") != os.path.realpath(path):
        raise Unusable(f"{path!r} is module {name!r}, and another module of that name is loaded: {module.__file__}")
    return module


def _import(name: str, root: str | None = None) -> ModuleType:
    _first_on_path(root or os.getcwd())
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


def find(source: str, name: str) -> AnyFunction:
    """The durable function of that name (its own or the attribute's); raises Unusable saying what there is."""
    module = load(source)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Function):
        return found
    known = [function for function in set(KNOWN.values()) if function.startable]
    here = [function for function in known if function.__module__ == module.__name__]
    named = [function for function in here if name in (function.name, f"{function.name}@{function.version}")]
    if named:
        return max(named, key=lambda function: function.version)
    if hasattr(found, DESCRIBED):
        raise Unusable(
            f"{name!r} in {source} is a class of actors: serve it with `durable worker {source}`, and send it messages "
            "with `durable actor ask`"
        )
    if found is not None:
        raise Unusable(
            f"{name!r} in {source} is not a durable function; decorate its `async def` with @durable.function"
        )
    names = ", ".join(sorted({function.name for function in here}))
    raise Unusable(f"{source} has no durable function {name!r}; " + (f"it has {names}" if names else "it has none"))


async def load_ids(functions: Iterable[str], reads: ReadsFace) -> dict[str, str]:
    """Load what defines the functions of these recorded ids. Returns why those that are still unknown are.

    reads: the store's, whose newest executions of a function say where it was loaded from last.
    """
    missing = {}
    for function in sorted(set(functions)):
        if known_as(function) is None:
            try:
                rows = await reads.list_executions(function=function, limit=_SOURCES_MAX, whole=False)
            except StoreLacks:
                rows = []  # a Resonate server that lists nothing: its own id may say where it is
            reason = _load_one(function, [source_of(row.function, row.tags) for row in rows])
            if reason is not None:
                missing[function] = reason
    return missing


def _load_one(function: str, sources: Iterable[str | None]) -> str | None:
    """Load a function from the first place that has it; None, or why there is no such place."""
    place, _, name = function.rpartition("::")
    files = [source for source in dict.fromkeys(sources) if source is not None and os.path.isabs(source)]
    is_file = place.endswith(".py")
    before = [place] if _is_module_name(place) and not is_file else []
    after = [place_of(place)] if is_file else []
    reasons = []
    for source in dict.fromkeys([*before, *files, *after]):
        try:
            _load_as(place, source)
        except DurableError as error:
            reasons.append(str(error))
            continue
        if known_as(function) is not None:
            return None
        instance = instance_of(function)
        if instance is None:
            reasons.append(f"{source} does not define {name} any more")
        else:
            owner, registered = instance
            reasons.append(
                f"{source} registers no {owner} as {registered!r}: durable.register({owner}(…), {registered!r})"
            )
    found = "; ".join(reasons) or f"no file is recorded that defines {function}"
    return f"{found} (if it was renamed or moved: durable alias {function} NEW)"


def found_or_shown(out: Out, place: str, name: str) -> AnyFunction:
    """The function NAME of a file or module; the traceback of one that raises is shown. Unusable, LoadFailed."""
    try:
        return find(place, name)
    except LoadFailed as error:
        out.traceback(error.shown)
        raise


def _load_as(place: str, path: str) -> None:
    """Load a file, as the module that it was recorded as where it has another name as a file."""
    suffix = f"{os.sep}{place.replace('.', os.sep)}.py"
    if not os.path.isabs(path) or place.endswith(".py") or not path.endswith(suffix) or not os.path.isfile(path):
        load(path)
    else:
        _import_from(place, path.removesuffix(suffix) or os.sep, path)


def load_capabilities(places: Iterable[str]) -> Capabilities:
    """The capabilities that an engine of the command line knows: the user's own in these files or modules, and those of
    each session, from where its record says that they are defined. Unusable, LoadFailed."""
    from capabilities.capability import Capabilities, Capability  # looking at a store needs none of this

    own: dict[int, Capability] = {}
    for place in places:
        found = [each for each in vars(load(place_of(place))).values() if isinstance(each, Capability)]
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
    names = sorted({function.__module__ for function in KNOWN.values()})
    return [sys.modules[name] for name in names if name in sys.modules]


def declared(component: str) -> list[Component]:
    """The components of that id that are names of the modules of the functions loaded so far."""
    from durable.sandbox.component_registry import Component

    found = [each for module in _loaded() for each in vars(module).values()]
    return [each for each in found if isinstance(each, Component) and each.id == component]
