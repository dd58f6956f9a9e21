"""Credentials that pass through the HTTP API stand in the vault alone: in no table, Redis, log, process or answer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from embedded.postgres import Postgres
from embedded.redis import Redis
from models import api_keys
from models.vocabulary import Scope
from simulator.server import Simulator
from tests.system.leaks import found_in, hunting
from tests.system.stack import ROOT, Program, installed, until


def processes() -> bytes:
    """What everybody on the machine can read of the processes: their command lines."""
    return subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True).stdout


@pytest.mark.timeout(200)
def test_credentials_stand_nowhere_but_in_the_vault(
    postgres_server: Postgres, migrated_template: str, redis_server: Redis, tmp_path: Path
) -> None:
    definitions = ROOT / "simulator" / "definitions"
    with (
        Simulator() as simulator,
        installed(postgres_server, migrated_template, redis_server, tmp_path, vendors_dir=definitions) as house,
        hunting(house.database_url, house.redis_url, tmp_path) as hunt,
    ):
        house.start_worker()
        command = [sys.executable, "-m", "web"]
        web = Program("web-1", command, house.environment(http_port=0, log_format="json", log_level="DEBUG"), tmp_path)
        house.programs.append(web)
        web.wait_for_log("web.ready")
        port = next(line["port"] for line in map(json.loads, web.log.splitlines()) if line["event"] == "web.ready")
        with house.database.transaction() as db:
            _, key = api_keys.create_key(db, name="k", scope=Scope.ADMIN, organization_id=None, created_by="command")
        account = f"canary{uuid4().hex}"
        good = simulator.world.act("acme_idp", account, "credentials", {})["credentials"]
        assert isinstance(good, dict)
        bad = f"acme_bad{uuid4().hex}_999"
        hunt.add(good=good["token"], bad=bad, key=key)
        answers: list[bytes] = []

        with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", headers={"x-api-key": key}, timeout=90) as client:

            def ask(method: str, path: str, **more: Any) -> Any:
                answered = client.request(method, path, **more)
                answers.append(repr(answered.headers).encode() + answered.content)
                return answered.json() if answered.content else None

            of = f"/provisioning/organizations/{house.organization_id}"
            body = {"vendor": "acme_idp", "options": {"port": simulator.port}}
            once = {"idempotency-key": str(uuid4())}
            for wrong in ({"token": bad}, {"tokn": bad}, {"token": [bad]}, {"token": f"\n{bad}"}, bad):
                ask("POST", f"{of}/connections", json={**body, "credentials": wrong})
            ask("POST", f"{of}/connections", content=f'{{"credentials": {{"token": "{bad}"'.encode())
            ask("POST", f"{of}/connections", content=bad.encode(), headers={"content-type": "application/json"})
            made = ask("POST", f"{of}/connections", json={**body, "credentials": good}, headers=once)
            ask("POST", f"{of}/connections", json={**body, "credentials": good}, headers=once)
            one = f"{of}/connections/{made['id']}"
            ask("PATCH", one, json={"credentials": {"token": bad}})
            ask("PATCH", one, json={"credentials": good})
            ask("POST", f"{one}/test")
            until(lambda: (ask("GET", one)["health"] or {}).get("name") == "HEALTHY", "it to be healthy")
            for rest in ("/jobs", "/jobs/1", "/health/explain", "/health/history"):
                ask("GET", f"{one}{rest}")
            ask("GET", "/audit")
            ask("GET", "/keys")
            told = [("answers", b"".join(answers)), ("processes", processes())]

        assert hunt.leaks() == []
        assert list(found_in(told, hunt.secrets.items())) == []
