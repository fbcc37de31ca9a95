"""Jupyter's messages as frames: signed, packed, read (specs/jupyter.md, Wire). No I/O."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from durable.core.errors import ProtocolError
from durable.core.frozen_record import FrozenRecord

PROTOCOL = "5.4"
"""The version of Jupyter's messaging that is spoken."""

DELIMITER = b"<IDS|MSG>"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any] | None).decode
"""Some front ends write null for what is empty."""


class KernelMessage(FrozenRecord, frozen=True):
    """One message from a front end. `identities` say where a reply goes."""

    identities: tuple[bytes, ...]
    header: dict[str, Any]
    parent: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: tuple[bytes, ...] = ()
    header_frame: bytes = b"{}"
    """Its header as it came: the parent of all that is sent for it."""

    @property
    def kind(self) -> str:
        """Its type, such as `execute_request`."""
        return str(self.header.get("msg_type", ""))

    @property
    def id(self) -> str:
        """Its own id."""
        return str(self.header.get("msg_id", ""))


NOBODY = KernelMessage((), {}, {}, {}, {})
"""Stands where output belongs to no request."""


class KernelWire:
    """The key of one kernel, and the id of its own Jupyter session."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.name = os.urandom(16).hex()
        self._count = 0
        self._unsigned = hmac.new(key, digestmod=hashlib.sha256) if key else None

    def pack(
        self,
        kind: str,
        content: dict[str, Any],
        parent: KernelMessage,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
    ) -> list[bytes]:
        """The frames of a message, without identities."""
        self._count += 1
        date = datetime.now(UTC).replace(tzinfo=None).isoformat()
        header = (
            f'{{"msg_id":"{self.name}_{self._count}","msg_type":"{kind}","username":"kernel","session":"{self.name}",'
            f'"date":"{date}Z","version":"{PROTOCOL}"}}'
        )
        parts = [header.encode(), parent.header_frame, _encode(metadata) if metadata else b"{}", _encode(content)]
        return [DELIMITER, self._signed(parts), *parts, *buffers]

    def read(self, frames: Sequence[bytes]) -> KernelMessage:
        """The message in frames. ProtocolError for what is not whole, not signed with the key, or no JSON."""
        try:
            at = list(frames).index(DELIMITER)
        except ValueError:
            raise ProtocolError("a message without its delimiter") from None
        parts = frames[at + 2 : at + 6]
        if len(parts) != 4:
            raise ProtocolError(f"a message of {len(frames)} frames")
        if self.key and not hmac.compare_digest(frames[at + 1], self._signed(parts)):
            raise ProtocolError("a message that is not signed with this kernel's key")
        try:
            header, parent, metadata, content = (_decode(part) or {} for part in parts)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtocolError(f"a message that is not JSON: {error}") from None
        told = parts[0] if header else b"{}"
        return KernelMessage(tuple(frames[:at]), header, parent, metadata, content, tuple(frames[at + 6 :]), told)

    def _signed(self, parts: Sequence[bytes]) -> bytes:
        if self._unsigned is None:
            return b""
        digest = self._unsigned.copy()
        for part in parts:
            digest.update(part)
        return digest.hexdigest().encode()
