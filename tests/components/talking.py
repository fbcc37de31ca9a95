"""Two components that talk, as text of WebAssembly: `PONG` answers messages, `PING` asks and counts the answers.

PONG's `handle-message` echoes; a message that begins with `!` makes it trap, one with `?` the first time alone (it
knows by its storage), `E` is an error of its own, `S` has it save its count; `knew` is whether `?s` was in its storage
as it began. PING's `ask` sends numbered requests, and then saves its counts.
"""

from __future__ import annotations

from functools import cache

from wasmtime import wat2wasm

_TYPES = """
  (type $failure-type (record (field "kind" string) (field "message" string)))
  (export $failure "failure" (type $failure-type))
"""

_MEMORY = """
  (core module $memory
    (memory (export "memory") 2)
    (global $at (mut i32) (i32.const 65536))
    ;; What is given to it is needed for one call only: room is used again after 60,000 bytes.
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $place i32)
      (if (i32.gt_u (i32.add (global.get $at) (local.get $size)) (i32.const 125536))
        (then (global.set $at (i32.const 65536))))
      (local.set $place (global.get $at))
      (global.set $at (i32.and (i32.add (i32.add (global.get $at) (local.get $size)) (i32.const 15)) (i32.const -8)))
      (local.get $place)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))
"""

_STORAGE = """
  (import "durable:host/storage@0.1.0" (instance $storage
    (type $f (record (field "kind" string) (field "message" string)))
    (export "failure" (type $failure (eq $f)))
    (export "exists" (func (param "key" string) (param "namespace" (option string))
      (result (result bool (error $failure)))))
    (export "set" (func (param "key" string) (param "value" string) (param "namespace" (option string))
      (result (result (error $failure)))))))
"""

_STATE = """
  (import "durable:host/state@0.1.0" (instance $state
    (type $f (record (field "kind" string) (field "message" string)))
    (export "failure" (type $failure (eq $f)))
    (export "load" (func (result (option (list u8)))))
    (export "save" (func (param "state" (list u8)) (result (result (error $failure)))))))
"""

_MESSAGING = """
  (import "durable:host/messaging@0.1.0" (instance $messaging
    (type $f (record (field "kind" string) (field "message" string)))
    (export "failure" (type $failure (eq $f)))
    (export "send-message" (func (param "target" string) (param "message" (list u8))
      (result (result (error $failure)))))
    (export "send-request" (func (param "target" string) (param "message" (list u8)) (param "timeout-millis" u64)
      (result (result string (error $failure)))))
    (export "cancel-request" (func (param "request" string) (result (result (error $failure)))))
    (export "publish" (func (param "topic" string) (param "message" (list u8))
      (result (result u32 (error $failure)))))
    (export "subscribe" (func (param "pattern" string) (result (result (error $failure)))))))
"""


def _lowered(name: str, interface: str, function: str) -> str:
    return (
        f'  (alias export ${interface} "{function}" (func ${name}-given))\n'
        f"  (core func ${name} (canon lower (func ${name}-given) (memory $bytes) (realloc $realloc)))\n"
    )


def _lifted(name: str, kind: str) -> str:
    return (
        f'  (alias core export $main "{name}" (core func ${name}-core))\n'
        f"  (func ${name}-lifted {kind} (canon lift (core func ${name}-core) (memory $bytes) (realloc $realloc)))\n"
        f'  (export "{name}" (func ${name}-lifted))\n'
    )


def _given(*names: str) -> str:
    host = " ".join(f'(export "{name}" (func ${name}))' for name in names)
    return (
        f"  (core instance $host {host})\n"
        '  (core instance $main (instantiate $main-code (with "memory" (instance $memory))\n'
        '    (with "host" (instance $host))))\n'
    )


