"""The parts of a checkpoint (specs/checkpoint.md): groups of variables, cut into chunks, and their position.

Both sides read it: the worker writes a `Payload`, the engine turns it into a signed `Manifest`. The table of groups is
cut into pages, which are chunks like any other, so that one small change beside thousands of variables costs one page.
Nothing here unpickles; every byte that a worker sent is parsed into these structs and bounded before it is believed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from durable.core.errors import CheckpointError

FORMAT = "4"
"""Version of the payload and the manifest."""

FORMATS = ("2", "3", FORMAT)
"""Formats that a reader takes, no others. "2" had no packages, "3" no number, no predecessor, no placeholders."""

UNNUMBERED = ("2", "3")

CHUNK_BYTES = 2**20
"""A part is cut into chunks of this size: one changed element of a large array costs one chunk."""

INLINE_BYTES_MAX = 512
"""Parts up to this size stand in their group: a chunk of its own costs an address here and rows in the store."""

PAGE_BYTES_MAX = 64 * 2**20
"""A page is read whole; one group with a million variables, or a part of some terabytes, would need more."""

NAME_CHARS_MAX = 1_000
TEXT_CHARS_MAX = 2_000
"""A reason or a type's name; longer text is cut where it is written."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Code objects are only good for one minor version of Python, so a checkpoint names it."""

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class PayloadPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One byte string, cut into chunks; a short one stands as itself (`bytes`) where a part is expected."""

    size: Count
    digests: tuple[Digest, ...]


class Group(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Variables that are saved together because they share objects, in load order.

    `needs` names the functions and classes of other groups that this one refers to. Part 0 is the pickle stream, the
    others are out-of-band buffers. `definitions` are `values` that load first. A group of kind `state` or `sources`
    holds no variables: the interpreter's own state, and the source text of cells.
    """

    kind: Literal["values", "definitions", "atoms", "state", "sources"]
    names: tuple[Name, ...]
    needs: tuple[Name, ...]
    parts: tuple[PayloadPart | bytes, ...]


class Page(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where some groups of the table are: a chunk that holds a msgpack array of them."""

    size: Annotated[int, msgspec.Meta(ge=1, le=PAGE_BYTES_MAX)]
    digest: Digest


class Module(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that is a module, saved by name; `version` is what was loaded, or empty."""

    name: Name
    module: Name
    version: Text


class LostVariable(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that could not be saved: its type, the reason, and the execution that made it (or empty).

    Of something inside of a variable the path is the name, and a placeholder stands there.
    """

    name: Name
    kind: Text
    reason: Text
    execution: Text = ""


class Rebuilt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A variable that comes back made anew, and how: `an lru_cache starts empty`."""

    name: Name
    how: Text


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root of a namespace's table. `internals` says how the engine's own names come back (specs/checkpoint.md)."""

    python: Text
    pages: tuple[Page, ...]
    modules: tuple[Module, ...] = ()
    lost: tuple[LostVariable, ...] = ()
    rebuilt: tuple[Rebuilt, ...] = ()
    internals: dict[Name, Text] = {}
    packages: dict[Name, Text] = {}


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that crosses the pipe. From a worker: the chunks that the last payload did not have. To a worker: all
    of them, in the order of `Table.digests`."""

    format: Text
    contents: Contents
    chunks: tuple[memoryview, ...]


class StatementPosition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the code was: the next statement to run, calls made per capability, characters of output written.

    `iteration`: how many iterations of that statement, a loop over `durable.resumable(...)`, are finished.
    """

    execution: Text
    n: Count
    statement: Count
    final: bool
    counters: dict[Name, Count] = {}
    output_offset: Count = 0
    iteration: Count = 0


class CheckpointManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest that the engine signs and stores. `outcome` is the execution's result as JSON text, of a final one.

    `number` counts the checkpoints of a session, `predecessor` is the identity of the one before.
    """

    format: Text
    version: Text
    session: Name
    profile: Text
    position: StatementPosition
    created_at_ms: Count
    contents: Contents
    grants: tuple[Text, ...] = ()
    outcome: bytes | None = None
    previous: Text | None = None
    number: Count = 0
    predecessor: Digest | None = None


class Malformed(CheckpointError):
    """The data is not what specs/checkpoint.md says: no honest worker sends it."""


def chunk_digest(data: bytes | memoryview) -> bytes:
    """The address of a chunk: SHA-256, the fastest strong hash where the processor has it built in."""
    return hashlib.sha256(data).digest()


def cut(data: bytes | memoryview) -> Iterator[memoryview]:
    """Slices of CHUNK_BYTES; the last is shorter, and nothing has none."""
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def chunk_sizes(part: PayloadPart) -> Iterable[tuple[bytes, int]]:
    """Each chunk's digest with its size in bytes; raises CheckpointError when they do not add up."""
    whole, rest = divmod(part.size, CHUNK_BYTES)
    sizes = [CHUNK_BYTES] * min(whole, len(part.digests)) + ([rest] if rest else [])
    if len(part.digests) != whole + bool(rest):
        raise Malformed(f"a part of {part.size} bytes cannot have {len(part.digests)} chunks")
    return zip(part.digests, sizes, strict=True)


_payload_decoder = msgspec.msgpack.Decoder(Payload)
_encoder = msgspec.msgpack.Encoder()
_CHUNK = b"\xc6"
"""Of msgpack: bytes follow, after 4 bytes of length."""


def decode_payload(data: bytes | bytearray | memoryview) -> Payload:
    """Parse and check a payload from the other side; CheckpointError says what does not fit."""
    try:
        payload = _payload_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise Malformed(f"the checkpoint data is not what specs/checkpoint.md says: {error}") from None
    check_format(payload.format)
    return payload


def encode_payload(payload: Payload) -> bytes:
    """The bytes that cross the pipe."""
    return b"".join(payload_buffers(payload))


def payload_buffers(payload: Payload) -> list[bytes | memoryview]:
    """The same bytes as `encode_payload`, in pieces: the chunks are not copied."""
    head = b"\x83" + b"".join(map(_encoder.encode, ("format", payload.format, "contents", payload.contents, "chunks")))
    buffers: list[bytes | memoryview] = [head + b"\xdd" + len(payload.chunks).to_bytes(4, "big")]
    for chunk in payload.chunks:
        buffers += (_CHUNK + len(chunk).to_bytes(4, "big"), chunk)
    return buffers


def payload_layout(contents: Contents, sizes: Iterable[int]) -> tuple[list[tuple[int, bytes]], list[int], int]:
    """Where in a payload with chunks of these sizes everything is, before there are any.

    What stands between the chunks (offset, bytes), the chunks' offsets, the whole size.
    """
    lengths = list(sizes)
    head = payload_buffers(Payload(format=FORMAT, contents=contents, chunks=()))[0]
    at = len(head)
    between = [(0, bytes(head[:-4]) + len(lengths).to_bytes(4, "big"))]
    offsets = []
    for size in lengths:
        between.append((at, _CHUNK + size.to_bytes(4, "big")))
        offsets.append(at + 5)
        at += 5 + size
    return between, offsets, at


def check_format(found: str) -> None:
    """Refuse a format that this version does not know."""
    if found not in FORMATS:
        raise CheckpointError(
            f"the checkpoint has format {found[:20]!r}, this version reads {', '.join(FORMATS)}; "
            "use the version that wrote it"
        )
