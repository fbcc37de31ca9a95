"""The rules for output that comes faster than it is taken (specs/worker-protocol.md, B1-B5, K4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import structs

from durable.core.errors import BadArguments
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import OUTPUT_DRAIN_MS, OUTPUT_STORED_CHARS_MAX

type OutputPolicy = Literal["block", "drop_new", "drop_oldest", "error"]
type DrainPolicy = Literal["error", "warn"]

DRAIN_MS_MAX = 3_600_000
STORED_CHARS_MAX = 2**40


class OutputRules(FrozenRecord, frozen=True, kw_only=True):
    """A session's rules for its output. Raises BadArguments for what is not allowed.

    policy: what code that prints meets while nothing is read: it waits ("block"), goes on ("drop_new" and "drop_oldest"
    say what of the waiting output is dropped, and marked), or gets OutputOverflow ("error").
    drain: what an execution ends with when its output is not taken within drain_ms (milliseconds): the error
    OutputDrainTimeout ("error"), or its own outcome and a warning ("warn").
    stored: characters of one execution that are kept; live readers get all.
    """

    policy: OutputPolicy = "block"
    drain: DrainPolicy = "error"
    drain_ms: int = OUTPUT_DRAIN_MS
    stored: int = OUTPUT_STORED_CHARS_MAX

    def __post_init__(self) -> None:
        for name, given, allowed in (("policy", self.policy, OutputPolicy), ("drain", self.drain, DrainPolicy)):
            choices = get_args(allowed.__value__)
            if given not in choices:
                raise BadArguments(f"OutputRules({name}={given!r}): expected one of {', '.join(choices)}")
        for name, count, most in (("drain_ms", self.drain_ms, DRAIN_MS_MAX), ("stored", self.stored, STORED_CHARS_MAX)):
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
                raise BadArguments(f"OutputRules({name}={count!r}): expected a whole number from 0 to {most}")

    def to_json(self) -> dict[str, Any]:
        """The rules that differ from the default."""
        default = structs.asdict(OutputRules())
        return {name: value for name, value in structs.asdict(self).items() if value != default[name]}

    @classmethod
    def read(cls, found: Mapping[str, object]) -> OutputRules:
        """Read what `to_json` made. Raises BadArguments for another name, so that a rule is never dropped."""
        try:
            return cls(**found)  # type: ignore[arg-type]  # checked in __post_init__
        except TypeError as error:
            raise BadArguments(f"output rules {dict(found)!r}: {error}") from None
