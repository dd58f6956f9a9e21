"""Redis as an owner has it, and the imitation that stands in where there is none."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import celery
import pytest
import redis
from celery.contrib.testing.worker import start_worker
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded import imitation
from embedded.errors import DirectoryBusyError, ServerMissingError, SocketPathTooLongError
from embedded.redis import Redis

pytestmark = pytest.mark.service
OwnProcess = Callable[[str], tuple[subprocess.Popen[str], list[str]]]

OWNER = """
import time
from pathlib import Path
from embedded.redis import Redis
server = Redis(Path({folder!r}))
server.start()
print(server.pid, server._guard.pid, flush=True)
time.sleep(600)
"""


def remembered(server: Redis) -> bytes | None:
    with redis.Redis.from_url(server.url) as client:
        value = client.get("word")
    assert value is None or isinstance(value, bytes)
    return value


def remember(server: Redis) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("word", "kept")


def round_trip(broker_url: str) -> int:
    """Send a task through the broker to a worker of Celery's own and return what came of it."""
    app = celery.Celery("echo", broker=broker_url, backend="cache+memory://")
    app.conf.worker_hijack_root_logger = False

    @app.task(name="add", shared=False)
    def add(left: int, right: int) -> int:
        return left + right

    with start_worker(app, perform_ping_check=False, pool="threads", shutdown_timeout=30):
        answer: int = add.delay(2, 3).get(timeout=30)
    app.close()
    return answer


def test_celery_reaches_it_over_the_socket(broker_url: str) -> None:
    assert round_trip(broker_url) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_started_by_root_it_runs_as_somebody_else(redis_server: Redis) -> None:
    assert Path(f"/proc/{redis_server.pid}").stat().st_uid != 0


def test_its_folders_are_closed_to_other_accounts_and_it_listens_nowhere(redis_server: Redis) -> None:
    for private in (redis_server.data_dir, redis_server.socket_path.parent):
        assert private.stat().st_mode & 0o077 == 0
    assert redis_server.tcp_url is None
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.parametrize(
    ("append_only", "word"),
    [pytest.param(True, b"kept", id="append only"), pytest.param(False, None, id="as it comes")],
)
def test_what_survives_kill_9_is_a_choice(append_only: bool, word: bytes | None, new_folder: Path) -> None:
    with Redis(new_folder, append_only=append_only) as server:
        address = server.url
        remember(server)
        server.kill()
        assert not server.alive
        server.start()
        assert remembered(server) == word
        assert server.url == address


def test_a_killed_owner_leaves_no_server(
    new_folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]
) -> None:
    owner, _ = own_process(OWNER.format(folder=str(new_folder)))
    owner.kill()
    assert ended(new_folder)


def test_a_killed_guard_leaves_no_server(
    new_folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]
) -> None:
    _, (_, guard) = own_process(OWNER.format(folder=str(new_folder)))
    os.kill(int(guard), signal.SIGKILL)
    assert ended(new_folder)


def test_two_owners_of_one_folder_are_one_too_many(new_folder: Path, own_process: OwnProcess) -> None:
    owner, _ = own_process(OWNER.format(folder=str(new_folder)))
    with pytest.raises(DirectoryBusyError, match=f"in use by process {owner.pid}"):
        Redis(new_folder).start()


def test_with_a_port_both_ways_ask_for_the_password(new_folder: Path) -> None:
    with Redis(new_folder, port=0) as server:
        remember(server)
        assert server.tcp_url is not None
        with redis.Redis.from_url(server.tcp_url) as client:
            assert client.get("word") == b"kept"
        for where in ({"port": server.port}, {"unix_socket_path": str(server.socket_path)}):
            stranger = redis.Redis(**where, retry=Retry(NoBackoff(), 0))
            with stranger, pytest.raises(redis.AuthenticationError):
                stranger.get("word")
        assert round_trip(server.broker_url) == 5


def test_a_long_folder_gets_a_short_socket_elsewhere(new_folder: Path) -> None:
    deep = new_folder / ("a" * 60) / ("b" * 60)
    with Redis(deep) as server:
        remember(server)
        assert not server.socket_path.is_relative_to(new_folder)
        server.remove()
        assert not server.socket_path.exists()
        server.remove()
    with pytest.raises(SocketPathTooLongError, match="choose a shorter folder"):
        Redis(new_folder, socket_dir=deep).start()


@pytest.mark.usefixtures("no_servers")
def test_without_any_server_an_imitation_carries_hints_and_says_so(
    new_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="embedded"), Redis(new_folder) as server:
        assert "no usable Redis" in caplog.text
        assert "fakeredis stands in for it: for trying out only" in caplog.text
        assert server.is_imitation
        assert round_trip(server.broker_url) == 5
        remember(server)
        server.kill()
        server.start()
        assert remembered(server) is None


@pytest.mark.usefixtures("no_servers")
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"port": 0}, id="a port, for which it knows no password"),
        pytest.param({"append_only": True}, id="data to be kept"),
    ],
)
def test_the_imitation_does_not_pretend_what_it_cannot_do(more: dict[str, int | bool], new_folder: Path) -> None:
    with pytest.raises(ServerMissingError, match="apt install redis-server"):
        Redis(new_folder, **more).start()  # type: ignore[arg-type]  # per case


@pytest.mark.usefixtures("no_servers")
def test_without_the_imitation_the_message_says_what_to_install(
    new_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imitation, "is_available", lambda: False)
    with pytest.raises(ServerMissingError, match=r"no usable Redis.*apt install redis-server"):
        Redis(new_folder).start()
