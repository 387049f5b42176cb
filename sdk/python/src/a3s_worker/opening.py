"""A session's entry at the broker: where its tasks go, and whether it is open or paused."""

import contextlib
from dataclasses import replace

from .broker import Broker, BrokerError, ConflictError
from .broker.kept import read_session, write_session
from .broker.topology import Settings, ensure, ensure_consumers, look
from .wire import clock
from .wire.lane import LANES
from .wire.names import Route
from .wire.note import SessionRecord

_TRIES = 5


async def open_session(
    broker: Broker, session: str, wanted: Route | None, settings: Settings
) -> SessionRecord:
    """Makes sure that everything a session needs is there, and opens its record. `wanted` is the
    route that the caller asked for; without one that of the record holds, and pool `default` in a
    new one. Raises BrokerError, also when the session goes elsewhere."""
    if await look(broker, f"STREAM.INFO.{broker.names.stream('TASKS')}") is None:
        await ensure(broker, settings)
    record = await _open_record(broker, session, wanted)
    # Those of a pool are made by its workers too.
    needed = LANES if record.route.is_own else ()
    await ensure_consumers(broker, record.route, session, settings, needed)
    await broker.measure_clock(f"STREAM.INFO.{broker.names.tasks(record.route)}")
    return record


async def write_state(broker: Broker, session: str, state: str) -> None:
    """Writes a session's state into its record, if there is one. Raises BrokerError."""
    record, revision = await read_session(broker, session)
    if record is not None:
        await write_session(broker, replace(record, state=state), revision)


async def _open_record(broker: Broker, session: str, wanted: Route | None) -> SessionRecord:
    for _ in range(_TRIES):
        found, revision = await read_session(broker, session)
        opened = reopened(found, session, wanted)
        if opened == found:
            return opened
        with contextlib.suppress(ConflictError):
            await write_session(broker, opened, revision)
            return opened
    raise BrokerError(f"the record of session {session} is written by others all the time")


def reopened(found: SessionRecord | None, session: str, wanted: Route | None) -> SessionRecord:
    """What a record becomes when its session is opened. The route of a closed one may change."""
    if found is None:
        return SessionRecord(session, wanted or Route(), clock.now_ms())
    if found.state == "closed":
        return replace(found, state="open", route=wanted or found.route)
    if wanted not in (None, found.route):
        raise BrokerError(
            f"session {session} goes to {found.route}, not to {wanted}: open it without a route, "
            "or end it first"
        )
    return found
