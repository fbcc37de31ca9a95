"""`durable:host` for components: each function asks the port for the capability that its binding names."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from capabilities.sandbox.errors import CapabilityDenied, SerializationError
from capabilities.sandbox.host_calls import CallFailed, HostCall, Port, ask
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.wasm.component_imports import Interface
from capabilities.sandbox.wasm.deadline import DeadlineGuard
from capabilities.sandbox.wasm.wit_values import Err

_BINDINGS = Path(__file__).parents[1] / "wit" / "bindings.json"

type Locals = Mapping[str, Callable[..., Any]]
"""Functions that answer beside the sandbox, by the name that `host.wit` has for each."""


class HostInterfaces:
    """Makes the interfaces for one call."""

    def __init__(
        self,
        port: Port,
        guard: DeadlineGuard,
        limits: SandboxLimits,
        fuel: Callable[[], int | None],
        component: str,
        locals: Locals,
    ) -> None:
        self._port = port
        self._guard = guard
        self._limits = limits
        self._fuel = fuel
        self._component = component
        self._locals = locals

    def made(self) -> dict[str, Interface]:
        """The interfaces by the names that components import them under."""
        found = _bindings()
        return {
            f"{found['package']}/{name}@{found['version']}": {
                each: self._function(f"{name}.{each}", function, interface["records"])
                for each, function in interface["functions"].items()
            }
            for name, interface in found["interfaces"].items()
        }

    def _function(self, name: str, function: dict[str, Any], records: dict[str, Any]) -> Callable[..., Any]:
        if "local" in function:
            found = self._locals.get(function["local"])
            return found if found is not None else lambda *_: self._absent(name)
        params, result = [tuple(each) for each in function["params"]], function["result"]
        fallible, inner = _inner(result)

        def call(*args: Any) -> Any:
            given = dict(function["fixed"])
            for (param, kind), arg in zip(params, args, strict=True):
                if arg is not None:
                    given |= _given(param, kind, arg)
            asked = HostCall(function["capability"], function["method"], given, self._fuel())
            try:
                answer = ask(self._port, asked, self._guard, self._limits)
            except CallFailed as failed:
                if not fallible:
                    raise
                raise Err({"kind": failed.kind, "message": failed.message}) from None
            if name.endswith("-millis") and inner:
                return int(answer * 1_000)
            return _taken(answer, inner, records)

        return call

    def _absent(self, name: str) -> Any:
        raise CapabilityDenied(self._component, "call", name, "nothing answers it here")


@lru_cache(maxsize=1)
def _bindings() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_BINDINGS.read_text())
    return found


def _inner(result: str) -> tuple[bool, str]:
    """Whether it may fail, and the type of its good case."""
    if not result.startswith("result<"):
        return False, result
    inner = result.removeprefix("result<").removesuffix(",failure>")
    return True, "" if inner == "_" else inner


def _given(param: str, kind: str, value: Any) -> dict[str, Any]:
    """A parameter as its capability takes it."""
    if param == "millis":
        return {"seconds": value / 1_000}
    if kind == "list<u8>":
        value = base64.b64encode(value).decode()
    elif kind == "list<tuple<string,string>>":
        value = dict(value)
    return {param.replace("-", "_"): value}


def _taken(answer: Any, kind: str, records: dict[str, Any]) -> Any:
    """An answer as its type has it. SerializationError for what is recorded and is not of it."""
    try:
        return _value(answer, kind, records)
    except (binascii.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SerializationError(f"an answer is no {kind}: {type(error).__name__}: {error}") from None


def _value(answer: Any, kind: str, records: dict[str, Any]) -> Any:
    if not kind:
        return None
    if kind.startswith("option<"):
        return None if answer is None else _value(answer, kind[len("option<") : -1], records)
    if kind == "list<u8>":
        return base64.b64decode(answer, validate=True)
    if kind == "list<tuple<string,string>>":
        return [(str(key), str(value)) for key, value in answer.items()]
    if kind in records:
        return {
            name.replace("-", "_"): _value(answer.get(name.replace("-", "_")), inner, records)
            for name, inner in records[kind]
        }
    if kind == "string" and not isinstance(answer, str):
        return json.dumps(answer)  # storage holds JSON; what other code put there is text here
    return answer
