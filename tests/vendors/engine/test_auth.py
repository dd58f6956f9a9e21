import base64
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from classifier.vocabulary import Phase
from tests.vendors.engine.fakes import (
    BASE,
    NOW,
    THINGS,
    FakeSession,
    Reply,
    Tokens,
    connect,
    define,
    read,
    read_until_error,
)
from vendors.definition import Definition
from vendors.errors import (
    AnswerRefusedError,
    AnswerReportsError,
    MalformedBodyError,
    MissingCredentialError,
    UnexpectedShapeError,
    UnusableValueError,
)
from vendors.wire import Request

CLIENT: dict[str, Any] = {
    "properties": {"client_id": {"type": "string"}, "client_secret": {"type": "string", "secret": True}},
    "required": ["client_id", "client_secret"],
}
REFRESH: dict[str, Any] = {
    "properties": {**CLIENT["properties"], "refresh_token": {"type": "string", "secret": True}},
    "required": ["client_id", "client_secret", "refresh_token"],
}
CLIENT_GIVEN = {"client_id": "me", "client_secret": "s3cret"}
REFRESH_GIVEN = {**CLIENT_GIVEN, "refresh_token": "r0"}
ITEMS = {"items": [{"id": 1}]}


def client_credentials(**more: Any) -> Definition:
    return define(auth={"type": "oauth2_client_credentials", "token_url": "/oauth/token"} | more, credentials=CLIENT)


def refreshing() -> Definition:
    return define(auth={"type": "oauth2_refresh", "token_url": "/oauth/token"}, credentials=REFRESH)


class Server:
    """A token endpoint that gives out t1, t2 … and an API that takes those that it has not been told to refuse."""

    def __init__(self, *, expires_in: object = 3600, rotates: bool = False) -> None:
        self.expires_in, self.rotates = expires_in, rotates
        self.given = 0
        self.refresh_token = "r0"
        self.refused: set[str] = set()
        self.token_reply: Any = None

    def __call__(self, request: Request) -> Any:
        if request.phase is Phase.TOKEN:
            return self.token_reply if self.token_reply is not None else self.token(request)
        sent = request.auth_headers.get("Authorization", "").removeprefix("Bearer ")
        return Reply(status=401) if sent in self.refused or not sent else ITEMS

    def token(self, request: Request) -> Any:
        if self.rotates and dict(request.form or ()).get("refresh_token") != self.refresh_token:
            return Reply(status=400, body={"error": "invalid_grant"})
        self.given += 1
        answer: dict[str, Any] = {"access_token": f"t{self.given}"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if self.rotates:
            self.refresh_token = f"r{self.given}"
            answer["refresh_token"] = self.refresh_token
        return answer


# ---- keys and passwords


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        pytest.param(
            {"type": "api_key", "in": "header", "name": "X-Key", "value": "SSWS ${credentials.token}"},
            {"X-Key": "SSWS t0ken"},
            (),
            id="a key in a header",
        ),
        pytest.param(
            {"type": "api_key", "in": "query", "name": "key", "value": "${credentials.token}"},
            {},
            (("key", "t0ken"),),
            id="a key in the query",
        ),
        pytest.param(
            {"type": "bearer", "token": "${credentials.token}"}, {"Authorization": "Bearer t0ken"}, (), id="bearer"
        ),
        pytest.param(
            {"type": "bearer", "token": "${credentials.token}", "prefix": "token"},
            {"Authorization": "token t0ken"},
            (),
            id="another word before the token",
        ),
        pytest.param(
            {"type": "basic", "username": "${credentials.token}", "password": ""},
            {"Authorization": "Basic " + base64.b64encode(b"t0ken:").decode()},
            (),
            id="basic without a password",
        ),
        pytest.param({"type": "none"}, {}, (), id="none"),
    ],
)
def test_a_fixed_proof_goes_with_each_request(auth: Any, headers: dict[str, str], query: Any) -> None:
    found = read(define(auth=auth), lambda _: ITEMS)
    assert (found.session.requests[0].auth_headers, found.session.requests[0].auth_query) == (headers, query)
    assert found.session.requests[0].query == ()
    assert "t0ken" in found.session.hidden


