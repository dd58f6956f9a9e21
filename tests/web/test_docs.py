"""The calls of docs/api.md, as they stand there, carried out by a shell against the running door."""

import json
import os
import re
import shutil
import subprocess
from typing import Any
from uuid import uuid4

import pytest

from models.vocabulary import Scope
from tests.system.stack import ROOT
from tests.web.conftest import Door, House

CALLS = dict(re.findall(r"<!-- script: (\w+) -->\n```sh\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the calls are curl's")
def test_the_calls_of_the_documentation_find_a_connection_mend_it_and_watch_it_heal(door: Door, house: House) -> None:
    account = f"d{uuid4().hex[:8]}"
    made = house.connect(account=account)
    door.simulator.world.act("acme_idp", account, "expire_token", {})
    door.work(made["id"])
    environ = {
        **os.environ,
        "API": door.url,
        "KEY": door.key(Scope.WRITE),
        "ORGANIZATION": house.organization_id,
        "CONNECTION": made["id"],
        "CREDENTIALS": json.dumps(house.credentials(account=account)),
    }

    def call(name: str) -> Any:
        done = subprocess.run(["sh", "-c", CALLS[name]], env=environ, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    assert made["id"] in [each["id"] for each in call("find")["items"]]
    assert call("refused")["status"] == 422
    assert call("watch")["health"]["name"] == "UNAUTHORIZED"
    assert call("update")["health"]["superseded"] is True
    door.work(made["id"])
    assert call("watch")["health"]["name"] == "HEALTHY"
    assert [each["name"] for each in call("history")["items"]] == ["HEALTHY", "UNAUTHORIZED"]
    assert call("explain")["health"]["resolution_owner"] == "LEEN"


def test_every_operation_is_in_the_documentation(door: Door) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    with door.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path in paths:
        last = [part for part in path.split("/") if part and not part.startswith("{")][-1]
        assert last in text or path.startswith("/v1/oauth2"), path
