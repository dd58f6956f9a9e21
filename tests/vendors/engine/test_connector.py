import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import vendors.connector
from classifier.vocabulary import Phase
from tests.vendors.engine.fakes import (
    BASE,
    NOW,
    THINGS,
    FakeSession,
    Reply,
    connect,
    define,
    read,
    read_until_error,
)
from vendors.definition import Definition
from vendors.errors import (
    AnswerRefusedError,
    AnswerReportsError,
    DefinitionError,
    MalformedBodyError,
    VendorError,
)
from vendors.page import CursorState, Page, Record
from vendors.wire import Request, Session


def checked(vendor: Any, **top: Any) -> FakeSession:
    session = FakeSession(vendor)
    connect(define(**top)).check(session)
    return session


# ---- check


def test_a_check_makes_one_call_with_the_credentials() -> None:
    session = checked(lambda _: {"name": "me"})
    (request,) = session.requests
    assert (request.url, request.phase, request.data_type) == (f"{BASE}/me", Phase.TEST, None)
    assert request.auth_headers == {"Authorization": "Bearer t0ken"}
    assert session.hidden == {"t0ken"}


@pytest.mark.parametrize(
    "body", [pytest.param(b"", id="nothing"), pytest.param(b"pong", id="a word"), pytest.param(b"<a/>", id="xml")]
)
def test_a_check_may_answer_with_anything(body: bytes) -> None:
    checked(lambda _: Reply(body=body, headers={"content-type": "text/plain"}))
    checked(lambda _: Reply(status=204))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(Reply(status=401), AnswerRefusedError, id="401"),
        pytest.param(Reply(status=403), AnswerRefusedError, id="403"),
        pytest.param(Reply(status=302), AnswerRefusedError, id="a redirect that was not followed"),
        pytest.param(Reply(body={"ok": False}), AnswerReportsError, id="not ok with 200"),
        pytest.param(Reply(body="<!doctype html><title>Sign in"), MalformedBodyError, id="a sign-in page with 200"),
        pytest.param(
            Reply(body="<html><body>Sign in", headers={"content-type": "text/html"}),
            MalformedBodyError,
            id="a sign-in page that says what it is",
        ),
        pytest.param(Reply(body="{"), MalformedBodyError, id="broken json"),
    ],
)
def test_a_check_that_fails(reply: Reply, error: type[VendorError]) -> None:
    with pytest.raises(error):
        checked(lambda _: reply)


def test_a_check_lets_no_error_pass() -> None:
    rules = [{"status": [404], "whole_status": True, "action": "skip_part"}]
    with pytest.raises(AnswerRefusedError):
        checked(lambda _: Reply(status=404), errors=rules)


def test_without_a_check_the_first_page_of_what_stands_alone_is_read() -> None:
    definition = replace(define(), check=None)
    session = FakeSession(lambda _: {"items": [{"id": 1}]})
    connect(definition).check(session)
    assert [(request.url, request.phase) for request in session.requests] == [(f"{BASE}/things", Phase.TEST)]


# ---- rules


def test_a_rule_of_the_data_type_comes_before_the_vendors() -> None:
    fail = [{"status": [404], "body": {"path": "code", "eq": "X"}, "action": "fail"}]
    skip = [{"status": [404], "body": {"path": "code", "eq": "X"}, "action": "skip_part"}]
    answer = Reply(status=404, body={"code": "X"})
    assert read(define({"things": {**THINGS, "errors": skip}}, errors=fail), lambda _: answer).skipped == 1
    assert read_until_error(define({"things": {**THINGS, "errors": fail}}, errors=skip), lambda _: answer).error


def test_a_rule_may_ask_for_new_authorization() -> None:
    """As of a vendor that says 403 to a token that has run out."""
    rules = [{"status": [403], "body": {"path": "message", "contains": "expired"}, "action": "reauthenticate"}]
    auth = {
        "type": "login",
        "request": {"path": "/login", "json": {"k": "${credentials.token}"}},
        "token_path": "token",
        "lifetime": "PT1H",
    }
    count = iter(range(1, 9))

    def vendor(request: Request) -> Any:
        if request.phase is Phase.TOKEN:
            return {"token": f"s{next(count)}"}
        if request.auth_headers["Authorization"] == "Bearer s1":
            return Reply(status=403, body={"message": "token expired"})
        return {"items": [{"id": 1}]}

    found = read(define(auth=auth, errors=rules), vendor)
    assert found.ids == ["1"]
    assert [request.phase.value for request in found.session.requests] == ["token", "data", "token", "data"]


