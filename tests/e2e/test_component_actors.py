"""WebAssembly as durable actors, on every kind of store (specs/actors.md, W1-W12; requirements A25-A31, A71, A74)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import durable
from capabilities.actors.mailbox import Mailbox
from capabilities.actors.multicodec import Multicodec, decode_value, encode_value
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.errors import CapabilityDenied, ComponentTrapped
from durable.actors import component_actor as component_actor_module
from tests.components import talking
from tests.e2e.sandbox_kills_job import COUNTER, SIX, charge, refund

GRANTED = ComponentManifest("counter", SIX, read_manifest({"grant": ["charge"]}))
Counter = durable.component_actor(
    "counter", supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop")
)
Pong = durable.component_actor(
    "pong", supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop")
)
Twin = durable.component_actor("twin")
Ping = durable.component_actor("ping", supervise=durable.Supervise())
Living = durable.component_actor("living", config=b"twelve bytes")
Refused = durable.component_actor("living", name="Refused", config=b"x" * 13)

pytestmark = pytest.mark.usefixtures("cached")

type Opened = Callable[..., AbstractAsyncContextManager[durable.Engine]]


@asynccontextmanager
async def opened(place: str | Path, ping: str = talking.PING) -> AsyncIterator[durable.Engine]:
    async with durable.open(str(place)) as engine:
        await engine.sandbox.add(talking.PONG, talking.pong())
        await engine.sandbox.add(ping, talking.ping())
        await engine.sandbox.add(talking.LIVING, talking.living())
        yield engine


async def until(found: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What is found, once it is as wanted."""
    async with asyncio.timeout(20):
        while not wanted(value := await found()):  # noqa: ASYNC110 - other actors do the work
            await asyncio.sleep(0.01)
    return value


@durable.actor
class Clerk:
    told: list[str] = []  # noqa: RUF012

    async def handle_message(self, ctx: durable.ActorContext, sender: str, message: bytes) -> bytes | None:
        if message == b"refuse":
            raise ValueError("not this one")
        self.told = [*self.told, f"{sender}: {message.decode()}"]
        return None if message == b"silent" else message.upper()


async def test_an_instance_lives_on_through_traps_and_engines(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charge, refund]) as engine:
        await engine.sandbox.add(GRANTED, COUNTER)
        counter = engine.actor(Counter, "a")
        assert [await counter.invoke("add", n) for n in (1, 2)] == [1, 3]
        assert await engine.actor(Counter, "b").invoke("add", 50) == 50
        with pytest.raises(durable.ComponentTrapped, match="unreachable"):
            await counter.invoke("break")
        info = await engine.actors.get(Counter, "a")
        assert (info.status, info.restarted, info.waiting) == ("running", 1, 0)
        (letter,) = await engine.actors.dead_letters(Counter, "a")
        assert (letter.method, letter.args) == ("invoke", ["break"])
        with pytest.raises(durable.ExecutionFailed, match="no function of this name"):
            await counter.invoke("steal")
    async with durable.open(tmp_path / "work.db", capabilities=[charge, refund]) as engine:
        await engine.sandbox.add(GRANTED, COUNTER)
        assert await engine.actor(Counter, "a").invoke("add", 3) == 6


# -- components -------------------------------------------------------------------------------------------------------


async def test_a_component_goes_on_where_its_last_message_left_it(place: str) -> None:
    async with opened(place) as engine:
        pong = engine.actor(Pong, "a")
        assert await pong.handle_message("", b"hello") == b"hello"
        assert [await pong.invoke("count"), engine.sandbox.instances] == [1, 1]
        with pytest.raises(durable.ExecutionFailed, match="no function of this name"):
            await pong.invoke("steal")
        assert await pong.handle_message("", b"?first") == b"?first"  # taken again after the trap
        twin = talking.PONG.replace('"pong"', '"twin"')
        await engine.sandbox.add(twin, talking.pong())
        with pytest.raises(durable.ComponentTrapped):  # A73: another component has another storage
            await engine.actor(Twin, "a").handle_message("", b"?first")
        with pytest.raises(durable.ComponentTrapped, match="unreachable"):
            await pong.handle_message("", b"!")
        info = await engine.actors.get(Pong, "a")
        assert (info.status, info.restarted, info.state["journaled"]) == ("running", 1, 3)
        assert await pong.invoke("count") == 2  # made again of its messages
        with pytest.raises(durable.Err, match="first"):
            await pong.handle_message("", b"E")
        assert await pong.invoke("count") == 3  # an error of its own is a reply: its state goes on
        engine.sandbox.let_go(info.name)
        assert await pong.invoke("count") == 3
    async with opened(place) as engine:
        assert await engine.actor(Pong, "a").invoke("count") == 3
        assert await engine.actor(Pong, "b").invoke("count") == 0


