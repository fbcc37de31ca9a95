"""The child of `checkpoint_process.Process`: a namespace that is captured and restored. It imports little."""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

INTERNALS = frozenset({"_", "In", "Out", "_oh"})


def write(stream: IO[bytes], value: object) -> None:
    """One message, with its size before it."""
    data = pickle.dumps(value)
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def read(stream: IO[bytes]) -> Any:
    """The next message. AssertionError at the end."""
    size = int.from_bytes(stream.read(8), "big")
    if not size:
        raise AssertionError("the child ended")
    return pickle.loads(stream.read(size))


def _drained(reader: int) -> bytes:
    """What came through the pipe, as one payload; nothing when it was cut."""
    from checkpoint.format.payload import Payload, decode_payload, encode_payload

    with os.fdopen(os.dup(reader), "rb") as stream:
        blocks = []
        while size := int.from_bytes(stream.read(4), "big"):
            blocks.append(memoryview(stream.read(size)))
        size = int.from_bytes(stream.read(8), "big")
        data = stream.read(size)
        if not size or len(data) != size:
            return b""
    rest = decode_payload(data)
    return encode_payload(Payload(format=rest.format, contents=rest.contents, chunks=(*blocks, *rest.chunks)))


def _serve() -> None:
    import types

    from checkpoint.capture.forked_capture import Aside
    from checkpoint.capture.incremental_capture import Capturer
    from checkpoint.restore import explain_name_error, restore_into

    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    main = types.ModuleType("__main__")
    main.__dict__.update({"_": None, "In": [], "Out": {}})
    main.__dict__["_oh"] = main.__dict__["Out"]
    sys.modules["__main__"] = main
    namespace = main.__dict__
    capturer = Capturer(namespace, INTERNALS)

    def answer(kind: str, *arguments: Any) -> object:
        if kind == "run":
            exec(compile(arguments[0], "<cell>", "exec", dont_inherit=True), namespace)
            return None
        if kind == "value":
            return eval(arguments[0], namespace)
        if kind == "capture":
            capture = capturer.capture(arguments[0])
            lost = {entry.name: (entry.kind, entry.reason, entry.execution) for entry in capture.lost}
            return capture.payload, capture.changed, lost, {entry.name: entry.how for entry in capture.rebuilt}
        if kind == "aside":
            made = capturer.capture_aside("s@1")
            exec(arguments[0], namespace)
            if not isinstance(made, Aside):
                return "here", made.payload
            data = _drained(made.reader)
            capturer.settle(made, stored=arguments[1] and bool(data))
            return "aside", data
        if kind == "forget":
            capturer.forget()
            return None
        if kind == "restore":
            report = restore_into(namespace, arguments[0], internals=INTERNALS, **arguments[1])
            capturer.prime(arguments[0])
            return report
        return explain_name_error(arguments[0])

    while True:
        try:
            command = read(stdin)
        except AssertionError:
            return
        try:
            reply = "value", answer(*command)
        except BaseException as error:
            reply = "error", f"{type(error).__name__}: {error}"
        write(stdout, reply)


if __name__ == "__main__":
    _serve()
