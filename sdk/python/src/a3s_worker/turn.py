"""When a worker of a pool gets a task that others of its pool would take too."""

from collections.abc import Sequence
from dataclasses import dataclass

from .broker import BrokerError

FARTHEST = 9
"""The largest distance, and that of a worker that says none."""
GROUP = "workers"
"""The priority group that all workers of a pool name in their pulls."""


@dataclass(frozen=True)
class Turn:
    """`distance`: 0 (nearest) to 9, in a near-first pool. `help_when`: take a lane's tasks only
    while so many of them wait, in a pool that overflows. Raises ValueError for what cannot work."""

    distance: int | None = None
    help_when: int | None = None

    def __post_init__(self) -> None:
        if self.distance is not None and self.help_when is not None:
            raise ValueError("a worker has a distance or it helps: give distance or help_when")
        if self.distance is not None and not 0 <= self.distance <= FARTHEST:
            raise ValueError(f"distance is {self.distance}: use 0 (nearest) to {FARTHEST}")
        if self.help_when is not None and self.help_when < 1:
            raise ValueError(f"help_when is {self.help_when}: use 1 or more")

    def said(self) -> dict[str, int | str]:
        """What each pull says. Group and priority are ignored where they mean nothing, so they
        are right whatever becomes of the pool's policy."""
        if self.help_when is not None:
            return {"group": GROUP, "min_pending": self.help_when}
        return {"group": GROUP, "priority": FARTHEST if self.distance is None else self.distance}

    def labels(self) -> dict[str, str]:
        """What the heartbeat says of it."""
        told = {"distance": self.distance, "help-when": self.help_when}
        return {name: str(value) for name, value in told.items() if value is not None}

    def check(self, pool: str, policies: Sequence[str]) -> None:
        """Raises BrokerError when the pool is not served in the way that this needs."""
        wanted = {"prioritized": self.distance is not None, "overflow": self.help_when is not None}
        for policy, name in (("prioritized", "near"), ("overflow", "overflow")):
            if wanted[policy] and any(found != policy for found in policies):
                raise BrokerError(
                    f"pool {pool} does not have the policy {name} that this worker needs: "
                    f"a3s-coordinator pool {pool} --policy {name}"
                )
