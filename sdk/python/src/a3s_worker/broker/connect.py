"""Connecting: where to, as whom, and how a lost connection comes back."""

import asyncio
import importlib.util
import json
import os
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error, NoServersError

from ..wire.names import Names
from .broker import Broker, log
from .denials import Denied
from .errors import BrokerError

FIRST_CONNECTION = 5.0
"""How long the first connection is tried, in seconds. A lost one is tried for ever."""

_ENVIRONMENT = {
    "nats_url": "NATS_URL",
    "context": "NATS_CONTEXT",
    "creds": "NATS_CREDS",
    "nkey": "NATS_NKEY",
    "user": "NATS_USER",
    "password": "NATS_PASSWORD",
    "token": "NATS_TOKEN",
    "tls_ca": "NATS_CA",
    "tls_cert": "NATS_CERT",
    "tls_key": "NATS_KEY",
    "js_domain": "A3S_JS_DOMAIN",
    "inbox_prefix": "A3S_INBOX_PREFIX",
    "prefix": "A3S_PREFIX",
}
_CONTEXT = {
    "url": "nats_url",
    "creds": "creds",
    "nkey": "nkey",
    "user": "user",
    "password": "password",
    "token": "token",
    "ca": "tls_ca",
    "cert": "tls_cert",
    "key": "tls_key",
    "jetstream_domain": "js_domain",
    "inbox_prefix": "inbox_prefix",
}
_UNSUPPORTED = ("nsc", "user_jwt", "socks_proxy", "jetstream_api_prefix")


@dataclass(frozen=True)
class ConnectOptions:
    """Where to and as whom. What is not given comes from the environment (`NATS_URL`,
    `NATS_CONTEXT`, `NATS_CREDS`, …: the names that the `nats` CLI and the other programs read),
    then from the context.

    nats_url: servers, separated by commas; default nats://127.0.0.1:4222.
    context: a context of the `nats` CLI, by name.
    creds, nkey, tls_ca, tls_cert, tls_key: files.
    prefix: first token of all subjects; default `a3s`.
    """

    nats_url: str | None = None
    context: str | None = None
    creds: str | None = None
    nkey: str | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    js_domain: str | None = None
    inbox_prefix: str | None = None
    prefix: str | None = None

    def resolve(self) -> "ConnectOptions":
        """Fills in environment and context. Raises ValueError for a context that is no good."""
        given = {
            field.name: getattr(self, field.name) or os.environ.get(_ENVIRONMENT[field.name])
            for field in fields(self)
        }
        context = _read_context(given["context"]) if given["context"] else {}
        return ConnectOptions(**{name: value or context.get(name) for name, value in given.items()})


def _read_context(name: str) -> dict[str, str]:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    path = Path(home) / "nats" / "context" / f"{name}.json"
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot read the nats context {name!r} at {path}: {error}; `nats context ls` shows "
            "those there are"
        ) from None
    for setting in _UNSUPPORTED:
        if said.get(setting):
            raise ValueError(f"the nats context {name!r} uses {setting!r}, which is not supported")
    return {ours: said[theirs] for theirs, ours in _CONTEXT.items() if said.get(theirs)}


async def connect(options: ConnectOptions, name: str) -> Broker:
    """Connects as `name`, which the `nats` CLI shows.

    Raises BrokerError when no server answers within five seconds, ValueError for options that
    make no sense.
    """
    options = options.resolve()
    servers = [s.strip() for s in (options.nats_url or "nats://127.0.0.1:4222").split(",")]
    client = Client()
    names = Names(options.prefix or "a3s")
    broker = Broker(client, names, options.js_domain, _who(options))
    connected = False
    reasons: dict[str, None] = {}

    async def note(error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if denied := Denied.read(reason):
            broker.denied(denied)
            return
        if not connected:
            reasons[reason] = None
        log.debug("the connection reports: %s", reason)

    connecting = client.connect(
        servers,
        name=name,
        error_cb=note,
        disconnected_cb=broker.connection_lost,
        reconnected_cb=broker.connection_back,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,  # type: ignore[arg-type]
        ping_interval=10,
        max_outstanding_pings=2,
        # Every subject is made of checked tokens.
        skip_subject_validation=True,
        **_credentials(options),
    )
    try:
        await asyncio.wait_for(connecting, FIRST_CONNECTION)
    except (asyncio.TimeoutError, NoServersError, OSError, Error) as error:
        # It tries again until its time is over. All that was heard counts: a server that refuses
        # us says so and hangs up, and now and then the hanging up is heard first.
        reason = "; ".join(reasons) or str(error) or "no answer"
        raise BrokerError(f"cannot connect to {', '.join(servers)}: {reason}") from error
    connected = True
    await broker.start()
    return broker


def _who(options: ConnectOptions) -> str:
    """Who we are to the broker, without secrets."""
    if options.creds:
        return f"credentials file {options.creds}"
    if options.nkey:
        return f"nkey file {options.nkey}"
    if options.user and options.password:
        return f"user {options.user!r} and a password"
    return "a token" if options.token or options.user else "no credential"


def _key(path: str) -> tuple[str | None, str | None]:
    """The seed in an nkey file, which may have comments around it, and the inbox that one of them
    names (`# inbox: PREFIX`, as `a3s-coordinator init` writes it)."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError):
        return None, None
    seed = next((line for line in lines if line.startswith("S") and len(line) > 50), None)
    inboxes = (line.removeprefix("# inbox:").strip() for line in lines if "# inbox:" in line)
    return seed, next(inboxes, None)


def _credentials(options: ConnectOptions) -> dict[str, Any]:
    if (options.creds or options.nkey) and importlib.util.find_spec("nkeys") is None:
        raise ValueError("credential files and nkeys need another package: a3s-worker[nkeys]")
    key, inbox = (None, None) if options.creds or not options.nkey else _key(options.nkey)
    said: dict[str, Any] = {
        "user_credentials": options.creds,
        "nkeys_seed_str": key,
        # What cannot be read is the library's to report.
        "nkeys_seed": None if options.creds or key else options.nkey,
        "user": options.user if options.password else None,
        "password": options.password,
        # A user without a password is a token, as in the `nats` CLI.
        "token": options.token or (None if options.password else options.user),
        "inbox_prefix": options.inbox_prefix or inbox,
    }
    if options.tls_ca or options.tls_cert:
        tls = ssl.create_default_context(cafile=options.tls_ca)
        if options.tls_cert:
            tls.load_cert_chain(options.tls_cert, options.tls_key)
        said["tls"] = tls
    return {name: value for name, value in said.items() if value}
