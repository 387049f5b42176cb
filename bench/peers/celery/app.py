"""Celery's worker: does nothing, as often as it can."""

import os

from celery import Celery

URL = os.environ["PEER_URL"]
app = Celery("app", broker=URL, backend=URL)
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, result_expires=600)


@app.task
def noop(text: str) -> dict:
    return {}
