"""Running a task in this process: Internal and Hybrid commands, and the callback for external
tasks. The deadline or a cancel ends the run."""

import asyncio

from .job import Job
from .tool import Handler, Verdict, call
from .wire import clock
from .wire.result import ExternalTaskResult, TaskResult


async def run_here(job: Job, handler: Handler | None) -> TaskResult:
    """Runs one attempt."""
    if handler is None:
        tool = job.task.command_type
        error = f"tool {tool!r} is run by workers, not in this process: set its lane to External"
        return job.answer(ExternalTaskResult(False, {}, error))
    started = clock.now_ms()
    work = asyncio.ensure_future(call(handler, job.task))

    def ended(_: "asyncio.Future[Verdict]") -> None:
        if not job.heard.done() and not work.cancelled():
            job.heard.set_result(job.answer(_said(work), started))

    work.add_done_callback(ended)
    try:
        return await answer_or_end(job, "while it ran")
    finally:
        work.cancel()


async def answer_or_end(job: Job, where: str) -> TaskResult:
    """Waits for a result that comes from this process, to the deadline at most."""
    left = job.task.remaining_ms() / 1000
    ends = (job.heard, job.cancel)
    await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    if job.heard.done():
        return job.heard.result()
    if job.cancel.done():
        return job.was_cancelled(job.cancel.result())
    return job.timed_out(where)


def _said(work: "asyncio.Future[Verdict]") -> ExternalTaskResult:
    if error := work.exception():
        return ExternalTaskResult(False, {}, repr(error))
    verdict = work.result()
    if isinstance(verdict, ExternalTaskResult):
        return verdict
    # Another attempt, or a dead letter, is a worker's business.
    return ExternalTaskResult(False, {}, str(verdict))
