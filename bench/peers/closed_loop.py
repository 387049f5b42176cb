"""Keeps so many tasks in flight and times them; the submitter of the peers in Python."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable

PAYLOAD = "x" * 240
WARM_UP = 0.3
"""How long the same load runs before it is measured, as a part of what is measured."""


async def drive(once: Callable[[], Awaitable[None]]) -> None:
    """Runs `once` (submit, await the result) by so many at a time, and prints what was seen."""
    in_flight, seconds = int(os.environ["IN_FLIGHT"]), float(os.environ["SECONDS"])
    await once()
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    times: list[float] = []

    async def one_after_the_other() -> None:
        while (started := time.perf_counter()) < end:
            await once()
            ended = time.perf_counter()
            if begin <= started and ended <= end:
                times.append(ended - started)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    report(times, seconds)


def report(times: list[float], seconds: float) -> None:
    times.sort()
    at = lambda part: times[min(int(len(times) * part), len(times) - 1)] * 1000  # noqa: E731
    print(json.dumps({"tasks": len(times), "seconds": seconds, "p50_ms": at(0.5), "p99_ms": at(0.99)}))
