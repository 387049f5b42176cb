"""A real nats-server for each test, the real Rust programs, and real worker processes."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from a3s_worker import Session, SessionQueueConfig, Worker
from a3s_worker.broker import Broker, ConnectOptions, connect
from a3s_worker.broker.topology import Settings

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
BINARIES = Path(os.environ.get("A3S_BIN_DIR") or ROOT / "target" / "debug")
PATIENCE = 60.0
"""Seconds after which something that should happen does not."""


def _nats_server() -> str:
    cached = sorted((Path.home() / ".cache" / "a3s").glob("nats-server-*/nats-server"))
    found = (
        os.environ.get("A3S_NATS_SERVER") or (cached and cached[-1]) or shutil.which("nats-server")
    )
    assert found, "no nats-server: run `cargo xtask nats`, or set A3S_NATS_SERVER"
    return str(found)


async def until(what: str, holds: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """Waits until `holds` returns something true, and returns it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if value := await holds():
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"not seen within {patience} s: {what}")


class Server:
    """A nats-server of one test, with the configuration that is in the directory already, or a
    plain one."""

    def __init__(self, directory: Path, config: str = "", room: str = "256GB") -> None:
        self._directory = directory
        self._config = directory / "nats.conf"
        # Streams reserve their limits, and by default a server offers three quarters of what the
        # disk has left: a machine that has just built all this has little.
        jetstream = f'jetstream {{ store_dir: "{directory}", max_file_store: {room} }}'
        if not self._config.exists():
            self._config.write_text(f"{jetstream}\n{config}\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = -1

    def start(self) -> None:
        """Starts it, again on the same port and store after `kill`."""
        for old in self._directory.glob("*.ports"):
            old.unlink()
        command = [_nats_server(), "-a", "127.0.0.1", "-p", str(self.port)]
        command += ["-c", str(self._config), "--ports_file_dir", str(self._directory)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for ports in self._directory.glob("*.ports"):
                with contextlib.suppress(ValueError):
                    self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
                    return
            assert self._process.poll() is None, self.log()
            time.sleep(0.01)
        raise AssertionError("nats-server did not start")

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """What it has said."""
        return (self._directory / "log").read_text()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class Fleet:
    """Everything of one test that is started, and ends with it."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.settings = Settings(ack_wait=2.0)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("A3S_", "NATS_"))},
            "NATS_URL": server.url,
            "A3S_ACK_WAIT": "2",
            "A3S_NO_EMBEDDED": "true",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.processes: list[subprocess.Popen[str]] = []
        self.exits = contextlib.AsyncExitStack()

    async def broker(self) -> Broker:
        """A connection of the test's own."""
        broker = await connect(ConnectOptions(nats_url=self.server.url), "test")
        self.exits.push_async_callback(broker.close)
        return broker

    async def worker(
        self, tools: dict[str, Any], **options: Any
    ) -> tuple[Worker, "asyncio.Task[None]"]:
        """A worker in this process, which is ready."""
        worker = Worker(nats_url=self.server.url, settings=self.settings, **options)
        for name, handler in tools.items():
            worker.tool(name)(handler)
        running = asyncio.create_task(worker.run())

        async def end() -> None:
            worker.stop()
            worker.stop()
            await running

        self.exits.push_async_callback(end)
        await asyncio.wait_for(worker.ready(), PATIENCE)
        return worker, running

    async def session(self, session_id: str | None = None, **options: Any) -> Session:
        """A session whose lanes go to workers."""
        config = options.pop("config", SessionQueueConfig()).with_external_lanes()
        session = Session(
            session_id, nats_url=self.server.url, settings=self.settings, config=config, **options
        )
        return await self.exits.enter_async_context(session)

    async def worker_process(
        self, worker_id: str, file: str = "tools.py", **env: str
    ) -> subprocess.Popen[str]:
        """A worker of `file` in a process of its own, which is ready."""
        command = [sys.executable, "-m", "a3s_worker", str(HERE / file)]
        process = self.start(command, A3S_WORKER_ID=worker_id, **env)
        await self.present(worker_id, process)
        return process

    async def rust_worker(self, worker_id: str, *arguments: str) -> subprocess.Popen[str]:
        """A Rust worker, which is ready."""
        command = [str(BINARIES / "a3s-worker"), "--workspace", str(self.directory), *arguments]
        process = self.start(command, A3S_WORKER_ID=worker_id)
        await self.present(worker_id, process)
        return process

    async def present(self, worker_id: str, process: subprocess.Popen[str]) -> None:
        """Waits for a worker's heartbeat."""
        broker = await self.broker()

        async def seen() -> bool:
            assert process.poll() is None, f"worker {worker_id} ended: {process.returncode}"
            with contextlib.suppress(Exception):
                key = f"$KV.a3s_workers.{worker_id}"
                return await broker.last("KV_a3s_workers", key) is not None
            return False

        await until(f"the heartbeat of {worker_id}", seen)

    def start(self, command: list[str], **env: str) -> subprocess.Popen[str]:
        """A process that ends with the test."""
        process = subprocess.Popen(
            command, cwd=self.directory, env={**self.environment, **env}, text=True
        )
        self.processes.append(process)
        return process

    async def coordinator(self, *arguments: str) -> tuple[int, str, str]:
        """Runs a verb of the Rust coordinator: exit status, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            str(BINARIES / "a3s-coordinator"),
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        return process.returncode or 0, out.decode(), err.decode()

    async def tasks_left(self) -> int:
        """Tasks that the broker still holds."""
        broker = await self.broker()
        counts = [
            (await broker.call(f"STREAM.INFO.{name}"))["state"]["messages"]
            for name in ("A3S_TASKS", "A3S_OWN")
        ]
        return sum(counts)

    def end_processes(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def fleet(server: Server, tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(server, tmp_path)
    async with fleet.exits:
        yield fleet
    fleet.end_processes()
