"""A worker that has `read`, as the Rust worker has."""

from pathlib import Path

from a3s_worker import ExternalTask, Worker

worker = Worker(concurrency=2)


@worker.tool("read")
def read(task: ExternalTask) -> dict[str, str]:
    return {"content": Path(task.payload["path"]).read_text()}
