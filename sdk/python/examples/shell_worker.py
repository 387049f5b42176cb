"""A worker whose `bash` leaves nothing behind: its whole process group ends with the task."""

from a3s_worker import ExternalTask, ExternalTaskResult, Worker, run_shell

worker = Worker()


@worker.tool("bash")
async def bash(task: ExternalTask) -> ExternalTaskResult:
    return await run_shell(task, task.payload["command"])