_PONG_MODULE = """
  (core module $main-code
    (import "memory" "memory" (memory 2))
    (import "host" "exists" (func $exists (param i32 i32 i32 i32 i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "load" (func $load (param i32)))
    (import "host" "save" (func $save (param i32 i32 i32)))
    (data (i32.const 64) "first trap")
    (data (i32.const 80) "?s")
    ;; Its count is at 0, the result of a function at 16, what the host gives at 48.
    (func (export "start")
      (call $load (i32.const 48))
      (if (i32.load8_u (i32.const 48)) (then (i32.store (i32.const 0) (i32.load (i32.load (i32.const 52))))))
      (call $exists (i32.const 80) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 48))
      (i32.store (i32.const 12) (i32.load8_u (i32.const 52))))
    (func (export "cleanup"))
    (func (export "knew") (result i32) (i32.load (i32.const 12)))
    (func (export "spin") (loop (br 0)))
    (func (export "health") (result i32)
      (i32.gt_u (i32.load (i32.const 0)) (i32.const 1000000)))
    (func (export "count") (result i32) (i32.load (i32.const 0)))
    (func (export "leave") (param i32) (i32.store (i32.const 0) (local.get 0)))
    (func (export "handle-message") (param i32 i32) (param $at i32) (param $size i32) (result i32)
      (local $first i32)
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
      (if (local.get $size) (then (local.set $first (i32.load8_u (local.get $at)))))
      (if (i32.eq (local.get $first) (i32.const 33)) (then (unreachable)))  ;; !
      (if (i32.eq (local.get $first) (i32.const 63))  ;; ?
        (then
          (call $exists (local.get $at) (local.get $size) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 48))
          (if (i32.eqz (i32.load8_u (i32.const 52)))
            (then
              (call $set (local.get $at) (local.get $size) (local.get $at) (local.get $size)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 48))
              (unreachable)))))
      (if (i32.eq (local.get $first) (i32.const 83))  ;; S
        (then (call $save (i32.const 0) (i32.const 4) (i32.const 48))))
      (if (i32.eq (local.get $first) (i32.const 69))  ;; E
        (then
          (i32.store (i32.const 16) (i32.const 1))
          (i32.store (i32.const 20) (i32.const 64))
          (i32.store (i32.const 24) (i32.const 5))
          (i32.store (i32.const 28) (local.get $at))
          (i32.store (i32.const 32) (local.get $size))
          (return (i32.const 16))))
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 1))
      (i32.store (i32.const 24) (local.get $at))
      (i32.store (i32.const 28) (local.get $size))
      (i32.const 16)))
"""

_PING_MODULE = """
  (core module $main-code
    (import "memory" "memory" (memory 2))
    (import "host" "send-message" (func $send (param i32 i32 i32 i32 i32)))
    (import "host" "send-request" (func $request (param i32 i32 i32 i32 i64 i32)))
    (import "host" "cancel-request" (func $cancel (param i32 i32 i32)))
    (import "host" "publish" (func $publish (param i32 i32 i32 i32 i32)))
    (import "host" "subscribe" (func $subscribe (param i32 i32 i32)))
    (import "host" "load" (func $load (param i32)))
    (import "host" "save" (func $save (param i32 i32 i32)))
    (func (export "start")
      (call $load (i32.const 48))
      (if (i32.load8_u (i32.const 48))
        (then (memory.copy (i32.const 0) (i32.load (i32.const 52)) (i32.const 12)))))
    ;; Answers at 0, failures at 4, messages at 8; a result at 16, what the host gives at 48; a message at 128.
    (func (export "counts") (result i32)
      (i64.store (i32.const 16) (i64.load (i32.const 0)))
      (i32.store (i32.const 24) (i32.load (i32.const 8)))
      (i32.const 16))
    (func $written (param $mark i32) (param $number i32)
      (local $place i32)
      (i32.store8 (i32.const 128) (local.get $mark))
      (local.set $place (i32.const 136))
      (loop $next
        (i32.store8 (local.get $place) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
        (local.set $place (i32.sub (local.get $place) (i32.const 1)))
        (br_if $next (i32.gt_u (local.get $place) (i32.const 128)))))
    ;; Requests of the numbers first to last; each `every`th begins with the mark.
    (func (export "ask") (param $to i32) (param $size i32) (param $first i32) (param $last i32) (param $every i32)
      (param $mark i32) (param $millis i64)
      (local $number i32)
      (local.set $number (local.get $first))
      (loop $next
        (if (i32.le_u (local.get $number) (local.get $last))
          (then
            (call $written
              (select (local.get $mark) (i32.const 109)
                (i32.eqz (i32.rem_u (local.get $number) (local.get $every))))
              (local.get $number))
            (call $request (local.get $to) (local.get $size) (i32.const 128) (i32.const 9) (local.get $millis)
              (i32.const 48))
            (if (i32.load8_u (i32.const 48)) (then (unreachable)))
            (local.set $number (i32.add (local.get $number) (i32.const 1)))
            (br $next))))
      (call $save (i32.const 0) (i32.const 12) (i32.const 48)))
    (func (export "ask-once") (param $to i32) (param $size i32) (param $at i32) (param $length i32) (param $millis i64)
      (result i32)
      (call $request (local.get $to) (local.get $size) (local.get $at) (local.get $length) (local.get $millis)
        (i32.const 16))
      (i32.const 16))
    (func (export "cancel") (param $at i32) (param $size i32) (result i32)
      (call $cancel (local.get $at) (local.get $size) (i32.const 16))
      (i32.const 16))
    (func (export "tell") (param $to i32) (param $size i32) (param $at i32) (param $length i32) (result i32)
      (call $send (local.get $to) (local.get $size) (local.get $at) (local.get $length) (i32.const 16))
      (i32.const 16))
    (func (export "announce") (param $topic i32) (param $size i32) (param $at i32) (param $length i32) (result i32)
      (call $publish (local.get $topic) (local.get $size) (local.get $at) (local.get $length) (i32.const 16))
      (i32.const 16))
    (func (export "listen") (param $at i32) (param $size i32) (result i32)
      (call $subscribe (local.get $at) (local.get $size) (i32.const 16))
      (i32.const 16))
    (func (export "handle-message") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
      (i64.store (i32.const 16) (i64.const 0))
      (i32.const 16))
    (func (export "handle-callback") (param $id i32) (param $id_size i32) (param $failed i32) (param i32 i32 i32 i32)
      (local $place i32)
      (local.set $place (i32.shl (local.get $failed) (i32.const 2)))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))))
"""

