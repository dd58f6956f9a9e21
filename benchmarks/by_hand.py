"""The least that a script by hand would do to bring a vendor's records into PostgreSQL.

What each way is says benchmarks/ingest.py, which starts this with an order on standard input. Nothing of ours is
loaded here, as nothing of ours would be in such a script.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
import requests

from benchmarks.big_vendor import PER_PAGE
from benchmarks.cpu import peak_memory_mb

TABLE: Final = """
CREATE TABLE by_hand (connection_id uuid, data_type text, record_id text, digest bytea NOT NULL,
  first_seen_at timestamptz NOT NULL, changed_at timestamptz NOT NULL, payload jsonb NOT NULL,
  PRIMARY KEY (connection_id, data_type, record_id))"""
ARRIVAL: Final = "CREATE TEMPORARY TABLE arrival (record_id text, digest bytea, payload jsonb) ON COMMIT DELETE ROWS"
INSERT: Final = """
INSERT INTO by_hand AS r SELECT %s, 'things', a.record_id, a.digest, now(), now(), a.payload FROM arrival a"""
UPSERT: Final = (
    INSERT
    + """
ON CONFLICT (connection_id, data_type, record_id) DO UPDATE
  SET digest = excluded.digest, payload = excluded.payload, changed_at = now()"""
)
SKIP_EQUAL: Final = UPSERT + " WHERE r.digest <> excluded.digest"
ASK: Final = """
SELECT p.place FROM unnest(%s::text[], %s::bytea[]) WITH ORDINALITY AS p (record_id, digest, place)
  LEFT JOIN by_hand r ON r.connection_id = %s AND r.data_type = 'things' AND r.record_id = p.record_id
 WHERE r.digest IS DISTINCT FROM p.digest"""

Row = tuple[str, bytes, bytes]


def fetched(port: int, records: int, edition: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the pages as a careful script would read them."""
    session = requests.Session()
    session.trust_env = False
    page: int | None = 0
    while page is not None:
        query = f"records={records}&edition={edition}&page={page}"
        answer = session.get(
            f"http://127.0.0.1:{port}/things?{query}", timeout=60, headers={"Authorization": "Bearer t"}
        )
        answer.raise_for_status()
        document = orjson.loads(answer.content)
        page = document["next"]
        yield document["items"]


def hashed(items: list[dict[str, Any]]) -> list[Row]:
    """Return id, hash of the sorted form, and that form."""
    rows = []
    for item in items:
        text = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        rows.append((item["id"], hashlib.sha256(text).digest()[:16], text))
    return rows


def sent(db: psycopg.Connection[Any], rows: list[Row], statement: str, connection_id: UUID) -> int:
    """COPY the rows into the temporary table and run the statement over it."""
    lines = b"".join(
        b"%s\t\\\\x%s\t%s\n" % (record_id.encode(), digest.hex().encode(), text.replace(b"\\", b"\\\\"))
        for record_id, digest, text in rows
    )
    with db.cursor() as cursor, cursor.copy("COPY arrival FROM STDIN") as copy:
        copy.write(lines)
    return db.execute(statement, (connection_id,), prepare=True).rowcount


def stored(statement: str) -> Callable[[psycopg.Connection[Any], list[Row], UUID], int]:
    """Return a way that sends everything."""
    return lambda db, rows, connection_id: sent(db, rows, statement, connection_id)


def asked(db: psycopg.Connection[Any], rows: list[Row], connection_id: UUID) -> int:
    """Send ids and hashes, then what differs."""
    params = ([row[0] for row in rows], [row[1] for row in rows], connection_id)
    places = db.execute(ASK, params, prepare=True).fetchall()
    if not places:
        return 0
    return sent(db, [rows[place - 1] for (place,) in places], UPSERT, connection_id)


BY_HAND: Final[dict[str, Callable[[psycopg.Connection[Any], list[Row], UUID], int]]] = {
    "load": stored(INSERT),
    "rewrite": stored(UPSERT),
    "skip equal": stored(SKIP_EQUAL),
    "ask": asked,
}


def run_by_hand(order: dict[str, Any]) -> int:
    """Bring everything in; return how many rows were written."""
    connection_id = UUID(order["connection_id"])
    pages = fetched(order["port"], order["records"], order["edition"])
    if order["way"] == "fetch":
        return 0 * sum(len(items) for items in pages)
    store, written = BY_HAND[order["way"]], 0
    with psycopg.connect(order["url"]) as db:
        db.execute(ARRIVAL)
        db.commit()
        for items in pages:
            written += store(db, hashed(items), connection_id)
            db.commit()
    return written


def main(work: Callable[[dict[str, Any]], int]) -> None:
    """Read an order, do the work for one page to get warm, say so, and on a word do it and print what it took.

    What a process does once (read definitions, open connections, have statements planned) is no part of a run.
    """
    order = json.loads(sys.stdin.readline())
    work({**order, "connection_id": order["warm_id"], "records": PER_PAGE})
    print("warm", flush=True)
    sys.stdin.readline()
    began_s, wall = time.process_time(), time.perf_counter()
    written = work(order)
    took = {"client_s": time.process_time() - began_s, "wall_s": time.perf_counter() - wall}
    print(json.dumps({**took, "written": written, "peak_mb": peak_memory_mb(os.getpid())}))


if __name__ == "__main__":
    main(run_by_hand)
