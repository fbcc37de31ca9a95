"""The worker does not import the models: what it sends and reads is held to them here."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.host.worker_session import WorkerSession
from bridge.protocol import messages
from bridge.protocol.messages import FromWorker, parse_from_worker, parse_to_worker
from bridge.worker.main import PROTOCOL_VERSION
from durable.core.errors import ProtocolError
from tests.protocol.desk import Desk, running


def test_versions_agree() -> None:
    assert messages.PROTOCOL_VERSION == PROTOCOL_VERSION


def test_the_worker_imports_only_what_runs_in_it() -> None:
    code = (
        "import sys, bridge.worker.main\n"
        "bad = {'pydantic', 'resonate', 'durable.store', 'cloudpickle', 'sqlite3'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_every_type_the_worker_sends_reaches_the_session_whole() -> None:
    seen: dict[str, FromWorker] = {}
    desk = Desk(("fetch",))

    def see(message: FromWorker) -> None:
        seen.setdefault(message.type, message)

    desk.session.add_interceptor(see)
    await desk.session.start()
    try:
        task = desk.start("print('x')\nfetch()\n1", checkpoint="auto")
        await desk.until(lambda: bool(desk.waitings))
        await desk.session.heartbeat()
        desk.answer(desk.calls[0], None)
        await task
        await desk.run("1 / 0")
        await desk.session.restore(desk.checkpoints[0].data)
    finally:
        desk.session.kill()
        await desk.session.wait_ended()
    expected = ["hello", "ready", "output", "call", "waiting", "result", "error", "checkpoint", "restored", "heartbeat"]
    assert sorted(seen) == sorted(expected)
    assert all(message.id and message.timestamp > 0 for message in seen.values())


@pytest.mark.parametrize(
    "message",
    [
        {},
        [],
        None,
        {"type": "nothing", "id": "a", "timestamp": 1},
        {"type": "heartbeat", "id": "a", "timestamp": "soon"},
        {"type": "heartbeat", "id": "a", "timestamp": 1, "extra": 1},
        {"type": "call", "id": "a", "timestamp": 1, "execution_id": "x", "call": -1, "capability": "a"},
        {"type": "call", "id": "a", "timestamp": 1, "execution_id": "x", "call": 1, "capability": "A B"},
        {"type": "result", "id": "a" * 500, "timestamp": 1},
        {"type": "result", "id": "a", "timestamp": 1, "execution_id": "x", "value": b"bytes", "repr": ""},
        {"type": "execute", "id": "a", "timestamp": 1, "code": "1"},
        {1: 2},
    ],
)
def test_what_a_worker_may_not_send(message: object) -> None:
    with pytest.raises(ProtocolError):
        parse_from_worker(msgspec.msgpack.encode(message))


def test_what_is_not_msgpack() -> None:
    for payload in (b"", b"\xc1", b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(ProtocolError):
            parse_from_worker(payload)


@given(st.data())
def test_noise_is_a_message_or_a_protocol_error(data: st.DataObject) -> None:
    good = {"type": "result", "id": "w", "timestamp": 1, "execution_id": "x", "value": [1], "repr": ""}
    payload = bytearray(msgspec.msgpack.encode(good))
    for _ in range(data.draw(st.integers(1, 5))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    for noise in (bytes(payload), data.draw(st.binary(max_size=80))):
        try:
            parse_from_worker(noise)
        except ProtocolError:
            pass


def test_execute_round_trip() -> None:
    request = messages.Execute(id="s@1", code="1", inputs={"a": [1, None, {"b": 2.5}]}, counters={"input": 2})
    assert parse_to_worker(messages.encode_message(request)) == request


async def test_a_second_hello_of_another_version_ends_the_session() -> None:
    async with running() as desk:
        assert isinstance(desk.session, WorkerSession)
        frame = msgspec.msgpack.encode({"type": "hello", "id": "w", "timestamp": 1, "version": 99})
        desk.session._receive(len(frame).to_bytes(4, "big") + frame)
        await desk.session.wait_ended()
        assert "protocol 99" in desk.session.end_reason
