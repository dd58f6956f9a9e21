"""Each check sees what it is there to see, on real servers that are really broken."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from embedded.postgres import Postgres
from models import checks, connections, limits, migrate, retention, runs, vault
from tests.worker.conftest import settings_of
from worker.checks import broker as broker_checks
from worker.checks import database as database_checks
from worker.checks import examination
from worker.checks.examination import CHECKS, READINESS, Result, examine, worst
from worker.checks.finding import Bench, Finding, State, counted, failed, lasting, ok, sized
from worker.hints import BEAT_KEPT_S, BEAT_KEY, QUEUE
from worker.station import Station

NUMBERS = itertools.count(1)
KEY = vault.generate_key()
VENDOR = "acme_idp"


@pytest.fixture(scope="module")
def server(server_dir: Path) -> Iterator[Postgres]:
    """A server of this module's own: it is killed and frozen, and spares no disk, which would be told."""
    with Postgres(server_dir / "checked", max_connections=40) as made:
        migrate.upgrade(made.create_database("template"))
        yield made


@pytest.fixture(autouse=True)
def _a_busy_machine_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run beside these: how long a server takes to answer says nothing here."""
    monkeypatch.setattr(database_checks, "SLOW_S", 60.0)
    monkeypatch.setattr(broker_checks, "SLOW_S", 60.0)


class House:
    """A house in which all is well, and ways to spoil it."""

    def __init__(self, url: str, redis_url: str) -> None:
        self.url, self.redis_url = url, redis_url
        self.stations: list[Station] = []
        self.station = self.at()
        self.db = psycopg.connect(url, autocommit=True)
        retention.ensure_partitions(self.db)
        self.station.lease.acquire(self.station.control)
        self.redis = redis.Redis.from_url(redis_url)
        self.redis.set(BEAT_KEY, "", ex=BEAT_KEPT_S)

    def at(self, **changed: object) -> Station:
        settings: dict[str, object] = {
            "database_url": self.url,
            "redis_url": self.redis_url,
            "vault_keys": KEY,
            "database_pool": 4,
        }
        made = Station.of(settings_of(**{**settings, **changed}))
        self.stations.append(made)
        return made

    def bench(self, **changed: Any) -> Bench:
        return Bench(station=changed.pop("station", self.station), within_s=60, **changed)

    def look(self, name: str, **changed: Any) -> Finding:
        """Return what one check finds."""
        return examine(self.bench(**changed), [name])[0].finding

    def connection(self, vendor: str = VENDOR) -> UUID:
        """Store a connection that is active and due in an hour."""
        organization = connections.create_organization(self.db, "An organization")
        made = connections.create_connection(
            self.db,
            self.station.keyring,
            organization_id=organization.organization_id,
            vendor=vendor,
            credentials={"token": "t"},
            refresh_interval_secs=3600,
            timeout_secs=60,
        )
        self.sched(made.connection_id, "next_due_at = now() + interval '1 h', requested_trigger = NULL")
        return made.connection_id

    def granted(self, hours: float, *, state: str = "ACTIVE") -> UUID:
        """Store a connection whose access ends in so long, or ended so long ago."""
        made = self.connection()
        document = {"access_token": "t", "lapses_at": time.time() + hours * 3600}
        vault.store(self.db, self.station.keyring, made, "token", document)
        self.db.execute(
            "UPDATE connection SET state = %s, deleted_at = CASE WHEN %s = 'DELETED' THEN now() END"
            " WHERE connection_id = %s",
            (state, state, made),
        )
        return made

    def sched(self, connection_id: UUID, change: str) -> None:
        self.db.execute(
            f"UPDATE connection_sched SET {change} WHERE connection_id = %s".encode(),  # noqa: S608 - the test's own words
            (connection_id,),
        )

    def due(self, minutes: int, *, vendor: str = VENDOR, hinted: bool = False) -> UUID:
        """Store a connection that has been due for so long."""
        made = self.connection(vendor)
        hint = "now()" if hinted else "NULL"
        self.sched(made, f"next_due_at = now() - interval '{minutes} min', hinted_at = {hint}")
        return made

    def running(self) -> runs.RunKey:
        run = runs.claim(self.db, self.connection(), worker_id=self.station.lease.worker_id, due_only=False)
        assert run is not None
        return run.key

    def close(self) -> None:
        self.db.close()
        self.redis.close()
        for station in self.stations:
            station.close()


@pytest.fixture
def house(server: Postgres, redis_url: str) -> Iterator[House]:
    server.start()  # an earlier test may have killed it
    name = f"house_{next(NUMBERS)}"
    made = House(server.create_database(name, template="template"), redis_url)
    yield made
    made.close()
    server.start()
    server.drop_database(name)


def test_nothing_is_wrong_with_a_house_in_which_all_is_well(house: House) -> None:
    house.connection()
    house.running()
    found = {each.name: each.finding for each in examine(house.bench())}

    assert {name: finding for name, finding in found.items() if finding.state is not State.OK} == {}
    assert list(found) == list(CHECKS)
    assert all(not finding.remedy and finding.measured for finding in found.values())


def lease_ended(house: House) -> None:
    house.running()
    house.db.execute("UPDATE worker SET lease_until = now() - interval '5 min'")


def deadline_passed(house: House) -> None:
    house.running()
    house.db.execute("UPDATE run SET deadline_at = now() - interval '5 min'")


def worker_deleted(house: House) -> None:
    house.running()
    house.db.execute("DELETE FROM worker")


def run_deleted(house: House) -> None:
    key = house.running()
    house.db.execute("DELETE FROM run")
    house.sched(key.connection_id, "next_due_at = now() - interval '5 min'")


def another_lapsed(house: House) -> None:
    runs.register_worker(house.db, uuid4(), host="elsewhere", pid=42, lease_s=20)
    house.db.execute("UPDATE worker SET lease_until = now() - interval '1 min' WHERE host = 'elsewhere'")


def lost_and_renewed(house: House) -> None:
    house.db.execute("UPDATE worker SET lease_until = now() - interval '1 s', started_at = now() - interval '1 h'")
    house.station.lease.renew(house.station.control)


def limited(house: House) -> UUID:
    key = house.running()
    limits.set_vendor_limits(house.db, {VENDOR: 1})
    return key.connection_id


def late_at_its_limit(house: House) -> None:
    limited(house)
    house.due(30)


def paused_for_long(house: House) -> None:
    house.due(30)
    limits.pause_vendor(house.db, VENDOR, 7200)


def tampered(house: House) -> None:
    connection_id = house.connection()
    house.db.execute(
        "UPDATE credential SET sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1) "
        "WHERE connection_id = %s",
        (connection_id,),
    )


def without_partitions(days: str) -> Callable[[House], None]:
    def spoil(house: House) -> None:
        today, made = retention.days(house.db)
        for day in made:
            if day > today or (days == "today" and day == today):
                house.db.execute(f"DROP TABLE run_history_{day:%Y%m%d}".encode())

    return spoil


def with_an_old_day(house: House) -> None:
    today, _ = retention.days(house.db)
    assert retention._make(house.db, today - timedelta(days=40))


def said(statement: str) -> Callable[[House], None]:
    """Change something for all sessions to come of this database alone."""

    def spoil(house: House) -> None:
        name = house.db.info.dbname
        house.db.execute(f'ALTER DATABASE "{name}" SET {statement}'.encode())

    return spoil


def at_revision(revision: str) -> Callable[[House], object]:
    return lambda house: house.db.execute("UPDATE alembic_version SET version_num = %s", (revision,))


def told_redis(setting: str, value: str) -> Callable[[House], object]:
    return lambda house: house.redis.config_set(setting, value)


BROKEN = [
    pytest.param("migrations", State.FAILED, "needed", at_revision("0000"), id="tables of an older version"),
    pytest.param(
        "migrations", State.WARNING, "this version knows", at_revision("9999"), id="tables of a newer version"
    ),
    pytest.param(
        "migrations", State.FAILED, "no tables", lambda h: h.db.execute("DROP TABLE alembic_version"), id="no tables"
    ),
    pytest.param(
        "workers",
        State.FAILED,
        "not those of this version",
        lambda h: h.db.execute("DROP TABLE worker CASCADE"),
        id="a table that is gone",
    ),
    pytest.param(
        "database",
        State.FAILED,
        "default_transaction_read_only on",
        said("default_transaction_read_only = on"),
        id="a server that takes no writes",
    ),
    pytest.param(
        "database",
        State.FAILED,
        "serializable",
        said("default_transaction_isolation = 'serializable'"),
        id="another isolation",
    ),
    pytest.param(
        "database",
        State.WARNING,
        "synchronous_commit off",
        said("synchronous_commit = off"),
        id="commits that a crash takes back",
    ),
    pytest.param("stuck_runs", State.FAILED, "past their lease", lease_ended, id="a run whose worker died"),
    pytest.param("stuck_runs", State.FAILED, "past their deadline", deadline_passed, id="a run past its deadline"),
    pytest.param("stuck_runs", State.FAILED, "not known", worker_deleted, id="a run of a worker that was deleted"),
    pytest.param(
        "stuck_runs", State.FAILED, "not there", run_deleted, id="a connection held by a run that was deleted"
    ),
    pytest.param("workers", State.FAILED, "0 alive", lease_ended, id="no worker"),
    pytest.param("workers", State.WARNING, "elsewhere pid 42", another_lapsed, id="a worker that died among others"),
    pytest.param("workers", State.WARNING, "took another", lost_and_renewed, id="a worker whose lease ran out"),
    pytest.param("overdue", State.WARNING, "2 min", lambda h: h.due(2), id="a run that is late"),
    pytest.param("overdue", State.FAILED, "20 min", lambda h: h.due(20), id="a run that is very late"),
    pytest.param(
        "overdue", State.OK, "nothing waits", paused_for_long, id="a run that its vendor holds back is not late"
    ),
    pytest.param("overdue", State.OK, "nothing waits", late_at_its_limit, id="nor one whose vendor is at its limit"),
    pytest.param("dispatch", State.FAILED, "due for 2 min", lambda h: h.due(2), id="due and never hinted"),
    pytest.param("dispatch", State.OK, "handed out", lambda h: h.due(2, hinted=True), id="due and just hinted"),
    pytest.param(
        "vendor_limits", State.WARNING, "paused for 2 h", paused_for_long, id="a vendor that is paused for long"
    ),
    pytest.param(
        "vendor_limits",
        State.WARNING,
        "1 of 1, 1 waiting",
        late_at_its_limit,
        id="a vendor whose limit makes runs late",
    ),
    pytest.param("vendor_limits", State.OK, "1 of 1, 0 waiting", limited, id="a vendor at its limit, and nobody waits"),
    pytest.param("vault", State.FAILED, "changed outside the vault", tampered, id="a row that was changed by hand"),
    pytest.param(
        "vendors_in_use",
        State.FAILED,
        "nowhere_at_all",
        lambda h: h.connection("nowhere_at_all"),
        id="a vendor without a definition",
    ),
    pytest.param(
        "partitions", State.WARNING, "none for tomorrow", without_partitions("tomorrow"), id="no day made for tomorrow"
    ),
    pytest.param("partitions", State.FAILED, "none for today", without_partitions("today"), id="no day made for today"),
    pytest.param("retention", State.WARNING, "14 days are kept", with_an_old_day, id="a day that should be gone"),
    pytest.param(
        "queue", State.WARNING, "2 messages wait", lambda h: h.redis.lpush(QUEUE, "a", "b"), id="a full queue"
    ),
    pytest.param("beat", State.WARNING, "within the last hour", lambda h: h.redis.delete(BEAT_KEY), id="no beat"),
    pytest.param(
        "beat",
        State.WARNING,
        "10 min ago",
        lambda h: h.redis.set(BEAT_KEY, "", ex=BEAT_KEPT_S - 600),
        id="a beat that died",
    ),
    pytest.param(
        "broker",
        State.WARNING,
        "allkeys-lru",
        told_redis("maxmemory-policy", "allkeys-lru"),
        id="a Redis that throws messages away",
    ),
    pytest.param("broker", State.FAILED, "full", told_redis("maxmemory", "100kb"), id="a full Redis"),
    pytest.param("broker", State.FAILED, "a replica", lambda h: h.redis.replicaof("127.0.0.1", 1), id="a replica"),
]


@pytest.fixture
def _redis_as_it_was(redis_server: Any, redis_url: str) -> Iterator[None]:
    yield
    with redis.Redis.from_url(redis_server.url) as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.usefixtures("_redis_as_it_was")
@pytest.mark.parametrize(("name", "state", "words", "spoil"), BROKEN)
def test_a_check_sees_its_trouble(
    house: House, name: str, state: State, words: str, spoil: Callable[[House], object]
) -> None:
    spoil(house)
    of = house.at(queue_limit=2) if name == "queue" else house.station
    found = house.look(name, station=of)

    assert (found.state, words in found.measured) == (state, True), found
    assert bool(found.remedy) == (state is not State.OK), "what is not well comes with what to do about it"


def test_access_that_ends_soon_is_told_with_the_nearest_and_what_to_do(house: House) -> None:
    made = {hours: house.granted(hours) for hours in (100, 2.01, 30, 160, 24 * 7 + 1, -5)}
    house.granted(1, state="DELETED")
    paused = house.granted(50, state="PAUSED")
    found = house.look("lapsing")

    nearest = [made[2.01], made[30], paused, made[100], made[160]]
    named = zip(nearest, ("2 h", "30 h", "2 days"), strict=False)
    told = ", ".join(f"{each} ({VENDOR}) in {left}" for each, left in named)
    assert (found.state, found.measured) == (
        State.WARNING,
        f"5 connections lose access within 7 days: {told}, …",
    )
    assert "connections authorize ID" in found.remedy
    assert (found.values["lapsing"], found.values["within_days"]) == (5, 7)
    listed = found.values["nearest"]
    assert isinstance(listed, list)
    assert [each["connection_id"] for each in listed] == [str(each) for each in nearest]


@pytest.mark.parametrize(
    ("hours", "state", "words"),
    [
        pytest.param(2, State.WARNING, "1 connection loses access within 7 days", id="one"),
        pytest.param(24 * 7 + 1, State.OK, "no access is known to end", id="later"),
        pytest.param(-1, State.OK, "no access is known to end", id="one that ended is told by its health"),
    ],
)
def test_access_that_lapses_is_advice_and_fails_no_readiness(
    house: House, hours: float, state: State, words: str
) -> None:
    house.granted(hours)
    found = house.look("lapsing")

    assert (found.state, words in found.measured) == (state, True), found
    assert bool(found.remedy) == (state is not State.OK)
    assert worst(examine(house.bench(), READINESS)) is State.OK
    assert "lapsing" not in READINESS


def test_what_ended_long_ago_hides_nothing_that_ends_soon(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "COUNTED", 2)
    for hours in (-3, -2, 1, 2, 3):
        house.granted(hours)
    assert "2 or more connections lose access" in house.look("lapsing").measured


OTHER = vault.generate_key()
SAME_ID = f"{KEY.partition(':')[0]}:{OTHER.partition(':')[2]}"


@pytest.mark.parametrize(
    ("keys", "state", "words"),
    [
        pytest.param(KEY, State.OK, "opens what is stored", id="the key"),
        pytest.param(
            f"{OTHER}\n{KEY}", State.WARNING, "1 row still sealed with an older key", id="a rotation not over"
        ),
        pytest.param(OTHER, State.FAILED, "1 row sealed with the key", id="another key"),
        pytest.param(SAME_ID, State.FAILED, "another key of the id", id="another key under the same id"),
        pytest.param("nonsense", State.FAILED, "line 1 of the vault's keys", id="no key at all"),
        pytest.param(None, State.FAILED, "no vault key", id="no key set"),
    ],
)
def test_the_keys_are_tried_on_what_is_stored(house: House, keys: str | None, state: State, words: str) -> None:
    house.connection()
    found = house.look("vault", station=house.at(vault_keys=keys))

    assert (found.state, words in found.measured) == (state, True), found
    assert bool(found.remedy) == (state is not State.OK)


@pytest.mark.parametrize(
    ("ahead_s", "state"),
    [
        pytest.param(0, State.OK, id="in time"),
        pytest.param(5, State.WARNING, id="a few seconds ahead"),
        pytest.param(-5, State.WARNING, id="a few seconds behind"),
        pytest.param(45, State.FAILED, id="far ahead"),
        pytest.param(-3600, State.FAILED, id="an hour behind"),
    ],
)
def test_a_clock_that_is_wrong_is_told(house: House, ahead_s: float, state: State) -> None:
    found = house.look("clocks", now_s=lambda: time.time() + ahead_s)

    assert found.state is state
    for skew in (found.values["postgresql_skew_s"], found.values["redis_skew_s"]):
        assert isinstance(skew, float)
        assert abs(skew - ahead_s) < 1.5


@pytest.mark.parametrize(
    ("server_of", "name"),
    [pytest.param(database_checks, "database", id="PostgreSQL"), pytest.param(broker_checks, "broker", id="Redis")],
)
def test_a_slow_answer_is_told(house: House, monkeypatch: pytest.MonkeyPatch, server_of: Any, name: str) -> None:
    monkeypatch.setattr(server_of, "SLOW_S", 0.0)
    assert house.look(name).state is State.WARNING


@pytest.mark.parametrize(
    ("free", "state"),
    [
        pytest.param(500e9, State.OK, id="much"),
        pytest.param(8e9, State.OK, id="little of a large disk, but enough"),
        pytest.param(4e9, State.WARNING, id="little"),
        pytest.param(0.5e9, State.FAILED, id="next to nothing"),
    ],
)
def test_a_disk_that_fills_is_told(house: House, free: float, state: State) -> None:
    seen: list[Path] = []

    def disk_usage(path: Path) -> tuple[int, int, int]:
        seen.append(path)
        return int(1e12), int(1e12 - free), int(free)

    assert house.look("disk", disk_usage=disk_usage).state is state
    assert [path.name for path in seen] == ["data"]


def test_a_disk_that_cannot_be_seen_is_no_trouble(house: House) -> None:
    def disk_usage(_path: Path) -> tuple[int, int, int]:
        raise PermissionError(13, "Permission denied")

    found = house.look("disk", disk_usage=disk_usage)
    assert (found.state, "Permission denied" in found.measured) == (State.OK, True)


def test_a_role_without_privileges_sees_enough(house: House, server: Postgres) -> None:
    house.db.execute("CREATE ROLE plain_role LOGIN")
    try:
        for table in ("worker", "run", "vendor_limit", "connection_sched", "alembic_version"):
            house.db.execute(f"GRANT SELECT ON {table} TO plain_role".encode())
        of = house.at(database_url=house.url.replace("connection_health@", "plain_role@"))
        found = {each.name: each.finding for each in examine(house.bench(station=of))}
        assert {found[name].state for name in ("database", "workers", "stuck_runs", "migrations")} == {State.OK}
        assert "not this machine's to see" in found["disk"].measured
        assert (found["vault"].state, "may not look" in found["vault"].measured) == (State.WARNING, True)
    finally:
        house.db.execute("DROP OWNED BY plain_role")
        house.db.execute("DROP ROLE plain_role")


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        pytest.param("db.internal", False, id="a name"),
        pytest.param("10.0.0.7", False, id="an address"),
        pytest.param("127.0.0.1", True, id="loopback"),
        pytest.param("localhost", True, id="localhost"),
        pytest.param("", True, id="a socket"),
    ],
)
def test_the_disk_of_another_machine_is_not_looked_at(host: str, is_local: bool) -> None:
    station = Station.of(settings_of(database_url=f"postgresql://u@{host}/x"))
    assert database_checks._is_local(Bench(station=station)) is is_local


def test_a_long_transaction_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_checks, "LONG_TRANSACTION_S", 0.0)
    with psycopg.connect(house.url) as lingering:
        lingering.execute("SELECT 1")
        assert house.look("transactions").state is State.WARNING


@pytest.mark.parametrize(
    ("pool", "open_ones", "words"),
    [pytest.param(50, 0, "may open", id="a pool too large"), pytest.param(2, 30, "of 37 open", id="nearly all taken")],
)
def test_too_few_connections_are_told(house: House, pool: int, open_ones: int, words: str) -> None:
    taken = [psycopg.connect(house.url) for _ in range(open_ones)]
    found = house.look("database_connections", station=house.at(database_pool=pool, concurrency=4))
    for each in taken:
        each.close()
    assert (found.state, words in found.measured) == (State.WARNING, True), found


def test_a_definition_with_a_fault_is_named(house: House, tmp_path: Path) -> None:
    (tmp_path / "broken_one.yaml").write_text("vendor: broken_one\n")
    found = house.look("definitions", station=house.at(vendors_dir=tmp_path))
    assert (found.state, "broken_one.yaml" in found.measured) == (State.WARNING, True)


OF_THE_DATABASE = {
    "database", "database_connections", "transactions", "migrations", "clocks", "workers", "dispatch", "overdue",
    "stuck_runs", "vendor_limits", "vault", "vendors_in_use", "lapsing", "partitions", "retention", "disk",
}  # fmt: skip
OF_REDIS = {"broker", "queue", "beat"}
QUICK = [name for name in CHECKS if name != "definitions"]
"""All but the one that computes for long, which would make the others late where the machine is busy."""


def states(results: list[Result]) -> dict[State, set[str]]:
    return {state: {each.name for each in results if each.state is state} for state in State}


def test_a_dead_database_fails_what_needs_it_and_nothing_else(house: House, server: Postgres) -> None:
    house.db.close()
    server.kill()
    results = examine(house.bench())

    assert states(results)[State.FAILED] == OF_THE_DATABASE
    assert states(results)[State.OK] == set(CHECKS) - OF_THE_DATABASE
    assert all("cannot be reached" in each.finding.measured or "cannot reach" in each.finding.measured
               for each in results if each.name in OF_THE_DATABASE)  # fmt: skip


def test_a_frozen_database_hangs_nobody(house: House, server: Postgres) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        results = examine(replace(house.bench(), within_s=2.0), QUICK)
    finally:
        os.kill(server.pid, signal.SIGCONT)

    assert states(results)[State.FAILED] == OF_THE_DATABASE
    assert any(words in results[0].finding.measured for words in ("no answer within 2 s", "timeout expired"))
    assert states(results)[State.OK] == set(QUICK) - OF_THE_DATABASE


def test_a_server_that_freezes_in_the_middle_is_cut_off(house: House) -> None:
    with checks.probing(house.url, within_s=1.0) as db:
        pid = db.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError):
                db.execute("SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(house: House) -> None:
    with checks.probing(house.url, within_s=0.5) as db, pytest.raises(psycopg.OperationalError):
        db.execute("SELECT pg_sleep(60)")


def test_a_frozen_redis_hangs_nobody(house: House, redis_server: Any) -> None:
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        results = examine(replace(house.bench(), within_s=8.0), QUICK)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)

    assert states(results)[State.FAILED] == OF_REDIS
    assert "Redis" not in {each.name: each for each in results}["clocks"].finding.measured


def test_a_dead_redis_fails_what_needs_it_and_nothing_else(house: House, redis_server: Any) -> None:
    redis_server.kill()
    results = examine(house.bench())
    assert states(results)[State.FAILED] == OF_REDIS
    assert not set(READINESS) & OF_REDIS, "without Redis everything goes on, a little later"


def test_a_check_that_never_ends_is_left_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_bench: Bench) -> Finding:
        release.wait(60)
        return ok("late")

    monkeypatch.setattr(examination, "CHECKS", {"hang": hang, "well": lambda _: ok("at once"), "definitions": hang})
    hung, well, computed = examine(replace(house.bench(), within_s=1.0), ["hang", "well", "definitions"])
    release.set()

    assert (hung.state, "no answer within 1 s" in hung.finding.measured) == (State.FAILED, True)
    assert well.state is State.OK
    assert computed.state is State.WARNING, "what asks no server is late because this machine is busy"


@pytest.fixture
def offline() -> Iterator[Callable[..., Bench]]:
    made: list[Station] = []

    def bench(**changed: object) -> Bench:
        made.append(Station.of(settings_of(**changed)))
        return Bench(station=made[-1], within_s=2.0)

    yield bench
    for station in made:
        station.close()


def test_a_check_that_breaks_says_so_and_repeats_nothing(
    offline: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_bench: Bench) -> Finding:
        raise RuntimeError("hush-hush")

    monkeypatch.setattr(examination, "CHECKS", {"broken": broken})
    found = examine(offline(), ["broken"])[0].finding
    assert (found.state, "RuntimeError" in found.measured) == (State.FAILED, True)
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"database_url": "postgresql://u:hush-hush@127.0.0.1:1/x"}, id="a database that is not there"),
        pytest.param({"database_url": "postgresql://u:hush/hush@127.0.0.1:1/x"}, id="a password that cuts its URL"),
        pytest.param({"database_url": "postgresql://u:hush%hush@127.0.0.1:1/x"}, id="a password that spoils its URL"),
        pytest.param({"redis_url": "redis://:hush-hush@127.0.0.1:1/0"}, id="a Redis that is not there"),
        pytest.param({"redis_url": "redis://:hush/hush@127.0.0.1:1/0"}, id="a password that cuts the URL of Redis"),
        pytest.param({"vault_keys": "hush:hush-hush"}, id="a key that is none"),
    ],
)
def test_no_secret_is_shown_whatever_is_wrong(offline: Callable[..., Bench], changed: dict[str, object]) -> None:
    results = examine(offline(**changed))
    assert worst(results) is State.FAILED
    assert "hush" not in repr(results)


def test_what_a_server_repeats_of_a_secret_is_taken_out(
    offline: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "CHECKS", {"echo": lambda _bench: failed("you said hush-hush", "say hush-hush")})
    found = examine(offline(database_url="postgresql://u:hush-hush@127.0.0.1:1/x"), ["echo"])[0].finding
    assert (found.measured, found.remedy) == ("you said …", "say …")


def test_a_role_that_may_not_ask_redis_for_its_facts_is_told_what_can_be_seen(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def info(*_: object, **__: object) -> None:
        raise redis.exceptions.NoPermissionError("this user has no permissions to run the 'info' command")

    monkeypatch.setattr(redis.Redis, "info", info)
    found = house.look("broker")
    assert (found.state, "unknown version" in found.measured) == (State.OK, True)


@pytest.mark.parametrize(
    ("among", "state"),
    [
        pytest.param([State.OK, State.WARNING, State.FAILED], State.FAILED, id="a failure beats all"),
        pytest.param([State.WARNING, State.OK], State.WARNING, id="a warning beats what is well"),
        pytest.param([], State.OK, id="nothing looked at"),
    ],
)
def test_the_worst_decides(among: list[State], state: State) -> None:
    results = [Result(name="x", finding=Finding(state=each, measured=""), took_s=0) for each in among]
    assert worst(results) is state


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param(counted(1, "row"), "1 row", id="one"),
        pytest.param(counted(12, "row"), "12 rows", id="some"),
        pytest.param(counted(checks.COUNTED, "row"), "1,000 or more rows", id="as many as were counted"),
        pytest.param(lasting(45), "45 s", id="seconds"),
        pytest.param(lasting(600), "10 min", id="minutes"),
        pytest.param(lasting(7200), "2 h", id="hours"),
        pytest.param(lasting(300_000), "3 days", id="days"),
        pytest.param(sized(4_200_000_000), "4.2 GB", id="a size"),
    ],
)
def test_figures_are_written_for_a_person(shown: str, text: str) -> None:
    assert shown == text
