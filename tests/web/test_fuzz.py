"""Every operation of the schema, with good and bad requests out of the schema, alone and in chains (schemathesis).

All its checks: no failure of ours; statuses, headers and bodies as the schema says; bad requests refused and good ones
taken; no way in without a key; nothing left of what was deleted. Vendors are simulated, the database is real.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from models import runs
from tests.web.conftest import Door, House

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "6")

# A request that the schema allows may still be refused (422) where what is wrong is not a matter of form: a cursor that
# was never given out, a key of another request, credentials that a vendor does not take, a time that is over.
CONFIG = """
[[operations]]
include-method = "GET"
include-path-regex = "/(organizations|connections|connection-invite-tokens|jobs|history|records|keys|audit)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

[[operations]]
include-method-regex = "POST|PATCH"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 412, 422, 429]

# If-Match: any text is a tag, and one that is not the connection's is refused. Nothing else is deleted under one.
[[operations]]
include-method = "DELETE"
include-path-regex = "/connections/{connection_id}$"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 412, 429]
"""


def running(door: Door, connection_id: str) -> dict[str, Any]:
    """Begin a run that nobody carries out, and say how it is addressed."""
    with door.station.database.transaction() as db:
        run = runs.claim(db, UUID(connection_id), worker_id=door.station.lease.worker_id, due_only=False)
    assert run is not None
    return {"connection_id": connection_id, "run_seq": run.key.run_seq}


def test_no_request_out_of_the_schema_breaks_it_or_meets_what_the_schema_does_not_say(
    door: Door, house: House, tmp_path: Path
) -> None:
    with door.client() as client:
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    made = house.connect()
    door.work(made["id"])
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    key = door.key()
    invited = house.client.post(f"{house.path}/connection-invite-tokens", json={"vendor": "acme_idp"}).json()
    with door.client(key) as client:
        key_id = client.get("/v1/key").json()["id"]
    facts = {
        "path": {
            "organization_id": house.organization_id,
            "connection_id": made["id"],
            "run_seq": 1,
            "vendor": "acme_idp",
        },
        "kept": [house.organization_id, made["id"], invited["id"], key_id],
        "spare": {
            "organization_id": [House(door, "Spare").organization_id for _ in range(4)],
            "connection_id": [house.connect()["id"] for _ in range(4)],
        },
        "running": {
            phase: [running(door, house.connect()["id"]) for _ in range(3)] for phase in ("coverage", "fuzzing")
        },
        "token": invited["token"],
        "body": house.body(),
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts))

    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "--no-color", "--config-file", "schemathesis.toml",
            "run", f"{door.url}/openapi.json", "--url", door.url,
            "--header", f"X-API-KEY: {key}",
            "--checks", "all", "--max-examples", EXAMPLES, "--seed", "1", "--no-shrink", "--workers", "1",
            "--request-timeout", "60",
            "--suppress-health-check", "all", "--exclude-path-regex", "^/(metrics|v1/oauth2/.*)$",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.web.fuzz_hooks",
            "FUZZ_FACTS": str(tmp_path / "facts.json"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )  # fmt: skip

    told = re.sub(r"(.{300}).*", r"\1…", done.stdout)
    print(told)  # noqa: T201 - the summary, for whoever asks with -s
    assert done.returncode == 0, f"{told[-20_000:]}\n{done.stderr[-2000:]}"
    assert "Stateful" in told
    assert "mostly rejected" not in told, told[-20_000:]  # what the schema allows must be what is taken
