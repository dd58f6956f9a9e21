import json
from uuid import uuid4

import pytest
import redis

from embedded.redis import Redis
from tests.worker.conftest import settings_of
from worker.app import make_app
from worker.hints import QUEUE, BrokerError, Hints
from worker.sync import wake


def test_a_hint_names_a_connection_and_nothing_else(redis_url: str) -> None:
    hints, connection_id = Hints(make_app(settings_of(redis_url=redis_url))), uuid4()
    hints.send([connection_id, connection_id])

    assert hints.backlog() == 2
    with redis.Redis.from_url(redis_url) as client:
        found = client.lrange(QUEUE, 0, -1)
    assert len(found) == 2
    message = json.loads(found[0])
    assert message["content-type"] == "application/json"
    assert "expires" not in message["properties"]
    assert message["headers"].get("eta") is None
    hints.close()


def test_nothing_to_send_sends_nothing(redis_url: str) -> None:
    hints = Hints(make_app(settings_of(redis_url=redis_url)))
    hints.send([])
    assert hints.backlog() == 0
    hints.close()


def test_a_redis_that_comes_back_is_used_again(redis_server: Redis, redis_url: str) -> None:
    hints = Hints(make_app(settings_of(redis_url=redis_url)))
    hints.send([uuid4()])
    redis_server.kill()
    for call in (hints.backlog, lambda: hints.send([uuid4()])):
        with pytest.raises(BrokerError):
            call()
    redis_server.start()

    hints.send([uuid4()])
    assert hints.backlog() == 1, "the one before was lost with Redis"
    hints.close()


def test_waking_somebody_up_never_fails(redis_server: Redis, redis_url: str) -> None:
    redis_server.kill()
    wake(make_app(settings_of(redis_url=redis_url)), uuid4())
    redis_server.start()
