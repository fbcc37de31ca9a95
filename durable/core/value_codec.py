"""Sealed values: compressed and encrypted on their way into the store, opened by whoever has the key (specs/codec.md).

Pure but for the library that encrypts, which is loaded when it is needed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from durable.core.errors import BadArguments, KeyUnavailable, ValueDamaged
from durable.core.limits import COMPRESS_BYTES_MIN, VALUE_BYTES_MAX

MAGIC = b"\x00DX\x01"
"""The beginning of a sealed value: no JSON begins with NUL. The last byte is the version of the format."""
SEALED = "AERY"
"""The beginning of a sealed value in base64."""
PLACEHOLDER = "durable:sealed"
"""The key of what stands for a value that could not be opened; beside it what part of the value is meant, and why."""

COMPRESSED, ENCRYPTED, _DAMAGED = 1, 2, 4
_DAMAGED_HEAD = MAGIC + bytes([_DAMAGED, 0])
"""The beginning of what stands for a value whose blob cannot be read: as long as a whole number of base64's threes."""
_DAMAGED_TEXT = base64.b64encode(_DAMAGED_HEAD).decode("ascii")
KEY_BYTES = 32
KEY_ID_BYTES_MAX = 64
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16

KEYS_VARIABLE = "DURABLE_KEYS"
"""Keys of a process: `id:base64` separated by commas; the first one encrypts, the others only open."""


