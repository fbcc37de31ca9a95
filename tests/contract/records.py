"""A promise and a task as the oracle holds them, and as a reader sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .wire import INTEGER_MAX, Json


@dataclass(slots=True)
class Promise:
    id: str
    state: str
    param: Json
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    value: Json = field(default_factory=dict)
    settled_at: int | None = None

    @property
    def target(self) -> str | None:
        return self.tags.get("resonate:target")

    @property
    def timer(self) -> bool:
        return self.tags.get("resonate:timer") == "true"

    @property
    def external(self) -> bool:
        """Whether others than its creator may wait for it."""
        return (
            self.target is not None
            or self.timer
            or self.tags.get("resonate:external") == "true"
            or self.tags.get("resonate:scope") == "global"
        )

    def due(self, now: int) -> bool:
        """Whether its deadline has come and nothing has settled it yet."""
        return self.state == "pending" and self.timeout_at <= now

    def dispatched_from(self) -> int:
        """The first time that its task may be offered to engines; a timer's never is (9)."""
        return INTEGER_MAX if self.timer else int(self.tags.get("resonate:delay", "0"))

    def record(self) -> Json:
        record: Json = {
            "id": self.id,
            "state": self.state,
            "param": self.param,
            "value": self.value,
            "tags": self.tags,
            "timeoutAt": self.timeout_at,
            "createdAt": self.created_at,
        }
        return record if self.settled_at is None else record | {"settledAt": self.settled_at}


@dataclass(slots=True)
class Task:
    id: str
    state: str = "pending"
    version: int = 0
    resumes: int = 0
    ttl: int | None = None
    pid: str | None = None
    lease_until: int | None = None

    def record(self) -> Json:
        record: Json = {"id": self.id, "state": self.state, "version": self.version, "resumes": self.resumes}
        return record if self.state != "acquired" else record | {"ttl": self.ttl, "pid": self.pid}
