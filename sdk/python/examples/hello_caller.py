"""Submits one task and prints what its worker answers: `python examples/hello_caller.py`."""

import asyncio

from a3s_worker import Session, SessionQueueConfig


async def main() -> None:
    async with Session(config=SessionQueueConfig().with_external_lanes()) as session:
        handle = await session.submit_by_tool("hello", {"name": "fleet"})
        result = await handle
        print(result.result["output"] if result.success else f"failed: {result.error}")


asyncio.run(main())
