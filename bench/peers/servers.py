"""The servers that peers stand on: a nats-server and a Redis, each fresh, on a free port."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

READY_WITHIN = 30


def nats_server() -> str:
    """The nats-server that the product would start; `cargo xtask bench` names it."""
    return os.environ.get("A3S_NATS_SERVER", "nats-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def start(kind: str) -> Iterator[str]:
    """A server of this kind, as its documentation has it for production; its address."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="a3s-peers-") as directory:
        process = subprocess.Popen(
            command(kind, port, pathlib.Path(directory)),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        try:
            await_port(port)
            yield f"{kind}://127.0.0.1:{port}"
        finally:
            end_group(process)


def command(kind: str, port: int, directory: pathlib.Path) -> list[str]:
    if kind == "nats":
        return [nats_server(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory)]
    # With the append-only file, synced each second: without it a crash loses the queue.
    durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
    return ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), *durable]


def await_port(port: int) -> None:
    began = time.monotonic()
    while time.monotonic() - began < READY_WITHIN:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"a server was not ready within {READY_WITHIN} s")


def end_group(process: subprocess.Popen) -> None:
    """Ends a process and what it has started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            if how == signal.SIGTERM:
                continue
            return


def versions() -> str:
    said = []
    for words in ([nats_server(), "--version"], ["redis-server", "--version"]):
        with contextlib.suppress(OSError):
            said.append(subprocess.run(words, capture_output=True, text=True, check=False).stdout.split(" sha=")[0].strip())
    return ", ".join(said)
