"""The token that clients show: from the environment, or from a file that is made at the first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from durable.core.errors import StoreError
from durable.store.owner_check import read_secret

VARIABLE = "DURABLE_TOKEN"
_CHARS_MIN = 16


def token_for(file: Path, store: Path | None = None, variable: str = VARIABLE) -> tuple[str, bool]:
    """The token, and whether it was made just now. Raises StoreError when the file cannot be read or is no token.

    StoreForeign when others could have written it, or can read it, unless its store is trusted.
    """
    given = os.environ.get(variable)
    if given:
        return checked_token(given, f"the environment variable {variable}"), False
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
    return checked_token(text, f"the token file {str(file)!r}"), made


def checked_token(token: str, where: str) -> str:
    """A token that can travel in a header. StoreError."""
    if len(token) < _CHARS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise StoreError(f"{where} holds no token: at least {_CHARS_MIN} printable ASCII characters without spaces")
    return token
