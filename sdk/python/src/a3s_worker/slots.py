"""How many tasks run at a time. A slot is taken before a task starts, and given back once."""

from collections.abc import Callable

from .wire.lane import SessionLane


class Slots:
    """Some slots for any lane, and one that only Control may take, so that a cancel or pause
    never waits behind work."""

    def __init__(self, total: int, serves_control: bool) -> None:
        self.total = total
        self._any = total
        self._control = int(serves_control)
        self.on_returned: Callable[[], None] = lambda: None

    def free(self, lane: SessionLane) -> int:
        """How many tasks of `lane` could start now."""
        return self._any + (self._control if lane is SessionLane.CONTROL else 0)

    @property
    def busy(self) -> int:
        """Slots for any lane that are taken."""
        return self.total - self._any

    def take(self, lane: SessionLane) -> "Slot | None":
        """Takes a slot for a task of `lane`, the reserved one first when it may."""
        if lane is SessionLane.CONTROL and self._control:
            self._control -= 1
            return Slot(self, True)
        if not self._any:
            return None
        self._any -= 1
        return Slot(self, False)

    def _give(self, control: bool) -> None:
        if control:
            self._control += 1
        else:
            self._any += 1
        self.on_returned()


class Slot:
    """A taken slot."""

    def __init__(self, slots: Slots, control: bool) -> None:
        self._slots: Slots | None = slots
        self._control = control

    def give_back(self) -> None:
        """Returns it; the second time does nothing."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._give(self._control)
