"""Watches on subjects of a stream, and what the broker did not permit."""

import asyncio

import pytest
from conftest import Server, until

from a3s_worker import BrokerError, DeniedError, UnconfirmedError
from a3s_worker.broker import ConnectOptions, connect
from a3s_worker.broker.denials import Denied, Said
from a3s_worker.broker.follow import Follow, held


async def test_a_watch_reads_what_is_kept_and_outlives_its_server(server: Server) -> None:
    broker = await connect(ConnectOptions(server.url), "test")
    subjects = [f"w.{number}" for number in range(3_000)]
    await broker.call("STREAM.CREATE.W", {"name": "W", "subjects": ["w.*"], "storage": "file"})
    await asyncio.gather(*(broker.publish(subject, b"x" * 2_000, {}) for subject in subjects))
    found = await held(broker, "W", "w.*")
    assert sorted(m.subject for m in found) == sorted(subjects)
    assert [m.sequence for m in found] == list(range(1, 3_001))
    assert await held(broker, "W", "nothing.*") == []
    with pytest.raises(BrokerError):
        await held(broker, "NONE", "w.*")

    noted: list[str] = []
    follow = Follow(broker, "W", "w.new", lambda message: noted.append(message.body.decode()))
    await follow.open()
    assert await follow.kept_is_read()
    running = asyncio.create_task(follow.run())
    await broker.publish("w.new", b"before", {})

    async def has(text: str) -> bool:
        return text in noted

    await until("the first message", lambda: has("before"))
    server.kill()
    server.start()
    other = await connect(ConnectOptions(server.url), "other")

    async def stored() -> bool:
        try:
            await other.publish("w.new", b"after", {})
        except BrokerError:
            return False
        return True

    await until("the stream is back", stored)
    await until("the message after the restart", lambda: has("after"))
    running.cancel()
    await other.close()
    await broker.close()


async def test_a_watch_that_the_broker_forgot_is_opened_again(server: Server) -> None:
    broker = await connect(ConnectOptions(server.url), "test")
    await broker.call("STREAM.CREATE.W", {"name": "W", "subjects": ["w.*"], "storage": "memory"})
    noted: list[str] = []
    follow = Follow(broker, "W", "w.*", lambda message: noted.append(message.subject))
    await follow.open()
    running = asyncio.create_task(follow.run())
    # As a server does that lost what it had in memory: nothing comes any more, not even a sign.
    [name] = (await broker.call("CONSUMER.NAMES.W"))["consumers"]
    await broker.call(f"CONSUMER.DELETE.W.{name}")
    await broker.publish("w.1", b"", {})

    async def seen() -> bool:
        return noted == ["w.1"]

    await until("the message", seen)
    running.cancel()
    await broker.close()


def test_what_the_server_says_is_read_and_other_errors_are_not() -> None:
    text = 'nats: permissions violation for publish to "$js.api.stream.info.a3s_tasks"'
    denied = Denied.read(text)
    assert denied is not None
    assert denied.concerns("publish", "$JS.API.STREAM.INFO.A3S_TASKS")
    assert not denied.concerns("publish", "$JS.API.STREAM.INFO.A3S_OWN")
    assert not denied.concerns("subscribe", "$JS.API.STREAM.INFO.A3S_TASKS")
    heard = Denied.read('Permissions Violation for Subscription to "x.>" using queue "q"')
    assert heard == Denied("subscribe", "x.>")
    assert Denied.read("nats: unknown protocol operation") is None
    assert Denied.read("nats: authorization violation") is None


def test_a_kind_of_denial_is_said_once() -> None:
    said = Said()
    assert said.is_new(Denied("publish", "a3s.s.result.t1"))
    assert not said.is_new(Denied("publish", "a3s.s.result.t2"))
    assert said.is_new(Denied("subscribe", "a3s.s.result.t2"))
    assert said.is_new(Denied("publish", "a3s.s.claim.t1"))


def test_a_denial_is_not_taken_for_an_open_outcome() -> None:
    """What is not known is repeated; what is denied is not."""
    error = DeniedError("publish to x", "nkey file y").needed_to("store results").of("this worker")
    assert not isinstance(error, UnconfirmedError)
    assert str(error).startswith(
        "nkey file y is not enough for this worker: store results: not permitted to publish to x; "
    )
