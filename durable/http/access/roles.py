"""The roles of tokens: what whoever shows one may do (specs/http-api.md, Roles)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

type Role = Literal["read", "answer", "operate", "admin"]
"""`read` looks at everything. `answer` answers questions, too. `operate` starts, stops and continues executions, runs
code in sessions and sends to actors. `admin` changes permissions, forgets what is kept, and reads who did what."""

ROLES: tuple[Role, ...] = get_args(Role.__value__)
"""From the least to the most: each may do what those before it may."""

OWNER = "owner"
"""The name of whoever has the server's own token."""


def includes(role: Role, needed: Role) -> bool:
    """Whether `role` may do what needs the role `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whoever shows a token: the name and role that the token was given, and the teams whose member its holder is.

    `owner`: the token is the server's own, with which engines work on the store itself.
    """

    name: str
    role: Role
    teams: tuple[str, ...] = ()
    owner: bool = False

    def may(self, needed: Role) -> bool:
        """Whether this holder may do what needs that role."""
        return includes(self.role, needed)

    @property
    def believed(self) -> bool:
        """Whether it may say who answers: an admin acts for others, everybody else answers as themselves."""
        return self.may("admin")

    @property
    def audited(self) -> str:
        """The name in the audit; no session has such a name."""
        return f"token:{self.name}"
