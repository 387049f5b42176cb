"""What can go wrong between us and the broker."""


class BrokerError(Exception):
    """The broker did not do what it was asked."""


class UnconfirmedError(BrokerError):
    """No answer in time: it may be done or not."""


class MissingError(BrokerError):
    """Nobody answers there: a stream is missing, or JetStream is away."""


class RefusedError(BrokerError):
    """The broker said no. `code`: its number for the reason, 0 where it names none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class DeniedError(BrokerError):
    """The broker does not permit it: nothing was done, and the same call fails again until somebody
    changes the permissions.

    denied: what is not permitted. credential: to whom. what: what the permission is needed for.
    whom: whom the credential is not enough for.
    """

    def __init__(self, denied: str, credential: str, what: str = "", whom: str = "") -> None:
        self.denied = denied
        self.credential = credential
        self.what = what
        enough = f"enough for {whom}" if whom else "enough"
        needed = f"{what}: " if what else ""
        super().__init__(
            f"{credential} is not {enough}: {needed}not permitted to {denied}; use a credential "
            "that may (`a3s-coordinator doctor` shows what this one can do)"
        )

    def needed_to(self, what: str) -> "DeniedError":
        """The same, with what the permission is needed for."""
        return DeniedError(self.denied, self.credential, what)

    def of(self, whom: str) -> "DeniedError":
        """The same, with whom the credential is not enough for."""
        return DeniedError(self.denied, self.credential, self.what, whom)


class ConflictError(BrokerError):
    """Somebody wrote meanwhile, or there is one already. `last`: the sequence of the subject's
    last message (0: it has none), where the broker names it."""

    def __init__(self, text: str, last: int | None = None) -> None:
        super().__init__(text)
        self.last = last
