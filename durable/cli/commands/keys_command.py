"""`durable keys list|rekey`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.exit_codes import Unusable


@click.group("keys", short_help="Keys of encrypted values: list, rekey.")
def command() -> None:
    """Keys that encrypt values: which of them recorded values still need, and how to get rid of one."""


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """Count the encrypted values of each key. It needs no key: their ids stand in the values."""
    from durable.cli.engine_or_client import opened
    from durable.core.value_codec import ValueCodec
    from durable.executions.rekeying import keys_in_use

    codec, out = ValueCodec.from_environment(), chosen.out()
    async with opened(chosen, create=False) as store:
        used = await keys_in_use(store)
    here = [] if codec is None else codec.key_ids
    current = None if codec is None else codec.current
    names = sorted({*used, *here})
    if out.json:
        out.document(
            [{"key": key, "values": used[key], "here": key in here, "current": key == current} for key in names]
        )
        return exit_codes.DONE
    rows = [(key, str(used[key]), "current" if key == current else "here" if key in here else "-") for key in names]
    out.table(("key", "values", "DURABLE_KEYS"), rows, "no values are encrypted")
    return exit_codes.DONE


@command.command("rekey", cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say how many values would be written anew.")
@asynchronous
async def rekey_(chosen: Settings, dry_run: bool) -> int:
    """Write the values of old keys anew with the current key, the first one of DURABLE_KEYS.

    Engines go on meanwhile, once they have both keys and the new one is their current. It may be ended and begun again.
    Then `durable keys list` says what still needs an old key. Backups and exported documents have theirs.
    """
    from durable.cli.engine_or_client import opened
    from durable.core.value_codec import KEYS_VARIABLE, ValueCodec
    from durable.executions.rekeying import keys_in_use, rekey

    codec, out = ValueCodec.from_environment(), chosen.out()
    if codec is None or codec.current is None:
        raise Unusable(f"set {KEYS_VARIABLE}: the new key first, then those that values have")
    async with opened(chosen, create=False) as store:
        used = await keys_in_use(store)
        count = sum(used[key] for key in used if key != codec.current)
        if not dry_run:
            count = 0
            async for done in rekey(store, codec):
                count = done
    if out.json:
        out.document({"key": codec.current, "values": count, "dry_run": dry_run})
    else:
        out.data(f"{'would write' if dry_run else 'wrote'} {count} values anew with the key {codec.current}")
    return exit_codes.DONE
