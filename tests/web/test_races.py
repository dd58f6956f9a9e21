"""The same request at two doors at once: two real processes over one database."""

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import httpx
import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import api_keys
from models.vocabulary import Scope
from tests.system.stack import Program, installed
from tests.web.conftest import ORGANIZATIONS, PATIENCE_S

ROUNDS = 25
AT_EACH = 2


def port_of(program: Program) -> int:
    program.wait_for_log("web.ready")
    lines = (json.loads(line) for line in program.log.splitlines())
    return next(int(line["port"]) for line in lines if line["event"] == "web.ready")


@pytest.mark.timeout(200)
def test_a_request_that_comes_to_two_doors_at_once_is_carried_out_once(
    postgres_server: Postgres, migrated_template: str, redis_server: Redis, tmp_path: Path
) -> None:
    with installed(postgres_server, migrated_template, redis_server, tmp_path) as house:
        environment = house.environment(http_port=0, log_format="json")
        for number in (1, 2):
            house.programs.append(Program(f"web-{number}", [sys.executable, "-m", "web"], environment, tmp_path))
        ports = [port_of(program) for program in house.programs]
        assert len(set(ports)) == 2
        with house.database.transaction() as db:
            _, key = api_keys.create_key(db, name="k", scope=Scope.ADMIN, organization_id=None, created_by="command")
        clients = [
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": key}, timeout=PATIENCE_S)
            for port in ports
            for _ in range(AT_EACH)
        ]
        together = Barrier(len(clients))

        def send(client: httpx.Client, name: str) -> httpx.Response:
            together.wait()
            return client.post(ORGANIZATIONS, json={"name": name}, headers={"idempotency-key": name})

        met: Counter[str] = Counter()
        with ThreadPoolExecutor(len(clients)) as threads:
            for _ in range(ROUNDS):
                name = f"raced-{uuid4()}"
                answered = list(threads.map(send, clients, [name] * len(clients)))
                made = [each for each in answered if each.status_code == 201]
                firsts = [each for each in made if "idempotency-replayed" not in each.headers]
                early = [each for each in answered if each.status_code == 409]
                assert len(made) + len(early) == len(answered), [each.text for each in answered]
                assert len(firsts) == 1
                assert {each.json()["id"] for each in made} == {firsts[0].json()["id"]}
                assert all(int(each.headers["retry-after"]) >= 1 for each in early)
                met.update(first=len(firsts), replayed=len(made) - 1, early=len(early))
                later = clients[0].post(ORGANIZATIONS, json={"name": name}, headers={"idempotency-key": name})
                assert (later.status_code, later.json()["id"]) == (201, firsts[0].json()["id"])
        listed = [item for item in everything(clients[-1]) if item.startswith("raced-")]
        for client in clients:
            client.close()
    assert len(listed) == len(set(listed)) == ROUNDS
    assert met["replayed"] + met["early"] == ROUNDS * (len(ports) * AT_EACH - 1)


def everything(client: httpx.Client) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get(
            ORGANIZATIONS, params={"limit": 1000, **({} if cursor is None else {"cursor": cursor})}
        ).json()
        found += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
