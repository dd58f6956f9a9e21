"""What the simulated vendors hand out, over real sockets."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from simulator.client import Control
from simulator.server import Simulator


def bearer(control: Control, vendor: str, account: str = "north") -> dict[str, str]:
    return {"Authorization": f"Bearer {control.credentials(vendor, account)['token']}"}


Next = Callable[[requests.Response], dict[str, Any] | str | None]


def by_cursor(answer: requests.Response) -> dict[str, Any] | None:
    following = answer.json()["page"]["next"]
    return {"cursor": following} if following else None


def by_offset(answer: requests.Response) -> dict[str, Any] | None:
    result = answer.json()["result"]
    seen = int(result["items"][-1]["id"][4:]) + 1 if result["items"] else result["total"]
    return {"offset": seen} if seen < result["total"] else None


def by_next_url(answer: requests.Response) -> str | None:
    following = answer.json()["next"]
    return str(following) if following else None


def by_link(answer: requests.Response) -> str | None:
    return answer.links["next"]["url"] if "next" in answer.links else None


@pytest.mark.parametrize(
    ("vendor", "path", "items", "following", "total"),
    [
        pytest.param("acme_idp", "/users", lambda d: d["data"], by_cursor, 1240, id="cursor"),
        pytest.param("granite_edr", "/alerts", lambda d: d["result"]["items"], by_offset, 850, id="offset"),
        pytest.param("cedar_cloud", "/findings", lambda d: d["value"], by_next_url, 900, id="next URL"),
        pytest.param("steady_assets", "/assets", lambda d: d, by_link, 5000, id="Link header"),
    ],
)
def test_pages_followed_to_their_end_hold_every_record_once(  # noqa: PLR0917 - the columns of a table
    simulator: Simulator,
    control: Control,
    web: requests.Session,
    vendor: str,
    path: str,
    items: Callable[[Any], list[dict[str, Any]]],
    following: Next,
    total: int,
) -> None:
    url, ids = f"{simulator.url}/{vendor}{path}", []
    query: dict[str, Any] = {}
    headers = bearer(control, vendor)
    while True:
        answer = web.get(url, params=query, headers=headers)
        assert answer.status_code == 200
        ids += [each["id"] for each in items(answer.json())]
        step = following(answer)
        if step is None:
            break
        url, query = (step, {}) if isinstance(step, str) else (url, step)
    assert len(ids) == len(set(ids)) == total


def test_page_numbers_end_where_has_more_is_false(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    keys, page, more = [], 1, True
    while more:
        answer = web.get(
            f"{simulator.url}/pebble_tickets/tickets", params={"page": page}, headers=bearer(control, "pebble_tickets")
        ).json()
        keys += [each["key"] for each in answer["items"]]
        page, more = page + 1, answer["has_more"]
    assert len(set(keys)) == 420


def test_records_are_the_same_ones_each_time(simulator: Simulator, control: Control, web: requests.Session) -> None:
    url = f"{simulator.url}/acme_idp/users"
    once, again = (web.get(url, headers=bearer(control, "acme_idp")).content for _ in range(2))
    assert once == again


def test_an_expired_token_is_refused_until_it_is_replaced(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    url, old = f"{simulator.url}/acme_idp/users", bearer(control, "acme_idp")
    new_token = control.act("acme_idp", "north", "expire_token")["credentials"]["token"]
    refused = web.get(url, headers=old)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert "expired" in refused.json()["error_description"]
    assert web.get(url, headers={"Authorization": f"Bearer {new_token}"}).status_code == 200


def test_accounts_do_not_share_their_troubles(simulator: Simulator, control: Control, web: requests.Session) -> None:
    control.act("acme_idp", "north", "expire_token")
    answer = web.get(f"{simulator.url}/acme_idp/users", headers=bearer(control, "acme_idp", "south"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer nonsense"}, id="no token of this vendor"),
        pytest.param({"Authorization": "Bearer acme_north_9"}, id="a generation to come"),
        pytest.param({"Authorization": "Basic bm9ydGg6MQ=="}, id="another scheme"),
    ],
)
def test_whoever_shows_no_good_token_gets_401(
    simulator: Simulator, web: requests.Session, header: dict[str, str]
) -> None:
    assert web.get(f"{simulator.url}/acme_idp/users", headers=header).status_code == 401


def test_a_missing_scope_forbids_one_data_type_and_leaves_the_other(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    root, headers = f"{simulator.url}/cedar_cloud", bearer(control, "cedar_cloud")
    control.act("cedar_cloud", "north", "revoke", scopes=["findings.read"])
    forbidden = web.get(f"{root}/findings", headers=headers)
    assert (forbidden.status_code, forbidden.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="findings.read"' in forbidden.headers["WWW-Authenticate"]
    assert web.get(f"{root}/assets", headers=headers).status_code == 200
    control.act("cedar_cloud", "north", "grant", scopes=["findings.read"])
    assert web.get(f"{root}/findings", headers=headers).status_code == 200


def test_a_spent_quota_says_when_it_is_full_again_and_keeps_its_word(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    url, headers = f"{simulator.url}/pebble_tickets/tickets", bearer(control, "pebble_tickets")
    control.act("pebble_tickets", "north", "spend_quota", for_s=30)
    spent = web.get(url, headers=headers)
    assert spent.status_code == 429
    assert spent.headers["X-RateLimit-Remaining"] == "0"
    control.advance(float(spent.headers["Retry-After"]))
    assert web.get(url, headers=headers).status_code == 200


def test_six_hundred_requests_spend_the_usual_quota(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    url, headers = f"{simulator.url}/pebble_tickets/me", bearer(control, "pebble_tickets")
    statuses = [web.get(url, headers=headers).status_code for _ in range(601)]
    assert statuses == [200] * 600 + [429]


def test_client_credentials_buy_an_access_token_that_expires(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    root, own = f"{simulator.url}/harbor_crm", control.credentials("harbor_crm", "north")
    pair = (own["client_id"], own["client_secret"])
    bought = web.post(f"{root}/oauth/token", data={"grant_type": "client_credentials"}, auth=pair).json()
    headers = {"Authorization": f"Bearer {bought['access_token']}"}
    assert web.get(f"{root}/contacts", headers=headers).status_code == 200
    control.advance(bought["expires_in"])
    assert web.get(f"{root}/contacts", headers=headers).status_code == 401
    control.act("harbor_crm", "north", "expire_token")
    refused = web.post(f"{root}/oauth/token", data={"grant_type": "client_credentials"}, auth=pair)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_a_refresh_token_works_once_and_a_second_showing_ends_the_grant(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    root, own = f"{simulator.url}/tidal_mail", control.credentials("tidal_mail", "north")

    def renew(form: dict[str, str]) -> requests.Response:
        return web.post(f"{root}/oauth/token", data={"grant_type": "refresh_token", **form})

    first = renew(own).json()
    headers = {"Authorization": f"Bearer {first['access_token']}"}
    assert web.get(f"{root}/mailboxes", headers=headers).status_code == 200
    again = renew(own)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert renew({**own, "refresh_token": first["refresh_token"]}).status_code == 400, "the grant is ended"
    assert web.get(f"{root}/mailboxes", headers=headers).status_code == 401
    fresh = control.act("tidal_mail", "north", "reauthorize")["credentials"]
    assert renew(fresh).status_code == 200


def test_an_export_is_made_asked_for_and_downloaded(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    root, headers = f"{simulator.url}/quarry_audit", bearer(control, "quarry_audit")
    export = web.post(f"{root}/exports", json={"kind": "audit"}, headers=headers).json()["export"]["id"]
    answers = [web.get(f"{root}/exports/{export}", headers=headers).json() for _ in range(3)]
    assert [answer["state"] for answer in answers] == ["WORKING", "WORKING", "READY"]
    body = web.get(answers[-1]["files"][0]["href"]).content
    ids = [json.loads(line)["event_id"] for line in gzip.decompress(body).splitlines()]
    assert len(set(ids)) == 2000


def test_the_plain_vendor_holds_as_many_records_as_are_asked_for(simulator: Simulator, web: requests.Session) -> None:
    ids: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page = web.get(
            f"{simulator.url}/plain/items", params={"records": 250, "page_size": 100, "cursor": cursor}
        ).json()
        ids += [each["id"] for each in page["items"]]
        cursor = page["next"]
    assert len(set(ids)) == 250


def test_a_collection_can_be_made_longer_and_shorter(
    simulator: Simulator, control: Control, web: requests.Session
) -> None:
    control.act("origami_hr", "north", "records", employees=3)
    page = web.get(f"{simulator.url}/origami_hr/employees", headers=bearer(control, "origami_hr")).json()
    assert (len(page["data"]), page["page"]["next"]) == (3, None)


@pytest.mark.parametrize("query", ["cursor=zzz", "limit=0", "limit=-1", "limit=many"])
def test_a_page_that_cannot_be_is_answered_400(
    simulator: Simulator, control: Control, web: requests.Session, query: str
) -> None:
    answer = web.get(f"{simulator.url}/acme_idp/users?{query}", headers=bearer(control, "acme_idp"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_failed")