def test_rules_read_success_answers_too() -> None:
    rules = [{"status": [200], "body": {"path": "code", "eq": "NO_LICENCE"}, "action": "fail"}]
    found = read_until_error(define(errors=rules), lambda _: {"items": [], "code": "NO_LICENCE"})
    assert isinstance(found.error, AnswerReportsError)
    assert "lantern.yaml:1" in str(found.error)


# ---- components


class CodeConnector:
    """A connector that is code."""

    data_types = ("things",)

    def __init__(self, definition: Definition, **given: Any) -> None:
        self.definition, self.given = definition, given

    def check(self, session: Session) -> None:
        session.hide("checked")

    def pull(self, session: Session, data_type: str, cursor: CursorState | None) -> Iterator[Page]:
        yield Page(records=(Record(id=f"code-{data_type}", payload={"cursor": cursor}),))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(
        name="quarry", value="tests.vendors.engine.test_connector:CodeConnector", group="connection_health.connectors"
    )
    monkeypatch.setattr(vendors.connector, "entry_points", lambda group: [entry] if group == entry.group else [])
    monkeypatch.setattr(EntryPoint, "load", lambda _: CodeConnector)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["quarry", "tests.vendors.engine.test_connector:CodeConnector"])
def test_a_component_is_found_by_entry_point(name: str) -> None:
    connector = connect(replace(define(), component=name))
    assert isinstance(connector, CodeConnector)
    assert connector.given["credentials"] == {"token": "t0ken"}
    assert connector.given["now"] == NOW


@pytest.mark.usefixtures("installed")
def test_one_data_type_may_be_code_and_be_a_parent() -> None:
    definition = define(
        {
            "hosts": THINGS,
            "things": {
                **THINGS,
                "request": {"path": "/hosts/${parent.host.cursor}/things"},
                "parents": [{"data_type": "hosts", "key": "cursor", "as": "host"}],
            },
        }
    )
    hosts = replace(definition.data_types["hosts"], component="quarry")
    definition = replace(definition, data_types={**definition.data_types, "hosts": hosts})
    found = read(definition, lambda _: {}, "hosts", cursor={"at": "x"})
    assert (found.ids, found.session.requests) == (["code-hosts"], [])


@pytest.mark.usefixtures("installed")
def test_what_is_not_installed_is_not_imported() -> None:
    with pytest.raises(DefinitionError, match="no installed package offers 'os:system'"):
        connect(replace(define(), component="os:system"))


def test_an_unknown_data_type_is_told() -> None:
    with pytest.raises(ValueError, match="lantern has no data type 'nothing'"):
        read(define(), lambda _: {}, "nothing")


# ---- real servers, as recorded


JUPYTERHUB: dict[str, Any] = {
    "auth": {"type": "bearer", "token": "${credentials.token}", "prefix": "token"},
    "headers": {"Accept": "application/jupyterhub-pagination+json"},
    "check": {"path": "/user"},
    "data_types": {
        "users": {
            "request": {"path": "/users"},
            "records": {"path": "items"},
            "id": "name",
            "pagination": {
                "type": "offset",
                "token": {"in": "query.offset"},
                "size": {"value": 500, "in": "query.limit"},
                "total": "_pagination.total",
            },
            "incremental": {"field": "last_activity", "filter": "client"},
        },
        "services": {"request": {"path": "/services"}, "records": {"shape": "object_values"}, "id": "key"},
    },
}


def jupyterhub(request: Request) -> Any:
    if request.url.endswith("/services"):
        return {"seed": {"pid": 0, "prefix": "", "command": [], "kind": "service", "admin": False, "name": "seed"}}
    asked = dict(request.query)
    at, limit = int(asked["offset"]), min(int(asked["limit"]), 200)  # silently cut
    names = [f"user{number:03d}" for number in range(230)][at : at + limit]
    following = {"offset": at + limit, "limit": limit, "url": f"{BASE}/users?offset={at + limit}&limit={limit}"}
    paging = {"offset": at, "limit": limit, "total": 230, "next": following if at + limit < 230 else None}
    active = {"user000": "2026-05-23T06:36:13.335667Z"}
    return {"items": [{"name": name, "last_activity": active.get(name)} for name in names], "_pagination": paging}


