"""The questions of a notebook's front end: completion, inspection, expressions, messages of widgets."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bridge.protocol.messages import Wire
from bridge.worker.io.display import bundle_of
from bridge.worker.namespace.main_module import Namespace
from bridge.worker.namespace.values import bounded_repr, to_json
from bridge.worker.namespace.variables import names_for
from bridge.worker.notebook import ipython_shell, widget_comms
from bridge.worker.run.tracebacks import format_error, message_of, type_name
from durable.core.limits import COMPLETIONS_MAX

_BEFORE = re.compile(r"[\w.]*\Z")
_AFTER = re.compile(r"\w*")
_KEY = re.compile(r"([\w.]+)\[(['\"])([^'\"\]]*)\Z")
_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(?:\w+[ \t]*,[ \t]*)*(\w*)\Z", re.MULTILINE)
_CALLED = re.compile(r"([\w.]+)\([^()]*\Z")

SOURCE_CHARS_MAX = 20_000
"""Of a definition's source that is shown."""


def answer(
    request: Wire, namespace: Namespace, count: Callable[[], int], run: Callable[[Callable[[], Any]], Any]
) -> Wire:
    """The reply to one `front_end` message. `run` runs code of the user's, so that SIGINT ends it."""
    given = request["arguments"]
    actions: dict[str, Callable[[], object]] = {
        "count": count,
        "complete": lambda: complete(str(given["code"]), int(given["cursor_pos"]), namespace),
        "inspect": lambda: inspected(
            str(given["code"]), int(given["cursor_pos"]), int(given.get("detail_level") or 0), namespace
        ),
        "expressions": lambda: {name: _shown(str(code), namespace) for name, code in given.items()},
        "comm": lambda: _delivered(given),
    }
    reply: Wire = {"type": "front_end_reply", "request": request["id"], "value": None, "problem": ""}
    try:
        reply["value"] = to_json(run(actions[request["what"]]))
    except BaseException as error:  # code of the user's own types runs in here
        reply["problem"] = f"{type(error).__qualname__}: {error}".encode(errors="replace").decode()
    return reply


def complete(code: str, cursor: int, namespace: Namespace) -> dict[str, object]:
    """Completions at a cursor, each with its type: from Jedi where that is installed, else from the live namespace.

    So it is too where Jedi is interrupted, since it took too long: the first time it is imported and reads libraries.
    """
    before = code[:cursor]
    for matched in (_keys(before, cursor, namespace), _names_of_module(before, cursor)):
        if matched is not None:
            return matched
    if importlib.util.find_spec("jedi") is not None:
        try:
            try:
                return _by_jedi(before, cursor, namespace)
            except EOFError:  # a kernel was killed while its parser wrote to its cache, which stays broken
                _forget_jedi_cache()
                return _by_jedi(before, cursor, namespace)
        except (Exception, KeyboardInterrupt):  # noqa: S110  # its own trouble with unfinished code; there is another way
            pass
    start = cursor - len(_BEFORE.findall(before)[0])
    names = names_for(before[start:], namespace)
    dot = before.rfind(".", start) + 1
    found = [{"text": name.rpartition(".")[2], "type": _kind(name, namespace)} for name in names]
    return _completions(found, max(dot, start), cursor)


def _keys(before: str, cursor: int, namespace: Namespace) -> dict[str, object] | None:
    """The keys of a mapping, or what an object says for itself (`_ipython_key_completions_`); None where none is typed.

    A DataFrame's are its columns: pandas says so that way.
    """
    found = _KEY.search(before)
    if found is None:
        return None
    value = _looked_up(found[1], namespace)
    own = getattr(value, "_ipython_key_completions_", None)
    keys = own() if callable(own) else value if isinstance(value, dict) else ()
    texts = [key for key in keys if isinstance(key, str) and key.startswith(found[3])][:COMPLETIONS_MAX]
    return _completions([{"text": text, "type": "instance"} for text in texts], cursor - len(found[3]), cursor)


