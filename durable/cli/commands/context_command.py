"""`durable context ID`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.agents.context_chain import ContextStage
    from durable.agents.conversation import AgentMessage
    from durable.cli.text_output import Out


@click.command("context", cls=Command, short_help="How an agent's context was compacted.")
@click.argument("execution_id", metavar="ID")
@click.option("--stage", type=click.IntRange(min=1), metavar="N", help="Show the messages of this stage.")
@click.option("--before", is_flag=True, help="Those before its compaction.")
@asynchronous
async def command(chosen: Settings, execution_id: str, stage: int | None, before: bool) -> int:
    """The stages of the contexts of execution ID: full, summarised, summarised again; or the messages of one.

    With --json the messages of a stage are in a form that `durable.agents` takes back.
    """
    from durable.agents.context_chain import ContextChain
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import find
    from durable.core.errors import NotFound

    out = chosen.out()
    async with looked_at(chosen) as store:
        row = await find(store.reads, execution_id)
        chain = ContextChain(store, row.id)
        stages = await chain.stages()
        if stage is not None:
            if stage > len(stages):
                raise NotFound("stage", str(stage), f"there are {len(stages)}: `durable context {row.id}`")
            messages = await chain.messages(stages[stage - 1], before=before)
            _show_messages(out, messages)
            return exit_codes.DONE
    _show_stages(out, row.id, stages)
    return exit_codes.DONE


def _show_stages(out: Out, execution_id: str, stages: Sequence[ContextStage]) -> None:
    if out.json:
        out.document([_fields(number, each) for number, each in enumerate(stages, 1)])
        return
    rows = [
        (
            number,
            each.name,
            f"{len(each.before)} → {len(each.after)}",
            f"{each.tokens_before:,} → {each.tokens_after:,}",
            each.level or "",
            ", ".join(each.strategies),
        )
        for number, each in enumerate(stages, 1)
    ]
    columns = ("stage", "context", "messages", "tokens", "summarised", "by")
    out.table(columns, rows, f"no context of {execution_id} was compacted")


def _fields(number: int, stage: ContextStage) -> dict[str, Any]:
    return {
        "stage": number,
        "context": stage.name,
        "strategies": list(stage.strategies),
        "messages_before": len(stage.before),
        "messages_after": len(stage.after),
        "tokens_before": stage.tokens_before,
        "tokens_after": stage.tokens_after,
        "limit": stage.limit,
        "level": stage.level,
    }


def _show_messages(out: Out, messages: Sequence[AgentMessage]) -> None:
    import msgspec

    if out.json:
        out.document([msgspec.to_builtins(each) for each in messages])
        return
    for message in messages:
        what = message.role if message.kind == "message" else f"{message.kind}, level {message.level}"
        calls = "".join(f"\n{call.tool}({call.arguments})" for call in message.calls)
        out.data(f"-- {what}{calls}\n{message.text}")
