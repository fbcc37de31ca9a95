"""The token that clients show: from the environment, or from a file that is made at the first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from durable.core.errors import StoreError
from durable.store.owner_check import read_secret

VARIABLE = "DURABLE_TOKEN"
_CHARS_MIN = 16


def token_for(file: Path, store: Path | None = None) -> tuple[str, bool]:
    """The token, and whether it was made just now. Raises StoreError when the file cannot be read or is no token.

    StoreForeign when others could have written it, or can read it, unless its store is trusted.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _checked(given, f"the environment variable {VARIABLE}"), False
    made = False
    try:
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_urlsafe(32) + "\n")
            made = True
        text = read_secret(file, file if store is None else store).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"the token file {str(file)!r} cannot be used: {error}; name another (--token-file)"
        ) from error
    return _checked(text, f"the token file {str(file)!r}"), made


def _checked(token: str, where: str) -> str:
    if len(token) < _CHARS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise StoreError(f"{where} holds no token: at least {_CHARS_MIN} printable ASCII characters without spaces")
    return token
