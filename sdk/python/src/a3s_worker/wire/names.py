"""Every name on the broker. Nothing else spells one."""

from dataclasses import dataclass

from .lane import LANES, SessionLane
from .token import check_token

DEFAULT_POOL = "default"

_LANES_BY_ID = {lane.id: lane for lane in LANES}


@dataclass(frozen=True)
class Route:
    """Where a session's tasks go: a pool, or its own workers when `pool` is None."""

    pool: str | None = DEFAULT_POOL

    @property
    def is_own(self) -> bool:
        """Whether only workers that were started for the session take its tasks."""
        return self.pool is None


OWN = Route(None)


@dataclass(frozen=True)
class TaskAddress:
    """What a task's subject says."""

    session: str
    lane: SessionLane
    route: Route


@dataclass(frozen=True)
class Names:
    """The names under a prefix: subjects and buckets begin with it, streams with its capitals."""

    prefix: str = "a3s"

    def __post_init__(self) -> None:
        check_token("prefix", self.prefix)

    def stream(self, name: str) -> str:
        """`A3S_TASKS`, `A3S_OWN`, `A3S_RESULTS`, `A3S_CLAIMS`, …"""
        return f"{self.prefix.upper()}_{name}"

    def bucket(self, name: str) -> str:
        """`a3s_workers`, `a3s_sessions`, `a3s_blobs`."""
        return f"{self.prefix}_{name}"

    def tasks(self, route: Route) -> str:
        """The stream that holds the tasks of a route."""
        return self.stream("OWN" if route.is_own else "TASKS")

    def consumer(self, route: Route, session: str, lane: SessionLane) -> str:
        """The consumer that the workers of a route share for a lane."""
        return f"own-{session}-{lane.id}" if route.is_own else f"pool-{route.pool}-{lane.id}"

    def task(self, session: str, lane: SessionLane, route: Route) -> str:
        """Where a task is published; `*` stands for any session."""
        if route.is_own:
            return f"{self.prefix}.{session}.own.{lane.id}"
        pool = "" if route.pool == DEFAULT_POOL else f".{route.pool}"
        return f"{self.prefix}.{session}.{lane.id}{pool}"

    def of_task(self, session: str, kind: str, task_id: str) -> str:
        """The subject of what concerns a task: `result`, `done`, `claim`, `cancel`, `output`."""
        return f"{self.prefix}.{session}.{kind}.{task_id}"

    def dead_letter(self, session: str, lane: str, task_id: str) -> str:
        """Where a dead letter is kept; `*` stands for any."""
        return f"{self.prefix}.{session}.dlq.{lane}.{task_id}"

    def event(self, session: str, kind: str) -> str:
        """Where an event is told."""
        return f"{self.prefix}.{session}.event.{kind}"

    def worker(self, worker_id: str) -> str:
        """Where a worker is asked for its heartbeat of the moment."""
        return f"{self.prefix}.worker.{worker_id}"

    def parse_task(self, subject: str) -> TaskAddress | None:
        """Reads a task's subject back; None when it is none."""
        prefix, *tokens = subject.split(".")
        if prefix != self.prefix or len(tokens) not in (2, 3):
            return None
        session, kind, last = (*tokens, "")[:3]
        lane = _LANES_BY_ID.get(last if kind == "own" else kind)
        if lane is None:
            return None
        try:
            check_token("session id", session)
        except ValueError:
            return None
        route = OWN if kind == "own" else Route(last or DEFAULT_POOL)
        return TaskAddress(session, lane, route)

    def session_and_id(self, subject: str) -> tuple[str, str] | None:
        """The session and the last token of a subject of four, as of results and cancels."""
        tokens = subject.split(".")
        if len(tokens) != 4 or tokens[0] != self.prefix:
            return None
        return tokens[1], tokens[3]