def test_the_encoded_password_is_hidden_too() -> None:
    found = read(define(auth={"type": "basic", "username": "me", "password": "${credentials.token}"}), lambda _: ITEMS)
    assert base64.b64encode(b"me:t0ken").decode() in found.session.hidden


def test_a_key_that_a_next_url_repeats_is_sent_once() -> None:
    auth = {"type": "api_key", "in": "query", "name": "key", "value": "${credentials.token}"}
    things = {**THINGS, "pagination": {"type": "next_url", "token": {"from": "next"}}}
    replies = iter([{**ITEMS, "next": f"{BASE}/things?p=2&key=t0ken"}, {"items": []}])
    found = read(define({"things": things}, auth=auth), lambda _: next(replies))
    assert found.session.requests[1].query == (("p", "2"),)
    assert found.session.requests[1].auth_query == (("key", "t0ken"),)


def test_a_choice_goes_by_a_setting() -> None:
    ways = {"a": {"type": "bearer", "token": "${credentials.token}"}, "b": {"type": "none"}}
    definition = define(
        auth={"choose": "settings.way", "map": ways},
        settings={"properties": {"way": {"type": "string", "enum": ["a", "b"]}}, "required": ["way"]},
    )
    assert read(definition, lambda _: ITEMS, settings={"way": "b"}).session.requests[0].auth_headers == {}
    assert read(definition, lambda _: ITEMS, settings={"way": "a"}).session.requests[0].auth_headers
    with pytest.raises(UnusableValueError, match="none of a, b"):
        connect(definition, settings={"way": "c"})


def test_a_missing_credential_is_named() -> None:
    with pytest.raises(MissingCredentialError, match=r"lantern: no value for credentials\.token"):
        connect(define(), credentials={})


def test_a_line_break_in_a_key_is_refused() -> None:
    with pytest.raises(UnusableValueError, match="line break"):
        connect(define(), credentials={"token": "a\r\nX-Evil: 1"})


# ---- client credentials


@pytest.mark.parametrize("way", ["basic", "form", "json"])
def test_a_client_proves_itself(way: str) -> None:
    server = Server()
    definition = client_credentials(client_auth=way, scopes=["read", "audit"], extra={"audience": "inventory"})
    found = read(definition, server, credentials=CLIENT_GIVEN)
    token, data = found.session.requests
    sent = token.json if way == "json" else dict(token.form or ())
    assert (token.method, token.url, token.phase) == ("POST", f"{BASE}/oauth/token", Phase.TOKEN)
    assert isinstance(sent, dict)
    assert sent["grant_type"] == "client_credentials"
    assert (sent["scope"], sent["audience"]) == ("read audit", "inventory")
    assert ("client_secret" in sent) is (way != "basic")
    basic = {"Authorization": "Basic " + base64.b64encode(b"me:s3cret").decode()}
    assert token.auth_headers == (basic if way == "basic" else {})
    assert data.auth_headers == {"Authorization": "Bearer t1"}
    assert {"t1", "s3cret"} <= found.session.hidden


def test_a_token_is_kept_over_runs_until_shortly_before_its_end() -> None:
    server, tokens = Server(expires_in=3600), Tokens()
    for now in (NOW, NOW.replace(minute=30), NOW.replace(minute=58)):
        read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens, now=now)
    assert server.given == 1
    read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens, now=NOW.replace(minute=59, second=30))
    assert server.given == 2


def test_a_token_kept_by_a_clock_that_ran_ahead_is_not_trusted() -> None:
    server, tokens = Server(expires_in=3600), Tokens()
    for now in (NOW.replace(hour=20), NOW):
        read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens, now=now)
    assert server.given == 2


def test_a_token_of_other_credentials_is_not_used() -> None:
    server, tokens = Server(), Tokens()
    read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens)
    read(client_credentials(), server, credentials={**CLIENT_GIVEN, "client_secret": "new"}, tokens=tokens)
    assert server.given == 2


