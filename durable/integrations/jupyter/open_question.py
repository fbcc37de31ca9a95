"""A question of a cell's code (`input()` and its kin), asked in the front end and answered there or elsewhere."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable.core.errors import DurableError, InvalidAnswer
from durable.engine.engine import Engine
from durable.integrations.jupyter.kernel_sockets import KernelSockets
from durable.integrations.jupyter.kernel_wire import KernelMessage

if TYPE_CHECKING:
    from durable.prompts.open_prompt import OpenPrompt


class OpenQuestion:
    """Asks one question at a time."""

    def __init__(
        self, sockets: KernelSockets, engine: Engine, inputs: asyncio.Queue[KernelMessage], store: str
    ) -> None:
        self._sockets = sockets
        self._engine = engine
        self._inputs = inputs
        self._store = store
        self._turn = asyncio.Lock()

    async def ask(self, prompt: OpenPrompt, parent: KernelMessage, say: Callable[[str], None]) -> None:
        """Ask until an answer is taken, here or by somebody else. Where nobody can be asked, `say` how to answer."""
        if not parent.content.get("allow_stdin", False) or not parent.identities:
            say(f"{prompt.question}\nThis waits for an answer: {self._command(prompt)}\n")
            return
        async with self._turn:
            settled = asyncio.ensure_future(self._engine.store.settled(prompt.id, patient=False))
            try:
                text = _text(prompt)
                while not settled.done():
                    reply = await self._typed(prompt, parent, text, settled)
                    if reply is None:
                        say("[answered elsewhere]\n")
                        return
                    try:
                        if await self._answered(prompt, reply):
                            return
                        say(f"[your answer is recorded; the question waits for others: {self._command(prompt)}]\n")
                        return
                    except InvalidAnswer as error:
                        text = f"{error}\n{_text(prompt)}"
                    except DurableError as error:
                        say(f"[{error}]\n")
                        return
            finally:
                settled.cancel()

    async def _typed(
        self, prompt: OpenPrompt, parent: KernelMessage, text: str, settled: asyncio.Future[Any]
    ) -> str | None:
        """The text that was typed; None when the question was settled first."""
        while not self._inputs.empty():
            self._inputs.get_nowait()  # what was typed for a question that was answered elsewhere
        content = {"prompt": text, "password": prompt.prompt.secret}
        self._sockets.reply(self._sockets.stdin, "input_request", content, parent)
        reply = asyncio.ensure_future(self._inputs.get())
        try:
            await asyncio.wait({reply, settled}, return_when=asyncio.FIRST_COMPLETED)
            return str(reply.result().content.get("value", "")) if reply.done() else None
        finally:
            reply.cancel()

    async def _answered(self, prompt: OpenPrompt, text: str) -> bool:
        from capabilities.prompts.answer_validation import read_entry

        value = read_entry(prompt.prompt, text)
        return await self._engine.answer(prompt.id, value, by=_user(), via="jupyter")

    def _command(self, prompt: OpenPrompt) -> str:
        from durable.store.target import repeatable

        return f"durable --store {repeatable(self._store)} answer {prompt.id}"


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _text(prompt: OpenPrompt) -> str:
    """The question with its choices."""
    choices = prompt.prompt.choices
    if not choices:
        return prompt.question
    return prompt.question + "\n" + "\n".join(f"{at}. {one}" for at, one in enumerate(choices, 1)) + "\n"
