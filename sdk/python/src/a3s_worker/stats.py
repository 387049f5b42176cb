"""A session at one moment, and what it has measured. Memory is bounded."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta

from .wire.lane import LANES, SessionLane
from .wire.result import Outcome

REMEMBERED = 10_000
"""Latencies that percentiles are made of: the newest ones."""


@dataclass(frozen=True)
class LaneStatus:
    """A lane. pending: tasks that wait in this process. active: tasks that this process runs, and
    those of all processes of the session that are queued at the broker or with workers."""

    lane: SessionLane
    pending: int
    active: int
    max_concurrency: int
    handler_mode: str


@dataclass(frozen=True)
class SessionQueueStats:
    """A session; `lanes` by name: `"Query"`. external_pending: external tasks, waiting or
    active."""

    total_pending: int
    total_active: int
    external_pending: int
    lanes: dict[str, LaneStatus]

    @property
    def pending_count(self) -> int:
        """`total_pending`."""
        return self.total_pending

    @property
    def active_count(self) -> int:
        """`total_active`."""
        return self.total_active

    @property
    def external_count(self) -> int:
        """`external_pending`."""
        return self.external_pending

    @property
    def per_lane(self) -> dict[str, LaneStatus]:
        """`lanes`."""
        return self.lanes


@dataclass(frozen=True)
class MetricsSnapshot:
    """success_rate: 1 when there are no tasks. Latencies: from submit to result. counters:
    `lane.commands.submitted`, and `lane.commands.submitted.query` for a lane."""

    total_processed: int
    success_rate: float
    avg_latency: timedelta
    p95_latency: timedelta
    p99_latency: timedelta
    counters: dict[str, int]


_ENDS = {
    Outcome.COMPLETED: "completed",
    Outcome.TIMED_OUT: "timeout",
    Outcome.DEAD_LETTERED: "dead_lettered",
}
_COUNTED = ("submitted", "completed", "failed", "timeout", "dead_lettered")


@dataclass
class Metrics:
    """What a session measures of its own tasks."""

    _counts: Counter[str] = field(default_factory=Counter)
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _total: float = 0.0
    _processed: int = 0

    def submitted(self, lane: SessionLane) -> None:
        """A task came."""
        self._count("submitted", lane)

    def ended(self, lane: SessionLane, outcome: Outcome, seconds: float) -> None:
        """A task ended, `seconds` after its submission."""
        self._count(_ENDS.get(outcome, "failed"), lane)
        self._latencies.append(seconds)
        self._total += seconds
        self._processed += 1

    def snapshot(self) -> MetricsSnapshot:
        """Everything, at this moment."""
        ordered = sorted(self._latencies)
        completed = self._counts["lane.commands.completed"]

        def at(part: float) -> timedelta:
            index = min(int(part * len(ordered)), len(ordered) - 1)
            return timedelta(seconds=ordered[index] if ordered else 0)

        return MetricsSnapshot(
            total_processed=self._processed,
            success_rate=completed / self._processed if self._processed else 1.0,
            avg_latency=timedelta(seconds=self._total / max(self._processed, 1)),
            p95_latency=at(0.95),
            p99_latency=at(0.99),
            counters={
                name: self._counts[name]
                for kind in _COUNTED
                for name in (
                    f"lane.commands.{kind}",
                    *(f"lane.commands.{kind}.{x.id}" for x in LANES),
                )
            },
        )

    def _count(self, kind: str, lane: SessionLane) -> None:
        self._counts[f"lane.commands.{kind}"] += 1
        self._counts[f"lane.commands.{kind}.{lane.id}"] += 1
