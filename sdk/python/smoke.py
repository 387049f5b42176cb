"""What `check` runs in an empty environment: a real server, the installed worker in a process of
its own, one task. Needs nothing but the wheel and nats-server."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from a3s_worker import BrokerError, Session, SessionQueueConfig


def nats_server() -> str:
    cached = sorted((Path.home() / ".cache" / "a3s").glob("nats-server-*/nats-server"))
    named = os.environ.get("A3S_NATS_SERVER")
    found = named or (cached and str(cached[-1])) or shutil.which("nats-server")
    return found or sys.exit("no nats-server: run `cargo xtask nats`, or set A3S_NATS_SERVER")


def port_of(directory: str) -> str:
    for _ in range(600):
        for file in Path(directory).glob("*.ports"):
            if text := file.read_text():
                return text.partition("127.0.0.1:")[2].partition('"')[0]
        time.sleep(0.1)
    sys.exit("nats-server did not start within a minute")


async def ask(url: str) -> str:
    config = SessionQueueConfig().with_external_lanes()
    for _ in range(600):
        try:
            async with Session(nats_url=url, config=config) as session:
                result = await (await session.submit_by_tool("hello", {"name": "wheel"}))
                return str(result.result["output"])
        except BrokerError:
            await asyncio.sleep(0.1)
    sys.exit("the server does not answer")


def main() -> None:
    started = []
    with tempfile.TemporaryDirectory() as directory:
        # Streams reserve their limits; by default a server offers what a full disk may not have.
        config = Path(directory, "nats.conf")
        config.write_text(f'jetstream {{ store_dir: "{directory}", max_file_store: 256GB }}\n')
        server = [nats_server(), "-a", "127.0.0.1", "-p", "-1", "-c", str(config)]
        server += ["--ports_file_dir", directory, "-l", f"{directory}/log"]
        try:
            started.append(subprocess.Popen(server))
            url = f"nats://127.0.0.1:{port_of(directory)}"
            command = [sys.executable, "-m", "a3s_worker", "hello_worker.py", "--nats-url", url]
            worker = subprocess.Popen(command)
            started.append(worker)
            answer = asyncio.run(ask(url))
            print(answer)
            worker.terminate()
            ended = worker.wait(timeout=60)
            if answer != "hello, wheel" or ended != 0:
                sys.exit(f"the worker answered {answer!r} and ended with {ended}")
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
