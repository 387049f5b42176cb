"""Reads a map by field name: canonical names and their aliases, defaults, types.

Unknown fields are ignored. `null` is the same as absent, where a field may be absent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .encoding import MalformedError
from .lane import SessionLane

Kind = Callable[[Any], Any]
_REQUIRED: Any = object()


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise MalformedError(f"{value!r:.80} is not text")
    return value


def integer(value: Any) -> int:
    """An integer from 0."""
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise MalformedError(f"{value!r:.80} is not an integer from 0")
    return value


def boolean(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise MalformedError(f"{value!r:.80} is not a boolean")
    return value


def lane(value: Any) -> SessionLane:
    """A lane, in either casing."""
    try:
        return SessionLane.parse(text(value))
    except ValueError as error:
        raise MalformedError(str(error)) from None


def anything(value: Any) -> Any:
    """Any value."""
    return value


def list_of(kind: Kind) -> Kind:
    """A list whose items are read by `kind`."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise MalformedError(f"{value!r:.80} is not a list")
        return [kind(item) for item in value]

    return read


@dataclass(frozen=True)
class Field:
    """A field of a map: its name, what it holds, its other names, its default."""

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    default: Any = _REQUIRED


def optional(name: str, kind: Kind, *aliases: str, default: Any = None) -> Field:
    """A field that may be absent."""
    return Field(name, kind, aliases, default)


def required(name: str, kind: Kind, *aliases: str) -> Field:
    """A field that must be there."""
    return Field(name, kind, aliases)


def read_map(fields: tuple[Field, ...], value: Any) -> dict[str, Any]:
    """The fields of a map, by their canonical names. Raises MalformedError."""
    if not isinstance(value, Mapping):
        raise MalformedError(f"a map by field name is expected, not {type(value).__name__}")
    found: dict[str, Any] = {}
    for field in fields:
        names = [name for name in (field.name, *field.aliases) if name in value]
        if len(names) > 1:
            raise MalformedError(f"{' and '.join(names)} are the same field: give one of them")
        given = value[names[0]] if names else None
        if given is None:
            if field.default is _REQUIRED:
                raise MalformedError(f"the field {field.name} is missing")
            default = field.default
            found[field.name] = default() if callable(default) else default
            continue
        try:
            found[field.name] = field.kind(given)
        except MalformedError as error:
            raise MalformedError(f"{field.name}: {error}") from None
    return found
