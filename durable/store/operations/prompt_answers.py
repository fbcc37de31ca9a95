"""Answers of several persons to one question: each is a promise of its own, once per person (specs/prompt.md, Q6)."""

from __future__ import annotations

from durable.store.operations.promises import check_create, check_value, create_promise, find
from durable.store.operations.settlement import settle, settle_pending
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import EMPTY, Answer, PromptAnswer, Refused


def record(tx: Tx, request: PromptAnswer) -> Answer:
    """Record an answer, and settle the question when it decides, in one transaction.

    The question's promise as it is then; `recorded` is false when the question was settled or the person answered
    before: `answer` is what the person is recorded with. 409 when other answers came since they were counted.
    """
    prompt, answer = request.prompt, request.answer
    if not answer.id.startswith(f"{prompt}.") or (request.settle is not None and request.settle.id != prompt):
        raise Refused(400, f"{answer.id!r} is no answer to {prompt!r}")
    check_create(answer, answer.tags or {})
    check_value(request.value)
    found = find(tx, prompt)
    before = tx.row("SELECT value_data FROM promises WHERE id=?", (answer.id,))
    if found["state"] != "pending" or before is not None:
        given = None if before is None else tx.values.whole(before[0])
        return Answer(200, {"promise": found, "recorded": False, "answer": given})
    counted = tx.row("SELECT count(*) FROM promises WHERE id > ? AND id < ?", (f"{prompt}.", f"{prompt}/"))
    assert counted is not None
    if counted[0] != request.others:
        raise Refused(409, f"{counted[0]} answers are there, not {request.others}: look again what they decide")
    create_promise(tx, answer)
    settle(tx, answer.id, "resolved", request.value)
    if request.settle is not None:
        check_value(request.settle.value)
        settled = settle_pending(tx, prompt, request.settle.state, request.settle.value or EMPTY)
        assert settled is not None, "it was pending in this transaction"
        found = settled
    return Answer(200, {"promise": found, "recorded": True, "answer": request.value.data})