def _names_of_module(before: str, cursor: int) -> dict[str, object] | None:
    """The names of a module that is imported already; None for another, which is not run for this."""
    found = _FROM.search(before)
    module = None if found is None else sys.modules.get(found[1])
    if found is None or module is None:
        return None
    names = sorted(name for name in dir(module) if name.startswith(found[2]))
    shown = [name for name in names if found[2].startswith("_") or not name.startswith("_")][:COMPLETIONS_MAX]
    types = [{"text": name, "type": _kind_of(getattr(module, name, None))} for name in shown]
    return _completions(types, cursor - len(found[2]), cursor)


def _forget_jedi_cache() -> None:
    import jedi

    import_module("parso.cache").clear_cache(cache_path=Path(jedi.settings.cache_directory))


def _by_jedi(before: str, cursor: int, namespace: Namespace) -> dict[str, object]:
    import jedi

    lines = before.split("\n")
    script = jedi.Interpreter(before, [namespace])
    names = script.complete(len(lines), len(lines[-1]))
    prefix = names[0].get_completion_prefix_length() if names else 0
    typed = before[len(before) - prefix :]
    found = [
        {"text": name.name_with_symbols, "type": name.type}
        for name in names[:COMPLETIONS_MAX]
        if typed.startswith("_") or not name.name.startswith("_")
    ]
    return _completions(found, cursor - prefix, cursor)


def _completions(found: list[dict[str, str]], start: int, end: int) -> dict[str, object]:
    types = [{**one, "start": start, "end": end, "signature": ""} for one in found]
    return {"matches": [one["text"] for one in found], "cursor_start": start, "cursor_end": end, "types": types}


def _kind(name: str, namespace: Namespace) -> str:
    return _kind_of(_looked_up(name, namespace))


def _kind_of(value: object) -> str:
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "class"
    return "function" if callable(value) else "instance"


def _looked_up(name: str, namespace: Namespace) -> object:
    """The value of a dotted name, without running properties; None where there is none."""
    import builtins

    first, *rest = name.split(".")
    value = namespace.get(first, getattr(builtins, first, None))
    for part in rest:
        if value is None or isinstance(getattr(type(value), part, None), property):
            return None
        value = getattr(value, part, None)
    return value


def inspected(code: str, cursor: int, detail: int, namespace: Namespace) -> dict[str, object]:
    """The description of the name at a cursor, or of the function whose call it is in."""
    before = code[:cursor]
    start = cursor - len(_BEFORE.findall(before)[0])
    after = _AFTER.match(code, cursor)
    name = code[start : cursor if after is None else after.end()].strip(".")
    called = _CALLED.search(before)
    for one in (name, called[1] if called else ""):
        value = _looked_up(one, namespace) if one else None
        if value is not None or one in namespace:
            return {"found": True, "text": described(one, value, detail)}
    return {"found": False, "text": ""}


def described(name: str, value: object, detail: int = 0) -> str:
    """The text of `name?`: signature, type, text, docstring; from `detail` 1 on the source."""
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Signature: ", lambda: f"{name}{inspect.signature(value)}" if callable(value) else ""),
        ("Type:      ", lambda: type(value).__qualname__),
        ("String:    ", lambda: bounded_repr(value, 200)),
        ("Length:    ", lambda: str(len(value))),  # type: ignore[arg-type]
        ("Source:\n", lambda: inspect.getsource(value)[:SOURCE_CHARS_MAX] if detail else ""),  # type: ignore[arg-type]
        ("Docstring:\n", lambda: inspect.getdoc(value) or ""),
    ]
    lines = []
    for label, read in parts:
        try:
            text = read()
        except Exception:  # noqa: S112  # not every object has all of this
            continue
        if text:
            lines.append(f"{label}{text}")
    return "\n".join(lines)


def _shown(code: str, namespace: Namespace) -> dict[str, object]:
    try:
        return {"status": "ok", **bundle_of(eval(code, namespace))}  # noqa: S307  # the user's own expression
    except Exception as error:
        lines = format_error(error).splitlines()
        return {"status": "error", "ename": type_name(error), "evalue": message_of(error), "traceback": lines}


def _delivered(message: dict[str, Any]) -> bool:
    with ipython_shell.parent_is(message):
        return widget_comms.deliver(message)
