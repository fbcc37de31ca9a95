"""A session's checkpoint written to one file, and a session made from such a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.confine.limits import Profile
from checkpoint.engine_side.seal import open_sealed, read_manifest
from checkpoint.format import archive, package_versions
from checkpoint.format.payload import CheckpointManifest
from checkpoint.format.signature import key_id
from durable.core.errors import CheckpointTampered, Conflict
from durable.core.frozen_record import FrozenRecord
from durable.core.ids import check_session_name
from durable.sessions.checkpoints.checkpoint_reader import Opened, Stored
from durable.sessions.language import Language, language_of, language_option
from durable.sessions.ownership.session_confinement import check_machine, confinement_of, options_of
from durable.sessions.permissions import defined_by

if TYPE_CHECKING:
    from durable.sessions.ownership.owner import SessionHost
    from durable.sessions.services import House


class Exported(FrozenRecord, frozen=True):
    """A file that was written: its path, its size in bytes, and which key its checkpoint is signed with."""

    path: Path
    size: int
    key: str


async def export(
    house: House, stored: Stored, opened: Opened, label: str | None, path: Path, language: Language
) -> Exported:
    """Write a verified checkpoint to a new file. CheckpointError when it exists or cannot be written."""
    digests = [digest.hex() for digest in opened.table.digests]
    kept = await stored.fetch(digests)
    key = key_id(house.store.key)
    head = archive.ArchiveHead(archive.FORMAT, key, label, opened.envelope, tuple(digests), language)
    size = await asyncio.to_thread(archive.write, path, head, [kept[digest] for digest in digests])
    return Exported(path, size, key)


async def import_(house: House, host: SessionHost, path: Path, name: str | None, *, trust: bool) -> str:
    """Make a session from a file, with the profile and grants that it had; returns its name.

    What it holds runs code when it is restored, so a file of another store is CheckpointTampered unless it is trusted:
    then this store signs it. Conflict when the session exists, BadArguments for a grant that this engine does not know,
    SandboxUnavailable for JavaScript that cannot be run here.
    """
    head, chunks = await asyncio.to_thread(archive.read, path)
    own = key_id(house.store.key)
    if head.key != own and not trust:
        raise CheckpointTampered(
            f"{str(path)!r} was exported by a store with the key {head.key[:16]}, this one has {own}. A checkpoint can "
            "run any code when it is restored: import it with `--trust` (trust=True) if you know where it comes from"
        )
    key = house.store.key if head.key == own else None
    manifest: CheckpointManifest = read_manifest(head.manifest, key)
    if not house.keeping.override_environment:
        package_versions.check(manifest.contents, f"what {str(path)!r} holds")
    grants = house.capabilities.check(manifest.grants)
    profile: Profile = "isolated" if manifest.profile == "isolated" else "open"
    payload = await asyncio.to_thread(
        open_sealed, head.manifest, lambda _: chunks, key, profile=profile, grants=manifest.grants
    )
    session = check_session_name(name or manifest.session)
    spoken = language_option(language_of({"language": head.language}), None)
    options = {"grants": list(grants), **options_of(profile, None, None), **spoken}
    options |= defined_by(house.capabilities, grants)
    await check_machine(confinement_of(house.store, session, options))
    made = (await house.store.request("session.open", {"session": session, "engine": None, "options": options})).data
    if not made["created"]:
        raise Conflict(f"session {session!r} exists; import it under another name")
    await (await host.live(session)).between.begin_from(payload, head.label)
    return session
