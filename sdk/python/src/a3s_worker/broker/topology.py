"""What must exist on the broker. Whoever comes first creates it; who comes later compares,
reports what differs, and changes nothing. Everybody looks first: what is there needs no right to
create it, and what we may not see is the business of somebody who may. The reasons for each setting
are in docs/wire.md."""

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..wire.lane import LANES, SessionLane
from ..wire.names import Names, Route
from .broker import Broker, log
from .errors import BrokerError, DeniedError, MissingError, RefusedError

_SCHEMA = "1"
_MIB = 1024 * 1024
_SECOND = 1_000_000_000
_DAY = 24 * 3600 * _SECOND

NO_CONSUMER = 10014
_STREAM_EXISTS = 10058
_NO_ROOM = (10047, 10023, 10002)
"""Streams reserve their limits: the server's, or the account's, does not allow it."""
_MORE_ROOM = (
    "free disk space, raise max_file_store in the server's jetstream {} block, "
    "or set A3S_STREAM_MIB below 2048"
)
_CONSUMER_EXISTS = (10148, 10105)


def _env(name: str, default: str) -> str:
    return os.environ.get(name) or default


@dataclass(frozen=True)
class Settings:
    """What an operator may choose before anything exists.

    replicas: of each stream (env A3S_REPLICAS, 1). ack_wait: seconds without a sign of life after
    which a task goes to another worker (env A3S_ACK_WAIT, 15). stream_mib: the largest size of the
    stream of tasks and of that of results (env A3S_STREAM_MIB, 2048).
    """

    replicas: int = field(default_factory=lambda: int(_env("A3S_REPLICAS", "1")))
    ack_wait: float = field(default_factory=lambda: float(_env("A3S_ACK_WAIT", "15")))
    stream_mib: int = field(default_factory=lambda: int(_env("A3S_STREAM_MIB", "2048")))


def streams(names: Names, settings: Settings) -> list[dict[str, Any]]:
    """All streams, buckets among them."""
    prefix, large = names.prefix, settings.stream_mib * _MIB

    def stream(name: str, subjects: list[str], mib: int, **more: Any) -> dict[str, Any]:
        return {
            "name": names.stream(name),
            "subjects": subjects,
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_consumers": 100_000,
            "max_bytes": mib * _MIB,
            "duplicate_window": 60 * _SECOND,
            "num_replicas": settings.replicas,
            "allow_direct": True,
            "metadata": {"a3s.schema": _SCHEMA},
            **more,
        }

    def bucket(name: str, subjects: list[str], size: int, age: int, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "subjects": subjects,
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "max_bytes": size,
            "max_age": age,
            "duplicate_window": min(age, 120 * _SECOND),
            "num_replicas": settings.replicas,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            **more,
        }

    queue: dict[str, Any] = {"retention": "workqueue", "discard": "new"}
    last_word: dict[str, Any] = {"max_age": 7 * _DAY, "max_msgs_per_subject": 1}
    kept: dict[str, Any] = {"deny_delete": True, "max_msgs_per_subject": 1}
    workers, sessions, blobs = map(names.bucket, ("workers", "sessions", "blobs"))
    pool_lanes = [f"{prefix}.*.{x.id}{pool}" for x in LANES for pool in ("", ".*")]
    given_up = [
        f"$JS.EVENT.ADVISORY.CONSUMER.{kind}.{names.stream(stream)}.*"
        for kind in ("MAX_DELIVERIES", "MSG_TERMINATED")
        for stream in ("TASKS", "OWN")
    ]
    repeated = {
        "src": f"{prefix}.*.result.*",
        "dest": f"{prefix}.{{{{wildcard(1)}}}}.done.{{{{wildcard(2)}}}}",
    }
    letters = {"max_age": 30 * _DAY, "max_msgs_per_subject": 1, "discard": "new"}
    return [
        stream("TASKS", pool_lanes, settings.stream_mib, **queue),
        stream("OWN", [f"{prefix}.*.own.{x.id}" for x in LANES], settings.stream_mib, **queue),
        stream("RESULTS", [repeated["src"]], settings.stream_mib, max_age=_DAY, republish=repeated),
        stream("CLAIMS", [f"{prefix}.*.claim.*"], 512, allow_msg_ttl=True, **last_word),
        stream("CANCELS", [f"{prefix}.*.cancel.*"], 128, allow_msg_ttl=True, **last_word),
        stream("RATES", [f"{prefix}.*.rate"], 64, **{**last_word, "max_age": _DAY}),
        stream("DLQ", [f"{prefix}.*.dlq.*.*"], 1024, discard_new_per_subject=True, **letters),
        stream("ADVISORIES", given_up, 128, retention="workqueue", max_age=30 * _DAY),
        bucket(f"KV_{workers}", [f"$KV.{workers}.>"], 32 * _MIB, 15 * _SECOND, **kept),
        bucket(f"KV_{sessions}", [f"$KV.{sessions}.>"], 256 * _MIB, 30 * _DAY, **kept),
        bucket(f"OBJ_{blobs}", [f"$O.{blobs}.C.>", f"$O.{blobs}.M.>"], large, 2 * _DAY),
    ]


