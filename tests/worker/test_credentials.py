from typing import Any
from uuid import UUID, uuid4

import pytest

from classifier.vocabulary import HealthName
from models import connections, vault
from models.connections import ConnectionView
from models.errors import NotFoundError
from models.vocabulary import Trigger
from simulator.server import Simulator
from tests.worker.conftest import connect
from worker import credentials
from worker.errors import CredentialsRefusedError
from worker.station import Station


def account(simulator: Simulator, vendor: str, name: str) -> dict[str, object]:
    """What a customer copies out of the vendor's console now."""
    found: Any = simulator.world._vendors[vendor]
    return dict(found.credentials(found.account(name)))


def count(station: Station, table: str) -> int:
    with station.database.transaction() as db:
        row = db.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608 - the test's own words
    assert row is not None
    return int(row[0])


def organization(station: Station) -> UUID:
    with station.database.transaction() as db:
        return connections.create_organization(db, "An organization").organization_id


def create(station: Station, vendor: str, given: dict[str, object], options: dict[str, object], **more: Any) -> UUID:
    made, _ = credentials.create(
        station,
        organization_id=organization(station),
        vendor=vendor,
        credentials=given,
        options=options,
        identifier=None,
        refresh_interval_secs=3600,
        timeout_secs=60,
        **more,
    )
    return made


def test_good_credentials_are_told_good_and_nothing_is_stored(station: Station, simulator: Simulator) -> None:
    report = credentials.probe(
        station,
        "acme_idp",
        credentials=account(simulator, "acme_idp", "north"),
        options={"port": simulator.port},
    )

    assert report.is_valid
    assert report.verdict.name is HealthName.HEALTHY
    assert len(report.exchanges) == 1
    assert count(station, "connection") == 0


def test_bad_credentials_are_told_by_the_vendors_own_answer(station: Station, simulator: Simulator) -> None:
    given = account(simulator, "acme_idp", "north")
    simulator.world._vendors["acme_idp"].account("north").generation += 1
    report = credentials.probe(station, "acme_idp", credentials=given, options={"port": simulator.port})

    assert not report.is_valid
    assert report.verdict.name is HealthName.UNAUTHORIZED
    assert report.message == report.verdict.sentence
    assert str(given["token"]) not in report.message + str(report.exchanges) + repr(report)


def test_a_vendor_that_cannot_be_reached_is_a_report_and_no_error(station: Station) -> None:
    report = credentials.probe(station, "plain", credentials={"token": "a-token-of-a-test"}, options={"port": 1})

    assert not report.is_valid
    assert report.verdict.name is not HealthName.HEALTHY


def test_refused_credentials_store_nothing(station: Station, simulator: Simulator) -> None:
    given = account(simulator, "acme_idp", "north")
    simulator.world._vendors["acme_idp"].account("north").enabled = False
    before = count(station, "event")

    with pytest.raises(CredentialsRefusedError) as refused:
        create(station, "acme_idp", given, {"port": simulator.port})

    assert refused.value.vendor == "acme_idp"
    assert [count(station, table) for table in ("connection", "credential", "event")] == [0, 0, before]


def test_a_vendor_that_is_away_is_not_said_to_have_refused(station: Station) -> None:
    with pytest.raises(CredentialsRefusedError, match="could not be tested at plain") as refused:
        create(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1})

    assert not refused.value.is_refusal
    assert refused.value.name is HealthName.VENDOR_SERVER_ERROR
    assert count(station, "credential") == 0


def test_what_a_door_stores_along_is_stored_with_the_rest_or_not_at_all(station: Station, simulator: Simulator) -> None:
    given = account(simulator, "acme_idp", "north")
    seen: list[ConnectionView] = []
    connection_id = create(
        station, "acme_idp", given, {"port": simulator.port}, along=lambda _, view: seen.append(view)
    )
    assert [view.connection_id for view in seen] == [connection_id]

    def refuse(_db: object, _view: ConnectionView) -> None:
        raise ZeroDivisionError

    for change in (
        lambda: create(station, "acme_idp", given, {"port": simulator.port}, along=refuse),
        lambda: credentials.replace(
            station, connection_id, vendor="acme_idp", credentials=given, options={}, test=False, along=refuse
        ),
    ):
        with pytest.raises(ZeroDivisionError):
            change()
    with station.database.connection() as db:
        view = connections.get_connection(db, connection_id)
    assert (count(station, "connection"), view is not None and view.cred_version) == (1, 1)


def test_a_refused_replacement_leaves_the_old_credentials_in_force(station: Station, simulator: Simulator) -> None:
    old = account(simulator, "acme_idp", "north")
    connection_id = create(station, "acme_idp", old, {"port": simulator.port})

    with pytest.raises(CredentialsRefusedError):
        credentials.replace(
            station,
            connection_id,
            vendor="acme_idp",
            credentials={"token": "acme_north_99"},
            options={"port": simulator.port},
        )

    with station.database.transaction() as db:
        view = connections.get_connection(db, connection_id)
        stored = vault.load(db, station.keyring, connection_id, "credentials")
    assert view is not None
    assert (view.cred_version, stored) == (1, old)


def test_a_replacement_counts_up_and_asks_for_a_run(station: Station, simulator: Simulator) -> None:
    connection_id = connect(station, "acme_idp", {"token": "acme_north_99"}, {"port": simulator.port})
    report = credentials.replace(
        station,
        connection_id,
        vendor="acme_idp",
        credentials=account(simulator, "acme_idp", "north"),
        options={"port": simulator.port},
    )

    with station.database.transaction() as db:
        view = connections.get_connection(db, connection_id)
    assert report is not None
    assert report.is_valid
    assert view is not None
    assert (view.cred_version, view.requested_trigger) == (2, Trigger.CREDENTIALS)


def test_a_refresh_token_that_the_test_used_up_is_kept_in_its_renewed_form(
    station: Station, simulator: Simulator
) -> None:
    given = account(simulator, "tidal_mail", "north")
    connection_id = create(station, "tidal_mail", given, {"port": simulator.port})

    with station.database.transaction() as db:
        token = vault.load(db, station.keyring, connection_id, "token")
    assert token is not None
    assert given["refresh_token"] not in token.values(), "the vendor takes each once"
    # A stored token that is good serves the next test too; the one that was typed in would end the grant.
    assert credentials.probe_stored(station, connection_id).is_valid


def test_untested_credentials_are_stored_without_asking_the_vendor(station: Station) -> None:
    connection_id = create(station, "plain", {"token": "a-token-of-a-test"}, {"port": 1}, test=False)
    assert (
        credentials.replace(
            station,
            connection_id,
            vendor="plain",
            credentials={"token": "another-of-it"},
            options={"port": 1},
            test=False,
        )
        is None
    )


def test_what_is_not_there_cannot_be_tested(station: Station) -> None:
    with pytest.raises(NotFoundError):
        credentials.probe_stored(station, uuid4())
