"""`@durable.actor`: a class whose instances live in the store (specs/actors.md, D1-D6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from capabilities.actors.mailbox import CAPACITY_MAX_DEFAULT
from durable.actors.actor_class import DESCRIBED, ActorClass
from durable.actors.local_actors import LOCAL_CLASSES
from durable.actors.names import PREFIX
from durable.actors.supervise import Supervise
from durable.actors.turn import TurnCompanion
from durable.core.errors import Conflict, DurableError
from durable.functions.definition import Function
from durable.functions.redefinition import Definition


def _serve(described: ActorClass) -> None:
    """Make the durable function under which the turns of a class are recorded and served."""
    cls = described.cls

    async def turn(ctx: Any, message: dict[str, Any]) -> Any:
        del ctx, message
        raise DurableError("a turn of an actor is run by its activation")

    turn.__module__, turn.__qualname__, turn.__name__ = cls.__module__, f"{cls.__qualname__}.turn", "turn"
    turn.__doc__ = cls.__doc__
    try:
        served = Function(turn, name=f"{PREFIX}{described.kind}")
    except Conflict as conflict:
        places = str(conflict).partition(": ")[2].partition(". ")[0]
        raise Conflict(
            f"two classes of actors would be known as {described.kind!r}: {places}. Records say by it which one "
            "takes a message, so each needs its own: give @durable.actor(name=...)"
        ) from None
    served.companion = TurnCompanion(described)
    served.startable = False


_local_definitions: dict[str, Definition] = {}
"""Where each class of actors in memory is defined, by its name."""


def _know_local(described: ActorClass) -> None:
    """Find a class of actors in memory by its name; Conflict where another one has it."""
    here, known = Definition.here(__name__), _local_definitions.get(described.kind)
    if known is not None and known.is_beside(here):
        raise Conflict(
            f"two classes of actors in memory would be known as {described.kind!r}: those at {known} and {here}. Names "
            "of actors say by it which one takes a message, so each needs its own: give @durable.actor(name=...)"
        )
    LOCAL_CLASSES[described.kind], _local_definitions[described.kind] = described, here


@overload
def actor[T](cls: type[T], /) -> type[T]: ...
@overload
def actor[T](
    *,
    name: str | None = None,
    version: int = 1,
    supervise: Supervise | None = None,
    mailbox: int | None = CAPACITY_MAX_DEFAULT,
    durable: bool = True,
) -> Callable[[type[T]], type[T]]: ...
def actor(
    cls: type | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    supervise: Supervise | None = None,
    mailbox: int | None = CAPACITY_MAX_DEFAULT,
    durable: bool = True,
) -> Any:
    """Make a class one of actors: each key has an instance that lives in the store, and takes one message at a time.

    Annotated attributes are its state; each has a default. Public coroutine methods `(self, ctx, …)` take messages;
    those marked `@durable.read` only look. name: its name in records, the class's by default. version: of its state:
    raise it together with a `migrate(state, version)`. supervise: what a turn that raises means; None answers with the
    error. mailbox: how many messages may wait, None for any number. durable=False: kept in memory alone. BadArguments.
    """
    if cls is not None:
        return _described(cls, name, version, supervise, mailbox, durable)
    return lambda found: _described(found, name, version, supervise, mailbox, durable)


def _described(
    cls: type, name: str | None, version: int, supervise: Supervise | None, mailbox: int | None, durable: bool
) -> type:
    described = ActorClass(cls, name=name, version=version, supervise=supervise, mailbox=mailbox, durable=durable)
    if durable:
        _serve(described)
    else:
        _know_local(described)
    setattr(cls, DESCRIBED, described)
    return cls
