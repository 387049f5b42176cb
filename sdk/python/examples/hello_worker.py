"""The smallest worker: `python -m a3s_worker examples/hello_worker.py`."""

from a3s_worker import ExternalTask, Worker

worker = Worker()


@worker.tool("hello")
async def hello(task: ExternalTask) -> dict[str, str]:
    return {"output": f"hello, {task.payload['name']}"}