def test_jupyterhub_cuts_the_size_and_has_users_who_were_never_active() -> None:
    definition = define(**JUPYTERHUB)
    found = read(definition, jupyterhub, "users")
    assert len(found.ids) == len(set(found.ids)) == 230
    assert len(found.session.requests) == 2
    assert found.session.requests[0].headers["Accept"] == "application/jupyterhub-pagination+json"
    assert found.session.requests[0].auth_headers == {"Authorization": "token t0ken"}
    assert found.cursor is not None
    assert found.cursor["at"] == "2026-05-23T06:36:13.335667+00:00"
    assert len(read(definition, jupyterhub, "users", cursor=found.cursor).ids) == 230


def test_jupyterhub_services_are_an_object_by_name() -> None:
    assert read(define(**JUPYTERHUB), jupyterhub, "services").ids == ["seed"]


def test_jupyterhub_revokes_a_token_between_two_pages() -> None:
    def revoked(request: Request) -> Any:
        if dict(request.query).get("offset") != "0":
            return Reply(status=403, body={"status": 403, "message": "Missing or invalid credentials."})
        return jupyterhub(request)

    found = read_until_error(define(**JUPYTERHUB), revoked, "users")
    assert isinstance(found.error, AnswerRefusedError)
    assert (len(found.ids), found.full_pass, found.cursor) == (200, False, None)


CANAILLE: dict[str, Any] = {
    "base_url": "https://idp.example/scim/v2",
    "credentials": {
        "properties": {"client_id": {"type": "string"}, "client_secret": {"type": "string", "secret": True}},
        "required": ["client_id", "client_secret"],
    },
    "auth": {"type": "oauth2_client_credentials", "token_url": "https://idp.example/oauth/token"},
    "check": {"path": "/ResourceTypes"},
    "data_types": {
        "users": {
            "request": {"path": "/Users", "headers": {"Accept": "application/scim+json"}},
            "records": {"path": "Resources"},
            "id": "id",
            "pagination": {"type": "scim"},
            "incremental": {"field": "meta.lastModified", "filter": "client"},
        }
    },
}
CANAILLE_GIVEN = {"client_id": "sync-cc", "client_secret": "secret"}


def canaille(request: Request) -> Any:
    if request.phase is Phase.TOKEN:
        return {"access_token": "cc", "expires_in": 864000, "scope": "openid profile", "token_type": "Bearer"}
    if request.auth_headers.get("Authorization") != "Bearer cc":
        return Reply(status=401, body={"detail": "invalid_token: …", "status": "401", "schemas": ["…Error"]})
    if "count" in dict(request.query):
        return Reply(status=500, body="<!doctype html>", headers={"content-type": "application/scim+json"})
    start = int(dict(request.query)["startIndex"])
    people = [
        {"id": f"p{number}", "meta": {"lastModified": "2026-05-23T06:26:43Z"}, "active": True}
        for number in range(start, 64)
    ]
    body = {"Resources": people, "startIndex": start, "totalResults": 63, "schemas": ["…ListResponse"]}
    return Reply(body=body, headers={"content-type": "application/scim+json"})


def test_canaille_gives_everybody_at_once() -> None:
    found = read(define(**CANAILLE), canaille, "users", credentials=CANAILLE_GIVEN)
    assert len(found.ids) == 63
    assert [dict(request.query) for request in found.session.requests] == [{}, {"startIndex": "1"}]
    assert found.cursor is not None
    assert found.cursor["at"] == "2026-05-23T06:26:43+00:00"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_client"), (400, "unauthorized_client"), (400, "unsupported_grant_type")]
)
def test_canaille_refuses_the_client(status: int, code: str) -> None:
    found = read_until_error(
        define(**CANAILLE), lambda _: Reply(status=status, body={"error": code}), "users", credentials=CANAILLE_GIVEN
    )
    assert isinstance(found.error, AnswerRefusedError)
    assert (found.error.endpoint, found.error.problem) == ("POST /oauth/token", f"status {status}, {code}")


