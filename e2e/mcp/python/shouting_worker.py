"""A worker with a tool of its own, which says what it takes; for lane execute alone."""

import logging

from a3s_worker import ExternalTask, Worker

logging.basicConfig(level=logging.INFO)
worker = Worker(lanes=["execute"])


@worker.tool(
    "shout",
    description="Shouts a text.",
    input_schema={
        "type": "object",
        "properties": {"text": {"type": "string", "description": "what is shouted"}},
        "required": ["text"],
    },
    annotations={"read_only": True, "open_world": False},
)
async def shout(task: ExternalTask) -> dict[str, object]:
    text = str(task.payload["text"]).upper()
    dot = {"data": "R0lGODlhAQABAAAAACw=", "media_type": "image/gif"}
    return {"output": f"{text}!", "letters": len(text), "images": [dot]}


worker.serve()
