from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from redis.exceptions import OutOfMemoryError

from embedded.redis import Redis
from worker import redis_transport


@pytest.mark.service
def test_a_redis_that_is_full_ends_no_worker_that_begins(redis_server: Redis) -> None:
    if redis_server.is_imitation:
        # fakeredis serves where no redis-server can be had; it knows no maxmemory.
        pytest.skip("fakeredis has no maxmemory and is never full: this needs a redis-server on the PATH")
    redis_transport.install()
    queue = Queue("hints", Exchange("hints", "direct"), routing_key="hints")
    with redis.Redis.from_url(redis_server.url) as client, Connection(redis_server.broker_url) as connection:
        client.lpush("hints", b"{}", b"{}")
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(OutOfMemoryError):
                client.set("more", "data")
            channel: Any = connection.channel()
            queue(channel).declare()
            waiting = channel._size("hints")
        finally:
            client.config_set("maxmemory", "0")
            client.delete("hints")

    assert waiting == 2
