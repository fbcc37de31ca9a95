"""The engine's side: seal what a worker captured, open it again for a worker. Never unpickles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import msgspec

from checkpoint.format import (
    FORMAT,
    Manifest,
    Payload,
    Position,
    check_contents,
    check_format,
    chunk_digest,
    decode_payload,
    encode_payload,
)
from checkpoint.sign import sign, verified
from durable.core.errors import CheckpointError, CheckpointTampered
from durable.core.limits import VALUE_BYTES_MAX

PROFILES = ("open", "isolated")
"""From the least to the most strict."""

_manifest_decoder = msgspec.msgpack.Decoder(Manifest)
_head_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
VERSION = version("durable-exec")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A checkpoint ready to store: first the chunks, then, when they are durable, the manifest.

    `chunks` are the new ones as (hex digest, bytes); `uses` names every chunk that the manifest needs.
    """

    manifest: bytes
    chunks: list[tuple[str, bytes]]
    uses: list[str]
    read: Manifest


def seal(
    payload: bytes,
    *,
    session: str,
    position: Position,
    key: bytes,
    created_at_ms: int,
    profile: str = "open",
    grants: Iterable[str] = (),
    outcome: bytes | None = None,
    previous: Manifest | None = None,
    previous_id: str | None = None,
) -> Sealed:
    """Check a worker's payload and sign it. The payload is untrusted input.

    A chunk that the payload does not bring must be in `previous`, the last sealed manifest of the same session,
    else CheckpointError: ask the worker for a whole capture (`Capturer.forget`). `outcome` is JSON text.
    """
    parsed = decode_payload(payload)
    check_profile(profile)
    if outcome is not None and len(outcome) > VALUE_BYTES_MAX:
        raise CheckpointError(f"the outcome has {len(outcome)} bytes, at most {VALUE_BYTES_MAX} can be kept")
    wanted = parsed.contents.digests()
    chunks: dict[bytes, bytes] = {}
    for data in parsed.chunks:
        digest = chunk_digest(data)
        if wanted.get(digest) != len(data):
            raise CheckpointError("the worker sent a chunk that its table does not have")
        chunks[digest] = bytes(data)
    carried = previous.contents.digests() if previous is not None and previous.session == session else {}
    for digest, size in wanted.items():
        if digest not in chunks and carried.get(digest) != size:
            raise CheckpointError(
                f"the worker left out chunk {digest.hex()}, which its last checkpoint did not have either"
            )
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        session=session,
        profile=profile,
        position=position,
        created_at_ms=created_at_ms,
        contents=parsed.contents,
        grants=tuple(sorted(grants)),
        outcome=outcome,
        previous=previous_id,
    )
    return Sealed(
        manifest=sign(msgspec.msgpack.encode(manifest), key),
        chunks=[(digest.hex(), data) for digest, data in chunks.items()],
        uses=[digest.hex() for digest in wanted],
        read=manifest,
    )


def read_manifest(envelope: bytes, key: bytes) -> Manifest:
    """Verify and parse a stored manifest. CheckpointTampered, or CheckpointError for a newer format."""
    body = verified(envelope, key)
    try:
        head = _head_decoder.decode(body)
        check_format(msgspec.msgpack.decode(head["format"], type=str))
        manifest = _manifest_decoder.decode(body)
    except (msgspec.MsgspecError, KeyError) as error:
        raise CheckpointError(f"the manifest cannot be read: {error}") from None
    check_contents(manifest.contents)
    return manifest


def open_sealed(
    envelope: bytes,
    fetch: Callable[[list[str]], Mapping[str, bytes]],
    key: bytes,
    *,
    profile: str,
    grants: Iterable[str] | None = None,
) -> bytes:
    """The payload for `restore_into` of a worker that runs under `profile` (and `grants`, where given).

    `fetch` takes hex digests. Everything is verified before a byte goes to a worker: CheckpointTampered for a
    changed manifest or chunk, CheckpointError for a missing chunk, a newer format, a less strict profile.
    """
    manifest = read_manifest(envelope, key)
    check_stricter(manifest, profile, grants)
    wanted = manifest.contents.digests()
    found = fetch([digest.hex() for digest in wanted]) if wanted else {}
    chunks: list[memoryview] = []
    for digest, size in wanted.items():
        data = found.get(digest.hex())
        if data is None:
            raise CheckpointError(f"chunk {digest.hex()} of the checkpoint is missing from the store")
        if len(data) != size or chunk_digest(data) != digest:
            raise CheckpointTampered(f"chunk {digest.hex()} of the checkpoint was changed")
        chunks.append(memoryview(data))
    return encode_payload(Payload(format=FORMAT, contents=manifest.contents, chunks=tuple(chunks)))


def check_profile(profile: str) -> int:
    """How strict a profile is; CheckpointError when there is none of that name."""
    if profile not in PROFILES:
        raise CheckpointError(f"there is no profile {profile!r}; known: {', '.join(PROFILES)}")
    return PROFILES.index(profile)


def check_stricter(manifest: Manifest, profile: str, grants: Iterable[str] | None) -> None:
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
