import time
from types import SimpleNamespace
from uuid import UUID

import pytest

from models.errors import DatabaseUnreachableError
from tests.worker.conftest import settings_of
from worker import lease as lease_module
from worker.lease import RENEWALS_PER_LEASE, TRUST_MARGIN, Lease, renewal_interval_s
from worker.station import Station


def lease_until(station: Station, worker_id: UUID) -> tuple[float, bool]:
    """Seconds of a worker's lease that are left in the database, and whether it was given back."""
    with station.database.transaction() as db:
        row = db.execute(
            b"SELECT extract(epoch FROM lease_until - now())::double precision, retired_at IS NOT NULL"
            b" FROM worker WHERE worker_id = %s",
            (worker_id,),
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_lease_is_trusted_for_less_than_the_database_grants(station: Station) -> None:
    left_s, _ = lease_until(station, station.lease.worker_id)
    trusted_s = station.lease._trusted_until.value - time.monotonic()

    assert trusted_s < left_s
    assert trusted_s <= station.settings.lease_s * (1 - TRUST_MARGIN)
    assert station.lease.is_held
    assert station.lease.is_held_by(station.lease.worker_id)
    assert not station.lease.is_held_by(UUID(int=0))


def test_a_lease_is_renewed_several_times_in_its_length(station: Station) -> None:
    assert renewal_interval_s(station.lease) * RENEWALS_PER_LEASE == station.settings.lease_s
    identity = station.lease.worker_id
    with station.database.transaction() as db:
        db.execute(b"UPDATE worker SET lease_until = now() + interval '1 s'")

    assert station.lease.renew(station.control)
    assert station.lease.worker_id == identity
    assert lease_until(station, identity)[0] > 1


def test_a_worker_whose_lease_ended_goes_on_under_another_identity(station: Station) -> None:
    before = station.lease.worker_id
    with station.database.transaction() as db:
        db.execute(b"UPDATE worker SET lease_until = now()")

    assert not station.lease.renew(station.control)
    assert station.lease.worker_id != before
    assert station.lease.is_held
    assert not station.lease.is_held_by(before)
    assert lease_until(station, before)[0] <= 0, "an identity is never used again"


def test_a_lease_that_is_given_back_ends_at_once(station: Station) -> None:
    station.lease.give_back(station.control)

    assert not station.lease.is_held
    left_s, is_given_back = lease_until(station, station.lease.worker_id)
    assert left_s <= 0
    assert is_given_back
    assert not station.lease.renew(station.control), "what was given back cannot be renewed"


def test_without_a_database_nothing_is_held(offline: Station) -> None:
    assert not offline.lease.is_held
    offline.control._pool.timeout = 0.1
    with pytest.raises(DatabaseUnreachableError):
        offline.lease.acquire(offline.control)
    assert not offline.lease.is_held


def test_two_workers_never_share_an_identity() -> None:
    assert Lease(lease_s=20).worker_id != Lease(lease_s=20).worker_id


def test_a_forked_child_begins_with_an_identity_and_connections_of_its_own(station: Station) -> None:
    parents_lease, parents_pool = station.lease.worker_id, station.control
    station.settings = settings_of(database_url=station.settings.database_url.get_secret_value())
    station.after_fork()

    assert station.lease.worker_id != parents_lease
    assert station.control is not parents_pool
    with parents_pool.connection() as db:
        assert db.execute("SELECT 1").fetchone() == (1,), "the child closed what is the parent's"
    parents_pool.close()


def test_a_drain_is_seen_by_children_that_were_forked_before() -> None:
    station = Station.of(settings_of())
    flag = station.draining
    station.after_fork()
    flag.set()
    assert station.draining.is_set()


@pytest.mark.parametrize(
    ("silent_for_s", "ago_s", "late"),
    [
        pytest.param(5.0, 0.0, False, id="renewed as ever"),
        pytest.param(15.0, 0.0, True, id="the answer has just come, and late"),
        pytest.param(15.0, 9.0, True, id="it came late half a lease ago"),
        pytest.param(15.0, 11.0, True, id="and nothing came since"),
    ],
)
def test_a_database_that_was_silent_for_half_a_lease_is_remembered(
    monkeypatch: pytest.MonkeyPatch, silent_for_s: float, ago_s: float, late: bool
) -> None:
    """Others' leases may have ended by that, and ours just not: their workers live."""
    now = 1000.0
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: now))
    made = Lease(lease_s=20)
    made._trust_from(now)
    assert not made.was_late(10)
    now += silent_for_s
    made._trust_from(now)
    now += ago_s
    assert made.was_late(10) is late
