"""A fleet of real processes, and the door that is tested.

The environment says where things are: NATS_URL a server with JetStream, A3S_BIN_DIR our programs,
A3S_NATS_SERVER a nats-server to start. `e2e/tests/mcp` sets them.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

HERE = Path(__file__).parent
SDK = HERE.parents[2] / "sdk" / "python" / "src"
PROGRAMS = Path(os.environ["A3S_BIN_DIR"])
COORDINATOR, WORKER = PROGRAMS / "a3s-coordinator", PROGRAMS / "a3s-worker"

SOON = 60.0
"""Far more than anything here takes on a busy machine, in seconds."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def eventually(what: str, fact: Callable[[], Any], bound: float = SOON) -> Any:
    """Waits until `fact` is true, and gives it."""
    until = time.monotonic() + bound
    while not (value := fact()):
        assert time.monotonic() < until, f"{what} did not come within {bound} s"
        time.sleep(0.02)
    return value


async def soon(what: str, fact: Callable[[], Any], bound: float = SOON) -> Any:
    """As `eventually`, while others go on."""
    with anyio.move_on_after(bound):
        while not (value := fact()):
            await anyio.sleep(0.02)
        return value
    raise AssertionError(f"{what} did not come within {bound} s")


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def name_of(pid: int) -> str:
    """The name of a process; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid: int, name: str = "") -> list[int]:
    """The processes that `pid` has started, by name."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in thread.read_text().split()]
    return [child for child in found if name in name_of(child)]


class Process:
    """A program, killed at the end of its test. What it says goes to a file."""

    def __init__(self, command: list[str], env: dict[str, str], directory: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as said:
            self.child = subprocess.Popen(
                command, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def says(self, text: str) -> str:
        """Waits until it has said `text`, and gives the line."""

        def line() -> str | None:
            lines = self.log.read_text(errors="replace").splitlines()
            found = next((one for one in lines if text in one), None)
            assert found or self.child.poll() is None, f"it has ended: {lines}"
            return found

        return str(eventually(f"{text!r} from {self.child.args}", line))

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(SOON)


@dataclass
class Fleet:
    """Processes on one server, apart from those of every other test by the prefix of all names."""

    workspace: Path
    env: dict[str, str]
    started: list[Process] = field(default_factory=list)

    def start(self, command: list[str], **env: str) -> Process:
        log = self.workspace.parent / f"log-{len(self.started)}"
        process = Process(command, {**self.env, **env}, self.workspace, log)
        self.started.append(process)
        return process

    def worker(self, *arguments: str, slots: int = 8) -> Process:
        """A worker in the workspace, ready for tasks."""
        process = self.start([str(WORKER), "-j", str(slots), *arguments], RUST_LOG="info")
        process.says("ready for tasks")
        return process

    def python_worker(self, script: str, **env: str) -> Process:
        """A worker made with our Python SDK: a script of this directory."""
        process = self.start([sys.executable, str(HERE / script)], PYTHONPATH=str(SDK), **env)
        process.says("serves")
        return process

    def stdio(self, *arguments: str, **env: str) -> StdioServerParameters:
        """The door, as an agent is told to start it."""
        command = [str(COORDINATOR), "mcp", *arguments]
        return StdioServerParameters(
            command=command[0], args=command[1:], env={**self.env, **env}, cwd=self.workspace
        )

    def http(self, *arguments: str) -> tuple[Process, str]:
        """The door on a free port, and its address."""
        process = self.start([str(COORDINATOR), "mcp", "--http", "0", *arguments])
        return process, process.says("clients connect to").split()[-1]


@dataclass(frozen=True)
class Way:
    """How a client comes in, and which of the protocol's two lives it leads."""

    transport: str
    mode: str

    def __str__(self) -> str:
        return f"{self.transport}-{self.mode}"

    @asynccontextmanager
    async def client(self, fleet: Fleet, *arguments: str, **options: Any) -> AsyncIterator[Client]:
        """A client of a door of its own."""
        if self.transport == "stdio":
            async with Client(fleet.stdio(*arguments), mode=self.mode, **options) as client:
                yield client
            return
        process, url = fleet.http(*arguments)
        async with Client(url, mode=self.mode, **options) as client:
            yield client
        assert process.stop() == 0


STDIO = Way("stdio", "legacy")
WAYS = [STDIO, Way("stdio", "auto"), Way("http", "legacy"), Way("http", "auto")]


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    kept = ("PATH", "HOME", "NATS_URL", "A3S_NATS_SERVER")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"A3S_PREFIX": f"t{uuid.uuid4().hex[:12]}", "A3S_ACK_WAIT": "2"}
    fleet = Fleet(workspace, env)
    yield fleet
    for process in fleet.started:
        process.kill()


def text_of(result: Any) -> str:
    """What a model reads of an answer."""
    return "\n".join(block.text for block in result.content if block.type == "text")


def bearer(url: str, token: str) -> Any:
    """A transport that shows a token."""
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
    return streamable_http_client(url, http_client=client)