async def test_what_it_saved_itself_is_all_that_is_kept(place: str) -> None:
    async with opened(place) as engine:
        pong = engine.actor(Pong, "a")
        for _ in range(3):
            await pong.tell.handle_message("", b"m")
        assert await pong.handle_message("", b"S") == b"S"
        state = (await engine.actors.get(Pong, "a")).state
        assert (state["saved"], state["journaled"], engine.sandbox.instances) == ("BAAAAA==", 0, 0)
        assert [await pong.invoke("count"), await pong.handle_message("", b"m")] == [4, b"m"]
        assert len(await engine.actors.journal("actor~pong~a")) == 2
    async with opened(place) as engine:
        pong = engine.actor(Pong, "a")
        assert await pong.invoke("count") == 5
        await engine.actors.restart(Pong, "a", reset=True)
        assert await pong.invoke("count") == 0
        assert len(await engine.actors.journal("actor~pong~a")) == 1


async def test_a_journal_that_is_full_asks_for_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_actor_module, "JOURNAL_MAX", 2)
    async with opened(tmp_path / "work.db") as engine:
        pong = engine.actor(Pong, "a")
        assert [await pong.invoke("count") for _ in range(2)] == [0, 0]
        with pytest.raises(durable.JournalFull, match="call `save`"):
            await pong.invoke("count")
        assert (await engine.actors.get(Pong, "a")).restarted == 0
        await engine.actors.restart(Pong, "a", reset=True)
        assert await pong.handle_message("", b"S") == b"S"
        assert await pong.invoke("count") == 1


async def test_a_component_that_does_something_else_with_its_journal_is_halted(tmp_path: Path) -> None:
    """A new version that makes other calls for a recorded message: nothing of it is guessed."""
    async with opened(tmp_path / "work.db") as engine:
        await engine.actor(Pong, "a").handle_message("", b"?m")
    async with durable.open(tmp_path / "work.db") as engine:
        await engine.sandbox.add(talking.PONG, talking.living())  # another program under the id
        pong = engine.actor(Pong, "a")
        message = await pong.tell.handle_message("", b"n")
        execution = await engine.get(message)
        await until(execution.state, lambda state: state == "interrupted")
    async with opened(tmp_path / "work.db") as engine:
        assert await engine.resume(message)
        assert await (await engine.get(message)).result() == "bg=="
        assert await engine.actor(Pong, "a").invoke("count") == 2


async def test_arguments_in_a_codec_have_replies_in_it(tmp_path: Path) -> None:
    """A29: the reply is encoded with the request's codec."""
    async with opened(tmp_path / "work.db") as engine:
        pong = engine.actor(Pong, "a")
        for codec, value in ((Multicodec.JSON, 7), (Multicodec.CBOR, [9])):
            await pong.invoke_encoded("leave", encode_value(codec, value))
            assert decode_value(await pong.invoke_encoded("count", encode_value(codec, []))) == (
                codec,
                value if isinstance(value, int) else value[0],
            )
        with pytest.raises(durable.CodecError, match="unknown codec 0x1"):
            await pong.invoke_encoded("count", b"\x01x")


