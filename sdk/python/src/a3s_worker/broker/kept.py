"""What the broker keeps of tasks and sessions: results, records, cancel markers, dead letters,
session records."""

from typing import Any

from ..trust import UntrustedError
from ..wire import clock
from ..wire.encoding import Encoding, MalformedError
from ..wire.lane import SessionLane
from ..wire.note import DeadLetter, SessionRecord
from ..wire.record import CancelMarker, TaskRecord
from ..wire.result import TaskResult
from ..wire.signature import ANSWERS, body_digest, result_form
from ..wire.task import BLOB, CONTENT_TYPE
from .blobs import BLOB_THRESHOLD, get_blob, put_blob
from .broker import Broker, StoredMessage, log
from .errors import DeniedError, RefusedError, UnconfirmedError
from .follow import held

_TTL = "Nats-TTL"
_TRIES = 3
_KEPT_AFTER_DEADLINE_MS = 3_600_000
_LONGEST_TTL_S = 6 * 24 * 3600


def _ttl(deadline_ms: int) -> str:
    """What concerns a task goes an hour after its deadline."""
    left = max(0, deadline_ms - clock.now_ms()) + _KEPT_AFTER_DEADLINE_MS
    return f"{min(left // 1000, _LONGEST_TTL_S)}s"


async def publish_result(
    broker: Broker, result: TaskResult, encoding: Encoding, answers: str | None = None
) -> bool:
    """Stores a task's result unless it has one. True: it is ours; also when it was stored by a
    try whose answer was lost. Signed where there is a key; `answers` is the signature of its task's
    message. Raises BrokerError when it may be stored or not."""
    headers = {CONTENT_TYPE: encoding.content_type}
    body = encoding.encode(result.write())
    if len(body) > BLOB_THRESHOLD:
        headers[BLOB] = await put_blob(broker, body, f"{result.task_id}-result")
        body = b""
    subject = broker.names.of_task(result.session_id, "result", result.task_id)
    if key := broker.signatures.key:
        if answers is not None:
            headers[ANSWERS] = answers
        form = result_form(subject, result, body_digest(body, headers), headers)
        headers.update(key.headers(form))
    for tried in range(_TRIES):
        try:
            if await broker.publish_first(subject, body, headers, expected_last=0):
                return True
            return tried > 0 and await _is_ours(broker, result)
        except UnconfirmedError:
            if tried == _TRIES - 1:
                raise
    raise AssertionError("the last try returned or raised")


async def _is_ours(broker: Broker, result: TaskResult) -> bool:
    try:
        found = await find_result(broker, result.session_id, result.task_id)
    except DeniedError:
        # Who may not read it cannot know; there is one, and that is what matters.
        return False
    said = (result.worker_id, result.started_at_ms)
    return found is not None and (found.worker_id, found.started_at_ms) == said


async def has_result(broker: Broker, session: str, task_id: str) -> bool:
    """Whether a task has a result; possible without the right to read it. Raises BrokerError."""
    subject = broker.names.of_task(session, "result", task_id)
    try:
        return await broker.last(broker.names.stream("RESULTS"), subject) is not None
    except DeniedError:
        return await broker.holds(subject, broker.names.of_task("_", "result", "_"))


async def find_result(
    broker: Broker, session: str, task_id: str, answers: str | None = None
) -> TaskResult | None:
    """The result of a task, None when there is none (yet, or any more: they are kept a day).
    `answers`: as in `read_result`. Raises BrokerError, or MalformedError when it cannot be read."""
    subject = broker.names.of_task(session, "result", task_id)
    found = await broker.last(broker.names.stream("RESULTS"), subject)
    if found is None:
        return None
    return await read_result(broker, dict(found.headers), found.body, (session, task_id), answers)


async def read_result(
    broker: Broker,
    headers: dict[str, str],
    body: bytes,
    place: tuple[str, str],
    answers: str | None = None,
) -> TaskResult:
    """Decodes a result's message, which is from the subject of this session and task. Where results
    are checked, one that is not believed is replaced by one that says so; it must be the answer to
    the task with the signature `answers`, when that is known. Raises BrokerError, MalformedError.
    """
    if BLOB in headers:
        body = await get_blob(broker, headers[BLOB])
    signatures = broker.signatures
    encoding = Encoding.of(headers.get(CONTENT_TYPE), body)
    if signatures.results is None:
        return TaskResult.read(encoding.decode(body))
    lane = SessionLane.QUERY
    try:
        try:
            result = TaskResult.read(encoding.decode(body))
        except MalformedError:
            raise UntrustedError("it is no result") from None
        lane = result.lane
        signatures.check_result(broker.names, place, result, headers, body)
        if answers not in (None, headers.get(ANSWERS)):
            raise UntrustedError("it answers another task, or an earlier one of this id")
    except UntrustedError as error:
        signatures.refused += 1
        log.warning("the result of task %s is not believed: %s", place[1], error)
        return _disbelieved(lane, place, str(error))
    return result


