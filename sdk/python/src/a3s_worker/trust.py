"""Whose signatures count: the key that this process signs with, and the list of keys that it trusts
with sessions, lanes and tools."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .wire.lane import SessionLane
from .wire.names import Names
from .wire.result import TaskResult
from .wire.signature import (
    KEY,
    SIGNATURE,
    SigningKey,
    body_digest,
    is_signed_by,
    public_key,
    result_form,
    task_form,
)
from .wire.stored import StoredTask
from .wire.task import ExternalTask

FIRST_WITHIN_MS = 30_000
"""How long after its submission a task is stored at most, if it is the first of its message id."""

_RULES = ("sessions", "lanes", "tools")
_FIELDS = frozenset(("key", "name", "role", *_RULES))
_ROLES = ("coordinator", "worker")


class UntrustedError(Exception):
    """A signature that does not count. Its text names the rule and the key."""


@dataclass(frozen=True)
class _Entry:
    key: str
    name: str | None = None
    role: str = "coordinator"
    sessions: list[str] | None = None
    lanes: list[SessionLane] | None = None
    tools: list[str] | None = None

    def refusal(self, session: str, lane: SessionLane, tool: str) -> str | None:
        who = f"key {self.key} ({self.name})" if self.name else f"key {self.key}"
        if not _matches(self.sessions, session):
            return f"{who} is not trusted with session {session}"
        if self.lanes is not None and lane not in self.lanes:
            return f"{who} is not trusted with lane {lane.value}"
        if not _matches(self.tools, tool):
            return f'{who} is not trusted with tool "{tool}"'
        return None


def _matches(patterns: list[str] | None, name: str) -> bool:
    if patterns is None:
        return True
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for pattern in patterns
    )


class TrustList:
    """A trust list, from the text of its TOML file. `role`: what it is for, `coordinator` (who may
    ask) or `worker` (who may answer). Raises ValueError."""

    def __init__(self, text: str, role: str) -> None:
        said = _toml(text)
        if unknown := set(said) - {"key"}:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r}: use [[key]]")
        self._keys = [_entry(entry) for entry in said.get("key", [])]
        if not any(entry.role == role for entry in self._keys):
            raise ValueError(
                f'it names no key with role = "{role}": nothing would be accepted; add a [[key]]'
            )

    def names(self, role: str, key: str) -> bool:
        """Whether it names this key in this role."""
        return any(entry.key == key and entry.role == role for entry in self._keys)

    def permit(self, role: str, key: str, session: str, lane: SessionLane, tool: str) -> None:
        """Raises UntrustedError unless the key is trusted with all three."""
        refusal: str | None = f"key {key} is not trusted as a {role}"
        for entry in self._keys:
            if entry.key == key and entry.role == role:
                refusal = entry.refusal(session, lane, tool)
                if refusal is None:
                    return
        raise UntrustedError(refusal)


def _entry(said: dict[str, Any]) -> _Entry:
    if unknown := set(said) - _FIELDS:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r} of a [[key]]")
    if said.get("role", "coordinator") not in _ROLES:
        raise ValueError(f"unknown role {said['role']!r}: use coordinator or worker")
    for rule in _RULES:
        values = said.get(rule, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{rule} is not a list of texts")
        if bad := next((value for value in values if "*" in value[:-1]), None):
            raise ValueError(f"{bad!r}: a * may be at the end only")
    public_key(str(said.get("key", "")))
    lanes = said.get("lanes")
    parsed = None if lanes is None else [SessionLane.parse(lane) for lane in lanes]
    return _Entry(**{**said, "lanes": parsed})


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    said: dict[str, Any] = tomllib.loads(text)
    return said


def may_be_a_copy(stored_at_ms: int, task: ExternalTask) -> bool:
    """Whether a task that is delivered for the first time may have been stored and answered before:
    the message id is signed, and the broker stores one once a minute, so a copy comes late."""
    return stored_at_ms > task.deadline_ms - task.timeout_ms + FIRST_WITHIN_MS


@dataclass
class Signatures:
    """The key of a process, and whom it trusts. Without either, nothing is signed or checked.

    tasks: whose a worker runs. results: whose a caller believes. refused: how often it said no.
    """

    key: SigningKey | None = None
    tasks: TrustList | None = None
    results: TrustList | None = None
    refused: int = field(default=0)

    @classmethod
    def of(cls, key: str | None, trust: str | None, role: str) -> "Signatures":
        """From files. `key`: default: env A3S_SIGNING_KEY, else ~/.config/a3s/signing.nk if it is
        there. `trust`: default: env A3S_TRUST of a worker, A3S_TRUST_WORKERS of a caller. Raises
        ValueError, which names the file."""
        variable = "A3S_TRUST" if role == "coordinator" else "A3S_TRUST_WORKERS"
        path = trust or os.environ.get(variable) or None
        listed = _read_trust(path, role) if path else None
        found = cls(_read_key(key))
        if role == "coordinator":
            found.tasks = listed
        else:
            found.results = listed
        if found.results and not found.key:
            raise ValueError(
                "a list of trusted workers needs a key too: this process answers for workers that "
                "do not, and signs that; give signing_key"
            )
        return found

    def check_task(self, stored: StoredTask, task: ExternalTask) -> None:
        """Before anybody touches its payload. Raises UntrustedError."""
        assert self.tasks is not None, "checked by the caller"
        headers = stored.raw_headers
        digest = body_digest(stored.body, headers)
        form = task_form(
            stored.subject,
            task.session_id,
            task.task_id,
            task.lane,
            task.command_type,
            digest,
            headers,
        )
        key, signature = headers.get(KEY), headers.get(SIGNATURE)
        try:
            if key is None or signature is None:
                raise UntrustedError("it is not signed")
            if not self.tasks.names("coordinator", key):
                raise UntrustedError(f"key {key} is not trusted as a coordinator")
            if not is_signed_by(key, form, signature):
                raise UntrustedError(_altered(key))
            self.tasks.permit("coordinator", key, task.session_id, task.lane, task.command_type)
        except UntrustedError:
            self.refused += 1
            raise

    def check_result(
        self,
        names: Names,
        place: tuple[str, str],
        result: TaskResult,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """`place`: the session and the task of the subject that it was read from. Raises
        UntrustedError."""
        assert self.results is not None, "checked by the caller"
        if place != (result.session_id, result.task_id):
            raise UntrustedError(f"it is the result of task {result.task_id}")
        key, signature = headers.get(KEY), headers.get(SIGNATURE)
        if key is None or signature is None:
            raise UntrustedError("it is not signed")
        own = self.key is not None and self.key.id == key
        coordinator = own or self.results.names("coordinator", key)
        if not coordinator and not self.results.names("worker", key):
            raise UntrustedError(f"key {key} is not trusted as a worker")
        subject = names.of_task(place[0], "result", place[1])
        form = result_form(subject, result, body_digest(body, headers), headers)
        if not is_signed_by(key, form, signature):
            raise UntrustedError(_altered(key))
        if coordinator and not result.success:
            return
        if not self.results.names("worker", key):
            raise UntrustedError(
                f"key {key} is not trusted as a worker, and only a worker can say that a task "
                "succeeded"
            )
        self.results.permit("worker", key, result.session_id, result.lane, result.command_type)


def _altered(key: str) -> str:
    return f"the signature of key {key} does not fit: it was altered, or signed for something else"


def _read_key(named: str | None) -> SigningKey | None:
    path = Path(named or os.environ.get("A3S_SIGNING_KEY") or "")
    if path == Path():
        base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        path = Path(base).expanduser() / "a3s" / "signing.nk"
        if not path.exists():
            return None
    try:
        if path.stat().st_mode & 0o007:
            raise ValueError(f"others can read or change the key in {path}: run chmod 600 {path}")
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    try:
        return SigningKey(text)
    except ValueError as error:
        raise ValueError(f"cannot sign with {path}: {error}") from None


def _read_trust(path: str, role: str) -> TrustList:
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    try:
        return TrustList(text, role)
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot use the trust list {path}: {error}") from None
