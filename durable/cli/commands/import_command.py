"""`durable import FILE`"""

from __future__ import annotations

import sys

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.exit_codes import Absent, Unusable


@click.command("import", cls=Command, short_help="Recreate an execution from its record.")
@click.argument("file", metavar="FILE|-")
def command(file: str) -> int:
    """Recreate the execution whose record FILE holds, as `durable show ID --json` printed it; `-` reads stdin.

    It has its id, steps, answers and outcome; what has not ended goes on with `durable resume ID`, without the steps
    that are recorded. An ID that exists is a conflict (exit 6). It stays in the other store, and may go on there too.
    """
    chosen = settings()
    text = _read(file)
    return in_loop(lambda: _import(chosen, text))


def _read(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read()
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        raise Absent(f"there is no file {file!r}; `durable show ID --json > FILE` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file!r} cannot be read: {error}") from None


async def _import(chosen: Settings, text: str) -> int:
    from durable.cli.engine_or_client import opened
    from durable.cli.execution_status import find, served
    from durable.engine.views import execution_view
    from durable.executions import exported_record

    found = exported_record.read(text)
    async with opened(chosen, create=True) as store:
        execution_id = await exported_record.import_(store, found)
        view = execution_view(await find(store.reads, execution_id), await served(store))
    out = chosen.out()
    if out.json:
        out.document(view)
    else:
        out.data(view.id)
        out.say(f"{view.id} is {view.state}" + ("" if view.settled_at else f"; go on with: durable resume {view.id}"))
    return exit_codes.DONE
