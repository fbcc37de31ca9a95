"""A short run of the campaign (`python -m tests.protocol.fuzz`), and the session machine fed in any portions."""

from __future__ import annotations

import random
from typing import get_args

import msgspec
import pytest

from bridge.host.worker_session import WorkerSession
from bridge.protocol import messages
from bridge.protocol.framing import encode
from bridge.protocol.messages import Result
from durable.core.errors import ProtocolError
from tests.protocol.desk import running
from tests.protocol.fuzz import EngineEnd, Tally, engine_end, worker_end
from tests.protocol.hostile import TO_WORKER, Hostile


async def test_hostile_workers_end_their_session_and_nothing_else() -> None:
    tally = await engine_end(3_000, seed=7)
    assert tally.frames >= 3_000
    assert tally.refused > 100
    assert tally.ended > 10


def test_hostile_engines_end_their_worker_and_nothing_else() -> None:
    tally = worker_end(3_000, seed=7)
    assert tally.refused > 100
    assert tally.ended > 50


def transcript() -> bytes:
    """What a good worker sends for one execution."""
    common = {"timestamp": 1, "execution_id": "desk@1"}
    sent = [
        {"type": "output", "id": "w1", "stream": "stdout", "data": "a", **common},
        {"type": "call", "id": "w2", "call": 1, "capability": "fetch", "arguments": {}, "ordered": True, **common},
        {"type": "output", "id": "w3", "stream": "stderr", "data": "bc" * 500, **common},
        {"type": "result", "id": "w4", "value": 1, "repr": "1", "execution_time": 0.1, **common},
    ]
    return b"".join(bytes(part) for one in sent for part in encode(msgspec.msgpack.encode(one), 100))


async def fed(portions: list[bytes]) -> tuple[WorkerSession, EngineEnd, Result]:
    """A session that runs desk@1 and gets these portions."""
    import asyncio

    end = EngineEnd(0, Tally())
    session = await end.session()
    task = asyncio.create_task(session.execute(messages.Execute(id="desk@1", code="1", checkpoint="none")))
    await asyncio.sleep(0)
    for portion in portions:
        session._receive(portion)
    result = await task
    assert isinstance(result, Result)
    return session, end, result


@pytest.mark.parametrize("size", [1, 3, 10**6])
async def test_any_portions_of_a_stream_are_the_same_to_the_session(size: int) -> None:
    data = transcript()
    session, end, result = await fed([data[at : at + size] for at in range(0, len(data), size)])
    assert (end.printed, result.value, session.unknown_replies, session._broken) == (1_001, 1, 0, "")


async def test_trailing_data_belongs_to_what_follows() -> None:
    data = transcript()
    late = msgspec.msgpack.encode({"type": "heartbeat", "id": "e0", "timestamp": 1})
    frame = b"".join(bytes(part) for part in encode(late))
    session, end, result = await fed([data + frame[:5]])
    assert (end.printed, result.value, session.unknown_replies) == (1_001, 1, 0)
    session._receive(frame[5:] + b"\x7f\xff\xff\xff")
    assert session.unknown_replies == 1
    assert "a frame of" in session._broken


def test_a_worker_sees_a_message_as_the_map_that_was_sent() -> None:
    for model in get_args(messages.ToWorker.__value__):
        good = model(**{field.name: _example(field.name) for field in msgspec.structs.fields(model) if field.required})
        sent = messages.encode_message(good)
        assert messages.fields_to_worker(sent) == msgspec.msgpack.decode(sent)
    error = messages.CallError(kind="denied", exception_type="PermissionError", exception_message="no")
    sent = messages.encode_message(messages.CallResult(call=1, error=error))
    assert messages.fields_to_worker(sent) == msgspec.msgpack.decode(sent)


def _example(name: str) -> object:
    found = {"code": "1", "call": 1, "action": "values", "text": "a", "checkpoint": "w1", "data": b"x", "what": "count"}
    return (found | {"name": "a", "memory": 1})[name]


@pytest.mark.parametrize(
    "message",
    [[], {}, {"type": "output"}, {"type": ["execute"]}, {"type": "restore", "id": "e", "timestamp": 1, "data": "text"}],
)
def test_what_an_engine_may_not_send(message: object) -> None:
    with pytest.raises(ProtocolError):
        messages.fields_to_worker(msgspec.msgpack.encode(message))


async def test_a_worker_whose_engine_talks_nonsense_ends_at_once_and_says_why() -> None:
    """W10, in a real one, idle and while its code runs."""
    for code in ("", "while True: await __import__('asyncio').sleep(0)"):
        async with running() as desk:
            if code:
                desk.start(f"print('up', flush=True)\n{code}")
                await desk.until(lambda desk=desk: "up" in desk.text())  # type: ignore[misc]
            desk.session._write([b"\0\0\0\4junk"])
            await desk.session.wait_ended()
            assert desk.session.end_reason == "exited with code 76"
            assert "the engine broke the protocol: a message that is not allowed" in desk.text("stderr")


async def test_a_worker_fed_distorted_messages_answers_or_ends() -> None:
    hostile, draw = Hostile(3, TO_WORKER), random.Random(3)
    for _ in range(5):
        async with running(("fetch",)) as desk:
            for _ in range(draw.randint(1, 30)):
                message = hostile.good()
                if draw.random() < 0.1:
                    hostile._distort(message)
                desk.session._write(encode(msgspec.msgpack.encode(message)))
            desk.session._write(encode(messages.encode_message(messages.Shutdown())))
            await desk.session.wait_ended()
            assert desk.session.end_reason in ("exited with code 0", "exited with code 76")
