"""The permissions of a session, as they are recorded, and changing them while it lives (specs/permission.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capabilities.capability import Capabilities
from capabilities.permissions.empty_manifest import EMPTY
from capabilities.permissions.grants import Grant, read_grant
from capabilities.permissions.levels import QUESTIONS, Level
from capabilities.permissions.policy import Policy
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Conflict, StoreRefused
from durable.sessions.calls.audit import Audit
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from capabilities.permissions.manifest import Manifest

EVERYWHERE = "*"
"""The name under which permissions of all sessions are kept."""

SEEN_MAX = 1_000
"""Answers to asks that are remembered as applied."""
_TRIES_MAX = 20

type Permissions = Manifest | dict[str, Any] | str | Path


def load_permissions(given: Permissions | None, level: Level | None) -> Manifest | None:
    """A manifest from an object, a TOML file's path or a dict, its paths made absolute. BadArguments."""
    if given is None and level is None:
        return None
    from capabilities.permissions.manifest import parse_manifest, read_manifest

    base = Path.cwd()
    if isinstance(given, str | Path):
        path = Path(given)
        base = path.absolute().parent
        try:
            manifest = parse_manifest(path.read_text("utf-8"), str(given))
        except (OSError, UnicodeDecodeError) as error:
            raise BadArguments(f"the manifest {str(given)!r} cannot be read: {error}") from None
    else:
        manifest = read_manifest(given or {})
    if level is not None:
        manifest = read_manifest({**manifest.to_json(), "level": level}, "the level")
    return _absolute(manifest, base)


def _absolute(manifest: Manifest, base: Path) -> Manifest:
    """Paths are what they are where the manifest is, whichever process reads them later."""
    from capabilities.permissions.manifest import database_path

    update: dict[str, Any] = {}
    if manifest.filesystem is not None and manifest.filesystem.root is not None:
        root = str((base / Path(manifest.filesystem.root).expanduser()).resolve())
        update["filesystem"] = manifest.filesystem.model_copy(update={"root": root})
    files = {name: str((base / database_path(target)).resolve()) for name, target in manifest.query.databases.items()}
    if files:
        update["query"] = manifest.query.model_copy(update={"databases": files})
    return manifest.model_copy(update=update)


def asked_options(
    capabilities: Capabilities, grants: Iterable[str], level: Level | None, permissions: Permissions | None
) -> dict[str, Any]:
    """The permissions in a new session's record. `input` is granted unless a level or manifest is given."""
    if isinstance(grants, str):
        raise BadArguments(f"grants= is a list of texts: write grants=[{grants!r}]")
    manifest = load_permissions(permissions, level)
    listed = [*grants]
    granted = capabilities.check(listed)
    for text in listed:
        read_grant(text)
    if manifest is None:
        return {"grants": list(granted)} | defined_by(capabilities, granted)
    check_manifest(capabilities, manifest)
    names = [text for text in granted if text != "input" or text in listed]
    found = {"grants": names, "permissions": manifest.to_json()}
    return found | defined_by(capabilities, names, manifest)


def defined_by(capabilities: Capabilities, grants: Iterable[str], manifest: Manifest | None = None) -> dict[str, Any]:
    """Where the user's own among what it may call are defined: whoever runs the session can load them from there."""
    policy = Policy(manifest or EMPTY, grants)
    found = {name: place for name, place in capabilities.own().items() if policy.may_have(name, now_ms())}
    return {"defined": found} if found else {}


def check_manifest(capabilities: Capabilities, manifest: Manifest) -> None:
    """BadArguments when it names a capability that this engine does not know, or a grant that cannot be."""
    for text in (*manifest.grant, *manifest.block):
        read_grant(text)
    capabilities.check([*manifest.grant, *manifest.block, *manifest.rates])


def check_permissions(session: str, recorded: dict[str, Any], asked: dict[str, Any]) -> None:
    """An existing session keeps what it was made with; Conflict when more, or another manifest, is asked for."""
    held = recorded.get("grants") or []
    missing = [grant for grant in asked["grants"] if grant not in held and not (grant == "input" and not held)]
    if missing and not ("permissions" in recorded and missing == ["input"]):
        raise Conflict(
            f"session {session!r} exists with the grants {', '.join(held)}, without {', '.join(missing)}; "
            "the first ones count: grant them with `session.grant` or `durable session grant`, "
            "or close the session to make it anew"
        )
    if "permissions" in asked and asked["permissions"] != recorded.get("permissions"):
        raise Conflict(
            f"session {session!r} exists with another manifest; let this one hold with `session.reload`, "
            "or close the session to make it anew"
        )


def manifest_of(options: dict[str, Any]) -> Manifest:
    """The manifest that a session was made with."""
    recorded = options.get("permissions")
    if not recorded:
        return EMPTY  # type: ignore[no-any-return]
    from capabilities.permissions.manifest import read_manifest

    return read_manifest(recorded, "the session's manifest")


