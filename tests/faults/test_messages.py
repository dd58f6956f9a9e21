"""Messages that are doubled, forged or garbage; triggers by the thousand; credentials that change in a run."""

import base64
import json
import pickle
import random
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from classifier.vocabulary import HealthName
from models import connections, runs
from models.vocabulary import RunState, Trigger
from tests.faults import audit
from tests.faults.conftest import Drill, tell
from tests.faults.turnstile import Reply
from tests.system.leaks import RedisTap
from tests.system.stack import until
from worker.hints import QUEUE, SYNC_TASK

SEED: Final = 7


def test_three_workers_and_two_beats_run_every_slot_once(drill: Drill) -> None:
    for _ in range(3):
        drill.worker(rehint_after_s=5)
    for _ in range(2):
        drill.installation.start_beat()
    accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(20)}

    for connection_id in accounts.values():
        drill.installation.request_run(connection_id)
    for connection_id in accounts.values():
        drill.installation.run_after(connection_id, 1)

    # Each ran twice, as asked: a second run for the same slot would stand in the history, or in the vendor's log.
    assert {account: drill.turnstile.executions(account) for account in accounts} == dict.fromkeys(accounts, 2)
    assert all(drill.states(c) == [RunState.SUCCEEDED] * 2 for c in accounts.values())


def test_a_thousand_triggers_make_two_runs_at_most(drill: Drill) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)

    for _ in range(20):
        with drill.installation.database.transaction() as db:
            for _ in range(50):
                assert runs.trigger(db, connection_id, Trigger.MANUAL)
    with drill.installation.database.transaction() as db:  # as a slot that comes while the run is on
        db.execute(b"UPDATE connection_sched SET next_due_at = now() WHERE connection_id = %s", (connection_id,))
    _send(drill, *[_message(connection_id, due_only=True) for _ in range(10)])
    until(lambda: _waiting(drill) == 0, "all hints are taken")
    drill.turnstile.let_through("north")
    drill.installation.run_after(connection_id, 2)
    _send(drill, *[_message(connection_id, due_only=True) for _ in range(10)])
    until(lambda: _waiting(drill) == 0, "all hints are taken")
    witness = drill.connect_and_run("witness")

    assert drill.states(connection_id) == [RunState.SUCCEEDED] * 3
    assert drill.turnstile.executions("north") == 3
    assert drill.states(witness) == [RunState.SUCCEEDED]
    assert "Traceback" not in worker.log  # that of a claim which only a constraint of the tables had refused


def test_hints_that_come_ten_times_out_of_order_or_late_make_no_run_more(drill: Drill) -> None:
    """The dispatcher's own hints, heard at Redis: each is sent ten times over, shuffled, while due and long after."""
    lot = random.Random(SEED)  # noqa: S311 - shuffles, guards nothing
    with RedisTap(drill.installation.redis_url) as tap:
        worker = drill.worker()
        accounts = {f"account-{n}": drill.connect_and_run(f"account-{n}") for n in range(12)}
    hints = list(_hints_in(tap.heard.decode()))
    assert len(hints) >= len(accounts)
    ancient = [_aged(hint) for hint in hints]

    # While each is due: of eleven hints for one connection, one finds something to do.
    for connection_id in accounts.values():
        drill.installation.request_run(connection_id)
    storm = [hint for hint in [*hints, *ancient] for _ in range(10)]
    lot.shuffle(storm)
    _send(drill, *storm)
    for connection_id in accounts.values():
        drill.installation.run_after(connection_id, 1)
    until(lambda: _waiting(drill) == 0, "all hints are taken")
    # Long after: none does.
    lot.shuffle(storm)
    _send(drill, *storm)
    until(lambda: _waiting(drill) == 0, "all hints are taken")
    drill.connect_and_run("witness")

    made = sum(len(drill.states(connection_id)) for connection_id in accounts.values())
    tell(f"{2 * len(storm)} hints doubled, shuffled and ancient: {made - 2 * len(accounts)} runs more than were due")
    assert made == 2 * len(accounts)
    assert [drill.turnstile.executions(account) for account in accounts] == [2] * len(accounts)
    assert "Traceback" not in worker.log