_MESSAGE = (
    """(param "sender" string) (param "message" (list u8)) (result (result (option (list u8)) (error $failure)))"""
)


@cache
def pong() -> bytes:
    """The one that answers."""
    return bytes(
        wat2wasm(
            f"(component {_STORAGE} {_STATE} {_TYPES} {_MEMORY}"
            + _lowered("exists", "storage", "exists")
            + _lowered("set", "storage", "set")
            + _lowered("load", "state", "load")
            + _lowered("save", "state", "save")
            + _PONG_MODULE
            + _given("exists", "set", "load", "save")
            + _lifted("start", "")
            + _lifted("cleanup", "")
            + _lifted("health", "(result u32)")
            + _lifted("count", "(result u32)")
            + _lifted("knew", "(result u32)")
            + _lifted("spin", "")
            + _lifted("leave", '(param "value" u32)')
            + _lifted("handle-message", _MESSAGE)
            + ")"
        )
    )


@cache
def ping() -> bytes:
    """The one that asks."""
    asked = '(param "target" string) (param "message" (list u8))'
    failing = "(result (result (error $failure)))"
    names = ("send-message", "send-request", "cancel-request", "publish", "subscribe")
    return bytes(
        wat2wasm(
            f"(component {_MESSAGING} {_STATE} {_TYPES} {_MEMORY}"
            + "".join(_lowered(name, "messaging", name) for name in names)
            + _lowered("load", "state", "load")
            + _lowered("save", "state", "save")
            + _PING_MODULE
            + _given(*names, "load", "save")
            + _lifted("start", "")
            + _lifted("counts", "(result (tuple u32 u32 u32))")
            + _lifted(
                "ask",
                '(param "target" string) (param "first" u32) (param "last" u32) (param "every" u32) (param "mark" u32)'
                ' (param "timeout-millis" u64)',
            )
            + _lifted("ask-once", asked + ' (param "timeout-millis" u64) (result (result string (error $failure)))')
            + _lifted("cancel", f'(param "request" string) {failing}')
            + _lifted("tell", f"{asked} {failing}")
            + _lifted("announce", asked.replace("target", "topic") + " (result (result u32 (error $failure)))")
            + _lifted("listen", f'(param "pattern" string) {failing}')
            + _lifted("handle-message", _MESSAGE)
            + _lifted(
                "handle-callback",
                '(param "request" string) (param "answer" (result (list u8) (error $failure)))',
            )
            + ")"
        )
    )


