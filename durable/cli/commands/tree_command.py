"""`durable tree ID`: an execution with all that is under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.engine.step_tree import StepNode
    from durable.records.view_models import ExecutionView, StepView


@click.command("tree", cls=Command, short_help="An execution with all that is under it.")
@click.argument("execution_id", metavar="ID")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="At most so many levels.")
@asynchronous
async def command(chosen: Settings, execution_id: str, depth: int | None) -> int:
    """An execution with all that is under it: steps, children and their steps, cells and their calls."""
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import find, served
    from durable.engine.step_tree import tree
    from durable.engine.views import detail_view

    async with looked_at(chosen) as store:
        row = await find(store.reads, execution_id)
        detail = await detail_view(store.reads, row, await served(store), chosen.named)
    out, nodes = chosen.out(), tree(detail.steps)
    if out.json:
        view = detail.execution
        fields = {"id": view.id, "kind": view.kind, "name": view.name, "state": view.state, "duration": view.duration}
        out.document({**fields, "children": [node.to_json() for node in _to_depth(nodes, depth)]})
        return exit_codes.DONE
    for text in _lines(detail.execution, nodes, depth):
        out.entry(text)
    return exit_codes.DONE


def _lines(view: ExecutionView, nodes: list[StepNode[StepView]], depth: int | None) -> Iterator[str]:
    from durable.cli.tables import note_of
    from durable.engine.step_tree import drawn
    from durable.records.duration_text import duration

    state = f"{view.state} (stuck)" if view.stuck else view.state
    yield _noted(f"{view.id} {view.name}: {state}, {duration(view.duration)}", note_of(view))
    for branches, node, hidden in drawn(nodes, depth):
        step = node.step
        text = f"{branches}{step.id} {step.kind} {step.name}: {step.state}, {duration(step.duration)}"
        if step.tries > 1:
            text += f", {step.tries} tries"
        if hidden:
            text += f", {hidden} under it"
        yield _noted(text, step.error or step.note)


def _noted(text: str, note: str | None) -> str:
    return f"{text}: {note}" if note else text


def _to_depth(nodes: list[StepNode[StepView]], depth: int | None) -> list[StepNode[StepView]]:
    from durable.engine.step_tree import StepNode

    if depth is None:
        return nodes
    return [StepNode(node.step, _to_depth(node.children, depth - 1) if depth > 1 else []) for node in nodes]