def test_a_token_without_a_lifetime_lasts_until_it_is_refused() -> None:
    server, tokens = Server(expires_in=None), Tokens()
    read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens)
    server.refused.add("t1")
    read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens, now=NOW.replace(year=2027))
    assert server.given == 2


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        pytest.param(600, 600, id="seconds"),
        pytest.param("600", 600, id="seconds as text"),
        pytest.param(int(NOW.timestamp()) + 900, 900, id="a point in time"),
        pytest.param((int(NOW.timestamp()) + 900) * 1000, 900, id="a point in time in milliseconds"),
        pytest.param("2026-06-01T13:00:00Z", 3600, id="a date"),
    ],
)
def test_a_lifetime_is_told_in_many_ways(expires_in: object, seconds: int) -> None:
    tokens = Tokens()
    read(client_credentials(), Server(expires_in=expires_in), credentials=CLIENT_GIVEN, tokens=tokens)
    assert tokens.document is not None
    assert tokens.document["expires_at"] == pytest.approx(NOW.timestamp() + seconds, abs=5)


def test_a_401_with_a_kept_token_renews_it_once() -> None:
    server, tokens = Server(), Tokens()
    read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens)
    server.refused.add("t1")
    found = read(client_credentials(), server, credentials=CLIENT_GIVEN, tokens=tokens)
    assert [request.phase for request in found.session.requests] == [Phase.DATA, Phase.TOKEN, Phase.DATA]
    assert found.ids == ["1"]


def test_a_401_with_a_fresh_token_stands() -> None:
    server = Server()
    server.refused |= {"t1", "t2"}
    found = read_until_error(client_credentials(), server, credentials=CLIENT_GIVEN)
    assert isinstance(found.error, AnswerRefusedError)
    assert [request.phase for request in found.session.requests] == [Phase.TOKEN, Phase.DATA, Phase.TOKEN, Phase.DATA]


def test_a_401_with_a_fixed_key_stands_at_once() -> None:
    found = read_until_error(define(), lambda _: Reply(status=401))
    assert isinstance(found.error, AnswerRefusedError)
    assert len(found.session.requests) == 1


def test_another_workers_token_is_taken_after_a_401_without_asking() -> None:
    """The keeper already holds what another worker has renewed while this one was reading."""
    server, tokens = Server(), Tokens()
    session = FakeSession(server)
    connector = connect(client_credentials(), credentials=CLIENT_GIVEN, tokens=tokens)
    list(connector.pull(session, "things", None))
    other = connect(client_credentials(), credentials=CLIENT_GIVEN, tokens=tokens)
    server.refused.add("t1")
    list(other.pull(FakeSession(server), "things", None))
    list(connector.pull(session, "things", None))
    assert server.given == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(Reply(status=401, body={"error": "invalid_client"}), AnswerRefusedError, id="a wrong secret"),
        pytest.param(Reply(status=400, body={"error": "invalid_scope"}), AnswerRefusedError, id="a wrong scope"),
        pytest.param(Reply(body={"error": "bad_verification_code"}), AnswerReportsError, id="an error with 200"),
        pytest.param(Reply(body={"ok": False}), AnswerReportsError, id="not ok with 200"),
        pytest.param(Reply(body={"token": "x"}), UnexpectedShapeError, id="no token where it should be"),
        pytest.param(Reply(body="<html>sign in</html>"), MalformedBodyError, id="a sign-in page"),
    ],
)
def test_no_token_is_an_error_with_its_reason(reply: Reply, error: type[Exception]) -> None:
    server = Server()
    server.token_reply = reply
    found = read_until_error(client_credentials(), server, credentials=CLIENT_GIVEN)
    assert type(found.error) is error
    assert len(found.session.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        pytest.param(400, "invalid_grant", "fail", id="a spent grant fails"),
        pytest.param(503, "invalid_client", "fail", id="the code beats the status"),
        pytest.param(400, "temporarily_unavailable", "retry", id="a passing code is tried again"),
        pytest.param(400, "slow_down", "retry", id="so is this"),
        pytest.param(503, "", None, id="without a code the default decides"),
    ],
)
def test_oauth_codes_tell_definite_errors_from_passing_ones(status: int, code: str, action: str | None) -> None:
    found = read_until_error(
        client_credentials(), lambda _: Reply(status=status, body={"error": code}), credentials=CLIENT_GIVEN
    )
    policy = found.session.requests[0].policy
    assert policy is not None
    decision = policy(found.session._answer(found.session.requests[0]))
    assert (decision.action.value if decision else None) == action


