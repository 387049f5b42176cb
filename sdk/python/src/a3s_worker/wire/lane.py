"""The four priority lanes of a session."""

from enum import Enum

_QUERY_TOOLS = frozenset(
    ("read", "glob", "ls", "grep", "list_files", "search", "web_fetch", "web_search")
)


class Effect(str, Enum):
    """What a second start of a task would do."""

    IDEMPOTENT = "idempotent"
    ONCE = "once"


class SessionLane(str, Enum):
    """A lane; its value is its name in bodies, `id` its name in subjects."""

    CONTROL = "Control"
    QUERY = "Query"
    EXECUTE = "Execute"
    GENERATE = "Generate"

    @property
    def id(self) -> str:
        """The lane in subjects: `query`."""
        return _IDS[self]

    @property
    def priority(self) -> int:
        """0 is served first."""
        return _PRIORITIES[self]

    @property
    def default_effect(self) -> Effect:
        """Whether a task that says nothing may be started again after a crash."""
        first_two = (SessionLane.CONTROL, SessionLane.QUERY)
        return Effect.IDEMPOTENT if self in first_two else Effect.ONCE

    @property
    def default_max_concurrency(self) -> int:
        """Tasks of a session in this lane that are queued or run at a time."""
        return (2, 4, 2, 1)[self.priority]

    @classmethod
    def from_tool_name(cls, tool: str) -> "SessionLane":
        """The lane where a tool belongs; Execute for every name that is not known."""
        return cls.QUERY if tool in _QUERY_TOOLS else cls.EXECUTE

    @classmethod
    def parse(cls, text: str) -> "SessionLane":
        """Reads `Query` or `query`.

        Raises ValueError for anything else.
        """
        for lane in cls:
            if text in (lane.value, lane.id):
                return lane
        raise ValueError(f"unknown lane {text!r}: use control, query, execute or generate")


_PRIORITIES = {lane: index for index, lane in enumerate(SessionLane)}
_IDS = {lane: lane.value.lower() for lane in SessionLane}
LANES = tuple(SessionLane)
"""All lanes, highest priority first."""
