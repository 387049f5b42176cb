"""What of a task and of a result is signed, and by whom: the same bytes in every language. Pure.

Needs the package `cryptography` (`pip install 'a3s-worker[signing]'`), and only where something is
really signed or checked.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from .lane import SessionLane
from .result import TaskResult
from .task import (
    BLOB,
    CONTENT_TYPE,
    DEADLINE,
    EFFECT,
    MAX_ATTEMPTS,
    MESSAGE_ID,
    REPLY_TO,
    RETRY_DELAY,
)

KEY = "A3s-Key"
SIGNATURE = "A3s-Signature"
ANSWERS = "A3s-Answers"
WORKSPACE = "A3s-Workspace"

_VERSION = b"a3s-signature-1"
_SIGNED_HEADERS = (
    *(MESSAGE_ID, REPLY_TO, DEADLINE, MAX_ATTEMPTS, RETRY_DELAY, EFFECT, CONTENT_TYPE),
    WORKSPACE,
)

_SEED, _USER = 18 << 3, 20 << 3  # what the text of an nkey begins with: S and U


class KeyFormatError(ValueError):
    """A key that cannot be used. Its text never has the seed in it."""


def body_digest(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The SHA-256 of a body; of one in the object store, what its name says, with which whoever
    reads it compares it."""
    name = headers.get(BLOB)
    if name is None:
        return hashlib.sha256(body).digest()
    text = name.removeprefix("sha256-").partition(".")[0]
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def task_form(
    subject: str,
    session_id: str,
    task_id: str,
    lane: SessionLane,
    command_type: str,
    body: bytes,
    headers: Mapping[str, str],
) -> bytes:
    """The bytes of a task that are signed. `body` is its digest."""
    said = (subject, session_id, task_id, lane.id, command_type)
    values = (headers.get(name, "") for name in _SIGNED_HEADERS)
    return _joined(_VERSION, b"task", *map(_bytes, said), body, *map(_bytes, values))


def result_form(subject: str, result: TaskResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a result that are signed. `body` is its digest."""
    said = (subject, result.session_id, result.task_id, result.worker_id)
    values = (headers.get(ANSWERS, ""), headers.get(CONTENT_TYPE, ""))
    return _joined(_VERSION, b"result", *map(_bytes, (*said, *values)), body)


def _bytes(text: str) -> bytes:
    return text.encode()


def _joined(*parts: bytes) -> bytes:
    """Each field after its length, four bytes, the highest first."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class SigningKey:
    """The secret half of a key, from the text of an nkey file: a line with a user's seed, `SU…`.

    id: the public half, `U…`. Raises KeyFormatError.
    """

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        seed = next((line for line in lines if line.startswith("SU")), None)
        if seed is None:
            raise KeyFormatError("no line of it is the seed of a user's nkey (SU…)")
        raw = _decoded(seed, "it is no nkey; was it copied whole?", 34)
        if raw[0] & 0xF8 != _SEED or (raw[0] & 7) << 5 | raw[1] >> 3 != _USER:
            raise KeyFormatError("it is no user's seed (SU…)")
        self._private = _crypto().Ed25519PrivateKey.from_private_bytes(raw[2:])
        public = bytes([_USER]) + self._private.public_key().public_bytes_raw()
        checked = public + _checksum(public)
        self.id = base64.b32encode(checked).decode().rstrip("=")

    def sign(self, form: bytes) -> str:
        """The signature of these bytes, base64url without padding."""
        return base64.urlsafe_b64encode(self._private.sign(form)).decode().rstrip("=")

    def headers(self, form: bytes) -> dict[str, str]:
        """The two headers of a signed message."""
        return {KEY: self.id, SIGNATURE: self.sign(form)}

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


def public_key(key: str) -> Any:
    """Reads a public key, `U…`. Raises KeyFormatError."""
    error = f"{key!r} is not the public key of a user (U…, 56 characters)"
    raw = _decoded(key, error, 33)
    if raw[0] != _USER:
        raise KeyFormatError(error)
    return _crypto().Ed25519PublicKey.from_public_bytes(raw[1:])


def is_signed_by(key: str, form: bytes, signature: str) -> bool:
    """Whether `signature` is that of these bytes by the key with this public half."""
    from cryptography.exceptions import InvalidSignature

    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != signature:
            return False  # one signature has one text
        public_key(key).verify(raw, form)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decoded(text: str, error: str, length: int) -> bytes:
    """An nkey's bytes without their checksum."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise KeyFormatError(error) from None
    raw, checksum = raw[:-2], raw[-2:]
    if len(raw) != length or checksum != _checksum(raw):
        raise KeyFormatError(error)
    return raw


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def _crypto() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise KeyFormatError(
            "signatures need the package cryptography: pip install 'a3s-worker[signing]'"
        ) from None
    return ed25519
