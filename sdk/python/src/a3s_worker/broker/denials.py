"""What the broker did not let us do.

A denied publish has no answer: the server reports an error on the connection and drops the
message, so whoever waits for a reply would wait in vain. `requests` ends such waits; what nobody
waits for is logged, once for each kind of subject.
"""

import re
from dataclasses import dataclass

_SAID = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)

REMEMBERED = 256
"""Kinds of subjects that are remembered as said; beyond it they are said again."""


@dataclass(frozen=True)
class Denied:
    """Something that the broker did not permit: to `act` (`publish`, `subscribe`) on `subject`,
    which is in small letters, because the client library makes all that the server says so."""

    act: str
    subject: str

    @classmethod
    def read(cls, error: str) -> "Denied | None":
        """Reads what the server says of it; None when it speaks of something else."""
        said = _SAID.search(error)
        if said is None:
            return None
        act = "publish" if said[1].lower() == "publish" else "subscribe"
        return cls(act, said[2].lower())

    def concerns(self, act: str, subject: str) -> bool:
        """Whether this is the answer to such an act."""
        return self.act == act and self.subject == subject.lower()


def permission(act: str, subject: str) -> str:
    """What would have to be permitted, in words."""
    inbox = act == "subscribe" and subject.lower().startswith("_inbox")
    hint = " (A3S_INBOX_PREFIX names the inbox that a key may use)" if inbox else ""
    return f"{act} to {subject}{hint}"


class Said:
    """Which denials the log has: ids, from the fourth token on, make no difference."""

    def __init__(self) -> None:
        self._kinds: set[tuple[str, ...]] = set()

    def is_new(self, denied: Denied) -> bool:
        """Whether nothing was said of its kind yet; it counts as said from now on."""
        kind = (denied.act, *denied.subject.split(".")[:3])
        if kind in self._kinds:
            return False
        if len(self._kinds) >= REMEMBERED:
            self._kinds.clear()
        self._kinds.add(kind)
        return True