async def test_the_interface_of_what_lives_on_is_called(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """World `living`: init with its configuration, execute, handle-message, health; a shutdown that traps is logged."""
    async with opened(tmp_path / "work.db") as engine:
        living = engine.actor(Living, "a")
        assert await living.invoke("configured") == 12
        assert await living.invoke("anything", {"base64": "AQI="}) == {"base64": "YW55dGhpbmc="}
        assert await living.handle_message("", b"hi") == b"hi"
        assert await living.health() == {"status": "degraded", "reason": "warming up"}
        assert await living.handle_callback("none", {"ok": ""}) is None
        assert "exports no handle-callback" in caplog.text  # A30: dropped, with a warning
        with pytest.raises(durable.Err, match="warming up"):
            await engine.actor(Refused, "a").invoke("configured")
        assert await engine.actor(Pong, "p").health() == {"status": "healthy", "reason": ""}
    assert "its cleanup did not end well: the code trapped" in caplog.text  # A26: it was stopped all the same


# -- messages ---------------------------------------------------------------------------------------------------------


async def test_components_ask_and_the_answers_come_as_messages(place: str) -> None:
    async with opened(place) as engine:
        ping = engine.actor(Ping, "p")
        await ping.invoke("ask", "pong/a", 1, 10, 5, ord("E"), 10_000)
        counts = await until(lambda: ping.invoke("counts"), lambda found: sum(found[:2]) == 10)
        assert counts == [8, 2, 0]
        assert await engine.actor(Pong, "a").invoke("count") == 10
        await ping.invoke("ask-once", "Clerk/c", {"base64": "aGk="}, 10_000)
        await ping.invoke("ask-once", "Clerk/c", {"base64": "cmVmdXNl"}, 10_000)
        await ping.invoke("tell", "Clerk/c", {"base64": "c2lsZW50"})
        counts = await until(lambda: ping.invoke("counts"), lambda found: sum(found[:2]) == 12)
        assert counts == [9, 3, 0]
        clerk = await until(lambda: engine.actors.get(Clerk, "c"), lambda info: len(info.state["told"]) == 2)
        assert clerk.state["told"] == ["ping/p: hi", "ping/p: silent"]


async def test_a_request_without_an_answer_fails_in_time_and_a_cancelled_one_has_none(tmp_path: Path) -> None:
    permitted = talking.PING.replace('"Clerk/*"', '"Nobody/*"')
    async with opened(tmp_path / "work.db", permitted) as engine:
        ping = engine.actor(Ping, "p")
        await ping.invoke("ask-once", "Nobody/x", {"base64": ""}, 100)
        assert await until(lambda: ping.invoke("counts"), lambda found: found[1] == 1) == [0, 1, 0]
        (last,) = [text for text in await engine.actors.journal("actor~ping~p") if '"callback"' in text]
        assert msgspec.json.decode(last)["args"][1]["err"]["kind"] == "RequestTimedOut"
        request = await ping.invoke("ask-once", "Nobody/x", {"base64": ""}, 60_000)
        with pytest.raises(durable.Err, match="nobody waits for the answer"):
            await engine.actor(Ping, "other").invoke("cancel", request)
        assert await ping.invoke("cancel", request) is None
        with pytest.raises(durable.Err, match="nobody waits for the answer"):
            await ping.invoke("cancel", request)
        with pytest.raises(durable.Err, match="nobody waits for the answer"):
            await ping.invoke("cancel", "actor~ping~p@1")
        assert await ping.invoke("counts") == [0, 1, 0]


async def test_topics_reach_components_and_classes_in_python(place: str) -> None:
    async with opened(place) as engine:
        ping, other = (engine.actor(Ping, key) for key in "pq")
        for each in (ping, other):
            await each.invoke("listen", "news.*")
        await engine.actors.subscribe(Clerk, "c", "news.#", "handle_message")
        assert await ping.invoke("announce", "news.local", {"base64": "aGk="}) == 3
        assert await until(lambda: ping.invoke("counts"), lambda found: found[2] == 1)
        assert await until(lambda: other.invoke("counts"), lambda found: found[2] == 1)
        clerk = await until(lambda: engine.actors.get(Clerk, "c"), lambda info: info.state is not None)
        assert clerk.state["told"] == ["ping/p: hi"]


@pytest.mark.parametrize(
    ("permissions", "call", "reason"),
    [
        ("", ("tell", "pong/a", {"base64": ""}), "messaging is not granted"),
        ('[permissions.messaging]\nsend = ["pong/b"]\n', ("tell", "pong/a", {"base64": ""}), "send to pong/a"),
        ('[permissions.messaging]\nsend = ["*"]\n', ("announce", "news.x", {"base64": ""}), "publish news.x"),
        ('[permissions.messaging]\npublish = ["news.*"]\n', ("announce", "news.x.y", {"base64": ""}), "publish news.x"),
        ('[permissions.messaging]\nsubscribe = ["news.*"]\n', ("listen", "news.#"), "subscribe news.#"),
        ('[permissions.messaging]\nsend = ["*"]\n', ("ask-once", "pong/a", {"base64": ""}, 1000), None),
    ],
)
async def test_messages_are_permitted_by_the_manifest(
    tmp_path: Path, permissions: str, call: tuple[Any, ...], reason: str | None
) -> None:
    """A71, A72: whom it may send to, where it may publish and subscribe."""
    manifest = f'component = {{ id = "ping" }}\n{talking.LIMITS}{permissions}'
    async with opened(tmp_path / "work.db", manifest) as engine:
        quiet = durable.component_actor("ping", name=f"Quiet{abs(hash((permissions, call[0], str(call[1]))))}")
        sent = engine.actor(quiet, "p").invoke(*call)
        if reason is None:
            assert (await sent).startswith("request-")
            return
        with pytest.raises(CapabilityDenied, match=reason):
            await sent
        assert await engine.actors.find(kind="pong") == []


async def test_messages_wait_for_their_rate(tmp_path: Path) -> None:
    """A74: messages a second, of all instances of a component together."""
    async with opened(tmp_path / "work.db", talking.PING + "[permissions.rates]\nmessaging = 10\n") as engine:
        begun = time.monotonic()
        await engine.actor(Ping, "p").invoke("ask", "pong/a", 1, 15, 99, ord("E"), 60_000)
        assert time.monotonic() - begun >= 0.45  # ten at once, the others a tenth of a second each


async def test_bad_requests_are_told_to_the_component(tmp_path: Path) -> None:
    permitted = talking.PING.replace('"Clerk/*"', '"*"')
    async with opened(tmp_path / "work.db", permitted) as engine:
        ping = engine.actor(Ping, "p")
        for target, said in (("nowhere", "BadArguments"), ("no class/x", "InvalidId"), ("/x", "BadArguments")):
            with pytest.raises(durable.Err, match=said):
                await ping.invoke("tell", target, {"base64": ""})
        await engine.actor(Clerk, "c").handle_message("", b"hi")
        await engine.actors.stop(Clerk, "c", "closed")
        with pytest.raises(durable.Err, match=r"ActorStopped.*closed"):
            await ping.invoke("tell", "Clerk/c", {"base64": ""})
        with pytest.raises(durable.Err, match="no topic"):
            await ping.invoke("announce", "news..x", {"base64": ""})
        with pytest.raises(durable.ComponentNotFound, match="no component 'absent' is known"):
            await engine.actor(durable.component_actor("absent", supervise=None), "a").invoke("x")


# -- what befell others -----------------------------------------------------------------------------------------------


async def test_what_its_start_was_answered_is_answered_again(place: str) -> None:
    """A start that asks its host belongs to the journal: else a fresh instance begins another life."""
    async with opened(place) as engine:
        early, late = (engine.actor(Pong, key) for key in ("early", "late"))
        assert await early.invoke("knew") == 0
        assert await engine.actor(Pong, "other").handle_message("", b"?s") == b"?s"
        engine.sandbox.let_go("actor~pong~early")
        assert [await early.invoke("knew"), await late.invoke("knew")] == [0, 1]


async def test_actors_of_a_small_quota_take_turns_in_it(tmp_path: Path) -> None:
    """An instance that is only kept gives way to one that has a message (A74)."""
    small = talking.PONG.replace("max_bytes = 1048576", "max_bytes = 1048576, quota_bytes = 1048576")
    async with durable.open(tmp_path / "work.db") as engine:
        await engine.sandbox.add(small, talking.pong())
        pongs = [engine.actor(Pong, key) for key in "abc"]
        for _ in range(2):
            assert await asyncio.gather(*(each.handle_message("", b"m") for each in pongs)) == [b"m"] * 3
            assert engine.sandbox.instances == 1
        assert [await each.invoke("count") for each in pongs] == [2, 2, 2]


async def test_a_message_that_is_ended_while_it_runs_leaves_nothing(tmp_path: Path) -> None:
    """The instance had begun with it, and nothing of it was saved: the next message begins before it."""
    async with opened(tmp_path / "work.db") as engine:
        pong = engine.actor(Pong, "a")
        await pong.handle_message("", b"m")
        message = await pong.tell.invoke("spin")
        await until((await engine.get(message)).state, lambda state: state == "running")
        assert await engine.cancel(message)
        assert await pong.invoke("count") == 1


async def test_limits_are_of_each_message(tmp_path: Path) -> None:
    small = talking.PONG.replace("max_fuel = 100000000", "max_fuel = 100000")
    async with durable.open(tmp_path / "work.db") as engine:
        await engine.sandbox.add(small, talking.pong())
        pong = engine.actor(Pong, "a")
        await pong.handle_message("", b"m")
        with pytest.raises(durable.FuelExhausted):
            await pong.invoke("spin")
        assert [await pong.invoke("count") for _ in range(3)] == [1, 1, 1]


async def test_a_stopped_actor_that_is_restarted_takes_messages_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "work.db") as engine:
        pong = engine.actor(Pong, "a")
        await pong.handle_message("", b"m")
        await engine.actors.stop(Pong, "a")
        assert engine.sandbox.instances == 0
        with pytest.raises(durable.ActorStopped):
            await pong.invoke("count")
        await engine.actors.restart(Pong, "a")
        assert await pong.invoke("count") == 1
        await engine.actors.delete(Pong, "a", force=True)
        assert [await pong.invoke("count"), len(await engine.actors.journal("actor~pong~a"))] == [0, 1]


