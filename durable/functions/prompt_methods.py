"""The questions of a durable function to people: one record in five forms (specs/prompt.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any, Unpack

from durable.core.errors import BadArguments, ExecutionTimedOut
from durable.functions.operation import Derived, Operation
from durable.functions.prompt_records import Asked, PromptOptions, asked
from durable.records.set_order import in_order

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Quorum
    from durable.core.answer_types import Decision, Review


class Asking(ABC):
    """The questions of a context."""

    @abstractmethod
    def _ask(self, question: Asked) -> Operation[Any]:
        """Record it, and wait for an answer that is one."""

    def ask(
        self,
        question: str,
        *,
        schema: Any = None,
        choices: list[Any] | None = None,
        initial: Any = None,
        context: str | None = None,
        **options: Unpack[PromptOptions],
    ) -> Operation[Any]:
        """Ask a person. Waits for days, holds nothing; the answer is shaped to `schema`.

        schema: a type, dataclass, pydantic model or JSON Schema; None takes any text. choices: what may be answered.
        initial: what a form begins with. context: Markdown. Raises Denied when the person declines.

        options: `timeout=`, seconds or timedelta after which `default=` is the answer; without one, ExecutionTimedOut
        is raised; `on_timeout="deny"` raises Denied, "fail" lets a default be. `title=`. `to=`: who may answer, names
        and "team:" names; anybody when empty. `remind=`: how often the channels are told again; `escalate=`: after how
        long `escalate_to=` may answer too.
        """
        fields = {"question": question, "choices": choices, "initial": initial, "context": context}
        return self._ask(asked("ask", fields, options, schema=schema))

    def choose[T](
        self,
        question: str,
        options: Sequence[T] | Set[T],
        many: bool = False,
        *,
        context: str | None = None,
        **others: Unpack[PromptOptions],
    ) -> Operation[Any]:
        """Let a person choose one of the options; many=True: a list of them, each once. The rest as in `ask`."""
        fields = {"question": question, "options": in_order(options), "many": many, "context": context}
        return self._ask(asked("choose", fields, others))

    def approve(
        self, action: str, details: Any = None, quorum: Quorum = 1, **options: Unpack[PromptOptions]
    ) -> Operation[Decision]:
        """Let people approve an action: the Decision says who did and why. A denial raises Denied.

        quorum: how many have to approve, "any" or "all" of `to`. The rest as in `ask`.
        """
        return self._ask(asked("approve", {"action": action, "details": details, "quorum": quorum}, options))

    def review(
        self,
        document: Any,
        schema: Any = None,
        *,
        question: str | None = None,
        context: str | None = None,
        **options: Unpack[PromptOptions],
    ) -> Operation[Review]:
        """Let a person review a document: accept it, edit it to what fits `schema`, respond with a comment, decline.

        The rest as in `ask`.
        """
        fields = {"document": document, "question": question, "context": context}
        return self._ask(asked("review", fields, options, schema=schema))


def until_valid(operation: Operation[Any], question: Asked, ask: Callable[[Asked], Operation[Any]]) -> Operation[Any]:
    """An answer that only the function's own types refuse, or one settled past the inbox: ask again, saying why."""

    async def look(inner: Operation[Any]) -> Any:
        try:
            return await inner
        except BadArguments as error:
            return await ask(question.again(error))
        except ExecutionTimedOut as error:
            return question.late(error)

    return Derived(operation, look)
