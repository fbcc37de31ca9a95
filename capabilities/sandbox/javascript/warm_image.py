"""The warm image: QuickJS that has begun and has run the prelude, compiled once, copied by each instance."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from wasmtime import InstancePre, Module, Store

from capabilities.sandbox.errors import EngineInitialization, SandboxUnavailable
from capabilities.sandbox.javascript import engine_file
from capabilities.sandbox.javascript.bake_image import bake
from capabilities.sandbox.javascript.ffi import Entry, link
from capabilities.sandbox.javascript.stack_padding import PADDING, padded
from capabilities.sandbox.wasm.runtime import Runtime

STACK_BYTES = 800 * 1024
"""JavaScript's own limit on its stack, of 1 MiB that the engine has: a script that is too deep, by some 3,000
functions, gets an error that it can catch. The rest is for what the engine does without looking."""
SCRATCH_BYTES = 8192
"""A place in each instance for small texts, so that they cost no allocation."""
NAME = "script.js"
SURROUNDINGS = ("surroundings.js", "url.js", "locale.js")
"""Run after the prelude: what is there beside the language."""

HEAD_BYTES_MAX = 8192
"""Bytes of what is lent, before the memory: some places by name."""

_FORM = 1
_BAKE_TIMEOUT_TICKS = 10_000


@dataclass(frozen=True, slots=True)
class WarmImage:
    """The image of all instances. `functions`: handles of the prelude's functions, the same in every instance."""

    runtime: Runtime
    pre: InstancePre
    module: Module
    base: bytes
    """The memory of an instance that has done nothing."""
    functions: dict[str, int]
    scratch: int
    name: int
    value: int
    """The text "value"."""
    digest: str
    """Digest of the engine and all that was run to warm it: a snapshot fits only its own image."""


_lock = threading.Lock()
_images: dict[int, WarmImage] = {}


def warm(runtime: Runtime) -> WarmImage:
    """The runtime's image, made on first use (a second, or milliseconds from the runtime's cache).

    SandboxUnavailable where the engine is not installed.
    """
    with _lock:
        found = _images.get(id(runtime))
        if found is None or found.runtime is not runtime:
            found = _images[id(runtime)] = _made(runtime)
        return found


def made(runtime: Runtime) -> WarmImage | None:
    """The runtime's image, if there is one already."""
    found = _images.get(id(runtime))
    return found if found is not None and found.runtime is runtime else None


def forget(runtime: Runtime) -> None:
    """Let go of this runtime's image."""
    with _lock:
        _images.pop(id(runtime), None)


def packed(runtime: Runtime) -> bytes:
    """The runtime's image, compiled, for another process of ours to be lent: `unpacked` makes it there."""
    found = warm(runtime)
    places = {"functions": found.functions, "scratch": found.scratch, "name": found.name, "value": found.value}
    about = {"for": runtime.key(b""), "digest": found.digest, "size": len(found.base), **places}
    return json.dumps(about).encode() + b"\n" + found.base + bytes(found.module.serialize())


def unpacked(runtime: Runtime, data: memoryview) -> WarmImage:
    """The image that whoever started this process made. ValueError: it is of another wasmtime or configuration."""
    head = bytes(data[:HEAD_BYTES_MAX]).split(b"\n", 1)[0]
    about = json.loads(head)
    if about.pop("for") != runtime.key(b""):
        raise ValueError("it was made for another runtime")
    size = about.pop("size")
    body = data[len(head) + 1 :]
    module = runtime.compiled_by(bytes(body[size:]))
    return WarmImage(runtime, link(runtime.engine, module), module, bytes(body[:size]), **about)


def _made(runtime: Runtime) -> WarmImage:
    try:
        engine = padded(engine_file.read(), PADDING)
    except engine_file.EngineMissing as error:
        raise SandboxUnavailable(str(error)) from None
    prelude, *others = (files(__package__).joinpath(name).read_bytes() for name in ("prelude.js", *SURROUNDINGS))
    whole = b"\0".join((engine, prelude, *others))
    digest = hashlib.sha256(b"%d:%d:" % (_FORM, STACK_BYTES) + whole).hexdigest()
    kept = runtime.artefact(f"warm-{digest}")
    if kept is None:
        kept = _baked(runtime, engine, prelude, others)
        runtime.keep(f"warm-{digest}", kept)
    head, body = kept.split(b"\n", 1)
    places = json.loads(head)
    size = places.pop("size")
    base, image = body[:size], body[size:]
    module = runtime.module(image, "JavaScript", trusted=True)
    return WarmImage(runtime, link(runtime.engine, module), module, base, digest=digest, **places)


class _Quiet:
    """The host of the instance that is warmed: it has no time, no entropy and nothing to call."""

    entry: Entry | None = None

    def imported(self, name: str, args: Sequence[int]) -> int:
        """Time stands at 0, and there is nothing else."""
        if name in ("clock_time_get", "random_get"):
            assert self.entry is not None
            address, count = (args[-1], 8) if name == "clock_time_get" else (args[0], args[1])
            self.entry.write(address, bytes(count))
        return 0

    def raised(self, error: BaseException) -> None:
        """Cannot be: `imported` raises nothing."""
        raise AssertionError from error


def _baked(runtime: Runtime, engine: bytes, prelude: bytes, others: Sequence[bytes]) -> bytes:
    store = Store(runtime.engine)
    store.set_epoch_deadline(_BAKE_TIMEOUT_TICKS)
    if runtime.metered:
        store.set_fuel(1 << 62)
    host = _Quiet()
    entry = Entry(store, link(runtime.engine, runtime.module(engine, "QuickJS", trusted=True)), host, 0xFFFF_FFFF)
    host.entry = entry
    entry.call("_initialize")
    if entry.call("qjs_init"):
        raise EngineInitialization("QuickJS did not begin")
    entry.call("qjs_set_max_stack_size", STACK_BYTES)
    scratch = entry.call("wasm_malloc", SCRATCH_BYTES)
    name = entry.call("wasm_malloc", len(NAME) + 1)
    entry.write(name, NAME.encode() + b"\0")

    def text(data: bytes) -> int:
        address = entry.call("wasm_malloc", len(data) + 1)
        entry.write(address, data + b"\0")
        return address

    value = text(b"value")
    function = entry.call("qjs_new_host_function", text(b"host"), 4, 0)
    entry.call("qjs_set_prop_string", entry.call("qjs_get_global"), text(b"__host"), function)

    def run(name: str, code: bytes) -> int:
        source = text(code)
        made = entry.call("qjs_eval", source, len(code), text(name.encode()), 0)
        if entry.call("qjs_is_exception", made):
            raise EngineInitialization(f"{name} failed")
        entry.call("wasm_free", source)
        return made

    api = run("prelude.js", prelude)
    for place, code in zip(SURROUNDINGS, others, strict=True):
        run(place, code)
    names = ("result", "show", "decode", "describe", "globals", "define", "settle", "fail", "apply", "entropy", "tick")
    functions = {each: entry.call("qjs_get_prop_string", api, text(each.encode())) for each in names}
    functions["undefined"] = entry.call("qjs_get_undefined")
    for switch in ("qjs_set_interrupt_handler", "qjs_set_module_loader", "qjs_set_promise_rejection_handler"):
        entry.call(switch, 1)
    entry.call("qjs_run_gc")
    base = entry.whole()
    head = {"functions": functions, "scratch": scratch, "name": name, "value": value, "size": len(base)}
    return json.dumps(head).encode() + b"\n" + base + bake(engine, base)
