"""An installation as `a3s-coordinator init` makes it, with its server running."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from conftest import BINARIES, HERE, PATIENCE, Server, until

from a3s_worker.broker import Broker, ConnectOptions, connect


class Installation:
    """What `init` wrote, with its server running, and everything that a test starts there."""

    def __init__(self, directory: Path, without: str = "", options: tuple[str, ...] = ()) -> None:
        self.directory = directory / "a3s"
        self.exits = AsyncExitStack()
        self.processes: list[subprocess.Popen[str]] = []
        init = ["init", str(self.directory), "--listen", "127.0.0.1:-1", *options]
        subprocess.run([BINARIES / "a3s-coordinator", *init], check=True, capture_output=True)
        config = self.directory / "nats.conf"
        lines = config.read_text().splitlines()
        config.write_text("\n".join(line for line in lines if not without or without not in line))
        self.server = Server(self.directory)
        self.server.start()

    def settings(self, role: str) -> dict[str, str]:
        """The variables of a role, as its file has them; where the server is, it knows itself."""
        lines = (self.directory / f"{role}.env").read_text().splitlines()
        said = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        return {**said, "NATS_URL": self.server.url}

    def environment(self, role: str, **more: str) -> dict[str, str]:
        here = {k: v for k, v in os.environ.items() if not k.startswith(("A3S_", "NATS_"))}
        paths = {"PYTHONPATH": os.pathsep.join(sys.path), "A3S_NO_EMBEDDED": "true"}
        return {**here, **paths, "A3S_ACK_WAIT": "2", **self.settings(role), **more}

    def start(self, role: str, worker_id: str, **env: str) -> subprocess.Popen[str]:
        """A worker of tools.py with the files of a role."""
        env = self.environment(role, A3S_WORKER_ID=worker_id, **env)
        command = [sys.executable, "-m", "a3s_worker", str(HERE / "tools.py")]
        with self.said_by(worker_id).open("w") as log:
            process = subprocess.Popen(command, env=env, stderr=log, text=True)
        self.processes.append(process)
        return process

    def said_by(self, worker_id: str) -> Path:
        """Where a worker's stderr is."""
        return self.directory / f"{worker_id}.stderr"

    async def worker(self, role: str, worker_id: str, **env: str) -> subprocess.Popen[str]:
        """As `start`, ready for tasks."""
        process = self.start(role, worker_id, **env)

        async def serves() -> bool:
            said = self.said_by(worker_id).read_text()
            assert process.poll() is None, said
            return f"worker {worker_id} serves" in said

        await until(f"worker {worker_id} is ready", serves)
        return process

    async def ends(self, role: str, worker_id: str, **env: str) -> str:
        """What a worker says that cannot start."""
        process = self.start(role, worker_id, **env)
        status = await asyncio.to_thread(process.wait, PATIENCE)
        said = self.said_by(worker_id).read_text()
        assert status == 3, said
        assert len(said.splitlines()) == 1, said
        return said

    async def run(self, role: str, *arguments: str) -> tuple[int, str, str]:
        """A verb of the Rust coordinator: exit status, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            str(BINARIES / "a3s-coordinator"),
            *arguments,
            env=self.environment(role),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        return process.returncode or 0, out.decode(), err.decode()

    async def done(self, role: str, *arguments: str) -> Any:
        """What a verb prints with --json that must succeed."""
        status, out, err = await self.run(role, *arguments, "--json")
        assert status == 0, (arguments, out, err, self.server.log())
        return json.loads(out)

    async def submit(self, session: str, tool: str, payload: Any, *more: str) -> Any:
        """The result of a task that the coordinator of all sessions submits."""
        submit = ("submit", "--session", session, *more, tool, json.dumps(payload))
        status, out, err = await self.run("coordinator", *submit, "--json")
        assert out, (status, err, self.server.log())
        return json.loads(out)

    async def create_streams(self) -> None:
        """As an operator does once, with the key of the coordinator."""
        status, _, err = await self.run("coordinator", "workers")
        assert status == 0, err

    def options(self, role: str) -> ConnectOptions:
        """Where and as whom, of a role."""
        return ConnectOptions(self.server.url, nkey=self.settings(role)["NATS_NKEY"])

    async def broker(self, role: str) -> Broker:
        """A connection with a role's key."""
        broker = await connect(self.options(role), "test")
        self.exits.push_async_callback(broker.close)
        return broker

    def violations(self) -> list[str]:
        """What the server did not permit."""
        return [line for line in self.server.log().splitlines() if "Violation" in line]

    async def end(self) -> None:
        await self.exits.aclose()
        for process in self.processes:
            process.kill()
            process.wait()
        self.server.kill()
