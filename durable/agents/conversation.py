"""The messages between a person, a model and its tools, in a form of no framework's, and as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from durable.core.errors import BadArguments

type Role = Literal["system", "user", "assistant", "tool"]
type MessageKind = Literal["message", "summary", "key_points"]

ROLES: tuple[Role, ...] = get_args(Role.__value__)


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Text."""

    text: str


class CallPart(msgspec.Struct, frozen=True, tag="call", tag_field="type"):
    """A call of a tool that the model makes; `arguments` is JSON as text."""

    id: str
    tool: str
    arguments: str = "{}"


class ReturnPart(msgspec.Struct, frozen=True, tag="return", tag_field="type"):
    """The result of the call of that id."""

    id: str
    tool: str
    text: str


type MessagePart = TextPart | CallPart | ReturnPart


class AgentMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message.

    critical: it stays word for word. tokens: what the provider reported for the whole context up to and with this
    message, input and output. kind, level: of a summary, and how many times what is in it was summarised.
    """

    role: Role
    parts: tuple[MessagePart, ...]
    critical: bool = False
    tokens: int | None = None
    kind: MessageKind = "message"
    level: int = 0

    @property
    def calls(self) -> tuple[CallPart, ...]:
        """The calls in it."""
        return tuple(part for part in self.parts if isinstance(part, CallPart))

    @property
    def returns(self) -> tuple[ReturnPart, ...]:
        """The results in it."""
        return tuple(part for part in self.parts if isinstance(part, ReturnPart))

    @property
    def text(self) -> str:
        """Its text and its results."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart | ReturnPart))

    def with_parts(self, parts: Iterable[MessagePart]) -> AgentMessage:
        """The same message with other parts, of which nothing was reported."""
        return msgspec.structs.replace(self, parts=tuple(parts), tokens=None)

    def encode(self) -> str:
        """As JSON text; equal messages are equal texts."""
        return msgspec.json.encode(self).decode()

    def digest(self) -> str:
        """The digest of its content."""
        return digest_of(self.encode())

    @classmethod
    def decode(cls, text: str) -> AgentMessage:
        """From `encode`. BadArguments."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise BadArguments(f"this is no message of a conversation: {error}") from None


def digest_of(text: str) -> str:
    """The digest of a text, under which it is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def system(text: str) -> AgentMessage:
    """A message of whoever set the agent up."""
    return AgentMessage("system", (TextPart(text),))


def user(text: str, *, critical: bool = False) -> AgentMessage:
    """A message of the person."""
    return AgentMessage("user", (TextPart(text),), critical=critical)


def assistant(text: str = "", *calls: CallPart, tokens: int | None = None) -> AgentMessage:
    """A message of the model: text, calls of tools, and what the provider reported."""
    said: tuple[MessagePart, ...] = (TextPart(text),) if text else ()
    return AgentMessage("assistant", (*said, *calls), tokens=tokens)


def tool(call: CallPart, text: str) -> AgentMessage:
    """The result of a call."""
    return AgentMessage("tool", (ReturnPart(call.id, call.tool, text),))


def from_openai(messages: Iterable[Mapping[str, Any]]) -> list[AgentMessage]:
    """From messages in the form of chat completions. BadArguments."""
    found: list[AgentMessage] = []
    tools: dict[str, str] = {}
    for message in messages:
        role = "system" if message.get("role") == "developer" else message.get("role")
        if role not in ROLES:
            raise BadArguments(f"a message has the role {', '.join(ROLES)}, not {role!r}")
        content, parts = _text(message.get("content")), list[MessagePart]()
        if role == "tool":
            call_id = str(message.get("tool_call_id") or "")
            parts.append(ReturnPart(call_id, tools.get(call_id, str(message.get("name") or "")), content))
        elif content:
            parts.append(TextPart(content))
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            tools[str(call["id"])] = str(function.get("name") or "")
            parts.append(CallPart(str(call["id"]), tools[str(call["id"])], str(function.get("arguments") or "{}")))
        found.append(AgentMessage(role, tuple(parts)))
    return found


def to_openai(messages: Iterable[AgentMessage]) -> list[dict[str, Any]]:
    """To messages in the form of chat completions."""
    found: list[dict[str, Any]] = []
    for message in messages:
        text = "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
        if message.returns:
            found += [{"role": "tool", "tool_call_id": each.id, "content": each.text} for each in message.returns]
            if not text:
                continue
        made: dict[str, Any] = {"role": "user" if message.role == "tool" else message.role, "content": text}
        if message.calls:
            made["content"] = text or None
            made["tool_calls"] = [
                {"id": each.id, "type": "function", "function": {"name": each.tool, "arguments": each.arguments}}
                for each in message.calls
            ]
        found.append(made)
    return found


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))


@dataclass(frozen=True, slots=True)
class MessageGroup:
    """Messages that stay or go together: calls with their results, and what stands between them."""

    start: int
    messages: tuple[AgentMessage, ...]
    waiting: bool = False
    """Whether a call of it has no result yet: that may come, and then belongs to it."""

    @property
    def pinned(self) -> bool:
        """Whether a message of it has to stay."""
        return self.waiting or any(each.critical or each.role == "system" for each in self.messages)


def grouped(messages: Sequence[AgentMessage]) -> list[MessageGroup]:
    """The groups, in order. BadArguments for a result without a call before it that waits for one."""
    waiting: dict[str, int] = {}
    reach = list(range(len(messages)))  # of each message, how far its group goes at least
    for place, message in enumerate(messages):
        for result in message.returns:
            if result.id not in waiting:
                raise BadArguments(f"message {place} has a result of {result.id!r}, which no call before it waits for")
            reach[waiting.pop(result.id)] = place
        for call in message.calls:
            if call.id in waiting:
                raise BadArguments(f"message {place} calls {call.id!r}, which waits for its result already")
            waiting[call.id] = place
    found, start = [], 0
    while start < len(messages):
        end, place = reach[start], start
        while place <= end:
            end, place = max(end, reach[place]), place + 1
        open_calls = any(start <= place <= end for place in waiting.values())
        found.append(MessageGroup(start, tuple(messages[start : end + 1]), open_calls))
        start = end + 1
    return found
