"""The broker's time, by which deadlines are set. The offset is measured when connecting."""

import time

_offset_ms = 0


def now_ms() -> int:
    """Milliseconds since 1970 on the broker's clock, as far as it is known."""
    return local_now_ms() + _offset_ms


def local_now_ms() -> int:
    """Milliseconds since 1970 on this machine's clock."""
    return time.time_ns() // 1_000_000


def set_offset_ms(offset: int) -> None:
    """Broker time minus local time."""
    global _offset_ms
    _offset_ms = offset
