"""Whether the worker's credential is enough for its work, asked before the first task. A denial
later on would come when the work is done, and the result could not be told."""

import asyncio

from .binding import Binding
from .broker import Broker

NO_SESSION = "no-session"
"""A session of which no task is: what is asked about it touches nothing."""


async def check(broker: Broker, worker_id: str, session: str, binding: Binding) -> None:
    """Asks for everything that has an answer; what is only told (events, output) is not asked for.
    Raises DeniedError for the first denial, with what the permission is needed for."""
    names, session = broker.names, session or NO_SESSION
    stored = {
        "store results": names.of_task(session, "result", worker_id),
        "claim tasks": names.of_task(session, "claim", worker_id),
    }
    for lane in binding.consumers:
        what = f"keep what it gives up in lane {lane.id}"
        stored[what] = names.dead_letter(session, lane.id, worker_id)
    asked = [broker.may_publish(what, subject) for what, subject in stored.items()]
    for lane, consumer in binding.consumers.items():
        asked.append(broker.may_pull(f"pull tasks of lane {lane.id}", binding.stream, consumer))
    await asyncio.gather(*asked)