# -- in memory --------------------------------------------------------------------------------------------------------

LocalPong = durable.component_actor(
    "pong",
    name="LocalPong",
    durable=False,
    supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop"),
)
LocalPing = durable.component_actor("ping", name="LocalPing", durable=False)
LocalLiving = durable.component_actor("living", name="LocalLiving", durable=False, config=b"x" * 13)
LOCAL = talking.PING.replace("pong/*", "LocalPong/*").replace("ping/*", "LocalPing/*")


async def test_components_in_memory_talk_and_are_supervised(tmp_path: Path) -> None:
    """L6-L9: the same without the store; nothing of it is recorded."""
    async with opened(tmp_path / "work.db", LOCAL) as engine:
        pong, ping = engine.actor(LocalPong, "a"), engine.actor(LocalPing, "p")
        await engine.actors.start(LocalPong, "a")
        assert time.time() - 60 < await pong.started_at() < time.time()  # A31
        assert [await pong.handle_message("", b"m"), await pong.invoke("count")] == [b"m", 1]
        assert await pong.health() == {"status": "healthy", "reason": ""}
        assert await pong.handle_message("", b"?once") == b"?once"  # another instance, after a trap
        assert await pong.invoke("count") == 1
        with pytest.raises(durable.ComponentTrapped):
            await pong.handle_message("", b"!")
        frame = encode_value(Multicodec.JSON, [])
        assert decode_value(await pong.invoke_encoded("count", frame)) == (Multicodec.JSON, 0)
        await ping.invoke("ask", "LocalPong/a", 1, 20, 5, ord("E"), 5_000)
        assert await until(lambda: ping.invoke("counts"), lambda found: sum(found[:2]) == 20) == (16, 4, 0)
        await ping.invoke("listen", "news.*")
        assert await ping.invoke("announce", "news.x", b"hi") == 1
        assert await until(lambda: ping.invoke("counts"), lambda found: found[2] == 1)
        with pytest.raises(CapabilityDenied, match="send to Elsewhere/x"):
            await ping.invoke("tell", "Elsewhere/x", b"")
        assert await ping.invoke("counts") == (0, 0, 0)  # that ended its instance
        assert await engine.actors.stop(LocalPong, "a") == 0
        await engine.actors.restart(LocalPong, "a")
        assert await pong.invoke("count") == 0
        assert await engine.executions() == []