def _disbelieved(lane: SessionLane, place: tuple[str, str], why: str) -> TaskResult:
    error = (
        f"the result that the broker has of this task is not believed: {why}; nobody knows whether "
        "the task was run"
    )
    return TaskResult(
        place[1], place[0], lane, "", False, {}, error, "unknown", worker_id="coordinator"
    )


async def read_record(broker: Broker, session: str, task_id: str) -> tuple[TaskRecord, int]:
    """A task's record and its revision; an empty one of revision 0 when there is none. Raises
    BrokerError, also when it cannot be read."""
    subject = broker.names.of_task(session, "claim", task_id)
    found = await broker.last(broker.names.stream("CLAIMS"), subject)
    if found is None:
        return TaskRecord(), 0
    try:
        return TaskRecord.read(Encoding.JSON.decode(found.body)), found.sequence
    except MalformedError as error:
        raise RefusedError(f"{subject} cannot be read: {error}") from error


async def write_record(
    broker: Broker, session: str, task_id: str, record: TaskRecord, revision: int, deadline_ms: int
) -> int:
    """Writes a record over `revision` and returns the new one. Raises ConflictError when somebody
    wrote meanwhile, else BrokerError."""
    subject = broker.names.of_task(session, "claim", task_id)
    body = Encoding.JSON.encode(record.write())
    try:
        ack = await broker.publish(subject, body, {_TTL: _ttl(deadline_ms)}, revision)
        return ack.sequence
    except UnconfirmedError:
        # Stored or not: what is there now tells.
        found, sequence = await read_record(broker, session, task_id)
        if found == record:
            return sequence
        raise


async def mark_cancelled(
    broker: Broker, session: str, task_id: str, reason: str, deadline_ms: int
) -> None:
    """Marks a task as cancelled, durably. Raises BrokerError."""
    marker = CancelMarker(reason, clock.now_ms())
    subject = broker.names.of_task(session, "cancel", task_id)
    headers = {_TTL: _ttl(deadline_ms)}
    await broker.publish(subject, Encoding.JSON.encode(vars(marker)), headers)


async def find_marker(broker: Broker, session: str, task_id: str) -> CancelMarker | None:
    """A task's cancel marker. Raises BrokerError."""
    subject = broker.names.of_task(session, "cancel", task_id)
    found = await broker.last(broker.names.stream("CANCELS"), subject)
    return read_marker(found.body) if found else None


def read_marker(body: bytes) -> CancelMarker:
    """A cancel marker; what it says may be missing or nonsense, that it is there counts."""
    try:
        return CancelMarker.read(Encoding.JSON.decode(body))
    except MalformedError:
        return CancelMarker()


async def bury(broker: Broker, letter: dict[str, Any]) -> None:
    """Keeps a dead letter; the first one of a task stays. Raises BrokerError."""
    lane = letter["lane"].lower()
    subject = broker.names.dead_letter(letter["session_id"], lane, letter["task_id"])
    headers = {CONTENT_TYPE: Encoding.JSON.content_type}
    await broker.publish_first(subject, Encoding.JSON.encode(letter), headers)


async def dead_letters(broker: Broker, session: str) -> list[DeadLetter]:
    """The dead letters of a session, oldest first. Raises BrokerError."""
    subjects = broker.names.dead_letter(session, "*", "*")
    found = await held(broker, broker.names.stream("DLQ"), subjects)
    return [DeadLetter.read(Encoding.JSON.decode(m.body)) for m in found]


async def read_session(broker: Broker, session: str) -> tuple[SessionRecord | None, int]:
    """A session's record and its revision; None and 0 without one. Raises BrokerError,
    MalformedError."""
    bucket = broker.names.bucket("sessions")
    found = await broker.last(f"KV_{bucket}", f"$KV.{bucket}.{session}")
    if found is None:
        return None, 0
    if _is_deleted(found):
        return None, found.sequence
    return SessionRecord.read(Encoding.JSON.decode(found.body)), found.sequence


async def write_session(broker: Broker, record: SessionRecord, revision: int) -> int:
    """Writes a session's record over `revision`. Raises ConflictError, BrokerError."""
    body = Encoding.JSON.encode(record.write())
    return await put_value(broker, "sessions", record.session_id, body, revision)


async def put_value(
    broker: Broker, bucket: str, key: str, body: bytes, revision: int | None = None
) -> int:
    """Writes a value into a bucket. Raises ConflictError, BrokerError."""
    ack = await broker.publish(_key(broker, bucket, key), body, {}, revision)
    return ack.sequence


async def delete_value(broker: Broker, bucket: str, key: str) -> None:
    """Removes a value from a bucket. Raises BrokerError."""
    await broker.publish(_key(broker, bucket, key), b"", {"KV-Operation": "DEL"}, timeout=2)


def _key(broker: Broker, bucket: str, key: str) -> str:
    # Through a leaf node, writes go through the API of the hub's domain.
    domain = f"{broker.api}." if broker.js_domain else ""
    return f"{domain}$KV.{broker.names.bucket(bucket)}.{key}"


def _is_deleted(message: StoredMessage) -> bool:
    return message.headers.get("KV-Operation") in ("DEL", "PURGE")
