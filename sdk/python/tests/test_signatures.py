"""Signatures: the vectors that every language proves, and what a worker and a caller do with them
against the real server."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Fleet, until

from a3s_worker import Encoding, ExternalTask, Outcome, Session, SessionLane, Task, Worker
from a3s_worker.broker.kept import find_result, publish_result
from a3s_worker.trust import Signatures, TrustList, UntrustedError
from a3s_worker.wire import clock
from a3s_worker.wire.result import TaskResult
from a3s_worker.wire.signature import SigningKey, is_signed_by, result_form, task_form

VECTORS = json.loads((ROOT / "shared/fixtures/signatures/vectors.json").read_text())
OURS, THEIRS = (key["seed"] for key in VECTORS["keys"])
LARGE = 600_000
"""More than a message holds."""

_HEADERS = {
    "message_id": "Nats-Msg-Id",
    "reply_to": "A3s-Reply-To",
    "deadline": "A3s-Deadline",
    "max_attempts": "A3s-Max-Attempts",
    "retry_delay": "A3s-Retry-Delay",
    "effect": "A3s-Effect",
    "content_type": "Content-Type",
    "workspace": "A3s-Workspace",
    "answers": "A3s-Answers",
}


@pytest.fixture(autouse=True)
def no_key_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a key in its place."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def _forms(kind: str) -> list[tuple[dict[str, Any], bytes]]:
    """The vectors of a kind, and the bytes that this language signs."""
    forms = []
    for vector in VECTORS[kind]:
        said = vector["fields"]
        headers = {_HEADERS[name]: value for name, value in said.items() if name in _HEADERS}
        digest = hashlib.sha256(vector["body"].encode()).digest()
        ids = (said["session_id"], said["task_id"])
        if kind == "tasks":
            lane = SessionLane.parse(said["lane"])
            form = task_form(said["subject"], *ids, lane, said["command_type"], digest, headers)
        else:
            result = TaskResult(
                ids[1], ids[0], SessionLane.QUERY, "", True, worker_id=said["worker_id"]
            )
            form = result_form(said["subject"], result, digest, headers)
        forms.append((vector, form))
    return forms


@pytest.mark.parametrize("kind", ["tasks", "results"])
def test_the_vectors_are_made_and_verified_byte_for_byte(kind: str) -> None:
    keys = {key["public"]: SigningKey(key["seed"]) for key in VECTORS["keys"]}
    for vector, form in _forms(kind):
        key = keys[vector["key"]]
        assert key.id == vector["key"]
        assert form.hex() == vector["canonical"], vector["name"]
        assert key.sign(form) == vector["signature"], vector["name"]
        assert is_signed_by(key.id, form, vector["signature"])
        assert not is_signed_by(key.id, form + b"x", vector["signature"])
        assert not is_signed_by(key.id, form, vector["signature"] + "=")


def test_trust_lists_answer_as_everywhere() -> None:
    for vector in VECTORS["trust"]:
        trust = TrustList(vector["list"], vector["role"])
        lane = SessionLane.parse(vector["lane"])
        question = (vector["role"], vector["key"], vector["session"], lane, vector["tool"])
        if vector["error"] is None:
            trust.permit(*question)
        else:
            with pytest.raises(UntrustedError) as refusal:
                trust.permit(*question)
            assert str(refusal.value) == vector["error"]


def test_a_list_that_would_not_do_what_it_seems_to_say_is_an_error() -> None:
    entry = f'[[key]]\nkey = "{SigningKey(OURS).id}"\n'
    bad = ["", '[[key]]\nkey = "UABC"', "[[key]]", "keys = 1"]
    rules = ["tool = []", 'sessions = ["a*b"]', 'lanes = ["fast"]', 'role = "boss"', "tools = 1"]
    for text in [*bad, *(entry + rule for rule in rules), entry + 'role = "worker"']:
        with pytest.raises(ValueError, match=r"."):
            TrustList(text, "coordinator")


def _file(fleet: Fleet, name: str, text: str) -> str:
    path = Path(fleet.directory) / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def _list(seed: str, rules: str) -> str:
    return f'[[key]]\nkey = "{SigningKey(seed).id}"\nname = "ci"\n{rules}\n'


async def _echo(task: ExternalTask) -> Any:
    return {"length": len(task.payload["text"]), "text": task.payload["text"]}


async def _worker(fleet: Fleet, rules: str = "") -> Worker:
    trust = _file(fleet, "trust.toml", _list(OURS, rules))
    key = _file(fleet, "worker.nk", THEIRS)
    tools = {"echo": _echo, "other": _echo}
    worker, _ = await fleet.worker(tools, trust=trust, signing_key=key)
    return worker


async def _caller(fleet: Fleet, session: str | None = None) -> Session:
    workers = _file(fleet, "workers.toml", _list(THEIRS, 'role = "worker"'))
    key = _file(fleet, "ours.nk", OURS)
    return await fleet.session(session, signing_key=key, trust_workers=workers)


async def _ask(session: Session, text: str, tool: str = "echo", lane: str = "query") -> TaskResult:
    return await (await session.submit(lane, Task(tool, {"text": text})))


async def test_what_a_trusted_key_signed_is_run_and_its_answer_believed(fleet: Fleet) -> None:
    await _worker(fleet)
    session = await _caller(fleet)
    assert (await _ask(session, "small")).result["text"] == "small"
    assert (await _ask(session, "x" * LARGE)).result["length"] == LARGE


async def test_what_is_unsigned_or_not_allowed_is_refused_and_counted(fleet: Fleet) -> None:
    worker = await _worker(fleet, 'sessions = ["s"]\nlanes = ["query"]\ntools = ["echo"]')
    unsigned = await _ask(await fleet.session(), "x")
    assert (unsigned.error_kind, unsigned.attempt) == ("refused", 0)
    assert "it is not signed" in (unsigned.error or "")
    stranger = _file(fleet, "stranger.nk", THEIRS)
    strange = await _ask(await fleet.session(signing_key=stranger), "x")
    assert "is not trusted as a coordinator" in (strange.error or "")
    session = await _caller(fleet, "s")
    cases = [("other", "query", 'tool "other"'), ("echo", "control", "lane Control")]
    for tool, lane, rule in cases:
        refused = await _ask(session, "x", tool, lane)
        assert refused.error_kind == "refused"
        assert rule in (refused.error or "")
    elsewhere = await _ask(await _caller(fleet, "elsewhere"), "x")
    assert "session elsewhere" in (elsewhere.error or "")
    assert (await _ask(session, "x")).success
    heartbeat = await (await fleet.broker()).request(f"a3s.worker.{worker.id}")
    assert json.loads(heartbeat.data)["refused"] == 5


async def test_an_altered_message_is_refused(fleet: Fleet) -> None:
    await _worker(fleet)
    broker, key = await fleet.broker(), SigningKey(OURS)
    later = str(clock.now_ms() + 60_000)
    alterations: list[tuple[str, dict[str, str], bytes | None]] = [
        ("a3s.s.query", {}, None),
        ("a3s.s.control", {}, None),
        ("a3s.s.query", {"A3s-Deadline": str(int(later) + 1)}, None),
        ("a3s.s.query", {"Nats-Msg-Id": "s.again"}, None),
        ("a3s.s.query", {"A3s-Effect": "once"}, None),
        ("a3s.s.query", {"A3s-Workspace": "x"}, None),
        ("a3s.s.query", {}, b'{"command_type":"echo","task_id":"t6","payload":{"text":"evil"}}'),
    ]
    for number, (subject, altered, body) in enumerate(alterations):
        task_id = f"t{number}"
        said = {"command_type": "echo", "task_id": task_id, "payload": {"text": "good"}}
        text = json.dumps(said).encode()
        headers = {"Nats-Msg-Id": f"s.{task_id}", "A3s-Deadline": later}
        digest = hashlib.sha256(text).digest()
        form = task_form("a3s.s.query", "s", task_id, SessionLane.QUERY, "echo", digest, headers)
        headers.update(key.headers(form), **altered)
        await broker.publish(subject, body or text, headers)

        async def answered(task_id: str = task_id) -> TaskResult | None:
            return await find_result(broker, "s", task_id)

        result: TaskResult = await until(f"the result of {task_id}", answered)
        if number == 0:
            assert result.success, result
        else:
            assert result.error_kind == "refused", result
            assert "it was altered" in (result.error or "")


async def test_a_forged_or_replayed_result_is_never_the_answer(fleet: Fleet) -> None:
    session = await _caller(fleet, "s")
    forger = await fleet.broker()
    rules = ["it is not signed", "is not trusted as a worker", "an earlier one of this id"]
    signers = [None, OURS, THEIRS]
    rules[1] = "only a worker can say"
    for seed, rule in zip(signers, rules, strict=True):
        forger.signatures = Signatures(SigningKey(seed) if seed else None)
        handle = await session.submit("query", Task("echo", {"text": "x"}))
        forged = TaskResult(handle.task_id, "s", SessionLane.QUERY, "echo", True, {"text": "evil"})
        assert await publish_result(forger, forged, Encoding.JSON, "of another")
        result = await handle
        assert result.outcome is Outcome.UNKNOWN
        assert rule in (result.error or "")
        assert result.result == {}
        assert (await session.result(handle.task_id) or result).success is (seed == THEIRS)


async def test_what_is_no_result_ends_the_wait_too(fleet: Fleet) -> None:
    session = await _caller(fleet, "s")
    handle = await session.submit("query", Task("echo", {"text": "x"}))
    broker = await fleet.broker()
    await broker.publish(f"a3s.s.result.{handle.task_id}", b"nonsense", {})
    result = await handle
    assert (result.outcome, result.success) == (Outcome.UNKNOWN, False)
    assert "it is no result" in (result.error or "")


async def test_the_rust_programs_and_python_believe_each_other(fleet: Fleet) -> None:
    await _worker(fleet)
    workers = _file(fleet, "workers.toml", _list(THEIRS, 'role = "worker"'))
    verb = ["submit", "--lane", "query", "echo", '{"text":"from rust"}']
    signed = ["--signing-key", _file(fleet, "ours.nk", OURS), "--trust-workers", workers]
    status, out, error = await fleet.coordinator(*verb, "--json", *signed)
    assert status == 0, error
    assert json.loads(out)["result"]["text"] == "from rust"
    status, _, error = await fleet.coordinator(*verb)
    assert status == 1
    assert "it is not signed" in error
    trust, key = _file(fleet, "trust.toml", _list(OURS, "")), _file(fleet, "worker.nk", THEIRS)
    await fleet.rust_worker("rust", "--pool", "eu", "--trust", trust, "--signing-key", key)
    options = {"signing_key": str(fleet.directory / "ours.nk"), "trust_workers": workers}
    session = await fleet.session(pool="eu", **options)
    result = await (await session.submit("query", Task("bash", {"command": "echo from python"})))
    assert result.result["stdout"] == "from python\n"


async def test_files_that_cannot_be_used_are_said(fleet: Fleet) -> None:
    key = _file(fleet, "open.nk", OURS)
    Path(key).chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        Signatures.of(key, None, "coordinator")
    with pytest.raises(ValueError, match="cannot read"):
        Signatures.of(None, "/nowhere/trust.toml", "coordinator")
    Path(key).chmod(0o600)
    with pytest.raises(ValueError, match="cannot use the trust list"):
        Signatures.of(None, key, "coordinator")