def _hints_in(heard: str) -> Iterator[dict[str, Any]]:
    """Yield the messages in what Redis was told. One command may bring several."""
    start = f"LPUSH {QUEUE} "
    for line in heard.splitlines():
        rest = line.removeprefix(start) if line.startswith(start) else ""
        while rest:
            message, end = json.JSONDecoder().raw_decode(rest)
            yield message
            rest = rest[end:].lstrip()


def _aged(hint: dict[str, Any]) -> dict[str, Any]:
    """Return a hint as one that lay in Redis for a year, whatever Celery makes of times in a message."""
    a_year_ago = "2025-11-24T00:00:00+00:00"
    return {**hint, "headers": {**hint["headers"], "eta": a_year_ago, "timestamp": a_year_ago, "retries": 3}}


def _message(connection_id: object, *, task: str = SYNC_TASK, **more: object) -> dict[str, Any]:
    """A message as Celery makes it."""
    task_id = str(uuid4())
    body = [[], {"connection_id": str(connection_id), **more}, {}]
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "argsrepr": "", "kwargsrepr": ""},
        "properties": {
            "correlation_id": task_id,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": str(uuid4()),
            "body_encoding": "base64",
        },
    }


def _with(message: dict[str, Any], **changed: object) -> dict[str, Any]:
    return {**message, **{name.replace("_", "-"): value for name, value in changed.items()}}


class _Bomb:
    def __reduce__(self) -> Any:
        return (_explode, ())


def _explode() -> None:
    raise AssertionError


NOBODY: Final = UUID(int=0)
BODY: Final = _message(NOBODY)
FORGED: Final = [
    pytest.param(b"{", id="no JSON"),
    pytest.param(b"", id="nothing"),
    pytest.param(b"[1, 2]", id="JSON, but no message"),
    pytest.param(b'{"body": 1, "properties": {}}', id="a message without what it needs"),
    pytest.param(
        json.dumps(
            _with(
                BODY,
                content_type="application/x-python-serialize",
                body=base64.b64encode(pickle.dumps(_Bomb())).decode(),
            )
        ).encode(),
        id="pickle",
    ),
    pytest.param(json.dumps(_with(BODY, content_type="application/x-yaml")).encode(), id="YAML"),
    pytest.param(json.dumps(_message(NOBODY, task="os.system")).encode(), id="a task that nobody knows"),
    pytest.param(json.dumps(_message(NOBODY)).encode(), id="a connection that nobody knows"),
    pytest.param(json.dumps(_message("x" * 2_000_000)).encode(), id="an id of two megabytes"),
    pytest.param(json.dumps(_message("'; DROP TABLE run; --")).encode(), id="an id that is none"),
    pytest.param(json.dumps(_with(BODY, body=base64.b64encode(b"[[], {}, {}]").decode())).encode(), id="no id"),
    pytest.param(
        json.dumps(_with(BODY, body=base64.b64encode(b'[[[[[]]]], {"a": 1}, {}]').decode())).encode(),
        id="arguments that the task does not take",
    ),
    pytest.param(json.dumps(_with(BODY, body=base64.b64encode(b'{"a": 1}').decode())).encode(), id="another form"),
    pytest.param(json.dumps(_with(BODY, body="!!!")).encode(), id="a body that is no base64"),
]


