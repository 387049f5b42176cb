"""How many tasks of a session the broker holds."""

import asyncio

from ..wire.lane import LANES, SessionLane
from ..wire.names import Route
from .broker import Broker
from .errors import BrokerError


async def count_stored(broker: Broker, session: str, route: Route) -> dict[SessionLane, int] | None:
    """Tasks that are queued or run, by lane; None when the broker does not say."""
    names = broker.names
    subjects = {lane: names.task(session, lane, route) for lane in LANES}
    call = f"STREAM.INFO.{names.tasks(route)}"
    try:
        found = await asyncio.gather(
            *(broker.call(call, {"subjects_filter": subject}) for subject in subjects.values())
        )
    except BrokerError:
        return None
    counts = [info["state"].get("subjects") or {} for info in found]
    return {lane: count.get(subjects[lane], 0) for lane, count in zip(LANES, counts, strict=True)}