_LIVING_MODULE = """
  (core module $main-code
    (import "memory" "memory" (memory 2))
    ;; The length of its configuration is at 0, a result at 16.
    (data (i32.const 64) "warming up")
    (func (export "init") (param i32) (param $size i32) (result i32)
      (i32.store (i32.const 0) (local.get $size))
      (i32.store8 (i32.const 16) (i32.eq (local.get $size) (i32.const 13)))  ;; thirteen bytes are refused
      (i32.store (i32.const 20) (i32.const 64))
      (i32.store (i32.const 24) (i32.const 4))
      (i32.store (i32.const 28) (i32.const 64))
      (i32.store (i32.const 32) (i32.const 10))
      (i32.const 16))
    (func (export "execute") (param $at i32) (param $size i32) (param i32 i32) (param i32 i32) (param i64) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $size))
      (i32.const 16))
    (func (export "handle-message") (param i32 i32) (param $at i32) (param $size i32) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 1))
      (i32.store (i32.const 24) (local.get $at))
      (i32.store (i32.const 28) (local.get $size))
      (i32.const 16))
    (func (export "health") (result i32)
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (i32.const 1))
      (i32.store (i32.const 24) (i32.const 64))
      (i32.store (i32.const 28) (i32.const 10))
      (i32.const 16))
    (func (export "shutdown") (unreachable))
    (func (export "configured") (result i32) (i32.load (i32.const 0))))
"""

_LIVING_TYPES = {
    "failure": '(record (field "kind" string) (field "message" string))',
    "health-status": '(enum "healthy" "degraded" "unhealthy")',
    "health-report": '(record (field "status" $health-status) (field "reason" (option string)))',
    "context": '(record (field "execution" string) (field "timeout-millis" u64))',
}
_LIVING_FUNCTIONS = {
    "init": '(param "config" (list u8)) (result (result (error $failure)))',
    "execute": '(param "operation" string) (param "input" (list u8)) (param "context" $context)'
    " (result (result (list u8) (error $failure)))",
    "handle-message": '(param "sender" string) (param "message" (list u8))'
    " (result (result (option (list u8)) (error $failure)))",
    "health": "(result $health-report)",
    "shutdown": "",
}


@cache
def living() -> bytes:
    """One that exports `durable:host/lifecycle`: its shutdown traps, a configuration of 13 bytes is refused."""
    text = f"(component {_MEMORY} {_LIVING_MODULE}"
    text += '(core instance $main (instantiate $main-code (with "memory" (instance $memory))))\n'
    inside, exported, given = "", "", ""
    for name, kind in _LIVING_TYPES.items():
        text += f"(type ${name} {kind})\n"
        inside += f'(type ${name}-own {_renamed(kind, "in")}) (import "{name}" (type ${name}-in (eq ${name}-own)))\n'
        exported += f'(type ${name}-again {_renamed(kind, "out")}) (export ${name}-out "{name}" (type ${name}-again))\n'
        given += f'(with "{name}" (type ${name}))\n'
    for name, kind in _LIVING_FUNCTIONS.items():
        text += f'(alias core export $main "{name}" (core func ${name}-core))\n'
        text += f"(func ${name} {kind} (canon lift (core func ${name}-core) (memory $bytes) (realloc $realloc)))\n"
        inside += f'(import "{name}-given" (func ${name}-given {_renamed(kind, "in")}))\n'
        exported += f'(export "{name}" (func ${name}-given) (func {_renamed(kind, "out")}))\n'
        given += f'(with "{name}-given" (func ${name}))\n'
    text += f"(component $shape {inside} {exported})\n(instance $lifecycle (instantiate $shape {given}))\n"
    text += '(export "durable:host/lifecycle@0.1.0" (instance $lifecycle))\n' + _lifted("configured", "(result u32)")
    return bytes(wat2wasm(text + ")"))


def _renamed(kind: str, end: str) -> str:
    for name in _LIVING_TYPES:
        kind = kind.replace(f"${name})", f"${name}-{end})")
    return kind


LIMITS = "[resources]\nmemory = { max_bytes = 1048576 }\ncpu = { max_fuel = 100000000, timeout_seconds = 20 }\n"
PONG = f'component = {{ id = "pong" }}\n{LIMITS}[permissions.storage]\nmax_size_mb = 1\n'
PING = (
    f'component = {{ id = "ping" }}\n{LIMITS}[permissions.messaging]\nsend = ["pong/*", "ping/*", "Clerk/*"]\n'
    'publish = ["news.#"]\nsubscribe = ["news.*"]\n'
)
LIVING = f'component = {{ id = "living" }}\n{LIMITS}'
"""Their manifests."""
