"""Bodies that are too large for a message, in the object store, named by their digest."""

import asyncio
import base64
import hashlib
import json
from datetime import datetime, timezone

from nats.errors import Error
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from ..wire.encoding import MalformedError
from .broker import Broker
from .errors import RefusedError, UnconfirmedError

BLOB_THRESHOLD = 256 * 1024
"""Bodies above this many bytes go to the object store."""

MAX_BLOB = 256 * 1024 * 1024
"""The largest body, in bytes."""

_WITHIN = 30.0
"""How long storing or reading one may take, in seconds."""


class UnreadableBlobError(MalformedError):
    """A body that is gone, too large, or not what its name says."""


async def put_blob(broker: Broker, body: bytes, owner: str) -> str:
    """Stores a body and returns its name; `owner` keeps equal bodies of different tasks apart.
    Raises BrokerError."""
    if len(body) > MAX_BLOB:
        raise RefusedError(f"store a body of {len(body)} bytes: the limit is {MAX_BLOB}")
    name = f"sha256-{hashlib.sha256(body).hexdigest()}.{owner}"
    try:
        await asyncio.wait_for(_put(broker, name, body), _WITHIN)
    except (Error, OSError, asyncio.TimeoutError) as error:
        what = str(error) or type(error).__name__
        raise UnconfirmedError(f"store a body of {len(body)} bytes: {what}") from error
    return name


async def get_blob(broker: Broker, name: str) -> bytes:
    """Reads a body and checks it. Raises UnreadableBlobError when it never can be read,
    BrokerError when the broker does not answer."""
    try:
        body = await asyncio.wait_for(_get(broker, name), _WITHIN)
    except NotFoundError:
        raise UnreadableBlobError(f"body {name} is gone") from None
    except (Error, OSError, asyncio.TimeoutError) as error:
        raise UnconfirmedError(f"read body {name}: {str(error) or type(error).__name__}") from error
    if name.partition(".")[0] != f"sha256-{hashlib.sha256(body).hexdigest()}":
        raise UnreadableBlobError(f"body {name}: its digest is not the one in its name")
    return body


async def remove_blob(broker: Broker, name: str) -> None:
    """Removes a body; one that is gone is no error. Raises BrokerError."""
    bucket = broker.names.bucket("blobs")
    key = base64.urlsafe_b64encode(name.encode()).decode()
    subject = f"$O.{bucket}.M.{key}"
    found = await broker.last(f"OBJ_{bucket}", subject)
    info = json.loads(found.body) if found else {"deleted": True}
    if info.get("deleted"):
        return
    # The library's own delete leaves a mark without a time, which other languages cannot read.
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    mark = {**info, "deleted": True, "size": 0, "chunks": 0, "digest": "", "mtime": now}
    await broker.publish(subject, json.dumps(mark).encode(), {"Nats-Rollup": "sub"})
    await broker.call(f"STREAM.PURGE.OBJ_{bucket}", {"filter": f"$O.{bucket}.C.{info['nuid']}"})


async def _put(broker: Broker, name: str, body: bytes) -> None:
    await (await _store(broker)).put(name, body)


async def _get(broker: Broker, name: str) -> bytes:
    store = await _store(broker)
    info = await store.get_info(name)
    if (info.size or 0) > MAX_BLOB:
        raise UnreadableBlobError(f"body {name}: {info.size} bytes are too many")
    return (await store.get(name)).data or b""


async def _store(broker: Broker) -> ObjectStore:
    more = {"domain": broker.js_domain} if broker.js_domain else {}
    context = broker.client.jetstream(timeout=_WITHIN, **more)
    return await context.object_store(broker.names.bucket("blobs"))
