"""What is remembered of a task beside its message: who claimed it, how attempts ended; the wish
that it ends."""

from dataclasses import dataclass, field
from typing import Any

from .fields import integer, list_of, optional, read_map, required, text


@dataclass
class Claim:
    """Who started a `once` task."""

    worker_id: str
    attempt: int
    at_ms: int

    @classmethod
    def read(cls, value: Any) -> "Claim":
        """Raises MalformedError."""
        return cls(**read_map(_CLAIM, value))


@dataclass
class AttemptNote:
    """How an attempt ended that was not the last one."""

    attempt: int
    worker_id: str
    at_ms: int
    error: str

    @classmethod
    def read(cls, value: Any) -> "AttemptNote":
        """Raises MalformedError."""
        return cls(**read_map(_NOTE, value))


@dataclass
class TaskRecord:
    """A task's record, written by compare-and-set over its revision."""

    claim: Claim | None = None
    handed_back: int = 0
    attempts: list[AttemptNote] = field(default_factory=list)

    @classmethod
    def read(cls, value: Any) -> "TaskRecord":
        """Raises MalformedError."""
        return cls(**read_map(_RECORD, value))

    def write(self) -> dict[str, Any]:
        """The record as a map."""
        claim = {"claim": vars(self.claim)} if self.claim else {}
        notes = [vars(note) for note in self.attempts]
        return {**claim, "handed_back": self.handed_back, "attempts": notes}


@dataclass
class CancelMarker:
    """The wish that a task ends."""

    reason: str = ""
    at_ms: int = 0

    @classmethod
    def read(cls, value: Any) -> "CancelMarker":
        """Raises MalformedError."""
        return cls(**read_map(_CANCEL, value))


_CLAIM = (required("worker_id", text), required("attempt", integer), required("at_ms", integer))
_NOTE = (*_CLAIM, required("error", text))
_RECORD = (
    optional("claim", Claim.read),
    optional("handed_back", integer, default=0),
    optional("attempts", list_of(AttemptNote.read), default=list),
)
_CANCEL = (
    optional("reason", text, default=""),
    optional("at_ms", integer, "atMs", default=0),
)
