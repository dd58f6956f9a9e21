"""The measure of a run: a Celery task in threads that makes one GET with `requests.get` and records nothing."""

import os

import requests
from celery import Celery

app = Celery("bare", broker=os.environ["BARE_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    accept_content=["json"],
    task_default_queue="bare",
    worker_pool="threads",
    worker_concurrency=int(os.environ.get("BARE_CONCURRENCY", "64")),
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
url = os.environ["BARE_URL"]


@app.task(name="bare.get")
def get(connection_id: str) -> None:
    """Ask the vendor once and look at the answer."""
    requests.get(url, timeout=10, headers={"Authorization": f"Bearer {connection_id}"}).json()
