"""The two encodings of every body: MessagePack and JSON."""

import json
from enum import Enum
from math import isfinite
from typing import Any

import msgpack

MAX_DEPTH = 128
"""The deepest nesting that is read."""


class MalformedError(ValueError):
    """A body that is not what it should be. Never retried: the same bytes fail again."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Encoding(Enum):
    """How a body is written. Results are written as their task was."""

    MESSAGEPACK = "msgpack"
    JSON = "json"

    @property
    def content_type(self) -> str:
        """The value of the header `Content-Type`."""
        return f"application/{self.value}"

    @classmethod
    def of(cls, content_type: str | None, body: bytes) -> "Encoding":
        """What the header says, else what the first byte says."""
        for encoding in (cls.JSON, cls.MESSAGEPACK):
            if content_type and encoding.value in content_type:
                return encoding
        return (
            cls.JSON
            if body[:1] in (b"{", b"[", b'"', b" ", b"\n", b"\r", b"\t")
            else cls.MESSAGEPACK
        )

    def encode(self, value: Any) -> bytes:
        """Writes `value`. Raises ValueError, TypeError or OverflowError for what has no form."""
        if self is Encoding.JSON:
            return _COMPACT.encode(value).encode()
        if not _is_plain(value):
            # As JSON has it: keys are text, and bytes and what is no number have no form.
            value = json.loads(_COMPACT.encode(value))
        packed: bytes = msgpack.packb(value)
        return packed

    def decode(self, body: bytes) -> Any:
        """Reads a value. Raises MalformedError."""
        try:
            value = _read_json(body) if self is Encoding.JSON else msgpack.unpackb(body)
        except MalformedError:
            raise
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            reason = str(error) or type(error).__name__
            raise MalformedError(f"not valid {self.value}: {reason}") from None
        # One level takes at least one byte, so short bodies need no look.
        if len(body) > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
            raise MalformedError(f"not valid {self.value}: it nests deeper than {MAX_DEPTH}")
        return value


def _read_json(body: bytes) -> Any:
    text = body.decode()
    # `decode` would begin at the first byte; white space before the value is allowed.
    value, end = _JSON.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    rest = len(text[end:].strip(" \t\r\n"))
    if rest:
        raise MalformedError(f"not valid json: {rest} characters after its end")
    if "\\u" in text:
        _COMPACT.encode(value).encode()  # half of a surrogate pair is no text
    return value


def _is_plain(value: Any) -> bool:
    """Whether every language reads what MessagePack makes of `value`."""
    kind = type(value)
    if kind is dict:
        return all(type(k) is str and _is_plain(v) for k, v in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return kind in (str, int, bool, type(None)) or (kind is float and isfinite(value))


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                inner.extend(item.values())
            elif type(item) is list:
                inner.extend(item)
        if not inner:
            return False
        level = inner
    return True
