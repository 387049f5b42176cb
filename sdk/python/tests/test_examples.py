"""The examples, really running."""

import asyncio
import sys
from pathlib import Path
from xml.etree import ElementTree

from conftest import PATIENCE, ROOT, Fleet, until

from a3s_worker import ExternalTask, Outcome, Task, run_shell

EXAMPLES = Path(__file__).parents[1] / "examples"


async def _run(fleet: Fleet, *arguments: str) -> tuple[int, str]:
    """Runs a Python program in the test's directory: exit status, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=fleet.directory,
        env=fleet.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
    return process.returncode or 0, out.decode()


async def test_the_first_run_of_the_readme(fleet: Fleet) -> None:
    await fleet.worker_process("hello", str(EXAMPLES / "hello_worker.py"))
    assert await _run(fleet, str(EXAMPLES / "hello_caller.py")) == (0, "hello, fleet\n")


async def test_the_references_worker_runs_unchanged(fleet: Fleet) -> None:
    await fleet.worker_process("reference", str(EXAMPLES / "reference_worker.py"))
    (fleet.directory / "file.txt").write_text("text\n")
    session = await fleet.session()
    path = str(fleet.directory / "file.txt")
    read = await (await session.submit_by_tool("read", {"path": path}))
    assert read.result == {"content": "text\n"}
    gone = await (await session.submit_by_tool("read", {"path": path + "x"}))
    assert (gone.success, gone.result) == (False, {})
    assert "No such file" in (gone.error or "")
    bash = await (await session.submit_by_tool("bash", {"command": "echo a; echo b >&2; exit 4"}))
    assert bash.result == {"stdout": "a\n", "stderr": "b\n", "exit_code": 4}
    assert not bash.success


async def test_a_shell_command_leaves_nothing_behind(fleet: Fleet) -> None:
    async def bash(task: ExternalTask) -> object:
        return await run_shell(task, task.payload["command"])

    await fleet.worker({"bash": bash})
    session = await fleet.session()
    trace = fleet.directory / "pid"
    command = f"echo begun; sleep 600 & echo $! > {trace}; wait"
    task = Task("bash", {"command": command}, timeout_ms=1_500)
    late = await (await session.submit("Execute", task))
    assert (late.outcome, late.result["stdout"]) == (Outcome.TIMED_OUT, "begun\n")

    async def ended() -> bool:
        status = Path(f"/proc/{trace.read_text().strip()}/status")
        return not status.exists() or "State:\tZ" in status.read_text()

    await until("the child of the shell has ended", ended)
    long = await (await session.submit("Execute", Task("bash", {"command": "seq 100000"})))
    assert long.result["stdout"].startswith("1\n2\n")
    assert long.result["stdout"].endswith("\n100000\n")
    assert "bytes left out]" in long.result["stdout"]


async def test_a_pytest_suite_is_spread_over_workers_of_both_languages(fleet: Fleet) -> None:
    suite = fleet.directory / "suite"
    suite.mkdir()
    for n in range(6):
        (suite / f"test_{n}.py").write_text(
            f"import time\n\ndef test_ok():\n    time.sleep(0.2)\n\n"
            f"def test_maybe():\n    assert {n} != 4\n"
        )
    await fleet.rust_worker("rs", "-j", "1")
    await fleet.worker_process("py", str(EXAMPLES / "shell_worker.py"), A3S_CONCURRENCY="1")
    program = str(ROOT / "examples" / "pytest_fleet" / "pytest_fleet.py")
    junit = fleet.directory / "report.xml"
    arguments = (program, str(suite), "--junit", str(junit), "--timeout", "120")
    status, out = await _run(fleet, *arguments)
    assert status == 1, out
    assert "5 passed, 1 failed, on " in out
    assert "FAILED" in out
    assert "assert 4 != 4" in out
    report = ElementTree.parse(junit).getroot()
    assert (report.get("tests"), report.get("failures")) == ("6", "1")
    good = str(suite / "test_1.py")
    status, out = await _run(fleet, program, good, "--by", "test")
    assert status == 0, out
    assert "2 passed, 0 failed" in out
    status, out = await _run(fleet, program, str(fleet.directory / "nothing.py"))
    assert status == 2, out
