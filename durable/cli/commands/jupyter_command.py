"""`durable jupyter install`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, settings
from durable.cli.exit_codes import Unusable


@click.group("jupyter", short_help="A Jupyter kernel whose variables outlive it: install.")
def command() -> None:
    """A kernel for JupyterLab, Notebook, VS Code, nbclient and papermill: each notebook is a durable session."""


@command.command("install", cls=Command, short_help="Let Jupyter know of the kernel.")
@click.option("--user", "where", flag_value="user", help="For this user (the default).")
@click.option("--sys-prefix", "where", flag_value="sys-prefix", help="In this Python's environment.")
@click.option("--prefix", metavar="DIR", help="Below this directory.")
@click.option("--name", default="durable", show_default=True, metavar="NAME", help="The kernel's name for Jupyter.")
@click.option("--display-name", metavar="TEXT", help="What front ends show.")
@click.option("--profile", type=click.Choice(["open", "isolated"]), help="How the sessions of notebooks are held.")
def install(where: str | None, prefix: str | None, name: str, display_name: str | None, profile: str | None) -> int:
    """Write a kernelspec for this Python. With --store the notebooks' sessions are there, else in `.durable/state.db`
    beside each notebook."""
    from durable.integrations.jupyter import kernelspec

    chosen = settings()
    out = chosen.out()
    problem = kernelspec.missing()
    if problem:
        raise Unusable(problem)
    if where is not None and prefix is not None:
        raise Unusable("give one of --user, --sys-prefix and --prefix")
    below = {"sys-prefix": Path(sys.prefix) / "share" / "jupyter", "user": kernelspec.user_directory()}
    directory = Path(prefix) / "share" / "jupyter" if prefix is not None else below[where or "user"]
    shown = display_name or ("Durable Python" if profile != "isolated" else "Durable Python (isolated)")
    spec = kernelspec.kernelspec(_store(chosen), profile, shown)
    try:
        place = kernelspec.install(directory, spec, name)
    except OSError as error:
        raise Unusable(f"{directory} cannot be written ({error.strerror}); choose another with --prefix") from None
    out.say(f"{shown}: {place}")
    out.say(
        "choose it in the notebook, or: jupyter lab, `jupyter console --kernel "
        + name
        + "`, `papermill -k "
        + name
        + "`"
    )
    if out.json:
        out.document({"name": name, "path": str(place), "argv": spec["argv"]})
    return exit_codes.DONE


def _store(chosen: Settings) -> str | None:
    """The store as a kernel finds it from whatever directory it is started in."""
    from durable.store.target import parsed

    if chosen.store is None:
        return None
    target = parsed(chosen.store)
    return str(target.absolute()) if isinstance(target, Path) else chosen.store
