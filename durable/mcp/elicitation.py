"""Asking the person behind a client: by a request to the client, or by a result after which it repeats its call."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from durable.core.errors import Conflict, DurableError, InvalidAnswer
from durable.mcp.clients import ClientScope
from durable.mcp.elicitation_forms import answer_of, form_of
from durable.mcp.execution_report import clipped
from durable.mcp.tool_host import ToolHost
from durable.prompts.open_prompt import OpenPrompt

TASKS = "io.modelcontextprotocol/tasks"
"""The extension of tasks."""

VIA = "mcp"


@dataclass(frozen=True, slots=True)
class AskedRound:
    """An earlier round of a call: the execution that it began, and the questions that it put to the person."""

    execution: str
    prompts: list[str]


@dataclass(slots=True)
class ToolCall:
    """One call of a tool: who calls, what the client can do, which answers the call brings with it."""

    host: ToolHost
    scope: ClientScope
    context: ServerRequestContext[Any, Any]
    params: types.CallToolRequestParams
    dismissed: set[str] = field(default_factory=set)
    """Questions that the person closed without an answer: they are told in words."""
    faults: dict[str, str] = field(default_factory=dict)
    """Of answers that did not fit, what was wrong."""

    @property
    def modern(self) -> bool:
        """Whether the client speaks the protocol in which calls are repeated with answers."""
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def elicits(self) -> bool:
        """Whether the client can show a form to a person."""
        capabilities = self.context.session.client_capabilities
        elicitation = None if capabilities is None else capabilities.elicitation
        if elicitation is None:
            return False
        return elicitation.form is not None or elicitation.url is None

    @property
    def claims_tasks(self) -> bool:
        """Whether the client takes a task in place of a result."""
        capabilities = self.context.session.client_capabilities
        return self.modern and capabilities is not None and TASKS in (capabilities.extensions or {})

    def repeated(self) -> AskedRound | None:
        """The round of this call that asked; None for a first one.

        What a client holds was sealed here, and was opened before this is read.
        """
        state = self.params.request_state
        return None if not self.modern or state is None else AskedRound(**json.loads(state))

    def form(self, prompt: OpenPrompt) -> types.ElicitRequest | None:
        """The question as a form; None where this client cannot show it."""
        schema = form_of(prompt.prompt)
        if schema is None or not self.elicits or prompt.id in self.dismissed:
            return None
        return types.ElicitRequest(
            params=types.ElicitRequestFormParams(
                message=_message(prompt, self.faults.get(prompt.id, "")), requested_schema=schema
            )
        )

    async def take_answers(self, asked: AskedRound) -> None:
        """Record the answers to what was asked. What does not fit is asked for once more, with why; answers to
        anything else are passed over."""
        responses = self.params.input_responses or {}
        for prompt_id in asked.prompts:
            prompt, response = await self.host.open_prompt(self.scope, prompt_id), responses.get(prompt_id)
            if prompt is not None and isinstance(response, types.ElicitResult):
                try:
                    if not await record(self.host, prompt, response):
                        self.dismissed.add(prompt_id)
                except InvalidAnswer as error:
                    self.faults[prompt_id] = str(error)

    def input_required(self, prompts: tuple[OpenPrompt, ...], execution_id: str) -> types.InputRequiredResult | None:
        """A result that asks the person; None where the client cannot."""
        forms = {each.id: form for each in prompts if (form := self.form(each)) is not None}
        if not forms or not self.modern:
            return None
        return types.InputRequiredResult(
            input_requests=dict(forms), request_state=json.dumps({"execution": execution_id, "prompts": list(forms)})
        )


async def record(host: ToolHost, prompt: OpenPrompt, response: types.ElicitResult) -> bool:
    """Record what the person did; False when it was closed without an answer. InvalidAnswer leaves it open."""
    try:
        if response.action == "decline":
            await host.engine.answer(prompt.id, decline=True, via=VIA)
        elif response.action == "accept":
            await host.engine.answer(prompt.id, answer_of(prompt.prompt, dict(response.content or {})), via=VIA)
        else:
            return False
    except Conflict:
        pass  # somebody else was first; what was asked for is there
    return True


class Elicitations:
    """The forms that are open at clients of the older protocol. A question is shown once at a time, whoever waits."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Task[bool]] = {}
        self._dismissed: set[tuple[int, str]] = set()

    def open(self) -> frozenset[str]:
        """Questions that somebody is looking at."""
        return frozenset(self._open)

    def begin(self, call: ToolCall, prompts: tuple[OpenPrompt, ...]) -> bool:
        """Show these questions, but those that are shown or were closed; whether one of them is being shown now.

        A form outlives the call that showed it: its answer is recorded whenever it comes.
        """
        connection = id(call.context.session._connection)
        for prompt in prompts:
            form = call.form(prompt)
            if form is None or prompt.id in self._open or (connection, prompt.id) in self._dismissed:
                continue
            task = asyncio.create_task(self._show(call, prompt, form))
            self._open[prompt.id] = task
            task.add_done_callback(partial(self._ended, prompt.id, connection))
        return any(each.id in self._open for each in prompts)

    def _ended(self, prompt_id: str, connection: int, task: asyncio.Task[bool]) -> None:
        self._open.pop(prompt_id, None)
        if task.cancelled() or task.exception() is not None or not task.result():
            self._dismissed.add((connection, prompt_id))

    async def _show(self, call: ToolCall, prompt: OpenPrompt, form: types.ElicitRequest) -> bool:
        while True:
            assert isinstance(form.params, types.ElicitRequestFormParams)
            response = await call.context.session.elicit_form(
                form.params.message, form.params.requested_schema, call.context.request_id
            )
            try:
                return await record(call.host, prompt, response)
            except InvalidAnswer as error:
                call.faults[prompt.id] = str(error)
                again = call.form(prompt)
                if again is None:
                    return False
                form = again
            except DurableError:
                return False

    async def close(self) -> None:
        """Take no more answers."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _message(prompt: OpenPrompt, fault: str) -> str:
    parts = [prompt.question, clipped(prompt.prompt.context or "", 4_000)]
    if fault:
        parts.insert(0, f"Please answer again: {clipped(fault, 500)}")
    return "\n\n".join(part for part in parts if part)
