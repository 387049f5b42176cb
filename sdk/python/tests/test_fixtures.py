"""The golden messages of shared/fixtures, the same files that the other languages read."""

import json
from pathlib import Path
from typing import Any

import pytest

from a3s_worker.wire.encoding import Encoding, MalformedError
from a3s_worker.wire.fields import read_map
from a3s_worker.wire.names import Names
from a3s_worker.wire.note import PRESENCE, DeadLetter, Event, SessionRecord
from a3s_worker.wire.record import CancelMarker, TaskRecord
from a3s_worker.wire.result import TaskResult
from a3s_worker.wire.stored import StoredTask
from a3s_worker.wire.task import TASK_BODY, TaskHeaders

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
INDEX = json.loads((FIXTURES / "fixtures.json").read_text())


def _plain(value: Any) -> Any:
    """What the index holds for `value`: absent fields are absent."""
    return json.loads(json.dumps(value, default=vars))


def _read(kind: str, value: Any) -> Any:
    match kind:
        case "task":
            task = read_map(TASK_BODY, value)
            present = {k: v for k, v in task.items() if v is not None or k == "payload"}
            return present
        case "result":
            return TaskResult.read(value).write()
        case "record":
            return TaskRecord.read(value).write()
        case "cancel":
            return vars(CancelMarker.read(value))
        case "dead_letter":
            return vars(DeadLetter.read(value))
        case "event":
            return Event.read(value).write()
        case "presence":
            return read_map(PRESENCE, value)
        case "session":
            return SessionRecord.read(value).write()
    raise AssertionError(f"a fixture of unknown type {kind}")


@pytest.mark.parametrize("case", INDEX["messages"], ids=lambda case: case["name"])
def test_a_message_is_read_as_the_index_says_and_golden_ones_are_written_back(
    case: dict[str, Any],
) -> None:
    body = (FIXTURES / case["file"]).read_bytes()
    headers = TaskHeaders.read(case.get("headers", {}))
    encoding = Encoding.of(headers.content_type, body)
    if body:
        assert encoding is (Encoding.JSON if case["encoding"] == "json" else Encoding.MESSAGEPACK)
    if "error" in case:
        with pytest.raises(MalformedError):
            _read(case["type"], encoding.decode(body))
        return
    value = _read(case["type"], encoding.decode(body))
    assert _plain(value) == case["value"]
    if case["golden"]:
        assert encoding.encode(_plain(value)) == body


@pytest.mark.parametrize("case", INDEX["deliveries"], ids=lambda case: case["name"])
def test_a_delivery_is_understood_with_all_its_defaults(case: dict[str, Any]) -> None:
    names = Names()
    address = names.parse_task(case["subject"])
    if case.get("no_task"):
        assert address is None
        return
    assert address is not None
    stored = StoredTask(
        names,
        case["stream"],
        case["subject"],
        address,
        case["sequence"],
        case["stored_at_ms"],
        case["headers"],
        TaskHeaders.read(case["headers"]),
        case["body"].encode(),
    )
    if "error" in case:
        with pytest.raises(MalformedError):
            stored.task(stored.body)
        return
    task, encoding = stored.task(stored.body)
    retry = stored.headers.retry_in(task.lane)
    assert {
        **task.body(),
        "deadline_ms": task.deadline_ms,
        "effect": stored.headers.effect_in(task.lane).value,
        "max_attempts": retry.max_attempts,
        "retry_delay": str(retry),
        "encoding": "json" if encoding is Encoding.JSON else "messagepack",
    } == case["task"]


def test_every_fixture_of_the_directory_is_in_the_index() -> None:
    listed = {case["file"] for case in INDEX["messages"]}
    files = {path.name for path in FIXTURES.iterdir() if path.is_file()} - {
        "fixtures.json",
        "README.md",
        ".gitattributes",
    }
    assert files == listed