EDGE: dict[str, Any] = {
    "base_url": "https://edge.example",
    "data_types": {
        "devices": {
            "request": {"path": "/data/page1.json"},
            "records": {"path": "items"},
            "id": "id",
            "pagination": {"type": "next_url", "token": {"from": "next"}},
        }
    },
}


def edge(request: Request) -> Any:
    number = int(request.url.removesuffix(".json")[-1])
    items = [{"id": each, "name": f"device {each}"} for each in range(number * 100 - 99, number * 100 + 1)]
    return {"items": items, "next": f"/data/page{number + 1}.json" if number < 3 else None}


def test_edge_names_its_pages_relatively() -> None:
    found = read(define(**EDGE), edge, "devices")
    assert len(found.ids) == 300
    assert [request.url[-10:] for request in found.session.requests] == ["page1.json", "page2.json", "page3.json"]
    assert all(request.auth_headers for request in found.session.requests)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"items": [{"id": 1, "name": "\xff\xfe"}], "next": null}', id="badutf"),
        pytest.param(b'{"items": []}{"items": []}', id="concatenated"),
        pytest.param(b'{"items": [{"id": NaN}], "next": null}', id="nan"),
        pytest.param(b'{"items": [{"id": 1}, {"i', id="truncated"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"items": {"1": {"id": 1}}, "next": null}', id="wrongshape"),
        pytest.param(b'{"items": null, "next": null}', id="nullrecords"),
        pytest.param(b"<!doctype html><html><head><title>Down for maintenance", id="maintenance with 200"),
    ],
)
def test_edge_breaks_its_bodies(body: bytes) -> None:
    found = read_until_error(define(**EDGE), lambda _: Reply(body=body), "devices")
    assert isinstance(found.error, VendorError)
    assert (found.ids, found.full_pass) == ([], False)


# ---- memory


def peak(count: int, **thing: Any) -> int:
    """The most bytes held while `count` records pass, in pages of 500."""
    definition = define(
        {"things": {**THINGS, "pagination": {"type": "cursor", "token": {"from": "next", "in": "query.p"}}, **thing}}
    )

    def vendor(request: Request) -> Any:
        at = int(dict(request.query).get("p", 0))
        rows = ",".join(f'{{"id": {at + each}, "text": "{"x" * 40}"}}' for each in range(500))
        following = at + 500 if at + 500 < count else "null"
        return Reply(body=f'{{"items": [{rows}], "next": {following}}}')

    session = FakeSession(vendor)
    seen = 0
    tracemalloc.start()
    try:
        for page in connect(definition).pull(session, "things", None):
            seen += len(page.records)
            session.requests.clear()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert seen == count


def test_memory_does_not_grow_with_the_number_of_records() -> None:
    peak(1_000)  # what is made once
    assert peak(200_000) < peak(20_000) * 1.1


def test_memory_does_not_grow_with_the_number_of_parents() -> None:
    def with_parents(count: int) -> int:
        pages = {"type": "cursor", "token": {"from": "next", "in": "query.p"}}
        child = {
            **THINGS,
            "request": {"path": "/hosts/${parent.host.id}/things"},
            "id": ["parent.host.id", "id"],
            "parents": [{"data_type": "hosts", "key": "id", "as": "host"}],
        }
        definition = define({"hosts": {**THINGS, "request": {"path": "/hosts"}, "pagination": pages}, "things": child})

        def vendor(request: Request) -> Any:
            if not request.url.endswith("/hosts"):
                return Reply(body=b'{"items": [{"id": 1}]}')
            at = int(dict(request.query).get("p", 0))
            rows = ",".join(f'{{"id": {at + each}}}' for each in range(100))
            return Reply(body=f'{{"items": [{rows}], "next": {at + 100 if at + 100 < count else "null"}}}')

        session = FakeSession(vendor)
        tracemalloc.start()
        try:
            for _ in connect(definition).pull(session, "things", None):
                session.requests.clear()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with_parents(200)
    assert with_parents(3_000) < with_parents(600) + 128 * 1024  # a mere key kept of each would come to more