async def test_messages_that_wait_are_answered_as_those_that_come_one_by_one(tmp_path: Path) -> None:
    """L10: traps, wrong calls and what is no message for an instance, between others."""
    sent: list[tuple[str, tuple[Any, ...]]] = [
        *[("handle_message", ("", b"m")), ("invoke", ("count",))] * 3,
        ("invoke", ("nothing",)),
        ("health", ()),
        ("invoke", ("count",)),
        ("handle_message", ("", b"!")),
        ("handle_message", ("", b"m")),
        ("invoke", ("count", 7)),
        ("invoke_encoded", ("count", encode_value(Multicodec.JSON, []))),
        ("handle_message", ("", b"?once")),
        *[("handle_message", ("", b"m")), ("invoke", ("count",))] * 40,
    ]
    async with opened(tmp_path / "one.db", LOCAL) as engine:
        pong = engine.actor(LocalPong, "a")
        singly = [await said(getattr(pong, method)(*args)) for method, args in sent]
    async with opened(tmp_path / "many.db", LOCAL) as engine:
        pong = engine.actor(LocalPong, "a")
        await pong.invoke("count")
        assert await asyncio.gather(*(said(getattr(pong, method)(*args)) for method, args in sent)) == singly
    assert singly[0] == b"m"
    assert ComponentTrapped in singly


