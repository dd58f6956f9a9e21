"""Vendors that do everything wrong, against a real worker: each is told by its own class, in time, in little memory.

All of them at once, in one process, so that each has the others for neighbours.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import pytest

from classifier.vocabulary import HealthName
from models.history import RunView
from tests.faults import hostile
from tests.faults.conftest import Drill, tell
from tests.faults.hostile import an_answer, fault_server, silent_listener
from tests.worker.wire.faults import Script

OK: Final = HealthName.HEALTHY
AUTH: Final = HealthName.UNAUTHORIZED
LIMIT: Final = HealthName.RATE_LIMIT_EXCEEDED
VENDOR: Final = HealthName.VENDOR_SERVER_ERROR
TIMEOUT: Final = HealthName.EXECUTION_TIMEOUT
OURS: Final = HealthName.INTERNAL_ERROR
BUDGET_S: Final = 3
LONG_S: Final = 60
MOST_MB: Final = 200
"""What bodies of ten gigabytes and all their neighbours may add to a worker: each is read up to 64 MB."""

# Whatever waits for bytes that do not come, or come too slowly.
SLOW: Final[Mapping[str, Script]] = {
    "hang": hostile.hang,
    "hang-in-the-header": hostile.hang_in_the_header,
    "hang-in-the-body": hostile.hang_in_the_body,
    "drip-the-body": hostile.drip_the_body,
    "drip-the-header": hostile.drip_the_header,
    "drip-chunks": hostile.drip_chunks,
    "drip-interim-answers": hostile.drip_interim_answers,
}

JSON_ERROR: Final = b'{"error": {"code": "internal", "message": "try later"}}'
SIGN_IN: Final = b'<html><title>Sign in</title><form><input type="password"></form></html>'
BAD_GATEWAY: Final = b"<html><h1>502 Bad Gateway</h1></html>"

# Name -> what the vendor does; the health and reason (empty: any) that stand then; how many requests it takes, as what
# may pass is tried thrice.
FAULTS: Final[Mapping[str, tuple[Script, HealthName, str, int]]] = {
    "endless-headers": (hostile.endless_headers, VENDOR, "connection_lost", 3),
    "one-endless-header": (hostile.one_endless_header, VENDOR, "connection_lost", 3),
    "large-headers": (hostile.large_headers, OURS, "body_too_large", 1),
    "gzip-bomb": (hostile.gzip_bomb, OURS, "body_too_large", 1),
    "gzip-that-is-none": (hostile.gzip_that_is_none, VENDOR, "bad_encoding", 1),
    "deep-json": (hostile.deep_json, VENDOR, "bad_json", 1),
    "json-bomb": (hostile.json_bomb, VENDOR, "bad_json", 1),
    "redirect-to-itself": (hostile.redirect_to_itself, VENDOR, "redirect_loop", 6),
    "redirect-for-ever": (hostile.redirect_for_ever, VENDOR, "redirect_loop", 6),
    "redirect-inwards": (hostile.redirect_inwards, OURS, "redirect_refused", 1),
    "reset-at-once": (hostile.reset_at_once, VENDOR, "connection_lost", 3),
    "reset-in-the-body": (hostile.reset_in_the_body, VENDOR, "connection_lost", 3),
    "close-at-once": (hostile.close_at_once, VENDOR, "connection_lost", 3),
    "close-in-the-body": (hostile.close_in_the_body, VENDOR, "truncated_body", 3),
    "close-in-the-chunks": (hostile.close_in_the_chunks, VENDOR, "truncated_body", 3),
    "no-http": (hostile.no_http, VENDOR, "connection_lost", 3),
    "200-error": (an_answer(200, JSON_ERROR), VENDOR, "server_error", 3),
    "200-expired": (
        an_answer(200, b'{"error": "invalid_token", "message": "expired token"}'),
        AUTH,
        "token_expired",
        1,
    ),
    "200-throttled": (an_answer(200, b'{"ok": false, "error": "ratelimited"}'), LIMIT, "rate_limit", 3),
    "200-latin-1": (an_answer(200, '{"items": [{"id": "é"}]}'.encode("latin-1")), VENDOR, "bad_json", 1),
    "200-utf-16": (an_answer(200, '{"items": []}'.encode("utf-16")), VENDOR, "bad_json", 1),
    "200-surrogate": (an_answer(200, b'{"items": [{"id": "\\ud800"}]}'), VENDOR, "bad_json", 1),
    "200-nul": (an_answer(200, b'{"items": [{"id": "a\\u0000b"}]}'), OK, "ok", 1),
    "200-html": (an_answer(200, b"<!DOCTYPE html><html><title>Oops</title></html>"), VENDOR, "", 3),
    "200-sign-in": (an_answer(200, SIGN_IN, content_type="text/html"), AUTH, "login_page", 1),
    "200-empty": (an_answer(200, b""), VENDOR, "bad_json", 1),
    "200-cut": (an_answer(200, b'{"items": [{"id": "1"'), VENDOR, "bad_json", 3),
    "200-nan": (an_answer(200, b'{"items": NaN}'), VENDOR, "bad_json", 1),
    "200-odd-shape": (an_answer(200, b'{"payload": 1}'), OURS, "schema", 1),
    "204": (an_answer(204, b""), OK, "ok", 1),
    "401": (an_answer(401, b'{"error": "invalid_token"}'), AUTH, "token_invalid", 1),
    "401-empty": (an_answer(401, b""), AUTH, "unauthorized", 1),
    "403": (an_answer(403, b'{"error": "insufficient_scope"}'), AUTH, "scope_missing", 1),
    "403-empty": (an_answer(403, b""), AUTH, "forbidden", 1),
    "407": (an_answer(407, b""), OURS, "proxy", 1),
    "429": (an_answer(429, b"{}"), LIMIT, "rate_limit", 3),
    "429-word": (an_answer(429, b"{}", retry_after="soon"), LIMIT, "rate_limit", 3),
    "429-negative": (an_answer(429, b"{}", retry_after="-5"), LIMIT, "rate_limit", 3),
    "429-infinite": (an_answer(429, b"{}", retry_after="1e999"), LIMIT, "rate_limit", 3),
    "429-long": (an_answer(429, b"{}", retry_after="9" * 400), LIMIT, "rate_limit", 3),
    "429-year": (an_answer(429, b"{}", retry_after="31536000"), LIMIT, "rate_limit", 1),
    "429-past": (an_answer(429, b"{}", retry_after="Tue, 31 Dec 2019 00:00:00 GMT"), LIMIT, "rate_limit", 3),
    "500": (an_answer(500, b"{}"), VENDOR, "server_error", 3),
    "502-html": (an_answer(502, BAD_GATEWAY, content_type="text/html"), VENDOR, "gateway", 3),
    "503": (an_answer(503, b""), VENDOR, "unavailable", 3),
    "504": (an_answer(504, b""), VENDOR, "vendor_timeout", 3),
    "520": (an_answer(520, b""), VENDOR, "gateway", 3),
    "599": (an_answer(599, b""), VENDOR, "vendor_timeout", 3),
    "999": (an_answer(999, b"{}"), VENDOR, "server_error", 3),
}


@pytest.mark.usefixtures("_plugin")
def test_every_fault_of_a_vendor_is_told_by_its_own_class(drill: Drill) -> None:
    floods = hostile.floods()
    expected = {name: (health, reason, requests) for name, (_, health, reason, requests) in FAULTS.items()}
    expected |= dict.fromkeys([*SLOW, "tls-stall"], (TIMEOUT, "budget_spent", 1))
    expected |= {
        "ten-gigabytes": (OURS, "body_too_large", 1),
        "endless-chunks": (OURS, "body_too_large", 1),
        "one-endless-line": (VENDOR, "bad_json", 1),
        "endless-empty-lines": (TIMEOUT, "budget_spent", 1),
        "dns-stall": (TIMEOUT, "budget_spent", 1),
        "tls-none": (VENDOR, "tls", 3),
    }
    worker = drill.worker(concurrency=len(expected) + 8)
    neighbour = drill.connect_and_run("neighbour")
    before = worker.peak_memory_bytes

    with _hostile_vendors(drill, floods) as accounts:
        runs = {name: drill.installation.run_after(connection_id, 0) for name, connection_id in accounts.items()}
        during = drill.installation.run_now(neighbour)

    grown_mb = (worker.peak_memory_bytes - before) >> 20
    overruns_s = sorted(_overrun_s(run) for run in runs.values() if run.name is TIMEOUT)
    tell(
        f"{len(runs)} faults of vendors at once: overrun of the deadline at most {overruns_s[-1]:.2f} s;"
        f" {grown_mb} MB more memory at the most, {max(f.sent_bytes for f in floods.values()) >> 20} MB read of 10 GB"
    )
    assert {
        name: (run.name, run.reason if expected[name][1] else "", run.requests) for name, run in runs.items()
    } == expected
    assert overruns_s[-1] < 3 * 1.0  # on a machine that others use too; test_ladder.py has the figure
    assert grown_mb < MOST_MB
    assert max(floods[name].sent_bytes for name in ("ten-gigabytes", "endless-chunks")) < 100 * hostile.MIB
    assert during.name is OK
    assert worker.is_alive
    assert "Traceback" not in worker.log


def test_a_vendor_that_always_says_at_once_is_not_hammered(drill: Drill) -> None:
    """`Retry-After` names a moment of the past: each run waits at least twice as long as the one before."""
    drill.worker()
    with fault_server({"past": an_answer(429, b"{}", retry_after="Tue, 31 Dec 2019 00:00:00 GMT")}) as server:
        connection_id = drill.connect("past", vendor="hostile", options={"port": server.port, "fault": "past"})
        runs = [drill.installation.run_after(connection_id, seq) for seq in range(3)]

    gaps_s = [_started(later) - _finished(earlier) for earlier, later in itertools.pairwise(runs)]
    tell(f"a vendor that says `at once`: run again after {', '.join(f'{gap:.1f}' for gap in gaps_s)} s")
    assert gaps_s[0] > 0.9
    assert gaps_s[1] > 1.9


@contextmanager
def _hostile_vendors(drill: Drill, floods: Mapping[str, hostile.Flood]) -> Iterator[dict[str, UUID]]:
    """Connect an account to every hostile vendor; give them by the names of their faults."""
    scripts: dict[str, Script] = {**SLOW, **{name: script for name, (script, *_) in FAULTS.items()}, **floods}
    with fault_server(scripts) as server, silent_listener() as silent, silent_listener(b"hello\r\n") as talker:
        accounts = {}
        for name in scripts:
            is_slow = name in SLOW or name == "endless-empty-lines"
            accounts[name] = drill.connect(
                name,
                vendor="hostile_lines" if "line" in name else "hostile",
                options={"port": server.port, "fault": name},
                timeout_secs=BUDGET_S if is_slow else LONG_S,
            )
        for name, port, timeout_secs in (("tls-stall", silent, BUDGET_S), ("tls-none", talker, LONG_S)):
            options = {"port": port, "fault": "any"}
            accounts[name] = drill.connect(name, vendor="hostile_tls", options=options, timeout_secs=timeout_secs)
        accounts["dns-stall"] = drill.installation.connect(
            "hostile_names", {"token": "dns-stall"}, {}, timeout_secs=BUDGET_S
        )
        yield accounts


def _started(run: RunView) -> float:
    return run.started_at.timestamp()


def _finished(run: RunView) -> float:
    assert run.finished_at is not None
    return run.finished_at.timestamp()


def _overrun_s(run: RunView) -> float:
    return _finished(run) - _started(run) - BUDGET_S
