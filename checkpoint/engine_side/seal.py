"""The engine's side: seal what a worker captured, open it again for a worker. Never unpickles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from types import MappingProxyType

import msgspec

from checkpoint.blobs.memory_file import MemoryFile
from checkpoint.format.compression import unpacked
from checkpoint.format.group_table import GroupTable, read_table
from checkpoint.format.payload import (
    FORMAT,
    UNNUMBERED,
    CheckpointManifest,
    Malformed,
    Payload,
    StatementPosition,
    check_format,
    chunk_digest,
    decode_payload,
    encode_payload,
    payload_layout,
)
from checkpoint.format.signature import sign, unsigned, verified
from durable.core.errors import CheckpointError, CheckpointTampered
from durable.core.extras import installed_version
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import VALUE_BYTES_MAX

PROFILES = ("open", "isolated")
"""From the least to the most strict."""

_manifest_decoder = msgspec.msgpack.Decoder(CheckpointManifest)
_head_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Sealed(FrozenRecord, frozen=True):
    """A checkpoint ready to store: first the chunks, then, when they are durable, the manifest.

    `chunks` are the new ones as (hex digest, bytes); `uses` names every chunk that the manifest needs, `carried` those
    of them that the previous one has. The `previous` of the next one is (`read`, `table`).
    """

    manifest: bytes
    chunks: list[tuple[str, memoryview]]
    uses: list[str]
    carried: list[str]
    read: CheckpointManifest
    table: GroupTable


class Hashed(FrozenRecord, frozen=True):
    """A worker's payload with the addresses of its chunks, which are computed here."""

    payload: Payload
    chunks: dict[bytes, memoryview]

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Hashed:
        """One after the other. CheckpointError for what is no payload."""
        payload = decode_payload(data)
        return cls(payload, {chunk_digest(chunk): chunk for chunk in payload.chunks})


def seal(
    payload: Hashed | bytes | bytearray | memoryview,
    *,
    session: str,
    position: StatementPosition,
    key: bytes,
    created_at_ms: int,
    profile: str = "open",
    grants: Iterable[str] = (),
    outcome: bytes | None = None,
    previous: tuple[CheckpointManifest, GroupTable] | None = None,
    previous_id: str | None = None,
    arrived: Mapping[bytes, int] = MappingProxyType({}),
    number: int = 0,
    predecessor: bytes | None = None,
) -> Sealed:
    """Check a worker's payload and sign it. The payload is untrusted input: Malformed for what no honest worker sends.

    `arrived` are chunks that came before the payload, by digest with their size: they are kept already, or not used.
    A chunk that did not come must be in `previous`, the last sealed manifest of the same session; a worker leaves out
    only what it has sent. CheckpointError for an outcome that is too large. `outcome` is JSON text.
    """
    hashed = payload if isinstance(payload, Hashed) else Hashed.of(payload)
    parsed, chunks = hashed.payload, hashed.chunks
    check_profile(profile)
    if outcome is not None and len(outcome) > VALUE_BYTES_MAX:
        raise CheckpointError(f"the outcome has {len(outcome)} bytes, at most {VALUE_BYTES_MAX} can be kept")
    known = previous[1] if previous is not None and previous[0].session == session else None

    def page(digest: bytes) -> memoryview:
        if digest not in chunks:
            raise Malformed(f"the worker left out page {digest.hex()}, which its last checkpoint did not have either")
        return chunks[digest]

    table = read_table(parsed.contents, page, None if known is None else known.pages)
    carried = {} if known is None else known.digests
    came = {digest: size for digest, size in arrived.items() if table.digests.get(digest) == size} | {
        digest: len(data) for digest, data in chunks.items()
    }
    _check_chunks(table, came, carried)
    manifest = CheckpointManifest(
        format=FORMAT,
        version=installed_version(),
        session=session,
        profile=profile,
        position=position,
        created_at_ms=created_at_ms,
        contents=parsed.contents,
        grants=tuple(sorted(grants)),
        outcome=outcome,
        previous=previous_id,
        number=number,
        predecessor=predecessor,
    )
    return Sealed(
        manifest=sign(msgspec.msgpack.encode(manifest), key),
        chunks=[(digest.hex(), data) for digest, data in chunks.items()],
        uses=[digest.hex() for digest in table.digests],
        carried=[digest.hex() for digest in table.digests if digest not in came],
        read=manifest,
        table=table,
    )


def _check_chunks(table: GroupTable, came: Mapping[bytes, int], carried: Mapping[bytes, int]) -> None:
    """Malformed for a chunk that the table does not have, and for one that it has and nobody else."""
    for digest, size in came.items():
        if table.digests.get(digest) != size:
            raise Malformed("the worker sent a chunk that its table does not have")
    for digest, size in table.digests.items():
        if digest not in came and carried.get(digest) != size:
            raise Malformed(f"the worker left out chunk {digest.hex()}, which its last checkpoint did not have either")


def read_manifest(envelope: bytes, key: bytes | None) -> CheckpointManifest:
    """Verify and parse a stored manifest. CheckpointTampered, or CheckpointError for a newer format.

    `key` None: whoever signed it, it is trusted.
    """
    body = unsigned(envelope) if key is None else verified(envelope, key)
    try:
        head = _head_decoder.decode(body)
        check_format(msgspec.msgpack.decode(head["format"], type=str))
        return _manifest_decoder.decode(body)
    except (msgspec.MsgspecError, KeyError) as error:
        raise CheckpointError(f"the manifest cannot be read: {error}") from None


