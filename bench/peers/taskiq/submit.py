"""taskiq's submitter."""

import asyncio
import os

from app import broker, noop
from closed_loop import PAYLOAD, drive
from taskiq.exceptions import ResultGetError

LOOK_EVERY = max(0.005, 0.001 * int(os.environ["IN_FLIGHT"]))
"""Seconds. Each look fetches an object, so many that wait look less often."""


async def main() -> None:
    await broker.startup()

    async def once() -> None:
        task = await noop.kiq(PAYLOAD)
        while True:
            try:
                await task.wait_result(check_interval=LOOK_EVERY, timeout=60)
                return
            except ResultGetError:
                # It was seen while it was being written.
                continue

    await drive(once)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
