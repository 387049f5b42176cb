"""Measures the worker: no-op tasks a second, what each costs the worker in CPU, and how long one
takes from publish to result. `python measure.py [TASKS]`; starts a nats-server of its own.

On a machine that is busy with other things the CPU is what counts: 1,000 ms / (ms a task) is what
one core could do.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time

from nats.aio.msg import Msg

from a3s_worker import BrokerError, ConnectOptions, Encoding
from a3s_worker.broker import Broker, connect
from smoke import nats_server, port_of

OUTSTANDING = 64
ALONE = 200


class Measured:
    """Publishes tasks and notes when their results come."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._next = 0

    async def start(self) -> None:
        await self._broker.client.subscribe("a3s.measure.done.*", cb=self._done)
        await self._broker.client.flush()

    async def one(self) -> float:
        """Milliseconds from publish to result."""
        self._next += 1
        name = f"t-{self._next}"
        done = self._waiting[name] = asyncio.get_running_loop().create_future()
        body = {"command_type": "echo", "task_id": name, "payload": {"n": self._next}}
        began = time.perf_counter()
        await self._broker.publish("a3s.measure.query", Encoding.MESSAGEPACK.encode(body), {})
        await asyncio.wait_for(done, 60)
        return (time.perf_counter() - began) * 1000

    async def many(self, count: int) -> float:
        """Tasks a second, with 64 outstanding."""
        room = asyncio.Semaphore(OUTSTANDING)

        async def one() -> None:
            async with room:
                await self.one()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(count)))
        return count / (time.perf_counter() - began)

    async def _done(self, message: Msg) -> None:
        done = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if done is not None:
            done.set_result(None)


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(url: str, pid: int, count: int) -> None:
    broker = await connect(ConnectOptions(nats_url=url), "measure")
    measured = Measured(broker)
    await measured.start()
    while True:
        try:
            await measured.one()
            break
        except (BrokerError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)  # the worker makes the streams
    alone = [await measured.one() for _ in range(ALONE)]
    before = cpu_seconds(pid)
    rate = await measured.many(count)
    each = (cpu_seconds(pid) - before) / count * 1000
    print(f"{rate:.0f} tasks a second with {OUTSTANDING} outstanding, {count} in all")
    print(f"{each:.3f} ms of the worker's CPU a task: {1000 / each:.0f} a second and core")
    print(f"{statistics.median(alone):.2f} ms from publish to result, one at a time (median)")
    await broker.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    started = []
    with tempfile.TemporaryDirectory() as directory:
        server = [nats_server(), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", directory]
        server += ["--ports_file_dir", directory, "-l", f"{directory}/log"]
        try:
            started.append(subprocess.Popen(server))
            url = f"nats://127.0.0.1:{port_of(directory)}"
            here = os.path.dirname(os.path.abspath(__file__))
            command = [sys.executable, "-m", "a3s_worker", f"{here}/conformance_worker.py"]
            command += ["--nats-url", url, "--concurrency", str(OUTSTANDING)]
            worker = subprocess.Popen(command)
            started.append(worker)
            asyncio.run(measure(url, worker.pid, count))
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
