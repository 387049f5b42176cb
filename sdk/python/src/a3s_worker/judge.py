"""What is to be done about a task. Pure: it is told what the broker and the tool said."""

from dataclasses import dataclass, field

from . import answers
from .tool import Reject, Retry, Verdict
from .wire.encoding import Encoding
from .wire.lane import Effect
from .wire.record import CancelMarker, TaskRecord
from .wire.result import ExternalTaskResult
from .wire.retry import RetryPolicy
from .wire.task import ExternalTask


@dataclass
class Job:
    """A decoded task with what its message and record say. `attempt`: from 1, 0 before one was
    started. `signature`: that of its message, which its result names."""

    task: ExternalTask
    encoding: Encoding
    retry: RetryPolicy
    record: TaskRecord = field(default_factory=TaskRecord)
    revision: int = 0
    attempt: int = 0
    started_at_ms: int = 0
    signature: str | None = None


@dataclass
class Answer:
    """Store this result, then acknowledge."""

    result: ExternalTaskResult


@dataclass
class Bury:
    """Keep it among the dead letters, store a failed result, acknowledge."""

    error: str


@dataclass
class Again:
    """Have it delivered again after the delay; the attempt counts."""

    error: str
    delay_ms: float


class HandBack:
    """Have it delivered again now; nothing happened."""


class Acknowledge:
    """It has a result already: acknowledge."""


class Withhold:
    """Somebody else has it by now, or the broker does not answer: say nothing."""


Settlement = Answer | Bury | Again | HandBack | Acknowledge | Withhold


def attempt_of(job: Job, delivered: int) -> int:
    """Which attempt a start now would be. An `idempotent` task's attempts are its deliveries less
    what was handed back; a `once` task's are its claims, because it may be delivered again as
    long as nobody has claimed it. Later than every attempt that is noted in any case: a server
    that was killed counts on from less than it had delivered."""
    if job.task.effect is Effect.ONCE:
        return len(job.record.attempts) + 1
    noted = max((note.attempt for note in job.record.attempts), default=0)
    return max(delivered - job.record.handed_back, noted + 1)


def judge(job: Job, delivered: int, marker: CancelMarker | None) -> Settlement | None:
    """What record, marker and deadline say, in the order that matters: what happened comes before
    what is wished. None: it is to be run."""
    if job.record.claim:
        return Answer(answers.unknown(job.record.claim))
    if marker:
        return Answer(answers.cancelled(marker))
    if job.task.is_timed_out():
        return Answer(answers.too_late(job.task))
    attempts = job.retry.max_attempts
    if attempt_of(job, delivered) > attempts:
        return Bury(answers.exhausted(job.record, attempts))
    return None


def conclude(verdict: Verdict, job: Job, jitter: float) -> Settlement:
    """What a verdict means for the task. `jitter`, 0 to 1, spreads the next attempts of tasks that
    failed together."""
    if isinstance(verdict, ExternalTaskResult):
        return Answer(verdict)
    error = str(verdict) or type(verdict).__name__
    if isinstance(verdict, Reject):
        return Bury(error)
    if job.attempt >= job.retry.max_attempts:
        return Bury(f"{error} (attempt {job.attempt} of {job.attempt})")
    if isinstance(verdict, Retry):
        return Again(error, job.retry.wait_ms(job.attempt, jitter))
    return Again(error, max(0.0, verdict.seconds) * 1000)
