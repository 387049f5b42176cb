"""Where the wire is: the connection, the set-up, and what is kept at the broker. Decides nothing
about a task."""

from .broker import Broker
from .connect import ConnectOptions, connect
from .errors import (
    BrokerError,
    ConflictError,
    DeniedError,
    MissingError,
    RefusedError,
    UnconfirmedError,
)

__all__ = [
    "Broker",
    "BrokerError",
    "ConflictError",
    "ConnectOptions",
    "DeniedError",
    "MissingError",
    "RefusedError",
    "UnconfirmedError",
    "connect",
]