def consumers(names: Names, route: Route, session: str, settings: Settings) -> list[dict[str, Any]]:
    """The consumers that the workers of a route share, one a lane."""
    who = session if route.is_own else "*"
    configs = []
    for lane in LANES:
        config = {
            "durable_name": names.consumer(route, session, lane),
            "filter_subject": names.task(who, lane, route),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(settings.ack_wait * _SECOND),
            "max_deliver": 100,
            "max_waiting": 10_000,
            "max_ack_pending": lane.default_max_concurrency if route.is_own else -1,
        }
        if route.is_own:
            config["inactive_threshold"] = _DAY
        configs.append(config)
    return configs


async def ensure(broker: Broker, settings: Settings) -> None:
    """Creates the streams, buckets and the consumers of pool `default`, where they are missing.

    Raises BrokerError when the broker refuses or does not permit it, or holds the layout of a newer
    version.
    """
    configs = streams(broker.names, settings)
    await asyncio.gather(*(_ensure_stream(broker, config) for config in configs))
    mover = {
        "durable_name": "mover",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": 30 * _SECOND,
        "max_deliver": -1,
    }
    await _ensure_consumer(broker, broker.names.stream("ADVISORIES"), mover)
    await ensure_consumers(broker, Route(), "", settings, LANES)


async def ensure_consumers(
    broker: Broker,
    route: Route,
    session: str,
    settings: Settings,
    needed: Collection[SessionLane],
) -> None:
    """Creates the four consumers of a route where they are missing: those of the lanes `needed`,
    and the others as far as it is permitted. Raises BrokerError."""
    stream = broker.names.tasks(route)
    configs = consumers(broker.names, route, session, settings)

    async def one(lane: SessionLane, config: dict[str, Any]) -> None:
        try:
            await _ensure_consumer(broker, stream, config)
        except DeniedError as error:
            if lane in needed:
                raise
            log.debug("%s", error)

    await asyncio.gather(*map(one, LANES, configs))


async def look(broker: Broker, call: str) -> dict[str, Any] | None:
    """What the broker says of a stream or consumer; None when it is not there, or JetStream is
    away; nothing in particular when we may not look. Raises BrokerError."""
    try:
        return await broker.call(call)
    except DeniedError:
        return {}
    except MissingError:
        return None
    except RefusedError as error:
        if error.code == NO_CONSUMER:
            return None
        raise


async def _create(broker: Broker, what: str, call: str, body: dict[str, Any]) -> None:
    try:
        await broker.call(call, body)
    except DeniedError as error:
        what = f"create {what} (a coordinator for all sessions may, started once)"
        raise error.needed_to(what) from error


async def _ensure_stream(broker: Broker, config: dict[str, Any]) -> None:
    name = config["name"]
    info = await look(broker, f"STREAM.INFO.{name}")
    if info is None:
        try:
            return await _create(broker, f"stream {name}", f"STREAM.CREATE.{name}", config)
        except RefusedError as error:
            if error.code in _NO_ROOM:
                raise BrokerError(f"{error}; {_MORE_ROOM}") from error
            if error.code != _STREAM_EXISTS:
                raise
        # Somebody else made it meanwhile, another version perhaps.
        info = await broker.call(f"STREAM.INFO.{name}")
    if not info:
        return
    found = info["config"]
    schema = found.get("metadata", {}).get("a3s.schema", _SCHEMA)
    if schema.isdigit() and int(schema) > int(_SCHEMA):
        raise BrokerError(
            f"stream {name} has layout {schema}, this version knows {_SCHEMA}: update a3s-worker"
        )
    _report(name, found, config)


async def _ensure_consumer(broker: Broker, stream: str, config: dict[str, Any]) -> None:
    name = config["durable_name"]
    info = await look(broker, f"CONSUMER.INFO.{stream}.{name}")
    if info is None:
        subject = f".{config['filter_subject']}" if "filter_subject" in config else ""
        call = f"CONSUMER.CREATE.{stream}.{name}{subject}"
        body = {"stream_name": stream, "config": config, "action": "create"}
        try:
            return await _create(broker, f"consumer {name}", call, body)
        except RefusedError as error:
            if error.code not in _CONSUMER_EXISTS:
                raise
        info = await broker.call(f"CONSUMER.INFO.{stream}.{name}")
    if not info:
        return
    # The concurrency of an own lane belongs to the session.
    expected = {k: v for k, v in config.items() if k != "max_ack_pending"}
    _report(f"{stream} consumer {name}", info["config"], expected)


def _report(of: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if name != "metadata" and found.get(name) != value:
            log.warning("%s: %s is %s, expected %s", of, name, found.get(name), value)
