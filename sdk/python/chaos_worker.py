"""The Python worker as `a3s-coordinator chaos --worker-command` wants it: offers `bash`, and the
program that it is told as the tool `attempt`."""

import json
import os
import shlex

from a3s_worker import ExternalTask, ExternalTaskResult, Retry, Worker, run_shell

RETRY = 75
"""Exit status that asks for another attempt."""

worker = Worker()
workspace = os.environ.get("A3S_WORKSPACE") or None


def taken(result: ExternalTaskResult) -> ExternalTaskResult:
    if result.result["exit_code"] == RETRY:
        raise Retry("the program asked for another attempt")
    return result


@worker.tool("attempt")
async def attempt(task: ExternalTask) -> ExternalTaskResult:
    line = json.dumps(task.body()).replace(": ", ":") + "\n"
    program = shlex.quote(os.environ["A3S_CHAOS_TOOL"])
    return taken(await run_shell(task, f"exec {program}", cwd=workspace, stdin=line.encode()))


@worker.tool("bash")
async def bash(task: ExternalTask) -> ExternalTaskResult:
    command = f"exec bash -c {shlex.quote(task.payload['command'])}"
    return taken(await run_shell(task, command, cwd=workspace))


if __name__ == "__main__":
    worker.serve()
