"""Celery's submitter. Its client blocks and is for one thread; the oldest result is awaited, and while
it waits the client takes in those of the others."""

import collections
import os
import time

from app import noop
from closed_loop import PAYLOAD, WARM_UP, report

WAIT = 60
"""Seconds that a result may take."""


def main() -> None:
    in_flight, seconds = int(os.environ["IN_FLIGHT"]), float(os.environ["SECONDS"])
    noop.delay(PAYLOAD).get(timeout=WAIT)
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    under_way: collections.deque = collections.deque()
    times = []
    while (now := time.perf_counter()) < end:
        under_way.append((now, noop.delay(PAYLOAD)))
        if len(under_way) < in_flight:
            continue
        started, result = under_way.popleft()
        result.get(timeout=WAIT)
        ended = time.perf_counter()
        if begin <= started and ended <= end:
            times.append(ended - started)
    for _, result in under_way:
        result.get(timeout=WAIT)
    report(times, seconds)


if __name__ == "__main__":
    main()
