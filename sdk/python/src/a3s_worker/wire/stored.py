"""A task as its stream holds it: what subject, headers, sequence and body say together."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import clock
from .encoding import Encoding, MalformedError
from .names import Names, TaskAddress
from .task import DEFAULT_TIMEOUT_MS, ExternalTask, TaskHeaders, read_task_body
from .token import check_token


@dataclass
class StoredTask:
    """A task's message. Its subject and headers are understood; its body may be nonsense.

    stored_at_ms: on the broker's clock.
    """

    names: Names
    stream: str
    subject: str
    address: TaskAddress
    sequence: int
    stored_at_ms: int
    raw_headers: Mapping[str, str]
    headers: TaskHeaders
    body: bytes

    def fallback_id(self) -> str:
        """The task's id as far as it is known without its body."""
        named = self.names.session_and_id(self.headers.reply_to or "")
        if named and named[0] == self.address.session:
            try:
                return check_token("task id", named[1])
            except ValueError:
                pass
        own = self.stream == self.names.stream("OWN")
        return f"{'o' if own else 't'}{self.sequence}"

    def task(self, body: bytes) -> tuple[ExternalTask, Encoding]:
        """Decodes the task from `body`, which is the message's or that of its blob. Raises
        MalformedError: it can never be run."""
        encoding = Encoding.of(self.headers.content_type, body)
        said = read_task_body(encoding, body)
        session, lane = self.address.session, self.address.lane
        if said["session_id"] not in (None, session):
            raise MalformedError(
                f"session_id {said['session_id']!r} is not the subject's {session!r}"
            )
        if said["lane"] not in (None, lane):
            raise MalformedError(f"lane {said['lane'].value} is not the subject's {lane.value}")
        task_id = self.fallback_id() if said["task_id"] is None else said["task_id"]
        try:
            check_token("task id", task_id)
        except ValueError as error:
            raise MalformedError(str(error)) from None
        timeout_ms = DEFAULT_TIMEOUT_MS if said["timeout_ms"] is None else said["timeout_ms"]
        task = ExternalTask(
            task_id=task_id,
            session_id=session,
            lane=lane,
            command_type=said["command_type"],
            payload=said["payload"],
            timeout_ms=timeout_ms,
            deadline_ms=self._deadline_ms(timeout_ms),
            effect=self.headers.effect_in(lane),
            traceparent=self.headers.traceparent,
        )
        return task, encoding

    def _deadline_ms(self, timeout_ms: int) -> int:
        if self.headers.deadline_ms is not None:
            return self.headers.deadline_ms
        return (self.stored_at_ms or clock.now_ms()) + timeout_ms

    def dead_letter(self, task_id: str, error: str) -> dict[str, Any]:
        """A dead letter with the whole message; what is known beside it is to be filled in."""
        return {
            "task_id": task_id,
            "session_id": self.address.session,
            "lane": self.address.lane.value,
            "command_type": "",
            "error": error,
            "attempts": 0,
            "failed_at": clock.now_ms(),
            "history": [],
            "payload": None,
            "subject": self.subject,
            "headers": [[name, value] for name, value in self.raw_headers.items()],
            "body": base64.b64encode(self.body).decode(),
        }
