"""The package as it is installed: its version, and how to install an extra of it, from where it came itself."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress
from functools import cache

NAME = "durable-exec"
_BEGINNING = "durable_exec-"
"""The beginning of the name of the directory that says what is installed, before the version."""


@cache
def installed_version() -> str:
    """The version of this package."""
    # As importlib.metadata finds it, which brings email and zipfile: a fifth of the time of an engine's first cell.
    for place in sys.path:
        with suppress(OSError):
            for name in os.listdir(place or "."):
                if name.startswith(_BEGINNING) and name.endswith(".dist-info"):
                    return name.removeprefix(_BEGINNING).removesuffix(".dist-info")
    from importlib.metadata import version

    return version(NAME)


def install_command(extra: str) -> str:
    """The command that brings an extra, for a message."""
    return command_for(extra, _origin())


def command_for(extra: str, origin: str | None) -> str:
    """`origin`: the direct_url.json of the installation (PEP 610), None where it has none."""
    try:
        found = json.loads(origin or "{}")
        url = str(found.get("url") or "")
    except (ValueError, AttributeError):
        found, url = {}, ""
    if url.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        what = f"{unquote(urlsplit(url).path)}[{extra}]"
    elif url:
        vcs = found.get("vcs_info") or {}
        kind, commit = vcs.get("vcs"), vcs.get("commit_id")
        what = f"{NAME}[{extra}] @ {f'{kind}+' if kind else ''}{url}{f'@{commit}' if commit else ''}"
    else:
        return f"install {NAME} again from where you have it, its directory, repository or wheel, with [{extra}] behind"
    return f"`pip install {shlex.quote(what)}` brings it"


def wasmtime_missing() -> str:
    """The message where WebAssembly is asked for and its engine is not installed."""
    return f"wasmtime is not installed; {install_command('sandbox')}"


def _origin() -> str | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
