"""Bodies that are too large for a message, in the object store, named by their digest."""

import asyncio
import base64
import hashlib
import json
from datetime import datetime, timezone
from typing import Any

from ..wire.encoding import MalformedError
from ..wire.token import unique_token
from .broker import Broker
from .errors import RefusedError, UnconfirmedError
from .follow import held

BLOB_THRESHOLD = 256 * 1024
"""Bodies above this many bytes go to the object store."""

MAX_BLOB = 256 * 1024 * 1024
"""The largest body, in bytes."""

_CHUNK = 128 * 1024
"""How much of a body a message has, in bytes: as other clients of the object store write it."""

_WITHIN = 30.0
"""How long storing or reading one may take, in seconds."""

_ROLL_UP = {"Nats-Rollup": "sub"}
"""Has a message take the place of all before it on its subject."""


class UnreadableBlobError(MalformedError):
    """A body that is gone, too large, or not what its name says."""


async def put_blob(broker: Broker, body: bytes, owner: str) -> str:
    """Stores a body and returns its name; `owner` keeps equal bodies of different tasks apart.
    Raises BrokerError."""
    if len(body) > MAX_BLOB:
        raise RefusedError(f"store a body of {len(body)} bytes: the limit is {MAX_BLOB}")
    digest = hashlib.sha256(body).digest()
    name = f"sha256-{digest.hex()}.{owner}"
    info = {
        "name": name,
        "bucket": broker.names.bucket("blobs"),
        "nuid": unique_token(),
        "size": len(body),
        "chunks": -(-len(body) // _CHUNK),
        "digest": f"SHA-256={base64.urlsafe_b64encode(digest).decode()}",
        "options": {"max_chunk_size": _CHUNK},
    }
    try:
        await asyncio.wait_for(_put(broker, info, body), _WITHIN)
    except asyncio.TimeoutError:
        raise UnconfirmedError(f"store a body of {len(body)} bytes: not done in time") from None
    return name


async def get_blob(broker: Broker, name: str) -> bytes:
    """Reads a body and checks it. Raises UnreadableBlobError when it never can be read,
    BrokerError when the broker does not answer."""
    try:
        body = await asyncio.wait_for(_get(broker, name), _WITHIN)
    except asyncio.TimeoutError:
        raise UnconfirmedError(f"read body {name}: not done in time") from None
    if name.partition(".")[0] != f"sha256-{hashlib.sha256(body).hexdigest()}":
        raise UnreadableBlobError(f"body {name}: its digest is not the one in its name")
    return body


async def remove_blob(broker: Broker, name: str) -> None:
    """Removes a body; one that is gone is no error. Raises BrokerError."""
    info = await _info(broker, name)
    if info is None:
        return
    await _write_info(broker, {**info, "deleted": True, "size": 0, "chunks": 0, "digest": ""})
    # Not by a purge, which names the chunks in its own body, so that whoever may purge one may
    # purge all.
    await broker.publish(_chunks(broker, info), b"", _ROLL_UP)


async def _put(broker: Broker, info: dict[str, Any], body: bytes) -> None:
    old = await _info(broker, info["name"])
    for start in range(0, len(body), _CHUNK):
        await broker.publish(_chunks(broker, info), body[start : start + _CHUNK], {})
    await _write_info(broker, info)
    if old is not None:
        await broker.publish(_chunks(broker, old), b"", _ROLL_UP)


async def _get(broker: Broker, name: str) -> bytes:
    info = await _info(broker, name)
    if info is None:
        raise UnreadableBlobError(f"body {name} is gone")
    if info.get("size", 0) > MAX_BLOB:
        raise UnreadableBlobError(f"body {name}: {info['size']} bytes are too many")
    chunks = await held(broker, _stream(broker), _chunks(broker, info), _WITHIN)
    return b"".join(chunk.body for chunk in chunks)


async def _info(broker: Broker, name: str) -> dict[str, Any] | None:
    """What is known of a body that is there."""
    found = await broker.last(_stream(broker), _subject(broker, "M", _encoded(name)))
    if found is None:
        return None
    try:
        info = json.loads(found.body)
        return None if info.get("deleted") or not info["nuid"] else info
    except (ValueError, AttributeError, KeyError):
        return None


async def _write_info(broker: Broker, info: dict[str, Any]) -> None:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = json.dumps({**info, "mtime": now}).encode()
    await broker.publish(_subject(broker, "M", _encoded(info["name"])), body, _ROLL_UP)


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _chunks(broker: Broker, info: dict[str, Any]) -> str:
    return _subject(broker, "C", info["nuid"])


def _subject(broker: Broker, kind: str, token: str) -> str:
    return f"$O.{broker.names.bucket('blobs')}.{kind}.{token}"


def _stream(broker: Broker) -> str:
    return f"OBJ_{broker.names.bucket('blobs')}"
