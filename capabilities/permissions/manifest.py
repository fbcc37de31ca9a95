"""The manifest: what a session or component may do, as TOML or as these objects. Unknown keys are refused (A71)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from capabilities.actors.topics import pattern_words
from capabilities.permissions.globs import check_glob
from capabilities.permissions.hosts import check_host, check_network
from capabilities.permissions.levels import CALLS_PER_S, NETWORK_BYTES_PER_S, Level, Trust
from durable.core.errors import BadArguments

type Glob = Annotated[str, AfterValidator(check_glob)]
type Host = Annotated[str, AfterValidator(check_host)]
type Cidr = Annotated[str, AfterValidator(check_network)]
type Port = Annotated[int, Field(ge=1, le=65_535)]
type Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
type Namespace = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
type Database = Annotated[str, AfterValidator(check_database)]
type Topics = Annotated[str, AfterValidator(check_topics)]
type Method = Annotated[str, Field(pattern=r"^[A-Z]{1,20}$")]


def check_topics(pattern: str) -> str:
    """Return a pattern of topics. ValueError says what is wrong with it."""
    pattern_words(pattern)
    return pattern


def check_database(target: str) -> str:
    """Return a path or a `sqlite:///` URL. ValueError: no other databases can be queried."""
    scheme, url, rest = target.partition("://")
    if url and (scheme != "sqlite" or not rest.startswith("/")):
        raise ValueError(f"{target!r}: only SQLite files can be queried; write a path or sqlite:///path")
    return target


def database_path(target: str) -> Path:
    """The file that a manifest names by a path or by `sqlite:///path`; it has been checked (`check_database`)."""
    if "://" not in target:
        return Path(target).expanduser()
    return Path(unquote(urlsplit(target).path[1:])).expanduser()


STORAGE_MB = 100
"""A74, where a manifest says nothing of storage, or of the size of files."""


class ManifestTable(BaseModel):
    """The base of all tables of a manifest. Its schema is built when it is first needed: an empty manifest needs none,
    and building them all took a fifth of an engine's import.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Filesystem(ManifestTable):
    """Patterns below `root`, the session's own directory when None, and what all below it may take in MiB."""

    root: str | None = None
    read: tuple[Glob, ...] = ()
    write: tuple[Glob, ...] = ()
    delete: tuple[Glob, ...] = ()
    list: tuple[Glob, ...] = ()
    max_size_mb: Annotated[int, Field(ge=0)] = STORAGE_MB


