"""Bindings: which capability answers each function of `host.wit`, checked against the capabilities themselves.

A function's comment says it: `capability: kv.get`, with fixed arguments after it (`encoding=base64`), or `local: name`
for what is answered beside the sandbox. Its parameters are the capability's, by name; `list<u8>` is base64 there,
and `millis` is `seconds` there, a thousandth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from capabilities.registry import STANDARD, load
from capabilities.sandbox.wit.parse import BadWit, Package, WitFunction, parse

SOURCE = Path(__file__).parent / "host.wit"
BINDINGS = Path(__file__).parent / "bindings.json"
GUEST = "guest"


def bindings(text: str) -> str:
    """The bindings of a source, as they are kept. BadWit."""
    package = parse(text)
    if GUEST not in package.worlds:
        raise BadWit(f"there is no world {GUEST!r}; it is what components may import")
    made = {name: _interface(package, name) for name in package.worlds[GUEST].imports}
    found = {"package": package.id, "version": package.version, "interfaces": made}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _interface(package: Package, name: str) -> dict[str, Any]:
    interface = package.interfaces[name]
    records = {kind: list(map(list, fields)) for kind, fields in interface.types.items() if fields is not None}
    functions = {each: _function(f"{name}.{each}", found) for each, found in interface.functions.items()}
    return {"records": records, "functions": functions}


def _function(where: str, function: WitFunction) -> dict[str, Any]:
    said = [line.partition(": ") for line in function.doc if line.startswith(("capability: ", "local: "))]
    if len(said) != 1:
        raise BadWit(f"{where}: its comment says once which `capability: …` or `local: …` answers it")
    how, _, what = said[0]
    name, *fixed = what.split()
    made: dict[str, Any] = {"params": list(map(list, function.params)), "result": function.result}
    if how == "local":
        return {**made, "local": name}
    capability, _, method = name.partition(".")
    given = dict(each.split("=", 1) for each in fixed)
    _check(where, capability, method, [param for param, _ in function.params], given)
    return {**made, "capability": capability, "method": method, "fixed": given}


def _check(where: str, capability: str, method: str, params: list[str], fixed: dict[str, str]) -> None:
    """The capability takes what the function gives it."""
    if capability not in STANDARD:
        raise BadWit(f"{where}: there is no capability {capability!r}")
    found = load(capability).methods.get(method)
    if found is None:
        raise BadWit(f"{where}: {capability} has no {method!r}")
    there = [each["name"] for each in found.described()["parameters"]]
    given = ["seconds" if each == "millis" else each.replace("-", "_") for each in params]
    unknown = [each for each in (*given, *fixed) if each not in there]
    if unknown:
        raise BadWit(f"{where}: {capability} takes no {unknown[0]!r}; it takes {', '.join(there)}")


def current() -> bool:
    """Whether the bindings are those of the source."""
    return BINDINGS.exists() and BINDINGS.read_text() == bindings(SOURCE.read_text())
