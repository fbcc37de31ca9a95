"""Classes of actors: their methods, the fields of their state, how that is saved and read (specs/actors.md, D1-D6)."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, ClassVar, get_origin

import msgspec

from capabilities.actors.errors import InvalidSupervision, StateMismatch, UnknownMethod
from durable.actors.names import check_kind
from durable.actors.supervise import Supervise
from durable.core.errors import BadArguments, NotEncodable
from durable.records.values import encode, encode_arguments, from_json, hints_of, shaped_call

_HOOKS = ("on_start", "on_stop", "migrate")
"""Methods that are not for messages: they are called when the actor comes into being, and for an older state."""

RESERVED = ("tell", "options")
"""What references have themselves."""

READ_MARK = "__durable_read__"
DESCRIBED = "__durable_actor__"


@dataclass(frozen=True, slots=True)
class ActorMethod:
    """A method that takes messages. `bound` has the signature that senders see."""

    name: str
    fn: Callable[..., Any]
    bound: Callable[..., Any]
    reads: bool
    """It only looks: it runs beside turns, on the last saved state."""
    returns: Any

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as JSON, checked against the signature; BadArguments, NotEncodable."""
        packed, named = encode_arguments(self.bound, args, kwargs, what, skip_first=not self.reads)
        shaped_call(self.bound, packed, named, skip_first=not self.reads)
        return packed, named

    def shaped(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Recorded arguments as the method takes them; BadArguments."""
        return shaped_call(self.bound, args, kwargs, skip_first=not self.reads)


class ActorClass:
    """A class of actors: its methods, the fields of its state, how it is supervised."""

    def __init__(
        self,
        cls: type,
        *,
        name: str | None,
        version: int,
        supervise: Supervise | None,
        mailbox: int | None,
        durable: bool,
    ) -> None:
        if not isinstance(cls, type):
            raise BadArguments(f"@durable.actor needs a class, not {cls!r}")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise BadArguments(f"{cls.__name__}: version is a whole number from 1, not {version!r}")
        if mailbox is not None and (isinstance(mailbox, bool) or not isinstance(mailbox, int) or mailbox < 1):
            raise BadArguments(f"{cls.__name__}: mailbox is a whole number from 1, or None, not {mailbox!r}")
        if supervise is not None and not isinstance(supervise, Supervise):
            raise BadArguments(f"{cls.__name__}: supervise is durable.Supervise(…), or None, not {supervise!r}")
        self.cls = cls
        self.kind = check_kind(cls.__name__ if name is None else name)
        self.version = version
        self.supervise = supervise
        self.mailbox = mailbox
        self.fields = _fields(cls)
        self.methods = _methods(cls)
        self.durable = durable
        self._check_health()

    @property
    def component(self) -> str | None:
        """The component that its actors are; None for a class in Python."""
        found: str | None = None if "component" in self.fields else getattr(self.cls, "component", None)
        return found

    def _check_health(self) -> None:
        """InvalidSupervision for checks that have nothing to ask: between turns, a durable actor is only read."""
        if self.supervise is None or self.supervise.health is None or self.component is not None:
            return
        method = self.methods.get("health")
        if method is None or (self.durable and not method.reads):
            form = "@durable.read\n    def health(self)" if self.durable else "def health(self), a @durable.read"
            raise InvalidSupervision(f"{self.kind} has health checks, and no method to ask: {form}")

    # -- messages -------------------------------------------------------------------------------------------------

    def method(self, name: str) -> ActorMethod:
        """The method of that name; UnknownMethod."""
        found = self.methods.get(name)
        if found is None:
            raise UnknownMethod(self.kind, name, sorted(self.methods))
        return found

    # -- state ----------------------------------------------------------------------------------------------------

    def instance(self, actor: str, state: str | None, version: int) -> Any:
        """An object with the saved state, or as the class says when there is none. StateMismatch."""
        made: Any = object.__new__(self.cls)
        values = {} if state is None else self._current(actor, state, version)
        for name, (hint, default) in self.fields.items():
            if name not in values:
                setattr(made, name, copy.deepcopy(default))
                continue
            try:
                setattr(made, name, from_json(values.pop(name), hint, f"field {name!r}"))
            except BadArguments as error:
                raise StateMismatch(actor, str(error)) from None
        if values:
            raise StateMismatch(actor, f"it has no field {', '.join(map(repr, values))} any more")
        return made

    def _current(self, actor: str, state: str, version: int) -> dict[str, Any]:
        values: dict[str, Any] = msgspec.json.decode(state)
        if version == self.version:
            return values
        migrate = getattr(self.cls, "migrate", None)
        if version > self.version:
            raise StateMismatch(actor, f"it was saved by version {version}, and this is version {self.version}")
        if migrate is None:
            return values  # new fields have their defaults, the others have to fit
        try:
            found = migrate(values, version)
        except Exception as error:
            raise StateMismatch(actor, f"migrate(state, {version}) raised {error!r}") from error
        if not isinstance(found, dict):
            raise StateMismatch(actor, f"migrate(state, {version}) returned {type(found).__name__}, not a dict")
        return dict(found)

    def dump(self, actor: str, instance: Any, before: str | None) -> str | None:
        """The state as JSON, or None where it is as it was. NotEncodable, StateMismatch."""
        values = {
            name: encode(getattr(instance, name), f"field {name!r} of {actor}", hint)
            for name, (hint, _) in self.fields.items()
        }
        text = msgspec.json.encode(values).decode()
        if text == before:
            return None
        known = {} if before is None else msgspec.json.decode(before)
        for name, value in values.items():
            if name not in known or known[name] != value:
                try:
                    from_json(value, self.fields[name][0], f"field {name!r}")
                except BadArguments as error:
                    raise StateMismatch(actor, f"a turn left it so that it could not be read back: {error}") from None
        return text

    def __repr__(self) -> str:
        return f"<actor class {self.kind}>"


def _fields(cls: type) -> dict[str, tuple[Any, Any]]:
    """The annotated attributes, each with its default; BadArguments for one without."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, hint in hints_of(cls).items():
        if name.startswith("_") or hint is ClassVar or get_origin(hint) is ClassVar:
            continue
        if not hasattr(cls, name):
            raise BadArguments(
                f"{cls.__name__}.{name} has no default: an actor comes into being with its first message, so each "
                f"field of its state begins with something, such as `{name}: … = None`"
            )
        found[name] = (hint, getattr(cls, name))
    for name, (hint, default) in found.items():
        try:
            from_json(encode(default, f"{cls.__name__}.{name}", hint), hint, f"{cls.__name__}.{name}")
        except (BadArguments, NotEncodable) as error:
            raise BadArguments(f"the default of {cls.__name__}.{name} cannot be saved: {error}") from None
    return found


def _methods(cls: type) -> dict[str, ActorMethod]:
    found = {}
    for name in dir(cls):
        fn = inspect.getattr_static(cls, name, None)
        if name.startswith("_") or name in _HOOKS or not inspect.isfunction(fn):
            continue
        reads = bool(getattr(fn, READ_MARK, False))
        if not reads and not inspect.iscoroutinefunction(fn):
            continue
        if name in RESERVED:
            raise BadArguments(
                f"{cls.__name__}.{name}: `{name}` of a reference is something else, so no message could reach it; give "
                "the method another name"
            )
        parameters = list(inspect.signature(fn).parameters)
        if not reads and len(parameters) < 2:
            raise BadArguments(f"{cls.__name__}.{name}: a method that takes messages has (self, ctx, …)")
        returns = hints_of(fn).get("return", inspect.Parameter.empty)
        found[name] = ActorMethod(name, fn, MethodType(fn, cls), reads, returns)
    return found


def read[F: Callable[..., Any]](fn: F) -> F:
    """Mark a method `(self, …)` that only looks: it runs beside turns, on the state that was saved last."""
    setattr(fn, READ_MARK, True)
    return fn


def class_of(cls: type) -> ActorClass:
    """The description of a class of actors; BadArguments."""
    found = cls.__dict__.get(DESCRIBED) if isinstance(cls, type) else None
    if not isinstance(found, ActorClass):
        raise BadArguments(f"{getattr(cls, '__name__', cls)!r} is no class of actors; decorate it with @durable.actor")
    return found