class PermissionChanges:
    """Granting and revoking while sessions live; each change is one new version, and is in the audit."""

    def __init__(self, store: StoreFace, capabilities: Capabilities, audit: Audit, *, any_name: bool = False) -> None:
        self._store = store
        self._capabilities = capabilities
        self._audit = audit
        self._any_name = any_name  # a client does not know the capabilities of the engines that it talks past

    def _check(self, text: str) -> Grant:
        if not self._any_name:
            self._capabilities.check([text])
        return read_grant(text)

    async def grant(
        self, session: str, text: str, *, seconds: float | None = None, by: str | None = None, ask: str | None = None
    ) -> None:
        """Allow more, for so many seconds or until it is revoked. `ask`: the prompt whose answer this applies, once."""
        grant = self._check(text)
        if seconds is not None and not seconds > 0:
            raise BadArguments(f"seconds= is more than 0, not {seconds:g}; `revoke` ends a grant")
        until = None if seconds is None else now_ms() + int(seconds * 1000)
        made_with = await self._made_with(session)
        entry = {"grant": text} | ({"until_ms": until} if until is not None else {}) | ({"by": by} if by else {})

        def change(document: dict[str, Any], everywhere: dict[str, Any]) -> bool:
            if ask is not None:
                if ask in document.get("seen", []):
                    return False
                document["seen"] = [*document.get("seen", []), ask][-SEEN_MAX:]
            document["grants"] = [*_without(document.get("grants"), text), entry]
            document["revoked"] = _without(document.get("revoked"), text)
            if ask is None:
                _check_effect(grant, text, document, everywhere if session != EVERYWHERE else {}, made_with)
            return True

        if await self._change(session, change):
            self._audit.note(session, "", text, "", "granted", _by(by) + (f" for {seconds:g} s" if seconds else ""))

    async def revoke(self, session: str, text: str, *, by: str | None = None) -> None:
        """Allow it no more, from the next call on, whatever else says so."""
        grant = self._check(text)

        def change(document: dict[str, Any], _everywhere: dict[str, Any]) -> bool:
            kept = _without(document.get("grants"), text)
            if not grant.resource:
                kept = [entry for entry in kept if read_grant(entry["grant"]).name != grant.name]
            document["grants"] = kept
            if grant.name != "level":  # an elevation just ends
                document["revoked"] = [*_without(document.get("revoked"), text), {"grant": text}]
            return True

        await self._change(session, change)
        self._audit.note(session, "", text, "", "revoked", _by(by))

    async def reload(self, session: str, manifest: Manifest, *, by: str | None = None) -> None:
        """Let another manifest hold from the next call on. BadArguments."""
        if not self._any_name:
            check_manifest(self._capabilities, manifest)

        def change(document: dict[str, Any], _everywhere: dict[str, Any]) -> bool:
            document["manifest"] = manifest.to_json()
            return True

        await self._change(session, change)
        self._audit.note(session, "", "manifest", "", "reloaded", _by(by))

    async def _made_with(self, session: str) -> dict[str, Any]:
        """The options of the session; none for `*`, nor for one that is still to be made."""
        try:
            return (await self._store.request("session.get", {"session": session})).data.get("options") or {}
        except StoreRefused as refused:
            if refused.status != 404:
                raise
            return {}

    async def _change(self, name: str, change: Callable[[dict[str, Any], dict[str, Any]], bool]) -> bool:
        for _ in range(_TRIES_MAX):
            found = (await self._store.request("policy.get", {"name": name})).data
            own, document = found["own"], dict(found["own"]["document"])
            if not change(document, found["everywhere"]["document"]):
                return False
            try:
                await self._store.request("policy.set", {"name": name, "before": own["version"], "document": document})
            except StoreRefused as refused:
                if refused.status != 409:
                    raise
                continue  # somebody else changed them: apply it to what they made of it
            return True
        raise Conflict(f"the permissions of {name!r} change all the time; try again")


def _without(entries: Any, text: str) -> list[dict[str, Any]]:
    return [entry for entry in entries or [] if entry.get("grant") != text]


def _check_effect(
    grant: Grant, text: str, own: dict[str, Any], everywhere: dict[str, Any], made_with: dict[str, Any]
) -> None:
    """Conflict where what comes first takes all of it away: a revocation, or what the manifest blocks."""
    before = {text, grant.name, "*", *(("input",) if grant.name in QUESTIONS else ())}
    manifest = own.get("manifest") or made_with.get("permissions") or {}
    for blocked, how, then in (
        (_texts(own), "was revoked", "grant that again"),
        (_texts(everywhere), "was revoked for all sessions", f"grant that again, for {EVERYWHERE!r}"),
        (manifest.get("block") or (), "is blocked by the manifest", "let another one hold with `session.reload`"),
    ):
        wider = next((each for each in blocked if each in before), None)
        if wider is not None:
            raise Conflict(f"{text!r} would change nothing: {wider!r} {how}, which comes first; {then}")


def _texts(document: dict[str, Any]) -> list[str]:
    return [entry["grant"] for entry in document.get("revoked") or [] if "grant" in entry]


def _by(by: str | None) -> str:
    return f"by {by}" if by else "by the host"
