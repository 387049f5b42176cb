"""Which consumers a worker pulls from, and that they exist."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from .broker import (
    Broker,
    BrokerError,
    ConflictError,
    DeniedError,
    MissingError,
    RefusedError,
)
from .broker.kept import read_session, write_session
from .broker.topology import NO_CONSUMER, Settings, ensure, ensure_consumers
from .turn import Turn
from .wire import clock
from .wire.lane import SessionLane
from .wire.names import OWN, Route
from .wire.note import SessionRecord


@dataclass(frozen=True)
class Binding:
    """The consumers that a worker pulls from. `ack_wait`: seconds that the broker waits for a
    sign of life of a task. `turn`: what pulls say of this worker's turn."""

    stream: str
    consumers: dict[SessionLane, str]
    ack_wait: float
    capped: bool
    turn: dict[str, int | str]

    def question(self) -> str:
        """A call that the broker answers with its time, and that every worker may ask."""
        return f"CONSUMER.INFO.{self.stream}.{next(iter(self.consumers.values()))}"


async def bind(
    broker: Broker,
    route: Route,
    session: str,
    lanes: Sequence[SessionLane],
    settings: Settings,
    turn: Turn,
) -> Binding:
    """Finds the consumers, and creates what is missing. Raises BrokerError."""
    stream = broker.names.tasks(route)
    consumers = {lane: broker.names.consumer(route, session, lane) for lane in lanes}
    # Looking before creating lets a worker without the right to create work all the same.
    try:
        found = await _look(broker, stream, consumers)
    except MissingError:
        await ensure(broker, settings)
        found = None
    if route.is_own:
        await claim_route(broker, session)
    if found is None:
        await ensure_consumers(broker, route, session, settings, lanes)
        found = await _look(broker, stream, consumers)
    if found is None:
        raise BrokerError(f"the consumers of {stream} for this worker's lanes cannot be seen")
    if route.pool is not None:
        turn.check(route.pool, found.policies)
    said = {} if route.is_own else turn.said()
    return Binding(stream, consumers, found.ack_wait, route.is_own, said)


@dataclass(frozen=True)
class _Found:
    """What the consumers are like: the shortest lease, and the policy of each lane."""

    ack_wait: float
    policies: list[str]


async def _look(broker: Broker, stream: str, consumers: dict[SessionLane, str]) -> _Found | None:
    """What the consumers are like; None when one is missing. Raises BrokerError, also for a lane
    that this worker's credential does not serve: here and not in the first pull."""

    async def one(lane: SessionLane, name: str) -> tuple[float, str]:
        try:
            config = (await broker.call(f"CONSUMER.INFO.{stream}.{name}"))["config"]
        except DeniedError as error:
            raise error.needed_to(f"serve lane {lane.id} (--lanes names others)") from error
        return float(config["ack_wait"]) / 1e9, str(config.get("priority_policy") or "none")

    try:
        infos = await asyncio.gather(*(one(*named) for named in consumers.items()))
    except RefusedError as error:
        if error.code != NO_CONSUMER:
            raise
        return None
    return _Found(min(lease for lease, _ in infos), [policy for _, policy in infos])


async def claim_route(broker: Broker, session: str) -> None:
    """A session's route is written by whoever comes first: a worker that is started for a session
    that nobody opened yet makes it one with workers of its own. Raises BrokerError when the
    session is on a pool."""
    while True:
        record, revision = await read_session(broker, session)
        if record is None:
            try:
                await write_session(broker, SessionRecord(session, OWN, clock.now_ms()), revision)
            except ConflictError:
                continue
            return
        if not record.route.is_own:
            pool = record.route.pool
            raise BrokerError(
                f"session {session} sends its tasks to pool {pool}, not to workers of its own: "
                f"start this worker with pool={pool!r}, or open the session with its own route"
            )
        return
