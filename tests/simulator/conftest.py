from collections.abc import Iterator

import pytest
import requests

from simulator.client import Control
from simulator.server import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def control(simulator: Simulator) -> Control:
    return Control(simulator.url)


@pytest.fixture
def web() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session
