"""Tools: what a worker runs, what a tool may answer, and how it is run and stopped."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .wire.result import ExternalTaskResult
from .wire.task import ExternalTask

Handler = Callable[[ExternalTask], Any]
"""A tool: an async function, or a plain one, which is run in a thread of its own. It gets the task
and returns an `ExternalTaskResult`, a dict with `success`, or any other value, which is then the
result of a task that succeeded."""

H = TypeVar("H", bound=Handler)

STOP_GRACE = 0.8
"""Seconds that a tool has to answer after it was told to stop."""

_RESULT_KEYS = frozenset(("success", "result", "error", "error_kind", "errorKind"))


class ToolError(Exception):
    """The tool failed, with this result. `kind`: None when it ran and failed, or
    `invalid_input`, `refused`."""

    def __init__(self, error: str, result: Any = None, kind: str | None = None) -> None:
        super().__init__(error)
        self.result = {} if result is None else result
        self.kind = kind


class Retry(Exception):
    """Another attempt may succeed: it comes after the task's own delay, if one is left."""


class RetryAfter(Exception):
    """Another attempt may succeed, after `seconds`."""

    def __init__(self, error: str, seconds: float) -> None:
        super().__init__(error)
        self.seconds = seconds


class Reject(Exception):
    """No attempt can succeed: the task becomes a dead letter."""


Verdict = ExternalTaskResult | Retry | RetryAfter | Reject
"""What a tool says at its end."""


def is_async(handler: Handler) -> bool:
    """Whether a handler is an async function, or an object whose call is one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - it is the method that is asked for
    )


async def call(handler: Handler, task: ExternalTask) -> Verdict:
    """Runs a tool to its verdict. Whatever it raises is one, too."""
    try:
        value = await (handler(task) if is_async(handler) else _in_thread(handler, task))
        if inspect.isawaitable(value):
            value = await value
        return read_answer(value)
    except (Retry, RetryAfter, Reject) as verdict:
        return verdict
    except ToolError as error:
        return ExternalTaskResult(False, error.result, str(error), error.kind)
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return ExternalTaskResult(False, {}, text)


def read_answer(value: Any) -> ExternalTaskResult:
    """What a tool returned, as a result."""
    if isinstance(value, ExternalTaskResult):
        return value
    if (
        isinstance(value, dict)
        and isinstance(value.get("success"), bool)
        and value.keys() <= _RESULT_KEYS
    ):
        kind = value.get("error_kind", value.get("errorKind"))
        return ExternalTaskResult(value["success"], value.get("result"), value.get("error"), kind)
    return ExternalTaskResult(True, value)


async def _in_thread(handler: Handler, task: ExternalTask) -> Any:
    answer = in_thread(handler, task)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        # The thread is told by `task.is_stopped()`; what it answers in time counts.
        return await answer


def in_thread(function: Callable[[ExternalTask], Any], task: ExternalTask) -> "asyncio.Future[Any]":
    """Runs a plain function in a thread of its own. A thread cannot be stopped: one that does not
    end lives on, and holds up neither the worker nor its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def run() -> None:
        value: Any = None
        failed: Exception | None = None
        try:
            value = context.run(function, task)
        except StopIteration as error:
            failed = RuntimeError(f"the tool raised {error!r}")
        except BaseException as error:  # SystemExit in a tool is its failure, not ours
            failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name=f"tool-{task.command_type}", daemon=True).start()
    return done
