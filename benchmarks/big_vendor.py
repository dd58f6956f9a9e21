"""A vendor with any number of records of about 0.9 kB, whose answers cost next to nothing to make.

`python -m benchmarks.big_vendor` prints its port and serves until its standard input ends. It answers

    GET /things?records=1000000&page=0&edition=1     pages of 1000: {"items": [...], "next": 1 or null}

edition says what of the data is new: 1 the first state, 2 with one record in a hundred changed, 3 with all of them.
Each edition's page is built once; per answer only the page's number is written into it.
"""

import http.server
import sys
import threading
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import orjson

PER_PAGE: Final = 1000
_NUMBER: Final = b"@@@@@@"
_LAST: Final = b'"next":null}'

DEFINITION: Final = """
vendor: big
title: Big
category: TEST
credentials: {properties: {token: {type: string, secret: true, title: Any token}}, required: [token]}
settings:
  properties:
    port: {type: integer, minimum: 1, maximum: 65535, title: Port}
    records: {type: integer, minimum: 0, title: Records}
    edition: {type: integer, minimum: 1, title: Edition}
  required: [port, records, edition]
base_url: http://127.0.0.1:${settings.port}
auth: {type: bearer, token: '${credentials.token}'}
check: {path: /things}
data_types:
  things:
    request: {path: /things, query: {records: '${settings.records}', edition: '${settings.edition}'}}
    records: {path: items}
    id: id
    pagination: {type: cursor, token: {from: next, in: query.page}}
"""
"""How the connector reads it."""


def is_changed(index: int, edition: int) -> bool:
    """Say whether an edition has other data than the first in the record at this place of a page."""
    return edition == 3 or (edition == 2 and index % 100 == 7)


def template(edition: int) -> bytes:
    """Return a page that lacks its number and its end."""
    items = [
        {
            "id": f"alert-{_NUMBER.decode()}-{index:04d}",
            "title": f"Connection from host-{index}.corp.example to an address that was never seen before",
            "created_at": f"2026-01-{1 + index % 28:02d}T{index % 24:02d}:{index % 60:02d}:00Z",
            "updated_at": f"2026-02-{edition if is_changed(index, edition) else 1:02d}T08:00:00Z",
            "severity": ("low", "medium", "high", "critical")[index % 4],
            "score": index % 100 / 7,
            "status": "open" if index % 3 else "resolved",
            "assignee": {"id": index, "email": f"user{index}@corp.example", "active": index % 5 > 0},
            "device": {
                "hostname": f"host-{index}.corp.example",
                "ip": f"10.{index % 250}.{index % 200}.{index % 90}",
                "os": {"name": "Windows", "version": "11.0.22631", "build": 22631 + index % 7},
                "tags": ["prod", f"team-{index % 40}", f"site-{index % 12}"],
            },
            "evidence": [
                {"kind": "process", "name": "powershell.exe", "pid": 1000 + index, "user": f"CORP\\user{index}"},
                {"kind": "network", "remote": f"203.0.113.{index % 250}", "port": 443, "bytes": index * 1021},
            ],
            "description": "A process opened a connection that the baseline of this device does not know. " * 2,
        }
        for index in range(PER_PAGE)
    ]
    return orjson.dumps({"items": items})[:-1] + b","


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    templates: Final = {edition: template(edition) for edition in (1, 2, 3)}

    def do_GET(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        page, edition = int(asked.get("page", 0)), int(asked.get("edition", 1))
        pages = int(asked.get("records", PER_PAGE)) // PER_PAGE
        end = b'"next":%d}' % (page + 1) if page + 1 < pages else _LAST
        body = self.templates[edition].replace(_NUMBER, b"%06d" % page) + end
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until standard input ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
