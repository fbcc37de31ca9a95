"""The oracle's edge: reads the fields of a request strictly, and refuses what the protocol does not allow.

Every reader raises `Refusal` with status 400 and a constant reason, so that coverage can count reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

type Json = dict[str, Any]

INTEGER_MAX = 2**63 - 1
"""What a store's integer column holds."""

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000

PROMISE_STATES = ("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout")
SETTLE_STATES = ("resolved", "rejected", "rejected_canceled")
TASK_STATES = ("pending", "acquired", "suspended", "halted", "fulfilled")

ADDRESS = re.compile(r"poll://(any@[^/@]+(/[^/]+)?|uni@[^/@]+/[^/]+)\Z")
DECIMAL = re.compile(r"[0-9]{1,18}\Z")


class Refusal(Exception):
    """A status of 400 or more. The reason is constant: it never holds a value of the request."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


def require(holds: bool, reason: str, status: int = 400) -> None:
    """Raise Refusal(status, reason) unless `holds`."""
    if not holds:
        raise Refusal(status, reason)


def origin_of(promise_id: str) -> str:
    """What stands before the first `:`."""
    return promise_id.split(":", 1)[0]


def extends(promise_id: str, ancestor: str) -> bool:
    """Whether an id equals an ancestor or carries its lineage on."""
    separator = "." if ":" in ancestor else ":"
    return promise_id == ancestor or promise_id.startswith(ancestor + separator)


def encodable(text: str) -> bool:
    """Whether it can be written as UTF-8: a lone surrogate cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


class Fields:
    """One JSON object of a request."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            raise Refusal(400, "not an object")
        self._data: Json = data

    def has(self, name: str) -> bool:
        """Whether the field is there and not null; null means absent everywhere."""
        return self._data.get(name) is not None

    def text(self, name: str) -> str:
        value = self._data.get(name)
        if not isinstance(value, str) or not value or "\0" in value or not encodable(value):
            raise Refusal(400, f"{name} is not text")
        return value

    def id(self, name: str = "id") -> str:
        value = self.text(name)
        require(bool(origin_of(value)), f"{name} without origin")
        return value

    def integer(self, name: str, low: int, high: int = INTEGER_MAX) -> int:
        value = self._data.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Refusal(400, f"{name} is not an integer in range")
        return value

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self._data.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise Refusal(400, f"{name} is not one of its values")
        return value

    def items(self, name: str) -> list[Fields]:
        """A non-empty list of objects."""
        value = self._data.get(name)
        if not isinstance(value, list) or not value:
            raise Refusal(400, f"{name} is not a list with items")
        return [Fields(item) for item in value]

    def tags(self, name: str = "tags") -> dict[str, str]:
        return _texts(self._data.get(name), f"{name} are not texts")

    def value(self, name: str) -> Json:
        """A promise's param or value: {headers?: {text: text}, data?: text}."""
        raw = self._data.get(name)
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            raise Refusal(400, f"{name} is not a value")
        kept: Json = {}
        if raw.get("headers") is not None:
            kept["headers"] = _texts(raw["headers"], f"{name} has bad headers")
        if raw.get("data") is not None:
            require(isinstance(raw["data"], str) and encodable(raw["data"]), f"{name} has bad data")
            kept["data"] = raw["data"]
        return kept

    def action(self, *kinds: str, name: str = "action") -> tuple[str, Fields]:
        """A nested request {kind, head, data} of one of the kinds."""
        return Fields(self._data.get(name)).nested(*kinds)

    def nested(self, *kinds: str) -> tuple[str, Fields]:
        """This object read as {kind, head, data}."""
        return self.one_of("kind", kinds), Fields(self._data.get("data"))

    def limit(self) -> int:
        return self.integer("limit", 1, LIMIT_MAX) if self.has("limit") else LIMIT_DEFAULT


def _texts(raw: object, reason: str) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(
        isinstance(part, str) and encodable(part) for pair in raw.items() for part in pair
    ):
        raise Refusal(400, reason)
    return dict(raw)


def check_lineage(promise_id: str, tags: Mapping[str, str]) -> None:
    """The id and tag rules of promise.create."""
    require(":" not in tags.get("resonate:origin", ""), "origin holds a colon")
    for name in ("origin", "branch", "parent"):
        ancestor = tags.get(f"resonate:{name}")
        if ancestor is not None:
            require(extends(promise_id, ancestor), f"id does not extend its {name}")
    if "resonate:delay" in tags:
        require(DECIMAL.match(tags["resonate:delay"]) is not None, "delay is not a time")
    require(tags.get("resonate:target") != "", "target is empty")
