"""Spreads a pytest suite over the workers of a fleet.

Collects the tests here, submits each file (or each test) as a `bash` task on the Execute lane, and
prints how they went. Any worker with `bash` will do, in any language, if it sees the same tree:

    a3s-worker --workspace . &  a3s-worker --workspace . &
    python pytest_fleet.py tests

Exit status: 0 all passed, 1 some failed, 2 nothing was collected, 3 the broker is away.
"""

import argparse
import asyncio
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from xml.etree import ElementTree

from a3s_worker import BrokerError, Outcome, Session, SessionQueueConfig, Task, TaskResult

NO_TESTS = 5
"""Exit status of pytest when it found nothing to run."""


@dataclass
class Finished:
    """A part of the suite that ran, or did not."""

    name: str
    result: TaskResult

    @property
    def passed(self) -> bool:
        return self.result.success

    @property
    def output(self) -> str:
        said = self.result.result if isinstance(self.result.result, dict) else {}
        return str(said.get("output") or said.get("stdout") or self.result.error or "")

    @property
    def word(self) -> str:
        if self.result.outcome in (Outcome.COMPLETED, Outcome.FAILED):
            return "passed" if self.passed else "FAILED"
        return str(self.result.outcome.value).upper()


def collect(python: str, paths: list[str], by: str) -> list[str]:
    """The files or tests of a suite, in pytest's order. Raises ValueError when pytest cannot."""
    command = [python, "-m", "pytest", "--collect-only", "-q", *paths]
    collected = subprocess.run(command, capture_output=True, text=True, check=False)
    if collected.returncode not in (0, NO_TESTS):
        raise ValueError(f"pytest cannot collect the tests:\n{collected.stdout}{collected.stderr}")
    tests = [line for line in collected.stdout.splitlines() if "::" in line]
    return list(dict.fromkeys(test.partition("::")[0] if by == "file" else test for test in tests))


async def run(options: argparse.Namespace, parts: list[str]) -> list[Finished]:
    """Runs all parts and tells of each as it ends."""
    config = SessionQueueConfig(execute_max_concurrency=options.jobs).with_external_lanes()
    finished: list[Finished] = []
    async with Session(pool=options.pool, config=config) as session:

        async def one(part: str) -> None:
            command = f"{shlex.quote(options.python)} -m pytest -q {shlex.quote(part)}"
            task = Task("bash", {"command": command}, timeout_ms=options.timeout * 1000)
            ended = Finished(part, await (await session.submit("Execute", task)))
            finished.append(ended)
            seconds = ended.result.duration_ms / 1000
            print(f"{ended.word:8} {part}  ({seconds:.2f} s, {ended.result.worker_id})")
            if not ended.passed:
                print(ended.output)

        await asyncio.gather(*(one(part) for part in parts))
    return finished


def write_junit(path: str, finished: list[Finished]) -> None:
    """A JUnit report, one case a part."""
    failed = sum(not part.passed for part in finished)
    totals = {"name": "pytest_fleet", "tests": str(len(finished)), "failures": str(failed)}
    suite = ElementTree.Element("testsuite", totals)
    for part in sorted(finished, key=lambda part: part.name):
        seconds = f"{part.result.duration_ms / 1000:.3f}"
        case = ElementTree.SubElement(suite, "testcase", name=part.name, time=seconds)
        if not part.passed:
            failure = ElementTree.SubElement(case, "failure", message=part.word)
            failure.text = "".join(c for c in part.output if c.isprintable() or c in "\n\t")
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="what pytest would be given")
    parser.add_argument("--by", choices=("file", "test"), default="file", help="what is one task")
    parser.add_argument("--jobs", type=int, default=8, help="tasks at a time [8]")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for each task [600]")
    parser.add_argument("--pool", help="pool whose workers take the tasks [default]")
    parser.add_argument("--python", default=sys.executable, help="Python on the workers [this one]")
    parser.add_argument("--junit", help="write a JUnit report there")
    return parser.parse_args()


def main() -> int:
    """The program."""
    options = arguments()
    began = time.monotonic()
    try:
        parts = collect(options.python, options.paths, options.by)
        if not parts:
            print("no tests were collected", file=sys.stderr)
            return 2
        finished = asyncio.run(run(options, parts))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    if options.junit:
        write_junit(options.junit, finished)
    failed = sum(not part.passed for part in finished)
    workers = len({part.result.worker_id for part in finished})
    seconds = time.monotonic() - began
    print(
        f"{len(finished) - failed} passed, {failed} failed, on {workers} workers in {seconds:.1f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