class ValueCodec:
    """How values are written: compressed where that pays, encrypted with the current one of several keys.

    keys: 32 bytes each, by an id of the caller's. current: the one that encrypts; the others open what they had
    encrypted before. Without keys nothing is encrypted. Raises BadArguments for keys that are none.
    """

    def __init__(
        self, keys: Mapping[str, bytes] | None = None, *, current: str | None = None, compress: bool = True
    ) -> None:
        self._keys = dict(keys or {})
        for key_id, key in self._keys.items():
            if not 0 < len(key_id.encode()) <= KEY_ID_BYTES_MAX or not key_id.isprintable() or set(key_id) & set(",:"):
                raise BadArguments(f"a key's id is 1 to {KEY_ID_BYTES_MAX} characters without ',' and ':'")
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise BadArguments(f"key {key_id!r} is not {KEY_BYTES} bytes; make one with os.urandom({KEY_BYTES})")
        if current is not None and current not in self._keys:
            raise BadArguments(f"the current key {current!r} is not among the keys: {', '.join(self._keys) or 'none'}")
        if self._keys and current is None:
            raise BadArguments("say which of the keys encrypts: ValueCodec(keys, current=…)")
        if self._keys:
            _require_library()
        self.current = current
        self.compress = compress
        _remember(self._keys)

    @classmethod
    def from_environment(cls) -> ValueCodec | None:
        """The codec that DURABLE_KEYS describes; None without it. BadArguments, which shows no key."""
        text = os.environ.get(KEYS_VARIABLE, "").strip()
        if not text:
            return None
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(","), 1):
            key_id, colon, key = part.strip().partition(":")
            try:
                raw = base64.b64decode(key, validate=True)
            except (binascii.Error, ValueError):
                colon = ""
            if not colon:
                raise BadArguments(f"{KEYS_VARIABLE} is id:base64,id:base64,…; entry {number} is not")
            if keys.setdefault(key_id, raw) != raw:
                raise BadArguments(f"{KEYS_VARIABLE} has two keys with the id {key_id!r}; name one otherwise")
        return cls(keys, current=next(iter(keys)))

    def __repr__(self) -> str:
        return f"<codec with keys {', '.join(self._keys) or 'none'}>"

    def seal(self, data: bytes) -> bytes:
        """The bytes to store for a value's JSON; as they were where nothing is to be done."""
        if data.startswith(MAGIC):
            return data
        flags, body = 0, data
        if self.compress and len(data) >= COMPRESS_BYTES_MIN:
            packed: bytes = _zstd().compress(data)
            if len(packed) < len(data) * 9 // 10:
                flags, body = COMPRESSED, packed
        if self.current is None:
            return data if not flags else MAGIC + bytes([flags]) + body
        key_id = self.current.encode()
        head = MAGIC + bytes([flags | ENCRYPTED, len(key_id)]) + key_id + os.urandom(_SALT_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = _cipher(self._keys[self.current], head).encrypt(nonce, body, head)
        return head + nonce + sealed

    def reseal_text(self, data: str) -> str:
        """A sealed value, sealed anew with the current key. KeyUnavailable where its own is not here."""
        return base64.b64encode(self.seal(unseal(base64.b64decode(data)))).decode("ascii")

    @property
    def key_ids(self) -> list[str]:
        """The ids of its keys."""
        return list(self._keys)

    def seal_text(self, data: str) -> str:
        """The same of a value's data as promises have it, base64; what is sealed already stays."""
        if data.startswith(SEALED):
            return data
        try:
            plain = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return data  # another program's data
        return base64.b64encode(self.seal(plain)).decode("ascii")


_known: dict[str, list[bytes]] = {}
"""The keys of this process, by id: what one codec of it wrote another part of it can read."""


def _remember(keys: Mapping[str, bytes]) -> None:
    for key_id, key in keys.items():
        if key not in _known.setdefault(key_id, []):
            _known[key_id].append(key)


def unseal(data: bytes) -> bytes:
    """A value's JSON from what is stored. KeyUnavailable names the key that is missing or wrong; ValueDamaged."""
    if not data.startswith(MAGIC) or len(data) == len(MAGIC):
        return data
    if data.startswith(_DAMAGED_HEAD):
        address, _, why = data[len(_DAMAGED_HEAD) :].decode("utf-8", "replace").partition(":")
        raise ValueDamaged(address, why)
    flags, body = data[len(MAGIC)], data[len(MAGIC) + 1 :]
    if flags & ENCRYPTED:
        body = _decrypted(data)
    return _zstd_opened(body) if flags & COMPRESSED else body


def _decrypted(data: bytes) -> bytes:
    start = len(MAGIC) + 2
    key_id = data[start : start + data[start - 1]].decode("utf-8", "replace")
    after_head = start + data[start - 1] + _SALT_BYTES
    head, nonce = data[:after_head], data[after_head : after_head + _NONCE_BYTES]
    if key_id not in _known:
        environment = ValueCodec.from_environment()
        if environment is None or key_id not in _known:
            raise KeyUnavailable(key_id, sorted(_known))
    from cryptography.exceptions import InvalidTag

    for key in _known[key_id]:
        try:
            plain: bytes = _cipher(key, head).decrypt(nonce, data[after_head + _NONCE_BYTES :], head)
            return plain
        except InvalidTag:
            continue
    raise KeyUnavailable(key_id, sorted(_known), wrong=True)


def _cipher(key: bytes, head: bytes) -> Any:
    """The cipher of one value: each has a key of its own, so that their number is no matter."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.digest(key, b"durable value\0" + head, "sha256"))


def _require_library() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        from durable.core.extras import install_command  # reads the installation, which nobody else needs

        raise BadArguments(f"encryption needs cryptography; {install_command('encryption')}")


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from backports import zstd
    return zstd


def _zstd_opened(body: bytes) -> bytes:
    """Decompressed, at most what a value may have."""
    decompressor = _zstd().ZstdDecompressor()
    try:
        found: bytes = decompressor.decompress(body, VALUE_BYTES_MAX)
    except _zstd().ZstdError as error:
        raise KeyUnavailable("", [], f"a compressed value is damaged: {error}") from None
    if not decompressor.eof:
        raise KeyUnavailable("", [], f"a compressed value is over the limit of {VALUE_BYTES_MAX} bytes")
    return found


def damaged_text(error: ValueDamaged) -> str:
    """The data that a reader gets for a value whose blob cannot be read: whoever opens it gets that error (V9)."""
    return base64.b64encode(_DAMAGED_HEAD + f"{error.address}:{error.why}".encode()).decode("ascii")


def damage_in(data: str) -> ValueDamaged | None:
    """The error that data stands for; None for a value."""
    if not data.startswith(_DAMAGED_TEXT):
        return None
    try:
        unseal(base64.b64decode(data))
    except ValueDamaged as error:
        return error
    except ValueError:
        pass
    return None


SEALED_HEAD_CHARS = -(-(len(MAGIC) + 2 + KEY_ID_BYTES_MAX) // 3) * 4
"""Characters of a sealed value in base64 that say which key sealed it."""


def sealed_by(data: str) -> str | None:
    """The id of the key that encrypted a value, from the beginning of its data; None for one that none did."""
    if not data.startswith(SEALED):
        return None
    try:
        head = base64.b64decode(data[:SEALED_HEAD_CHARS])
    except ValueError:
        return None
    start = len(MAGIC) + 2
    if not head.startswith(MAGIC) or len(head) < start or not head[len(MAGIC)] & ENCRYPTED:
        return None
    return head[start : start + head[start - 1]].decode("utf-8", "replace")


# -- values that this process cannot open ------------------------------------------------------------------------------


def decoded(data: str) -> Any:
    """The value in a promise's data: JSON builtins; a placeholder where its key is not here, or its blob is damaged.
    ValueError, MsgspecError for what is no value of ours."""
    raw = base64.b64decode(data, validate=True)
    try:
        return msgspec.json.decode(unseal(raw))
    except KeyUnavailable:
        return {PLACEHOLDER: data}
    except ValueDamaged as error:
        return {PLACEHOLDER: data, "why": str(error)}


def is_sealed(promise: Mapping[str, Any]) -> bool:
    """Whether a promise's param or value, as the store has it, is sealed."""
    return any(str((promise.get(name) or {}).get("data") or "").startswith(SEALED) for name in ("param", "value"))


_PLACEHOLDER_KEYS = {PLACEHOLDER, "why", "item", "key"}


def is_placeholder(value: object) -> bool:
    """Whether it stands for a value that could not be opened."""
    return isinstance(value, dict) and isinstance(value.get(PLACEHOLDER), str) and value.keys() <= _PLACEHOLDER_KEYS


def undamaged(value: Any) -> Any:
    """The value, or what stands for one whose key is not here. ValueDamaged."""
    if is_placeholder(value) and "why" in value:
        opened(value)
    return value


def why_closed(value: Any) -> str | None:
    """Why a value cannot be read here, where a placeholder stands for it; None for a value."""
    if not is_placeholder(value):
        return None
    try:
        opened(value)
    except (KeyUnavailable, ValueDamaged) as error:
        return str(error)
    return None


def part_of(value: Any, *, item: int | None = None, key: str | None = None) -> Any:
    """An item of a write, or the value of a published key; of a placeholder one for that part."""
    if is_placeholder(value):
        return {**value, **({"item": item} if key is None else {"key": key})}
    return value["items"][item] if key is None else value[key]


def opened(value: Any) -> Any:
    """The value; what stands for one is opened with the keys of this process. KeyUnavailable, ValueDamaged."""
    if not is_placeholder(value):
        return value
    found = msgspec.json.decode(unseal(base64.b64decode(value[PLACEHOLDER])))
    if "item" in value:
        return found["items"][value["item"]]
    return found[value["key"]] if "key" in value else found


def opened_if_possible(value: Any) -> Any:
    """The same, but what cannot be opened stays as it is."""
    try:
        return opened(value)
    except (KeyUnavailable, ValueDamaged):
        return value
