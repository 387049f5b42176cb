"""What can go wrong between us and the broker."""


class BrokerError(Exception):
    """The broker did not do what it was asked."""


class UnconfirmedError(BrokerError):
    """No answer in time: it may be done or not."""


class MissingError(BrokerError):
    """Nobody answers there: a stream is missing, or JetStream is away."""


class RefusedError(BrokerError):
    """The broker said no."""


class ConflictError(BrokerError):
    """Somebody wrote meanwhile, or there is one already. `last`: the sequence of the subject's
    last message (0: it has none), where the broker names it."""

    def __init__(self, text: str, last: int | None = None) -> None:
        super().__init__(text)
        self.last = last
