"""The results that a worker gives without, or instead of, a tool's own. Pure."""

from typing import Any

from .wire.record import CancelMarker, Claim, TaskRecord
from .wire.result import ExternalTaskResult
from .wire.task import ExternalTask


def _failure(kind: str, error: str, result: Any = None) -> ExternalTaskResult:
    return ExternalTaskResult(False, {} if result is None else result, error, kind)


def too_late(task: ExternalTask) -> ExternalTaskResult:
    """The deadline passed before the task was started."""
    spent = f"its {task.timeout_ms} ms were over in the queue"
    return _failure("timed_out", f"timed out before it was started: {spent}")


def cancelled(marker: CancelMarker) -> ExternalTaskResult:
    """Cancelled before it was started."""
    reason = f": {marker.reason}" if marker.reason else ""
    return _failure("cancelled", f"cancelled before it was started{reason}")


def unknown(claim: Claim) -> ExternalTaskResult:
    """A `once` task whose worker is gone."""
    error = (
        f"worker {claim.worker_id} started it and was not heard of again; it may have had its "
        "effect, so it is not run a second time"
    )
    known = {
        "claimed_by": claim.worker_id,
        "attempt": claim.attempt,
        "claimed_at_ms": claim.at_ms,
    }
    return _failure("unknown", error, known)


def given_up(error: str) -> ExternalTaskResult:
    """No attempt is left, or none can succeed."""
    return _failure("dead_lettered", f"{error}; kept among the dead letters")


def exhausted(record: TaskRecord, attempts: int) -> str:
    """Why the attempts are used up, from the last of them that left a word."""
    if record.attempts:
        return f"{attempts} attempts failed, the last one with: {record.attempts[-1].error}"
    return f"{attempts} attempts were started and none ended: each lost its worker"


def unknown_command(command: str, tools: list[str]) -> ExternalTaskResult:
    """This worker has no such tool."""
    error = f"Unknown command type: {command}; this worker has {', '.join(tools)}"
    return _failure("unknown_command", error)


def no_workspace() -> ExternalTaskResult:
    """The task is to run in a tree of files, which only workers in Rust can make."""
    error = (
        "the task names a workspace (--sync), and this worker makes none: send such tasks to a "
        "pool of a3s-worker processes"
    )
    return _failure("refused", error)


def refused(error: Exception) -> ExternalTaskResult:
    """The task's signature does not count here."""
    return _failure("refused", f"refused by the trust list of this worker: {error}")


def unwritable(error: Exception) -> ExternalTaskResult:
    """What the tool returned cannot be written in the task's encoding."""
    return _failure("other", f"the tool's result cannot be written: {error}")


def stopped(reason: str, task: ExternalTask, partial: Any) -> ExternalTaskResult:
    """A tool was stopped. What it produced until then is kept."""
    if reason == "deadline":
        return _failure("timed_out", f"timed out after {task.timeout_ms} ms", partial)
    if reason == "cancelled":
        return _failure("cancelled", "cancelled while it ran", partial)
    error = (
        "its worker was stopped while it ran; it may have had its effect, so it is not run a "
        "second time"
    )
    return _failure("unknown", error, partial)
