"""Large values: their data lies in a blob, and a row refers to it (specs/store.md, Large values).

A row's text is the data itself; or `@`, a blob's address, `:b:` or `:t:`, and a check of the blob's bytes; or `@=` and
data that begins with `@`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import NamedTuple, Protocol

from durable.core.errors import ValueDamaged
from durable.core.limits import INLINE_CHARS_MAX
from durable.core.value_codec import damage_in, damaged_text
from durable.store.operations.row_records import Row
from durable.store.protocol.requests import Refused

MARK = "@"
_ESCAPE = "@="
_BASE64, _TEXT = "b", "t"
_CHECK_CHARS = 32
ADDRESS_CHARS = 64
_ADDRESS = re.compile(r"[0-9a-f]{64}")


class StoredText(str):
    """Text of a row that goes into another row as it is."""

    __slots__ = ()


class ValueBlobs(Protocol):
    """Where a store keeps the bytes of large values: in the transaction at work, or durable before it commits."""

    def keep(self, address: str, data: bytes) -> None:
        """Keep bytes. Those that are there count as put now."""

    def read(self, address: str) -> bytes | None:
        """The bytes; None where there are none. ValueDamaged: they cannot be read."""


class Reference(NamedTuple):
    """A row's text that refers to a blob."""

    address: str
    form: str
    check: str


def is_reference(text: str | None) -> bool:
    """Whether a row's text refers to a blob."""
    return text is not None and text[:1] == MARK and not text.startswith(_ESCAPE)


def reference_of(text: str | None) -> Reference | None:
    """The reference that a row's text is; None for data. ValueDamaged."""
    if text is None or not is_reference(text):
        return None
    parts = text[1:].split(":")
    if len(parts) != len(Reference._fields) or not _ADDRESS.fullmatch(parts[0]):
        raise ValueDamaged(repr(parts[0][:ADDRESS_CHARS]), "that is no address")
    return Reference(*parts)


def unescaped(text: str) -> str:
    """The data in a row's text that is no reference."""
    return text.removeprefix(_ESCAPE)


def is_blob_of(reference: Reference, data: bytes) -> bool:
    """Whether these are the bytes that a reference was made of."""
    return hashlib.sha256(data).hexdigest()[:_CHECK_CHARS] == reference.check


def opened(reference: Reference, data: bytes | None) -> str:
    """The data that a reference stands for, from the bytes of its blob. ValueDamaged: they are gone, or others."""
    if data is None or not is_blob_of(reference, data):
        raise ValueDamaged(reference.address, "gone" if data is None else "damaged")
    return base64.b64encode(data).decode("ascii") if reference.form == _BASE64 else data.decode()


class LargeValues:
    """The values of one store. `key`: the store's, so that nobody else can tell the address of a value."""

    def __init__(self, blobs: ValueBlobs, key: bytes) -> None:
        self._blobs = blobs
        self._key = key

    def stored(self, data: str | None) -> str | None:
        """The text of a row for a value's data, which is kept as a blob where it is large. StoreFull, StoreError.

        Refused: what stands for a damaged value, which a row would keep for ever.
        """
        if data is None:
            return data
        damage = damage_in(data)
        if damage is not None:
            raise Refused(400, str(damage))
        if len(data) <= INLINE_CHARS_MAX and data[:1] != MARK:
            return data
        if isinstance(data, StoredText):
            return str(data)
        if len(data) <= INLINE_CHARS_MAX:
            return _ESCAPE + data
        form, raw = _bytes_of(data)
        address = hmac.digest(self._key, b"durable value\0" + raw, "sha256").hex()
        self._blobs.keep(address, raw)
        return f"{MARK}{address}:{form}:{hashlib.sha256(raw).hexdigest()[:_CHECK_CHARS]}"

    def whole(self, text: str | None) -> str | None:
        """The data of a value from the text of its row. ValueDamaged."""
        if text is None or text[:1] != MARK:
            return text
        reference = reference_of(text)
        return unescaped(text) if reference is None else opened(reference, self._blobs.read(reference.address))

    def told(self, text: str | None) -> str | None:
        """The same; of a damaged value what stands for it."""
        try:
            return self.whole(text)
        except ValueDamaged as error:
            return damaged_text(error)

    def whole_row(self, row: Row) -> Row:
        """The columns of PROMISE with the data of both values. One that is damaged has what stands for it (V9)."""
        param, value = row[3], row[5]
        if (param is None or param[:1] != MARK) and (value is None or value[:1] != MARK):
            return row
        return (*row[:3], self.told(param), row[4], self.told(value), *row[6:])


def _bytes_of(data: str) -> tuple[str, bytes]:
    """The bytes that a value's data is written as: what its base64 says, where that says all of it."""
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        return _TEXT, data.encode()
    end = base64.b64encode(raw[-(len(raw) % 3 or 3) :]).decode("ascii")  # whose last bits others may write differently
    return (_BASE64, raw) if data.endswith(end) else (_TEXT, data.encode())


IS_USED = """(
    EXISTS (SELECT 1 FROM checkpoint_uses u WHERE u.digest = b.digest)
    OR EXISTS (SELECT 1 FROM promises WHERE substr(param_data, 1, 1) = '@' AND substr(param_data, 2, 64) = b.digest)
    OR EXISTS (SELECT 1 FROM promises WHERE substr(value_data, 1, 1) = '@' AND substr(value_data, 2, 64) = b.digest)
    OR EXISTS (SELECT 1 FROM signals WHERE substr(data, 1, 1) = '@' AND substr(data, 2, 64) = b.digest))"""
"""Whether something refers to the blob `b.digest`."""
