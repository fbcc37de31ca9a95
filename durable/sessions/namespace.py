"""A session's namespace as the host sees and changes it (specs/namespace.md, N1-N5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bridge.protocol.messages import Namespace, NamespaceReply
from durable.core.errors import BadArguments, ResourceExceeded
from durable.core.frozen_record import FrozenRecord
from durable.records.values import to_json

if TYPE_CHECKING:
    from durable.sessions.execution.runner import LiveSession

type Strategy = Literal["overwrite", "preserve", "smart"]


class Variable(FrozenRecord, frozen=True):
    """A variable of a session: `repr` is short and on one line, `size` an estimate in bytes."""

    name: str
    type: str
    repr: str
    size: int


class Sources(FrozenRecord, frozen=True):
    """Text of what cells defined, by name, and import statements of what is imported."""

    functions: dict[str, str]
    classes: dict[str, str]
    imports: tuple[str, ...]


class NamespaceLimits(FrozenRecord, frozen=True):
    """The limits of one update: characters of a name, bytes of a value as JSON, bytes of all values after it.

    None is no limit. A careful host takes 255, 10 MiB and 100 MiB.
    """

    name_chars_max: int | None = None
    value_bytes_max: int | None = None
    namespace_bytes_max: int | None = None

    def to_json(self) -> dict[str, int]:
        """The limits that are set, by the name that ResourceExceeded gives."""
        found = {"name": self.name_chars_max, "value": self.value_bytes_max, "namespace": self.namespace_bytes_max}
        return {name: limit for name, limit in found.items() if limit is not None}


async def values(live: LiveSession, names: tuple[str, ...]) -> dict[str, Any]:
    """See Session.namespace."""
    _check_python(live)
    return _mapping(_checked(await live.between.namespace(Namespace(action="values", names=list(names)))))


async def update(
    live: LiveSession, updates: Mapping[str, Any], source: str, strategy: Strategy, limits: NamespaceLimits | None
) -> dict[str, Any]:
    """See Session.update_namespace."""
    _check_python(live)
    if strategy not in ("overwrite", "preserve", "smart"):
        raise BadArguments(f"no merge strategy {strategy!r}; there are overwrite, preserve, smart")
    given: dict[str, Any] = {}
    for name, value in updates.items():
        if not isinstance(name, str):
            raise BadArguments(f"a variable's name is text, not {name!r}")
        given[to_json(name, "a name")] = to_json(value, f"the value of {name!r}")
    request = Namespace(
        action="update",
        updates=given,
        source=source,
        strategy=strategy,
        limits={} if limits is None else limits.to_json(),
    )
    return _mapping(_checked(await live.between.namespace(request)))


async def clear(live: LiveSession) -> tuple[str, ...]:
    """See Session.clear_namespace."""
    return tuple(map(str, _listed(_checked(await live.between.namespace(Namespace(action="clear"))))))


async def variables(live: LiveSession) -> list[Variable]:
    """See Session.variables."""
    return read_variables(await live.between.namespace(Namespace(action="variables")))


def read_variables(reply: NamespaceReply) -> list[Variable]:
    """The variables that a worker names; what is none is left out."""
    rows = _listed(_checked(reply))
    found = (row for row in rows if isinstance(row, list) and len(row) == 4 and isinstance(row[3], int))
    return [Variable(str(name), str(kind), str(text), size) for name, kind, text, size in found]


async def sources(live: LiveSession) -> Sources:
    """See Session.sources."""
    _check_python(live)
    found = _mapping(_checked(await live.between.namespace(Namespace(action="sources"))))
    functions, classes = _mapping(found.get("functions")), _mapping(found.get("classes"))
    return Sources(
        {name: str(text) for name, text in functions.items()},
        {name: str(text) for name, text in classes.items()},
        tuple(map(str, _listed(found.get("imports")))),
    )


def _check_python(live: LiveSession) -> None:
    if live.language != "python":
        raise BadArguments(
            f"session {live.name!r} speaks {live.language}, its globals are not Python's: "
            "set them with execute(..., inputs={...}), read one by executing its name"
        )


def _checked(reply: NamespaceReply) -> Any:
    if not reply.problem:
        return reply.value
    if reply.exceeded is None or len(reply.exceeded) != 3:
        raise BadArguments(f"{reply.problem}. Nothing was changed")
    resource, limit, used = reply.exceeded
    text = f"{reply.problem}. Nothing was changed; give less, or more in durable.NamespaceLimits"
    error = ResourceExceeded(text, exception_type="durable.ResourceExceeded")
    error.resource, error.limit, error.used = str(resource), float(limit), float(used)
    raise error


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
