"""How to install an extra of this package: from where the package itself was installed, since no index has it."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution

NAME = "durable-exec"


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
    try:
        return distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
