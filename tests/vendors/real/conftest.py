"""Real servers, and an installation with a worker and a beat that reads them."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from tests.system.leaks import Hunt, hunting
from tests.system.stack import Installation, installed, show_logs
from tests.vendors.real.servers import Servers, real_servers

DEFINITIONS: Final = Path(__file__).parent / "definitions"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a real server, so that `-m "not vendor"` runs without."""
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker("vendor")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The real servers of this process of tests, each started when it is first asked for."""
    with real_servers() as found:
        yield found


@pytest.fixture(scope="module")
def extra_settings() -> dict[str, object]:
    """Settings that a module's installation has besides; modules override it."""
    return {}


@pytest.fixture(scope="module")
def installation(
    postgres_server: Postgres,
    migrated_template: str,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
    extra_settings: dict[str, object],
) -> Iterator[Installation]:
    """One installation for a module's tests, with a worker and a beat at work."""
    folder = tmp_path_factory.mktemp("programs")
    with installed(
        postgres_server,
        migrated_template,
        redis_server,
        folder,
        vendors_dir=DEFINITIONS,
        log_level="DEBUG",  # the hunt for secrets reads what it shows
        **extra_settings,
    ) as found:
        found.start_worker()
        found.start_beat()
        yield found


@pytest.fixture(scope="module")
def hunt(installation: Installation) -> Iterator[Hunt]:
    """Looks for the secrets of the module's tests wherever they must not be."""
    with hunting(installation.database_url, installation.redis_url, installation.folder) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs wrote beside a failure."""
    report = yield
    show_logs(item, report)
    return report