def test_no_message_makes_a_worker_do_what_is_not_due(drill: Drill) -> None:
    """All kinds in one drill: a worker is started once, and must live through them all, one after another."""
    worker = drill.worker("-c", "2")
    connection_id = drill.connect_and_run("north")
    due_only = json.dumps(_message(connection_id, due_only=True)).encode()
    replayed = [due_only] * 20 + [json.dumps(_message(connection_id, due_only="yes", more=1)).encode()]
    for name, raw in [(p.id, p.values[0]) for p in FORGED]:
        with redis.Redis.from_url(drill.installation.redis_url) as client:
            client.lpush(QUEUE, *[raw] * 5)  # more than the worker has slots: none of them may keep one
        until(lambda: _waiting(drill) == 0, f"{name} is taken", more=lambda: worker.log[-3000:])
        assert worker.is_alive, f"{name}\n{worker.log[-3000:]}"
    with redis.Redis.from_url(drill.installation.redis_url) as client:
        client.lpush(QUEUE, *replayed)
    until(lambda: _waiting(drill) == 0, "the replayed ones are taken")
    assert drill.installation.run_now(connection_id).state is RunState.SUCCEEDED

    assert drill.states(connection_id) == [RunState.SUCCEEDED] * 2
    assert drill.turnstile.executions("north") == 2
    assert worker.is_alive
    assert len(worker.log) < 200_000, "two megabytes of a forged id stand in the log"


def test_credentials_that_change_during_a_run_do_not_leave_the_old_verdict(drill: Drill) -> None:
    drill.worker()
    drill.turnstile.answer = lambda call: (
        Reply(401, b'{"error": "invalid_token"}', {"content-type": "application/json"})
        if call.account == "old"
        else None
    )
    drill.turnstile.hold("old")
    connection_id = drill.connect("old")
    drill.turnstile.wait_for("old")
    with drill.installation.database.transaction() as db:
        connections.replace_credentials(db, drill.installation.station.keyring, connection_id, {"token": "new"})
    drill.turnstile.let_through("old")

    new = drill.installation.run_after(connection_id, 1)
    old = drill.installation.run_after(connection_id, 0)

    assert (old.name, old.cred_version) == (HealthName.UNAUTHORIZED, new.cred_version - 1)
    assert (new.trigger, new.name) == (Trigger.CREDENTIALS, HealthName.HEALTHY)
    health = drill.installation.health(connection_id)
    assert (health.name, health.superseded) == (HealthName.HEALTHY, False)


def test_a_cancelled_run_ends_at_the_vendor_too(drill: Drill) -> None:
    worker = drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.run_in_its_middle("north", connection_id)
    with drill.installation.database.transaction() as db:
        assert runs.cancel(db, connection_id, 2)
    worker.wait_for_log("run.stopped")
    drill.turnstile.let_through("north")

    assert drill.states(connection_id) == [RunState.SUCCEEDED, RunState.CANCELLED]
    assert [call.page for call in drill.turnstile.calls("north")] == [1, 2, 1]
    assert drill.installation.health(connection_id).run_seq == 1


def _send(drill: Drill, *messages: dict[str, Any]) -> None:
    with redis.Redis.from_url(drill.installation.redis_url) as client:
        client.lpush(QUEUE, *[json.dumps(message).encode() for message in messages])


def _waiting(drill: Drill) -> int:
    with redis.Redis.from_url(drill.installation.redis_url) as client:
        return int(client.llen(QUEUE))


def test_the_audit_sees_a_verdict_that_was_written_over(drill: Drill) -> None:
    """Who guards the guard: the invariants that every drill ends with do fail."""
    drill.worker()
    connection_id = drill.connect_and_run("north")
    drill.installation.run_now(connection_id)
    with psycopg.connect(drill.installation.database_url) as db:
        db.execute("UPDATE health SET reason = 'odd', run_seq = 1 WHERE connection_id = %s", (connection_id,))
        db.execute("UPDATE run_history SET state = 'FAILED' WHERE connection_id = %s", (connection_id,))
        db.execute(
            "INSERT INTO audit (what, connection_id, run_seq, more)"
            " SELECT what, connection_id, run_seq, more FROM audit WHERE n = "
            "(SELECT min(n) FROM audit WHERE what = 'run.insert')"
        )
        _, found = audit.read(db, sweep_s=10)
        db.rollback()

    assert sorted(sentence[:2] for sentence in found.wrong) == ["I2", "I3", "I3", "I3", "I3", "I4"]
