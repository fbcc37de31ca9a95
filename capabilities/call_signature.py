"""A function's signature at the boundary: what code sees of it, and JSON arguments checked against it with pydantic."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_type_hints

from durable.core.errors import BadArguments

if TYPE_CHECKING:  # imported where something is checked: an engine is opened without it
    from pydantic import TypeAdapter

_KINDS = inspect.Parameter


class Method:
    """One way to call a capability. `skip` leading parameters are the host's own, not the caller's."""

    def __init__(self, name: str, fn: Callable[..., Any], skip: int = 0) -> None:
        self.name = name
        self.fn = fn
        self.skip = skip

    @cached_property
    def signature(self) -> inspect.Signature:
        found = inspect.signature(self.fn)
        return found.replace(parameters=list(found.parameters.values())[self.skip :])

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self.fn, include_extras=True)
        except Exception:  # a name that cannot be resolved: those that stand alone still count
            raw = getattr(self.fn, "__annotations__", {})
            return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        found = {name: _adapter(self._hints.get(name)) for name in self.signature.parameters}
        return {name: adapter for name, adapter in found.items() if adapter is not None}

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.fn)

    @cached_property
    def doc(self) -> str:
        return inspect.getdoc(self.fn) or ""

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """JSON arguments by parameter, shaped to the annotations. BadArguments as Python would say it."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"{self.name}(): {error}") from None
        for parameter, value in list(bound.arguments.items()):
            adapter = self._adapters.get(parameter)
            if adapter is None:
                continue
            match self.signature.parameters[parameter].kind:
                case _KINDS.VAR_POSITIONAL:
                    bound.arguments[parameter] = tuple(self._shaped(adapter, parameter, each) for each in value)
                case _KINDS.VAR_KEYWORD:
                    bound.arguments[parameter] = {
                        key: self._shaped(adapter, f"{parameter}[{key!r}]", each) for key, each in value.items()
                    }
                case _:
                    bound.arguments[parameter] = self._shaped(adapter, parameter, value)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _shaped(self, adapter: TypeAdapter[Any], parameter: str, value: Any) -> Any:
        from pydantic import ValidationError
        from pydantic_core import to_json

        try:
            return adapter.validate_json(to_json(value))  # JSON mode: lists fit tuples, strings fit dates
        except ValidationError as error:
            lines = "; ".join(
                f"{'.'.join(map(str, (parameter, *e['loc'])))}: {e['msg']}" for e in error.errors(include_url=False)
            )
            raise BadArguments(f"{self.name}(): {lines}") from None

    @cached_property
    def _result(self) -> TypeAdapter[Any] | None:
        return _adapter(self._hints.get("return"))

    def returned(self, value: Any) -> Any:
        """A result shaped to the annotation. TypeError for one that does not fit: the function's fault."""
        if self._result is None:
            return value
        from pydantic import ValidationError

        try:
            return self._result.validate_python(value)
        except ValidationError as error:
            lines = "; ".join(
                f"{'.'.join(map(str, ('result', *e['loc'])))}: {e['msg']}" for e in error.errors(include_url=False)
            )
            raise TypeError(f"{self.name}() returned what its annotation does not allow: {lines}") from None

    def call(self, arguments: dict[str, Any], *before: Any) -> Any:
        """Call the function with bound arguments, after the host's own."""
        positional, named = list(before), dict[str, Any]()
        for parameter in self.signature.parameters.values():
            if parameter.name not in arguments:
                continue
            value = arguments[parameter.name]
            match parameter.kind:
                case _KINDS.VAR_POSITIONAL:
                    positional += value
                case _KINDS.VAR_KEYWORD:
                    named |= value
                case _KINDS.KEYWORD_ONLY:
                    named[parameter.name] = value
                case _:
                    positional.append(value)
        return self.fn(*positional, **named)

    def described(self) -> dict[str, Any]:
        """The description that the worker needs so that `help(f)` and a wrong call say what Python would."""
        parameters = []
        for parameter in self.signature.parameters.values():
            entry: dict[str, Any] = {"name": parameter.name, "kind": int(parameter.kind)}
            hint = self._hints.get(parameter.name)
            if hint is not None:
                entry["annotation"] = _shown(hint)
            if parameter.default is not _KINDS.empty:
                entry["default"] = _plain(parameter.default)
            parameters.append(entry)
        returns = self._hints.get("return")
        return {"doc": self.doc, "parameters": parameters, "returns": "" if returns is None else _shown(returns)}


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    if hint is None or hint in (Any, object) or isinstance(hint, str):
        return None
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _shown(hint: Any) -> str:
    return inspect.formatannotation(hint).removeprefix("typing.")


def _plain(value: Any) -> Any:
    """A default as JSON, where it is; its repr as text else."""
    from pydantic_core import PydanticSerializationError, from_json, to_json

    try:
        return from_json(to_json(value))
    except (PydanticSerializationError, ValueError, TypeError):
        return repr(value)