# ---- refresh with rotation


def test_a_new_pair_is_stored_before_it_is_used() -> None:
    server, tokens = Server(rotates=True), Tokens()
    seen: list[object] = []

    def vendor(request: Request) -> Any:
        if request.phase is Phase.DATA:
            seen.append(tokens.document)
        return server(request)

    read(refreshing(), vendor, credentials=REFRESH_GIVEN, tokens=tokens)
    assert isinstance(seen[0], Mapping)
    assert (seen[0]["access_token"], seen[0]["refresh_token"]) == ("t1", "r1")


def test_a_rotated_token_is_used_for_the_next_renewal() -> None:
    server, tokens = Server(rotates=True), Tokens()
    for hour in (12, 14, 16):
        read(refreshing(), server, credentials=REFRESH_GIVEN, tokens=tokens, now=NOW.replace(hour=hour))
    assert server.given == 3


def test_a_vendor_that_keeps_the_refresh_token_is_asked_with_it_again() -> None:
    server, tokens = Server(), Tokens()
    for hour in (12, 14):
        found = read(refreshing(), server, credentials=REFRESH_GIVEN, tokens=tokens, now=NOW.replace(hour=hour))
    assert dict(found.session.requests[0].form or ())["refresh_token"] == "r0"


def test_a_refresh_is_never_sent_twice() -> None:
    found = read(refreshing(), Server(rotates=True), credentials=REFRESH_GIVEN)
    assert found.session.requests[0].idempotent is False


def test_a_changed_secret_does_not_lose_the_rotated_token() -> None:
    server, tokens = Server(rotates=True), Tokens()
    read(refreshing(), server, credentials=REFRESH_GIVEN, tokens=tokens)
    later = {**REFRESH_GIVEN, "client_secret": "new"}
    read(refreshing(), server, credentials=later, tokens=tokens, now=NOW.replace(hour=20))
    assert server.given == 2


def test_a_new_refresh_token_from_the_customer_wins_over_the_stored_one() -> None:
    server, tokens = Server(rotates=True), Tokens()
    read(refreshing(), server, credentials=REFRESH_GIVEN, tokens=tokens)
    server.refresh_token = "fresh"
    read(refreshing(), server, credentials={**REFRESH_GIVEN, "refresh_token": "fresh"}, tokens=tokens)
    assert server.given == 2


def test_a_spent_refresh_token_is_an_error() -> None:
    server = Server(rotates=True)
    server.refresh_token = "revoked meanwhile"
    found = read_until_error(refreshing(), server, credentials=REFRESH_GIVEN)
    assert isinstance(found.error, AnswerRefusedError)
    assert "400, invalid_grant" in str(found.error)


def test_an_invalid_grant_is_no_failure_where_the_stored_pair_has_changed() -> None:
    """Another worker renewed without our lock: its pair is in the keeper when the vendor refuses ours."""
    tokens = Tokens()
    first = Server(rotates=True)
    read(refreshing(), first, credentials=REFRESH_GIVEN, tokens=tokens)
    stored = dict(tokens.document or {})

    def vendor(request: Request) -> Any:
        if request.phase is Phase.TOKEN:
            tokens.document = {**stored, "access_token": "theirs", "refresh_token": "r9", "expires_at": 9e9}
            return Reply(status=400, body={"error": "invalid_grant"})
        return ITEMS

    saved = len(tokens.saved)
    found = read(refreshing(), vendor, credentials=REFRESH_GIVEN, tokens=tokens, now=NOW.replace(hour=20))
    assert found.session.requests[-1].auth_headers == {"Authorization": "Bearer theirs"}
    assert len(tokens.saved) == saved


def test_many_workers_renew_once() -> None:
    server, tokens = Server(rotates=True), Tokens()
    start = threading.Barrier(8)
    errors: list[object] = []

    def work() -> None:
        start.wait()
        errors.append(read_until_error(refreshing(), server, credentials=REFRESH_GIVEN, tokens=tokens).error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None] * 8
    assert server.given == 1


