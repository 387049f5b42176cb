"""Runs a shell command for a tool, so that nothing of it is left when the tool is stopped."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import PIPE
from typing import Any

from .wire.result import ExternalTaskResult
from .wire.task import ExternalTask

_PR_SET_PDEATHSIG = 1
# Loaded here: nothing may be loaded between fork and exec.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

LIMIT = 100 * 1024
"""Bytes that are kept of each stream: the first two thirds and the last third."""


async def run_shell(
    task: ExternalTask, command: str, *, cwd: str | None = None, stdin: bytes = b""
) -> ExternalTaskResult:
    """Runs `command` with sh, in a process group of its own, and shows its output to whoever
    watches the task. The result has `stdout`, `stderr`, `output` (one after the other) and
    `exit_code`; it succeeded when that is 0. When the tool is stopped (deadline, cancel, drain,
    lost lease) the whole group is killed, and the result says what was printed until then. When
    the worker itself is killed, the kernel kills the shell, but not what that had started."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=cwd,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
        preexec_fn=_die_with_worker if _libc else None,
    )
    out, err = _Kept(task), _Kept(task)
    reading = asyncio.gather(
        _write(process.stdin, stdin),
        out.read(process.stdout),
        err.read(process.stderr),
        process.wait(),
    )
    error = None
    try:
        # Its end, and not that of its output, which something in the background may hold open.
        await process.wait()
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


async def _write(stream: asyncio.StreamWriter | None, body: bytes) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.write(body)
            await stream.drain()
        stream.close()


def _die_with_worker() -> None:
    """Between fork and exec: asks the kernel for SIGKILL when the worker dies."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
