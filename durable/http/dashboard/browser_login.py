"""Logging in with a browser: a token is shown once, and a cookie stands for it until it ends (specs/dashboard.md, L).

No clock and no socket here: `clock` counts seconds, and whoever answers requests sets the cookie.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

COOKIE = "durable_login"

LOGIN_S = 12 * 3600.0
"""How long a login lasts: a working day; whoever has the token logs in again."""

LOGINS_MAX = 1_000
"""Logins that are remembered; the oldest goes when there are more."""

CODE_S = 120.0
"""How long the address that `durable ui` opens lets somebody in, once: a browser takes seconds to start."""


class Logins:
    """The logins of one server, in its memory: they end with it. The token stays here, and each request is admitted by
    it anew, so that a token that was taken back ends its logins at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._codes: dict[str, tuple[str, float]] = {}

    def begin(self, token: str) -> str:
        """Remember a token that was found right; returns the cookie that stands for it."""
        cookie = secrets.token_urlsafe(32)
        self._tokens[cookie] = (token, self._clock() + LOGIN_S)
        while len(self._tokens) > LOGINS_MAX:
            self._tokens.popitem(last=False)
        return cookie

    def token(self, cookie: str | None) -> str | None:
        """The token that a cookie stands for; None for one that is unknown or over."""
        token, ends_at = self._tokens.get(cookie or "", ("", 0.0))
        if not token or self._clock() >= ends_at:
            self._tokens.pop(cookie or "", None)
            return None
        return token

    def end(self, cookie: str | None) -> None:
        """Forget a login."""
        self._tokens.pop(cookie or "", None)

    def code(self, token: str) -> str:
        """Make a code that lets one browser in as whoever has the token, once and soon."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = (token, self._clock() + CODE_S)
        return code

    def redeem(self, code: str) -> str | None:
        """The token of a code, which is spent by that; None for one that is unknown, spent or over."""
        token, ends_at = self._codes.pop(code, ("", 0.0))
        return token if token and self._clock() < ends_at else None


def next_page(text: str) -> str:
    """The page to go on with after a login: one of the dashboard, whatever the form said."""
    is_ours = text.startswith("/ui/") and text.isprintable() and "\\" not in text and "//" not in text
    return text if is_ours else "/ui/inbox"
