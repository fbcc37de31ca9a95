"""What a checkpoint is made of (specs/checkpoint.md): groups of variables, cut into chunks, and their position.

Both sides read it: the worker writes a `Payload`, the engine turns it into a signed `Manifest`. Nothing here
unpickles; every byte that a worker sent is parsed into these structs and bounded before it is believed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from durable.core.errors import CheckpointError

FORMAT = "1"
"""Version of the payload and the manifest. A reader refuses any other."""

CHUNK_BYTES = 2**20
"""A part is cut into chunks of this size: one changed element of a large array costs one chunk."""

NAME_CHARS_MAX = 1_000
TEXT_CHARS_MAX = 2_000
"""A reason or a type's name; longer text is cut where it is written."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Code objects are only good for one minor version of Python, so a checkpoint names it."""

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Part(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One byte string, cut: part 0 of a group is its pickle stream, the others are out-of-band buffers."""

    size: Count
    digests: tuple[Digest, ...]


class Group(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Variables that are saved together because they share objects, in load order.

    `needs` names the functions and classes of other groups that this one refers to. A group of kind `state`
    or `sources` holds no variables: the interpreter's own state, and the source text of cells.
    """

    kind: Literal["values", "atoms", "state", "sources"]
    names: tuple[Name, ...]
    needs: tuple[Name, ...]
    parts: tuple[Part, ...]


class Module(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that is a module, saved by name; `version` is what was loaded, or empty."""

    name: Name
    module: Name
    version: Text


class Lost(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that could not be saved: its type, the reason, and the execution that made it (or empty)."""

    name: Name
    kind: Text
    reason: Text
    execution: Text = ""


class Rebuilt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that comes back made anew, and how: `an lru_cache starts empty`."""

    name: Name
    how: Text


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of a namespace. `internals` says how the engine's own names come back (specs/checkpoint.md)."""

    python: Text
    groups: tuple[Group, ...]
    modules: tuple[Module, ...] = ()
    lost: tuple[Lost, ...] = ()
    rebuilt: tuple[Rebuilt, ...] = ()
    internals: dict[Name, Text] = {}

    def digests(self) -> dict[bytes, int]:
        """Every chunk in order of first use, with its size in bytes."""
        found: dict[bytes, int] = {}
        for group in self.groups:
            for part in group.parts:
                for digest, size in chunk_sizes(part):
                    found.setdefault(digest, size)
        return found


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What crosses the pipe. From a worker: the chunks that the last payload did not have. To a worker: all
    of them, in the order of `Contents.digests`."""

    format: Text
    contents: Contents
    chunks: tuple[memoryview, ...]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the code was: the next statement to run, calls made per capability, characters of output written."""

    execution: Text
    n: Count
    statement: Count
    final: bool
    counters: dict[Name, Count] = {}
    output_offset: Count = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine signs and stores. `outcome` is the execution's result as JSON text, of a final one."""

    format: Text
    version: Text
    session: Name
    profile: Text
    position: Position
    created_at_ms: Count
    contents: Contents
    grants: tuple[Text, ...] = ()
    outcome: bytes | None = None
    previous: Text | None = None


def chunk_digest(data: bytes | memoryview) -> bytes:
    """The address of a chunk: SHA-256, the fastest strong hash where the processor has it built in."""
    return hashlib.sha256(data).digest()


def cut(data: bytes | memoryview) -> Iterator[memoryview]:
    """Slices of CHUNK_BYTES; the last is shorter, and nothing has none."""
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def chunk_sizes(part: Part) -> Iterable[tuple[bytes, int]]:
    """Each chunk's digest with its size in bytes; raises CheckpointError when they do not add up."""
    whole, rest = divmod(part.size, CHUNK_BYTES)
    sizes = [CHUNK_BYTES] * min(whole, len(part.digests)) + ([rest] if rest else [])
    if len(part.digests) != whole + bool(rest):
        raise CheckpointError(f"a part of {part.size} bytes cannot have {len(part.digests)} chunks")
    return zip(part.digests, sizes, strict=True)


_payload_decoder = msgspec.msgpack.Decoder(Payload)


def decode_payload(data: bytes | memoryview) -> Payload:
    """Parse and check a payload from the other side; CheckpointError says what does not fit."""
    try:
        payload = _payload_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"the checkpoint data is not what specs/checkpoint.md says: {error}") from None
    check_format(payload.format)
    check_contents(payload.contents)
    return payload


def encode_payload(payload: Payload) -> bytes:
    """The bytes that cross the pipe."""
    return msgspec.msgpack.encode(payload)


def check_format(found: str) -> None:
    """Refuse a format that this version does not know."""
    if found != FORMAT:
        raise CheckpointError(
            f"the checkpoint has format {found[:20]!r}, this version reads {FORMAT!r}; upgrade durable-exec"
        )


def check_contents(contents: Contents) -> None:
    """Invariants C2 and C3: a name is in one place, and whatever is needed comes earlier."""
    seen: set[str] = set()
    places = [(group.names, group.needs) for group in contents.groups]
    places += [((module.name,), ()) for module in contents.modules]
    for names, needs in places:
        for name in needs:
            if name not in seen:
                raise CheckpointError(f"the checkpoint refers to {name!r} before it has it")
        for name in names:
            if name in seen:
                raise CheckpointError(f"the checkpoint holds {name!r} twice")
            seen.add(name)
    contents.digests()
