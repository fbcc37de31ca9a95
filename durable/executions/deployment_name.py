"""Names of deployments (specs/versions.md)."""

from __future__ import annotations

import os
import re

from durable.core.errors import BadArguments
from durable.core.limits import DEPLOYMENT_CHARS_MAX

DEPLOYMENT_VARIABLE = "DURABLE_DEPLOYMENT"
_NAME = re.compile(rf"[A-Za-z0-9_.:+@/-]{{0,{DEPLOYMENT_CHARS_MAX}}}\Z")


def check_deployment(name: object) -> str:
    """The name, if a deployment can have it; "" is none. BadArguments."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadArguments(f"the deployment {name!r} is not 1 to {DEPLOYMENT_CHARS_MAX} letters, digits, and `_.:+@/-`")
    return name


def deployment_name(given: str | None) -> str:
    """The name, or that of the environment where none is given. BadArguments."""
    return check_deployment(os.environ.get(DEPLOYMENT_VARIABLE, "") if given is None else given)