async def said(reply: Any) -> Any:
    """A reply, or the type of what was raised."""
    try:
        return await reply
    except Exception as error:
        return type(error)


async def test_a_stop_refuses_the_messages_that_wait_behind_a_long_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "work.db", LOCAL) as engine:
        pong, actor = engine.actor(LocalPong, "a"), engine.actors.local.named("actor~LocalPong~a")
        await pong.invoke("count")
        replies = [asyncio.ensure_future(said(pong.invoke(each))) for each in ("count", "spin", "count", "count")]
        async with asyncio.timeout(20):
            while len(actor._mailbox) != 2:  # noqa: ASYNC110 - a thread takes them
                await asyncio.sleep(0)
        assert await engine.actors.stop(LocalPong, "a") == 2
        assert await asyncio.gather(*replies[2:]) == [durable.ActorStopped] * 2
        assert (await asyncio.gather(*replies[:2]))[0] == 0
        await engine.actors.restart(LocalPong, "a")
        assert await pong.invoke("count") == 0


async def test_a_call_that_is_ended_by_force_ends_before_its_instance_does(tmp_path: Path) -> None:
    """L11: cleanup and the call in one store at once were the end of the engine's process."""
    async with opened(tmp_path / "work.db", LOCAL) as engine:
        pong, actor = engine.actor(LocalPong, "a"), engine.actors.local.named("actor~LocalPong~a")
        for _ in range(10):
            assert await pong.invoke("count") == 0
            in_use = actor._object._instance._instance._in_use
            spinning = asyncio.ensure_future(said(pong.invoke("spin")))
            async with asyncio.timeout(20):
                while not spinning.done() and in_use.acquire(blocking=False):
                    in_use.release()
                    await asyncio.sleep(0)
            assert await engine.actors.stop(LocalPong, "a", force=True) == 0
            assert await spinning in (durable.ActorStopped, durable.FuelExhausted)  # the latter on a slow machine
            await engine.actors.restart(LocalPong, "a")


async def test_who_waits_is_told_whatever_its_visit_was_about_when_it_was_given_up(tmp_path: Path) -> None:
    """The thread has taken a message, and whoever gave the visit up has looked before it said so."""
    async with opened(tmp_path / "work.db", LOCAL) as engine:
        pong, actor = engine.actor(LocalPong, "a"), engine.actors.local.named("actor~LocalPong~a")
        await pong.invoke("count")
        taken, go_on = threading.Event(), threading.Event()

        class Slow(Mailbox[Any]):
            def take(self) -> Any:
                message = super().take()
                if threading.current_thread() is not threading.main_thread():
                    taken.set()
                    go_on.wait(20)
                return message

        actor._mailbox = Slow("a", capacity=None)
        replies = [asyncio.ensure_future(said(pong.invoke("count"))) for _ in range(3)]
        assert await asyncio.to_thread(taken.wait, 20)
        await engine.actors.stop(LocalPong, "a", force=True)
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(20):
            assert await asyncio.gather(*replies) == [0, durable.ActorStopped, durable.ActorStopped]


async def test_a_start_that_fails_gives_its_room_back(tmp_path: Path) -> None:
    small = talking.LIVING.replace("max_bytes = 1048576", "max_bytes = 1048576, quota_bytes = 1048576")
    async with durable.open(tmp_path / "work.db", serve=False) as engine:
        await engine.sandbox.add(small, talking.living())
        for _ in range(3):
            with pytest.raises(durable.Err, match="warming up"):
                await engine.actors.start(LocalLiving, "a")


@pytest.mark.parametrize("durably", [True, False])
def test_two_classes_of_one_name_are_a_conflict(durably: bool) -> None:
    name = f"Double{durably}"
    durable.component_actor("pong", name=name, durable=durably)
    with pytest.raises(durable.Conflict, match=rf"known as '{name}': those at .*\.py:\d+ and .*\.py:\d+.*name="):
        durable.component_actor("ping", name=name, durable=durably, supervise=durable.Supervise())


def test_two_classes_in_memory_of_one_name_are_a_conflict() -> None:
    @durable.actor(name="Twice", durable=False)
    class First:
        async def go(self, ctx: durable.ActorContext) -> None: ...

    class Second(First):
        pass

    with pytest.raises(durable.Conflict, match="two classes of actors in memory would be known as 'Twice'"):
        durable.actor(name="Twice", durable=False)(Second)
