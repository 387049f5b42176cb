"""Names that become a part of a subject."""

import re
import uuid

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESERVED_POOLS = frozenset(("own", "control", "query", "execute", "generate"))


def check_token(what: str, value: str) -> str:
    """Returns `value` if it can be a part of a subject. Raises ValueError if not."""
    if _TOKEN.fullmatch(value):
        return value
    raise ValueError(f"invalid {what} {value!r}: use 1 to 64 letters, digits, '_' or '-'")


def check_pool(value: str) -> str:
    """As `check_token`, for pools: some words have a meaning of their own in subjects."""
    if value.lower() in _RESERVED_POOLS:
        raise ValueError(f"invalid pool {value!r}: the word has a meaning of its own")
    return check_token("pool", value)


def unique_token() -> str:
    """A new token that nobody else has."""
    return uuid.uuid4().hex
