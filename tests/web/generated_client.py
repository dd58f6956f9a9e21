"""A typed client is generated out of the schema, all of it is imported, and it makes its calls.

    python tests/web/generated_client.py PYTHON FOLDER

PYTHON: of an environment with requirements/client.txt, which has its own ways with what we have too; FOLDER: takes the
schema and the client. The door that is called needs neither database nor Redis for what is asked.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Final

from models.vault import generate_key
from tests.system.stack import ROOT
from web.desk import Desk
from web.server import make_server
from worker.settings import Settings

NAME: Final = "connection_health_client"
CALLS: Final = """
import importlib, pkgutil, sys
import connection_health_client as client
modules = [m.name for m in pkgutil.walk_packages(client.__path__, "connection_health_client.")]
for module in modules:
    importlib.import_module(module)
from connection_health_client.api.connectors import list_connectors_v1_connectors_get as vendors
from connection_health_client.api.connections import list_all_connections_v1_provisioning_connections_get as sick
from connection_health_client.models import HealthName
opened = client.Client(base_url=sys.argv[1])
found = vendors.sync(client=opened)
assert "okta" in [each.vendor for each in found], found
opened = client.AuthenticatedClient(base_url=sys.argv[1], token="", prefix="", auth_header_name="X-API-KEY")
refused = sick.sync_detailed(client=opened, health=HealthName.UNAUTHORIZED)
assert refused.status_code == 401, refused
assert refused.parsed.detail, refused
print(f"{len(modules)} modules; {len(found)} vendors, the first: {found[0].vendor_name}; without a key: "
      f"{refused.parsed.detail}")
"""


def main() -> int:
    """Generate, import, call."""
    python, folder = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings.read(
        {},
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1/0",
        vault_keys=generate_key(),
        http_port=_free_port(),
    )
    server = make_server(Desk.of(settings))
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        url = f"http://127.0.0.1:{server.port}"
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answered:  # noqa: S310 - our own address
            document = json.load(answered)
        (folder / "openapi.json").write_text(json.dumps(document, indent=1))
        (folder / "config.yaml").write_text(f"package_name_override: {NAME}\nproject_name_override: client\n")
        shutil.rmtree(folder / "client", ignore_errors=True)
        generator = python.with_name("openapi-python-client")
        arguments = ["generate", "--path", "openapi.json", "--config", "config.yaml", "--output-path", "client"]
        subprocess.run(
            [str(generator), *arguments, "--meta", "none", "--fail-on-warning"],
            cwd=folder,
            env={**os.environ, "PATH": os.pathsep.join((str(python.parent), os.environ.get("PATH", "")))},
            check=True,
        )
        (folder / "client").rename(folder / "made")
        shutil.rmtree(folder / NAME, ignore_errors=True)
        (folder / "made").rename(folder / NAME)
        subprocess.run([str(python), "-c", CALLS, url], cwd=folder, check=True)
    finally:
        server.should_exit = True
        thread.join()
    return 0


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
