"""Runs a shell command for a tool, so that nothing of it is left when the tool is stopped."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE
from typing import Any

from .wire.result import ExternalTaskResult
from .wire.task import ExternalTask

LIMIT = 100 * 1024
"""Bytes that are kept of each stream: the first two thirds and the last third."""


async def run_shell(
    task: ExternalTask, command: str, *, cwd: str | None = None
) -> ExternalTaskResult:
    """Runs `command` with sh, in a process group of its own, and shows its output to whoever
    watches the task. The result has `stdout`, `stderr`, `output` (one after the other) and
    `exit_code`; it succeeded when that is 0. When the tool is stopped (deadline, cancel, drain,
    lost lease) the whole group is killed, and the result says what was printed until then."""
    process = await asyncio.create_subprocess_shell(
        command, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE,
        start_new_session=True,
    )  # fmt: skip
    out, err = _Kept(task), _Kept(task)
    reading = asyncio.gather(out.read(process.stdout), err.read(process.stderr), process.wait())
    error = None
    try:
        await asyncio.shield(reading)
    except asyncio.CancelledError:
        error = "stopped"
    finally:
        # Also after a normal end: what it left in the background must not outlive the task.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await reading
    code = process.returncode
    if error is None and code != 0:
        error = f"exit code {code}" if code is None or code >= 0 else f"killed by signal {-code}"
    texts = {"stdout": out.text(), "stderr": err.text()}
    result: dict[str, Any] = {**texts, "output": "".join(texts.values()), "exit_code": code}
    return ExternalTaskResult(error is None, result, error)


class _Kept:
    """What is kept of a stream."""

    def __init__(self, task: ExternalTask) -> None:
        self._task = task
        self._first = bytearray()
        self._last = bytearray()
        self._size = 0

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        """To the end of the stream."""
        while stream is not None and (piece := await stream.read(64 * 1024)):
            self._task.progress(piece)
            self._size += len(piece)
            room = LIMIT * 2 // 3 - len(self._first)
            self._first += piece[:room]
            self._last = (self._last + piece[max(room, 0) :])[-LIMIT // 3 :]

    def text(self) -> str:
        """It as text, with a word on what is missing."""
        left_out = self._size - len(self._first) - len(self._last)
        note = f"\n[{left_out} bytes left out]\n".encode() if left_out else b""
        return bytes(self._first + note + self._last).decode(errors="replace")
