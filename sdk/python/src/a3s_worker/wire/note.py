"""What is told and kept beside tasks: events, dead letters, heartbeats, sessions. Always JSON."""

from dataclasses import dataclass, field
from typing import Any

from .encoding import MalformedError
from .fields import (
    anything,
    boolean,
    integer,
    lane,
    list_of,
    optional,
    read_map,
    required,
    text,
)
from .lane import SessionLane
from .names import OWN, Route
from .record import AttemptNote


@dataclass
class Event:
    """Something that happened. `time_ms` and what ends in `_ms` are milliseconds."""

    kind: str
    session_id: str
    time_ms: int
    task_id: str | None = None
    lane: SessionLane | None = None
    command_type: str | None = None
    attempt: int | None = None
    worker_id: str | None = None
    duration_ms: int | None = None
    error: str | None = None
    delay_ms: int | None = None

    @classmethod
    def read(cls, value: Any) -> "Event":
        """Raises MalformedError."""
        return cls(**read_map(_EVENT, value))

    def write(self) -> dict[str, Any]:
        """The event as a map."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return {**said, "lane": self.lane.value} if self.lane else said


@dataclass
class DeadLetter:
    """A task that was given up, whole. `failed_at` is milliseconds since 1970."""

    task_id: str
    session_id: str
    lane: SessionLane
    command_type: str
    error: str
    attempts: int
    failed_at: int
    history: list[AttemptNote]
    payload: Any
    subject: str
    headers: list[list[str]]
    body: str

    @classmethod
    def read(cls, value: Any) -> "DeadLetter":
        """Raises MalformedError."""
        return cls(**read_map(_DEAD_LETTER, value))


@dataclass
class LaneHandlerConfig:
    """Who handles a lane's tasks: `Internal`, `External` or `Hybrid`; and how long they may take,
    from submit to result."""

    mode: str = "Internal"
    timeout_ms: int = 60_000

    @classmethod
    def read(cls, value: Any) -> "LaneHandlerConfig":
        """Raises MalformedError."""
        return cls(**read_map(_LANE_HANDLER, value))


@dataclass
class SessionRecord:
    """A session's entry at the broker."""

    session_id: str
    route: Route
    created_at_ms: int
    state: str = "open"
    lanes: dict[str, LaneHandlerConfig] = field(default_factory=dict)
    cancelled_before_ms: int = 0

    @classmethod
    def read(cls, value: Any) -> "SessionRecord":
        """Raises MalformedError."""
        return cls(**read_map(_SESSION, value))

    def write(self) -> dict[str, Any]:
        """The record as a map."""
        said: dict[str, Any] = {
            "session_id": self.session_id,
            "route": "own" if self.route.is_own else {"pool": self.route.pool},
            "state": self.state,
            "lanes": {name: vars(config) for name, config in self.lanes.items()},
            "created_at_ms": self.created_at_ms,
        }
        if self.cancelled_before_ms:
            said["cancelled_before_ms"] = self.cancelled_before_ms
        return said


def mode(value: Any) -> str:
    """A handler's mode, in either casing."""
    name = text(value).capitalize()
    if name not in ("Internal", "External", "Hybrid"):
        raise MalformedError(f"unknown mode {value!r}: use Internal, External or Hybrid")
    return name


def _route(value: Any) -> Route:
    if value == "own":
        return OWN
    return Route(read_map((required("pool", text),), value)["pool"])


def _lanes(value: Any) -> dict[str, LaneHandlerConfig]:
    if not isinstance(value, dict):
        raise MalformedError("a map by lane is expected")
    return {lane(name).id: LaneHandlerConfig.read(config) for name, config in value.items()}


def _serves(value: Any) -> dict[str, str]:
    return {text(name): text(who) for name, who in dict(value).items()}


_EVENT = (
    required("kind", text),
    required("session_id", text),
    required("time_ms", integer),
    optional("task_id", text),
    optional("lane", lane),
    optional("command_type", text),
    optional("attempt", integer),
    optional("worker_id", text),
    optional("duration_ms", integer),
    optional("error", text),
    optional("delay_ms", integer),
)
_DEAD_LETTER = (
    required("task_id", text),
    required("session_id", text),
    required("lane", lane),
    required("command_type", text),
    required("error", text),
    required("attempts", integer),
    required("failed_at", integer),
    optional("history", list_of(AttemptNote.read), default=list),
    optional("payload", anything),
    required("subject", text),
    required("headers", list_of(list_of(text))),
    required("body", text),
)
_LANE_HANDLER = (
    optional("mode", mode, default="Internal"),
    optional("timeout_ms", integer, "timeoutMs", default=60_000),
)
_SESSION = (
    required("session_id", text, "sessionId"),
    required("route", _route),
    optional("state", text, default="open"),
    optional("lanes", _lanes, default=dict),
    optional("created_at_ms", integer, "createdAtMs", default=0),
    optional("cancelled_before_ms", integer, "cancelledBeforeMs", default=0),
)
PRESENCE = (
    required("worker_id", text),
    required("host", text),
    required("pid", integer),
    required("version", text),
    required("runtime", text),
    required("serves", _serves),
    required("lanes", list_of(lane)),
    required("tools", list_of(text)),
    required("slots", integer),
    required("busy", integer),
    required("done", integer),
    required("workspace", text),
    optional("labels", _serves, default=dict),
    required("started_at_ms", integer),
    optional("last_pull_ms", integer, default=0),
    required("seen_at_ms", integer),
    optional("draining", boolean, default=False),
)
"""The fields of a heartbeat."""
