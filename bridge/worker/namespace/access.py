"""The namespace, read and changed by the host between cells (specs/namespace.md, N1-N5 and the table of strategies)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from bridge.protocol.messages import Wire
from bridge.worker.namespace.main_module import ENGINE_INTERNALS, Namespace
from bridge.worker.namespace.sources import SourceTexts, sources_of
from bridge.worker.namespace.values import NotJson, to_json
from bridge.worker.namespace.variables import NamespaceVariable, variables_of
from checkpoint.capture.survey import MODULE_NAMES


def answer(namespace: LiveNamespace, request: Wire) -> Wire:
    """The reply to one `namespace` message; whatever goes wrong is in it, as `problem`."""
    actions: dict[str, Callable[[], object]] = {
        "values": lambda: namespace.values(request["names"]),
        "update": lambda: namespace.update(
            request["updates"], source=request["source"], strategy=request["strategy"], limits=request["limits"]
        ),
        "clear": lambda: _cleared(namespace),
        "variables": lambda: [list(one) for one in namespace.variables()],
        "sources": namespace.sources,
    }
    reply: Wire = {"type": "namespace_reply", "request": request["id"], "value": None, "problem": "", "exceeded": None}
    try:
        reply["value"] = to_json(actions[request["action"]]())
    except UpdateRefused as error:
        reply["problem"] = str(error)
        reply["exceeded"] = None if error.limit is None else list(error.limit)
    except NotJson as error:
        reply["problem"] = f"the answer cannot be sent: it has {error}"
    except BaseException as error:  # code of the user's own types runs in here
        reply["problem"] = f"{type(error).__qualname__}: {error}".encode(errors="replace").decode()
    return reply


def _cleared(namespace: LiveNamespace) -> list[str]:
    names = namespace.clear()
    lost = sys.modules.get("checkpoint.lost_names")
    if lost is not None:
        lost.LOST.forget()
    return names


type Strategy = Literal["overwrite", "preserve", "smart"]


def assigned(existing: Mapping[str, object], updates: Mapping[str, object], strategy: Strategy) -> dict[str, object]:
    """The part of `updates` that the strategy sets."""
    if strategy == "overwrite":
        return dict(updates)
    if strategy == "preserve":
        return {name: value for name, value in updates.items() if name not in existing}
    if strategy == "smart":
        return {name: value for name, value in updates.items() if name not in existing or better(existing[name], value)}
    raise ValueError(f"no merge strategy {strategy!r}; there are overwrite, preserve, smart")


def better(old: object, new: object) -> bool:
    """Whether `smart` puts `new` in the place of `old`."""
    if new is None:
        return False
    if isinstance(new, list | tuple | dict | set | str | bytes) and not new and not _empty(old):
        return False
    return not same(old, new)


def same(old: object, new: object) -> bool:
    """Whether both are equal and of one type. What cannot be compared, such as an array, is not the same."""
    if old is new:
        return True
    try:
        return type(old) is type(new) and bool(old == new)
    except Exception:
        return False


def _empty(value: object) -> bool:
    try:
        return value is None or len(value) == 0  # type: ignore[arg-type]
    except TypeError:
        return False


ENGINE = "engine"
"""The source whose updates may set the engine's own names."""


class UpdateRefused(Exception):
    """Nothing was changed; `limit` is what was exceeded: its name, how much is allowed, how much it would be."""

    def __init__(self, text: str, limit: tuple[str, float, float] | None = None) -> None:
        super().__init__(text)
        self.limit = limit


class LiveNamespace:
    """One namespace; every method holds its lock, so that changes of several threads lose nothing."""

    def __init__(self, mapping: Namespace) -> None:
        self.mapping = mapping
        self.lock = threading.RLock()

    def users(self) -> Namespace:
        """The user's part of the namespace: neither the engine's names nor what makes the mapping a module."""
        with self.lock:
            hidden = ENGINE_INTERNALS | MODULE_NAMES
            return {name: value for name, value in self.mapping.items() if name not in hidden}

    def values(self, names: Iterable[str] = ()) -> dict[str, object]:
        """The values of these names as JSON, of all that are JSON when none are given. Refused for one that is not."""
        with self.lock:
            found: dict[str, object] = {}
            wanted = list(names)
            for name in wanted or self.users():
                if name not in self.mapping:
                    raise UpdateRefused(f"there is no variable {name!r} in the session")
                try:
                    found[name] = to_json(self.mapping[name])
                except (NotJson, RecursionError) as error:
                    if wanted:
                        raise UpdateRefused(f"the value of {name!r} is not plain JSON: {error}") from None
            return found

    def update(
        self,
        updates: Mapping[str, object],
        *,
        source: str = "user",
        strategy: Strategy = "overwrite",
        limits: Mapping[str, int] | None = None,
    ) -> dict[str, object]:
        """Set what the strategy sets; the names whose value really changed, with the new one. Refused, or all."""
        with self.lock:
            _check_names(updates, source)
            news = assigned(self.mapping, updates, strategy)
            self._check_limits(news, limits or {})
            mapping = self.mapping
            changed = {
                name: value for name, value in news.items() if name not in mapping or not same(mapping[name], value)
            }
            mapping.update(news)
            return changed

    def clear(self) -> list[str]:
        """Remove what is the user's; returns the names."""
        with self.lock:
            names = list(self.users())
            for name in names:
                del self.mapping[name]
            return names

    def variables(self) -> list[NamespaceVariable]:
        """The user's variables: name, type, short repr, size."""
        return variables_of(self.users())

    def sources(self) -> SourceTexts:
        """The sources of the namespace: functions, classes, imports."""
        return sources_of(self.users())

    def _check_limits(self, news: Mapping[str, object], limits: Mapping[str, int]) -> None:
        for name, value in news.items():
            _check("name", len(name), limits, name)
            if "value" in limits:
                _check("value", len(msgspec.json.encode(value)), limits, name)
        if "namespace" in limits:
            total = sum(one.size for one in variables_of({**self.users(), **news}, texts=False))
            _check("namespace", total, limits, "the whole")


def _check_names(updates: Mapping[str, object], source: str) -> None:
    if source == ENGINE:
        return
    refused = sorted(updates.keys() & (ENGINE_INTERNALS | MODULE_NAMES))
    if refused:
        raise UpdateRefused(f"the engine's names cannot be given: {', '.join(refused)}; choose others")


def _check(limit: str, size: int, limits: Mapping[str, int], name: str) -> None:
    if limit in limits and size > limits[limit]:
        text = f"{name[:100]!r} would be {size} where {limits[limit]} is allowed ({limit})"
        raise UpdateRefused(text, (limit, limits[limit], size))
