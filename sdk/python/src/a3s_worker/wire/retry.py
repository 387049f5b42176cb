"""When a task that asked for another attempt gets it."""

from dataclasses import dataclass

MAX_DELAY_MS = 30_000
"""The longest wait between two attempts."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a task is tried again.

    strategy: `exponential` (doubles each time), `fixed`, or `none` (one attempt).
    max_retries: attempts after the first.
    delay_ms: the first wait of `exponential`, every wait of `fixed`.
    """

    strategy: str = "exponential"
    max_retries: int = 3
    delay_ms: int = 100

    @property
    def max_attempts(self) -> int:
        """How many attempts a task has in all."""
        return 1 if self.strategy == "none" else self.max_retries + 1

    def wait_ms(self, attempt: int, jitter: float) -> float:
        """The wait after attempt `attempt` (from 1). `jitter`, 0 to 1, spreads the upper half."""
        if self.strategy == "none":
            return 0
        doublings = min(max(attempt - 1, 0), 30) if self.strategy == "exponential" else 0
        full = min(self.delay_ms << doublings, MAX_DELAY_MS)
        return full / 2 + full / 2 * jitter

    def __str__(self) -> str:
        return "none" if self.strategy == "none" else f"{self.strategy}:{self.delay_ms}"


NO_RETRY = RetryPolicy(strategy="none", max_retries=0)
"""One attempt."""


def parse_number(text: str | None) -> int | None:
    """A header's number; None when it is missing or unreadable."""
    return int(text) if text and text.isascii() and text.isdigit() and int(text) < 1 << 64 else None


def read_retry(attempts: str | None, delay: str | None) -> RetryPolicy | None:
    """From the headers `A3s-Max-Attempts` and `A3s-Retry-Delay`; None when neither is readable."""
    policy = _read_delay(delay)
    count = parse_number(attempts)
    count = count if count is not None and count < 1 << 32 else None
    if count is None:
        return policy
    policy = policy or RetryPolicy()
    return RetryPolicy(policy.strategy, max(count - 1, 0), policy.delay_ms)


def _read_delay(text: str | None) -> RetryPolicy | None:
    if text == "none":
        return NO_RETRY
    strategy, _, delay = (text or "").partition(":")
    delay_ms = parse_number(delay)
    if strategy not in ("exponential", "fixed") or delay_ms is None:
        return None
    return RetryPolicy(strategy, delay_ms=delay_ms)
