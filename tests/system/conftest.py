"""An installation for tests of the whole: real PostgreSQL, real Redis, real worker processes."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from tests.system.stack import Installation, installed, show_logs


@pytest.fixture
def installation(
    postgres_server: Postgres, migrated_template: str, redis_server: Redis, tmp_path: Path
) -> Iterator[Installation]:
    """An installation of the test's own, without any program yet: the test starts what it needs."""
    with installed(postgres_server, migrated_template, redis_server, tmp_path) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs wrote beside a failure."""
    report = yield
    show_logs(item, report)
    return report
