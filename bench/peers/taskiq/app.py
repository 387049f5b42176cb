"""taskiq's worker on JetStream: does nothing, as often as it can."""

import os

from taskiq_nats import NATSObjectStoreResultBackend, PullBasedJetStreamBroker

URL = os.environ["PEER_URL"]
broker = PullBasedJetStreamBroker(
    servers=[URL], pull_consume_batch=int(os.environ["SLOTS"]), pull_consume_timeout=0.05
).with_result_backend(NATSObjectStoreResultBackend(servers=[URL]))


@broker.task
async def noop(text: str) -> dict:
    return {}