def identity(envelope: bytes) -> bytes:
    """A stored manifest's digest, whoever signed it: what its successor names."""
    return chunk_digest(unsigned(envelope))


def check_place(
    manifest: CheckpointManifest, session: str, number: int | None, before: tuple[int | None, bytes | None] | None
) -> None:
    """Refuse a manifest that was put into another place than it was sealed for: CheckpointTampered.

    number: what its row says, None for rows of before there were numbers. before: the same of the session's row before
    it, with that one's `identity`; None when there is none.
    """
    if manifest.session != session:
        raise CheckpointTampered(f"it was sealed for session {manifest.session!r}, and lies in session {session!r}")
    before_number = None if before is None else before[0]
    if manifest.format in UNNUMBERED:
        if number is not None or before_number is not None:
            raise CheckpointTampered("it is older than the checkpoint before it: another one was put there")
        return
    if manifest.number != number:
        raise CheckpointTampered(f"it was sealed as number {manifest.number} of its session, and lies as {number}")
    if before is None or before_number is None:
        return
    if manifest.number <= before_number:
        raise CheckpointTampered(f"number {manifest.number} of its session lies after number {before_number}")
    if manifest.number == before_number + 1 and manifest.predecessor != before[1]:
        raise CheckpointTampered("the checkpoint before it is not the one that it was made after")


type Fetch = Callable[[list[str]], Mapping[str, bytes]]
"""Chunks by hex digest, as they are kept; one that is missing is absent from the answer."""


def fetch_table(manifest: CheckpointManifest, fetch: Fetch) -> GroupTable:
    """The groups of a manifest. CheckpointTampered for a changed page, CheckpointError for a missing one."""
    pages = {page.digest: page.size for page in manifest.contents.pages}
    return read_table(manifest.contents, _fetched(pages, fetch).__getitem__)


def open_sealed(
    envelope: bytes,
    fetch: Fetch,
    key: bytes | None,
    *,
    profile: str,
    grants: Iterable[str] | None = None,
) -> bytes:
    """The payload for `restore_into` of a worker that runs under `profile` (and `grants`, where given).

    `fetch` is called twice, for the pages and for the rest. Everything is verified before a byte goes to a worker:
    CheckpointTampered for a changed manifest or chunk, CheckpointError for a missing chunk, a newer format, a less
    strict profile.
    """
    manifest = read_manifest(envelope, key)
    check_stricter(manifest, profile, grants)
    table = fetch_table(manifest, fetch)
    chunks = _fetched(table.digests, fetch)
    return encode_payload(Payload(format=FORMAT, contents=manifest.contents, chunks=tuple(chunks.values())))


FETCHED_MAX = 4
"""Chunks that a thread reads, verifies and writes at a time."""

FILLERS_MAX = 2
"""Threads that do so: hashing leaves the interpreter to others, reading and writing too."""


def open_into_memory(
    manifest: CheckpointManifest, table: GroupTable, fetch: Fetch, *, profile: str, grants: Iterable[str] | None = None
) -> MemoryFile:
    """The same payload as `open_sealed` gives, of a manifest that was read with its key, in a sealed memory file.

    `fetch` is called from several threads, for a few chunks each. The errors are those of `open_sealed`.
    """
    check_stricter(manifest, profile, grants)
    between, offsets, size = payload_layout(manifest.contents, table.digests.values())
    try:
        file = MemoryFile(size)
        for offset, data in between:
            file.write(data, offset)

        def fill(some: Sequence[tuple[tuple[bytes, int], int]]) -> None:
            chunks = _fetched(dict(chunk for chunk, _offset in some), fetch)
            for (digest, _size), offset in some:
                file.write(chunks[digest], offset)

        with ThreadPoolExecutor(FILLERS_MAX, "restore") as pool:
            try:
                for _done in pool.map(fill, batched(zip(table.digests.items(), offsets, strict=True), FETCHED_MAX)):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)
        file.seal()
    except OSError as error:
        raise CheckpointError(f"a checkpoint of {size} bytes cannot be opened in memory: {error}") from None
    return file


def _fetched(wanted: Mapping[bytes, int], fetch: Fetch) -> dict[bytes, memoryview]:
    found = fetch([digest.hex() for digest in wanted]) if wanted else {}
    chunks: dict[bytes, memoryview] = {}
    for digest, size in wanted.items():
        data = found.get(digest.hex())
        if data is None:
            raise CheckpointError(f"chunk {digest.hex()} of the checkpoint is missing from the store")
        chunks[digest] = memoryview(unpacked(data, digest, size))
    return chunks


def check_profile(profile: str) -> int:
    """How strict a profile is; CheckpointError when there is none of that name."""
    if profile not in PROFILES:
        raise CheckpointError(f"there is no profile {profile!r}; known: {', '.join(PROFILES)}")
    return PROFILES.index(profile)


def check_stricter(manifest: CheckpointManifest, profile: str, grants: Iterable[str] | None) -> None:
    """Refuse to bring code into a session that may do more than the one it comes from."""
    if check_profile(profile) < check_profile(manifest.profile):
        raise CheckpointError(
            f"a checkpoint of session {manifest.session!r}, which is {manifest.profile!r}, "
            f"is not restored into an {profile!r} one"
        )
    if grants is not None and (more := set(grants) - set(manifest.grants)):
        raise CheckpointError(
            f"the session has grants that session {manifest.session!r} did not have: {', '.join(sorted(more))}"
        )
