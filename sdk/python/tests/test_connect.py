"""Connecting: as whom, and what is said when it does not work."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest
from conftest import Server

from a3s_worker import BrokerError, ConnectOptions, Worker
from a3s_worker.broker import connect
from a3s_worker.broker.topology import Settings, ensure

_SEED = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
_PUBLIC = nkeys.from_seed(bytearray(_SEED)).public_key.decode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """A server that wants to know who is there."""
    users = f'{{user: ann, password: secret}}, {{nkey: "{_PUBLIC}"}}'
    server = Server(tmp_path, f"authorization {{ users: [ {users} ] }}")
    server.start()
    yield server
    server.kill()


async def test_every_way_to_say_who_we_are_works(
    guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = tmp_path / "user.nk"
    # As `a3s-coordinator init` writes it.
    seed.write_bytes(b"# observer\n# inbox: _INBOX_observer\n" + _SEED + b"\n")
    contexts = tmp_path / "nats" / "context"
    contexts.mkdir(parents=True)
    said = {"url": guarded.url, "user": "ann", "password": "secret", "token": ""}
    (contexts / "here.json").write_text(json.dumps(said))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ways = [
        ConnectOptions(guarded.url, user="ann", password="secret"),
        ConnectOptions(guarded.url, nkey=str(seed)),
        ConnectOptions(context="here"),
    ]
    monkeypatch.delenv("NATS_URL", raising=False)
    for options in ways:
        broker = await connect(options, "test")
        assert await broker.call("INFO")
        await broker.close()
    monkeypatch.setenv("NATS_URL", guarded.url)
    monkeypatch.setenv("NATS_USER", "ann")
    monkeypatch.setenv("NATS_PASSWORD", "secret")
    broker = await connect(ConnectOptions(), "test")
    await broker.close()


async def test_a_refusal_is_said_although_the_server_hung_up_on_a_later_try(
    guarded: Server,
) -> None:
    tries = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            # Without a word, which the client sees as a reset.
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", guarded.port)
        await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))

    between = await asyncio.start_server(relay, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{between.sockets[0].getsockname()[1]}"
    with pytest.raises(BrokerError, match=r"(?i)authorization violation"):
        await connect(ConnectOptions(url, user="ann", password="wrong"), "test")
    assert tries > 1
    between.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_what_went_wrong_is_said(guarded: Server, tmp_path: Path) -> None:
    wrong = ConnectOptions(guarded.url, user="ann", password="wrong")
    with pytest.raises(BrokerError, match=r"(?i)authorization violation"):
        await connect(wrong, "test")
    with pytest.raises(
        BrokerError, match=r"cannot connect to nats://127\.0\.0\.1:1: .*Connect call failed"
    ):
        await connect(ConnectOptions("nats://127.0.0.1:1"), "test")
    with pytest.raises(ValueError, match="cannot read the nats context 'none' at"):
        await connect(ConnectOptions(context="none"), "test")
    with pytest.raises(ValueError, match="the worker has no tools"):
        await Worker(nats_url=guarded.url).run()
    with pytest.raises(ValueError, match="unknown lane 'fast'"):
        Worker(lanes=["fast"])
    with pytest.raises(ValueError, match="give session_id or pool"):
        Worker(session_id="s", pool="p")


async def test_a_server_without_room_says_what_would_make_room(tmp_path: Path) -> None:
    server = Server(tmp_path, room="1GB")
    server.start()
    broker = await connect(ConnectOptions(server.url), "test")
    try:
        with pytest.raises(BrokerError, match=r"max_file_store.*A3S_STREAM_MIB"):
            await ensure(broker, Settings())
    finally:
        await broker.close()
        server.kill()