def _endpoint(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    host, _, port = given.rpartition(":")
    if host and port.isdigit():
        return {"host": host, "port": int(port)}
    if host and port == "*":
        return {"host": host, "port": None}
    return {"host": given}


class Endpoint(ManifestTable):
    """A host pattern and its port; None is any port. As text: `host`, `host:port`, `host:*`."""

    host: Host
    port: Port | None = 443


def read_endpoint(text: str) -> Endpoint:
    """`host`, `host:port` or `host:*`. pydantic's ValidationError."""
    return Endpoint.model_validate(_endpoint(text))


class Network(ManifestTable):
    """Hosts that code may reach. `methods` None: GET and HEAD up to level standard, all above. `private`: networks
    whose addresses may be reached although they are not public."""

    outbound: tuple[Annotated[Endpoint, BeforeValidator(_endpoint)], ...] = ()
    inbound: tuple[Port, ...] = ()
    """Nothing here listens: it is refused, so that nobody takes it for a right."""
    methods: tuple[Method, ...] | None = None
    private: tuple[Cidr, ...] = ()
    bytes_max: Annotated[int, Field(ge=0)] = 10 * 2**20
    seconds_max: Annotated[float, Field(gt=0)] = 30.0

    @field_validator("inbound")
    @classmethod
    def _none_listens(cls, inbound: tuple[int, ...]) -> tuple[int, ...]:
        if inbound:
            raise ValueError("code cannot listen for connections; leave it out")
        return inbound


class Storage(ManifestTable):
    """Shared namespaces beside the own one, and what each may hold in MiB."""

    namespaces: tuple[Namespace, ...] = ()
    max_size_mb: Annotated[int, Field(ge=0)] = 0


class EnvironmentTable(ManifestTable):
    """Variables of the engine's environment; `*` and `?` as in file names."""

    read: tuple[Name, ...] = ()


class ProcessTable(ManifestTable):
    """Programs by name (looked up in the system's directories) or absolute path, and what one run may take."""

    programs: tuple[Name, ...] = ()
    seconds_max: Annotated[float, Field(gt=0)] = 30.0
    output_bytes_max: Annotated[int, Field(ge=0)] = 2**20


class QueryTable(ManifestTable):
    """SQLite files by the name that code uses for them: a path or a `sqlite:///` URL."""

    databases: dict[Name, Database] = {}
    seconds_max: Annotated[float, Field(gt=0)] = 10.0
    rows_max: Annotated[int, Field(ge=1)] = 10_000


class Functions(ManifestTable):
    """Durable functions that code may start: patterns of `name` or of the whole `where::name@version`."""

    start: tuple[Name, ...] = ()


class MessagingTable(ManifestTable):
    """Actors that code may send to, patterns of `class/key`; topics that it may publish on, and subscribe to."""

    send: tuple[Name, ...] = ()
    publish: tuple[Topics, ...] = ()
    subscribe: tuple[Topics, ...] = ()


class QuotasTable(ManifestTable):
    """A74; per second, as a bucket that holds one second's worth."""

    calls_per_s: Annotated[float, Field(gt=0)] = CALLS_PER_S
    network_bytes_per_s: Annotated[float, Field(gt=0)] = NETWORK_BYTES_PER_S


class Manifest(ManifestTable):
    """The permissions of one session or component. An empty one allows nothing but to print.

    level: the base set of capabilities. grant: more of them, `name` or `name:resource`. block: never, whatever else
    says so. trust: what happens to an ask that nothing allows: denied (strict), put to a person (unknown), allowed
    (trusted), or nothing is checked at all (development).
    """

    level: Level = "sandbox"
    trust: Trust = "strict"
    grant: tuple[Name, ...] = ()
    block: tuple[Name, ...] = ()
    filesystem: Filesystem | None = None
    network: Network = Field(default_factory=Network.model_construct)
    storage: Storage | None = None
    environment: EnvironmentTable = Field(default_factory=EnvironmentTable.model_construct)
    process: ProcessTable = Field(default_factory=ProcessTable.model_construct)
    query: QueryTable = Field(default_factory=QueryTable.model_construct)
    functions: Functions = Field(default_factory=Functions.model_construct)
    messaging: MessagingTable = Field(default_factory=MessagingTable.model_construct)
    quotas: QuotasTable = Field(default_factory=QuotasTable.model_construct)
    rates: dict[Name, Annotated[float, Field(gt=0)]] = {}
    """Calls per second by capability, below that of all together."""

    @property
    def storage_bytes_max(self) -> int:
        """Bytes that one namespace may hold."""
        return (STORAGE_MB if self.storage is None else self.storage.max_size_mb) * 2**20

    @property
    def files_bytes_max(self) -> int:
        """Bytes that all files below the root may take, whoever wrote them."""
        return (STORAGE_MB if self.filesystem is None else self.filesystem.max_size_mb) * 2**20

    def to_json(self) -> dict[str, Any]:
        """The manifest as the session's record keeps it: without what is default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def read_manifest(found: Any, where: str = "the manifest") -> Manifest:
    """A manifest from JSON-like data; BadArguments names each field that does not fit."""
    if isinstance(found, Manifest):
        return found
    if found == {}:
        return Manifest.model_construct()
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {said(e['msg'])}" for e in error.errors())
        raise BadArguments(f"{where} is not valid: {'; '.join(lines)}") from None


def said(message: str) -> str:
    """The text of a check of ours, without pydantic's word for it."""
    return "an unknown key" if message == _EXTRA else message.removeprefix("Value error, ")


_EXTRA = "Extra inputs are not permitted"


def parse_manifest(text: str, where: str = "the manifest") -> Manifest:
    """A manifest from TOML: one table `permissions`, or its content alone. BadArguments says what is wrong."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadArguments(f"{where} is not TOML: {error}") from None
    return read_manifest(found["permissions"] if set(found) == {"permissions"} else found, where)
