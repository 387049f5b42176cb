"""Which pull to send next. Pure: it is told the time and what arrived, and answers what to ask.

A worker with a free slot asks its lanes top-down with pulls that answer at once (a sweep), and
only when all are empty leaves one waiting pull of one task at each (an armed pull). So a lower
lane is never asked while a higher one may hold something. There is at most one pull a lane.

An own lane has a cap on unacknowledged tasks, and a sweep of a saturated consumer is never
answered. There the waiting pull alone is used, and a task of a lower lane is held for SETTLE, the
time in which a higher lane would have answered. All times are seconds on a monotonic clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from .wire.lane import LANES, SessionLane

EXPIRES = 30.0
"""How long an armed pull waits at the broker."""
HEARTBEAT = 2.0
"""How often the broker says that an armed pull still waits. A cut link gives no other sign."""
DEAF_AFTER = 4.5
"""Silence after which an armed pull counts as lost."""
SWEEP_LOST_AFTER = 2.0
"""Silence after which a sweep counts as lost."""
BACK_OFF = 0.5
"""The wait after a refused pull."""
SETTLE = 0.005
"""The time in which an own lane's pull is answered when there is something."""


@dataclass(frozen=True)
class Pull:
    """A pull to send. `id` tells its status messages from those of an earlier one; `waits`:
    whether it stays at the broker when there is nothing."""

    lane: SessionLane
    id: int
    batch: int
    waits: bool


class Status(Enum):
    """What a status message says."""

    HEARTBEAT = auto()
    """The pull still waits."""
    EMPTY = auto()
    """There is nothing (more), or the pull's time is over."""
    REFUSED = auto()
    """The broker cannot serve it now."""


class _Is(Enum):
    UNKNOWN = auto()
    BACKING_OFF = auto()
    SWEEPING = auto()
    EMPTY = auto()
    ARMED = auto()


@dataclass
class _Lane:
    lane: SessionLane
    state: _Is = _Is.UNKNOWN
    id: int = 0
    left: int = 0
    since: float = 0.0
    until: float = 0.0
    """When something is to be done without news: the pull is lost, or the back-off over."""


class Pulls:
    """The pulls of a worker's lanes. `capped`: the lanes are a session's own."""

    def __init__(self, lanes: Iterable[SessionLane], capped: bool) -> None:
        wanted = set(lanes)
        self._lanes = {lane: _Lane(lane) for lane in LANES if lane in wanted}
        self._capped = capped
        self._last_id = 0

    def plan(self, now: float, free: Callable[[SessionLane], int]) -> list[Pull]:
        """The pulls to send now; they count as sent. `free`: how many tasks could start."""
        self._expire(now)
        pulls: list[Pull] = []
        for lane in self._lanes.values():
            room = free(lane.lane)
            if room <= 0:
                continue
            if lane.state is _Is.SWEEPING:
                return pulls  # what is below waits for this lane's answer
            if lane.state is _Is.UNKNOWN:
                if not self._capped:
                    return [self._sent(lane, _Is.SWEEPING, room, now, SWEEP_LOST_AFTER)]
                pulls.append(self._sent(lane, _Is.ARMED, 1, now, DEAF_AFTER))
        for lane in self._lanes.values():
            if lane.state is _Is.EMPTY and free(lane.lane) > 0:
                pulls.append(self._sent(lane, _Is.ARMED, 1, now, DEAF_AFTER))
        return pulls

    def may_start(self, lane: SessionLane, now: float) -> float | None:
        """When a task of `lane` that has arrived may start; None: after news of a higher lane."""
        latest = now
        for above in self._lanes.values():
            if above.lane is lane:
                break
            if above.state is _Is.SWEEPING:
                return None
            if above.state is _Is.ARMED and self._capped:
                latest = max(latest, above.since + SETTLE)
        return latest

    def any_wait(self) -> bool:
        """Whether a pull may bring something yet."""
        return any(x.state in (_Is.SWEEPING, _Is.ARMED) for x in self._lanes.values())

    def arrived(self, lane: SessionLane) -> None:
        """A task of `lane` arrived."""
        found = self._lanes.get(lane)
        if found is None or found.state in (_Is.UNKNOWN, _Is.BACKING_OFF):
            return
        if found.state is _Is.SWEEPING and found.left > 1:
            found.left -= 1
        else:
            found.state = _Is.UNKNOWN

    def status(self, lane: SessionLane, pull: int, status: Status, now: float) -> None:
        """The broker said something of a pull."""
        found = self._lanes.get(lane)
        if found is None or found.id != pull or found.state not in (_Is.SWEEPING, _Is.ARMED):
            return
        armed = found.state is _Is.ARMED
        if status is Status.HEARTBEAT:
            found.until = now + DEAF_AFTER if armed else found.until
        elif status is Status.EMPTY:
            # A waiting pull's end says nothing of what is there.
            found.state = _Is.UNKNOWN if armed else _Is.EMPTY
        else:
            found.state, found.until = _Is.BACKING_OFF, now + BACK_OFF

    def forget_all(self) -> None:
        """The connection is new: the broker knows none of the pulls."""
        for lane in self._lanes.values():
            lane.state = _Is.UNKNOWN

    def wake_at(self) -> float | None:
        """When `plan` has something to do even if nothing arrives."""
        timed = (_Is.BACKING_OFF, _Is.SWEEPING, _Is.ARMED)
        return min((x.until for x in self._lanes.values() if x.state in timed), default=None)

    def _expire(self, now: float) -> None:
        for lane in self._lanes.values():
            if lane.state not in (_Is.UNKNOWN, _Is.EMPTY) and now >= lane.until:
                lane.state = _Is.UNKNOWN

    def _sent(self, lane: _Lane, state: _Is, batch: int, now: float, lost_after: float) -> Pull:
        self._last_id += 1
        lane.state, lane.id, lane.left = state, self._last_id, batch
        lane.since, lane.until = now, now + lost_after
        return Pull(lane.lane, lane.id, batch, state is _Is.ARMED)