# ---- login


LOGIN = {
    "type": "login",
    "request": {"path": "/login", "json": {"key": "${credentials.token}"}},
    "token_path": "data.session",
    "in": "header",
    "name": "X-Session",
}


def test_a_login_gives_a_token_for_a_header() -> None:
    tokens = Tokens()

    def vendor(request: Request) -> Any:
        return {"data": {"session": "s1"}} if request.phase is Phase.TOKEN else ITEMS

    found = read(define(auth={**LOGIN, "lifetime": "PT30M"}), vendor, tokens=tokens)
    login, data = found.session.requests
    assert (login.method, login.url, login.json, login.auth_headers) == (
        "POST",
        f"{BASE}/login",
        {"key": "t0ken"},
        {},
    )
    assert data.auth_headers == {"X-Session": "s1"}
    assert tokens.document is not None
    assert tokens.document["expires_at"] == pytest.approx(NOW.timestamp() + 1800, abs=5)
    assert "s1" in found.session.hidden


def test_a_login_may_answer_with_the_bare_token() -> None:
    def vendor(request: Request) -> Any:
        return "bare-token\n" if request.phase is Phase.TOKEN else ITEMS

    auth = {**LOGIN, "token_path": "@", "lifetime": "PT30M"}
    del auth["in"], auth["name"]
    found = read(define(auth=auth), vendor)
    assert found.session.requests[1].auth_headers == {"Authorization": "Bearer bare-token"}


def test_a_token_may_come_as_a_form_or_in_a_header() -> None:
    form = Reply(body="access_token=f1&expires_in=600", headers={"content-type": "application/x-www-form-urlencoded"})
    server = Server()
    server.token_reply = form
    found = read(client_credentials(), server, credentials=CLIENT_GIVEN)
    assert found.session.requests[1].auth_headers == {"Authorization": "Bearer f1"}

    def vendor(request: Request) -> Any:
        return Reply(status=204, headers={"X-Auth": "h1"}) if request.phase is Phase.TOKEN else ITEMS

    found = read(define(auth={**LOGIN, "token_path": "header.X-Auth", "lifetime": "PT1H"}), vendor)
    assert found.session.requests[1].auth_headers == {"X-Session": "h1"}


# ---- who may see them


def test_a_kept_token_is_hidden_from_each_session_that_uses_it() -> None:
    connector = connect(client_credentials(), credentials=CLIENT_GIVEN)
    for _ in range(2):
        session = FakeSession(Server())
        list(connector.pull(session, "things", None))
        assert "t1" in session.hidden


def test_no_secret_is_in_what_is_printed() -> None:
    """A log line or a traceback may print any of these."""
    auth = {**LOGIN, "lifetime": "PT30M"}
    connector = connect(define(auth=auth))
    reader = connector._readers["things"]  # type: ignore[attr-defined] # what is inside
    renewable = reader._shared.caller._authenticator
    printed = repr((reader._shared, renewable._context, renewable._grant._maker.draft(renewable._context.scope)))
    assert "t0ken" not in printed


def test_credentials_go_home_only() -> None:
    elsewhere = define({"things": {**THINGS, "request": {"path": "https://other.example/things", "auth": "none"}}})
    found = read(elsewhere, lambda _: ITEMS)
    assert found.session.requests[0].auth_headers == {}
    assert found.session.requests[0].url == "https://other.example/things"


def test_a_token_url_elsewhere_sees_the_client_and_nothing_else() -> None:
    definition = client_credentials(token_url="https://login.lantern.example/token")
    token, data = read(definition, Server(), credentials=CLIENT_GIVEN).session.requests
    assert (token.url, data.url) == ("https://login.lantern.example/token", f"{BASE}/things")
    assert "t1" not in repr((token.auth_headers, token.form))


def test_token_calls_are_made_for_the_data_type_that_needs_them() -> None:
    found = read(client_credentials(), Server(), credentials=CLIENT_GIVEN)
    assert [request.data_type for request in found.session.requests] == ["things", "things"]
