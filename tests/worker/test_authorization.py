"""A customer's consent against a provider that answers as it is told. A real one is in tests/vendors/real."""

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from classifier.vocabulary import HealthName, ResolutionOwner
from models import authorizations, connections, vault
from models.connections import ConnectionView
from models.errors import NotFoundError
from models.vocabulary import ConnectionState, Trigger
from tests.worker.conftest import settings_of
from vendors.consent import challenge_of
from vendors.errors import InvalidCredentialsError
from worker import authorization, credentials
from worker.errors import (
    AttemptRefusedError,
    AuthorizationError,
    AuthorizationLinkError,
    AuthorizationNotOfferedError,
    AuthorizationNotSetUpError,
    CodeRefusedError,
    ConsentDeniedError,
    CredentialsRefusedError,
)
from worker.station import Station

PUBLIC_URL: Final = "https://health.example"
APP: Final = {"client_id": "our-app", "client_secret": "the-secret-of-our-app"}
TOKEN: Final = {"access_token": "access-token-1", "refresh_token": "refresh-token-1", "expires_in": 3600}

DEFINITION: Final = """\
vendor: lanternwatch
title: Lanternwatch
credentials:
  properties:
    token: {title: Token, secret: true}
    client_id: {title: Client ID}
    client_secret: {title: Client secret, secret: true}
settings:
  properties:
    port: {title: Port, pattern: '^[0-9]{2,5}$'}
    method: {enum: [ours, theirs, realm, realm_said, token], default: ours}
base_url: http://127.0.0.1:${settings.port}
auth:
  choose: settings.method
  map:
    ours: &way
      type: oauth2_authorization_code
      authorize_url: /authorize
      token_url: /token
      scopes: [read, offline]
      scope_separator: ','
      authorize_extra: {access_type: offline}
      extra: {audience: inventory}
    theirs:
      type: oauth2_authorization_code
      authorize_url: /authorize
      token_url: /token
      client_id: '${credentials.client_id}'
      client_secret: '${credentials.client_secret}'
      client_auth: form
    realm:
      type: oauth2_authorization_code
      authorize_url: /authorize
      token_url: /token
      app: lanternwatch
      issuer: http://127.0.0.1:${settings.port}/realms/one
    realm_said:
      type: oauth2_authorization_code
      authorize_url: /authorize
      token_url: /token
      app: lanternwatch
      issuer: http://127.0.0.1:${settings.port}/realms/one
      issuer_sent: true
    token: {type: bearer, token: '${credentials.token}'}
check: {path: /me}
data_types:
  devices: {check: {path: /devices, query: {limit: 1}}, request: {path: /devices}, records: {path: items}, id: id}
  alerts: {check: {path: /alerts, query: {limit: 1}}, request: {path: /alerts}, records: {path: items}, id: id}
  notes: {request: {path: /notes}, records: {path: items}, id: id}
""".replace("&way", "")

Reply = Response | Callable[[Request], Response]


class Provider:
    """A vendor on loopback: paths and what they answer; a path's last reply stays."""

    def __init__(self, server: HTTPServer) -> None:
        self.port = server.port
        self.seen: list[Request] = []
        self.forms: list[dict[str, str]] = []
        self.replies: dict[str, list[Reply]] = {
            "/me": [_json({"id": 1})],
            "/devices": [_json({"items": [{"id": 1}]})],
            "/alerts": [_json({"items": []})],
            "/notes": [_json({"items": []})],
            "/token": [_json(TOKEN)],
        }
        server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/token":
            self.forms.append(request.form.to_dict())
        replies = self.replies[request.path]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply if isinstance(reply, Response) else reply(request)

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]


def _json(document: object, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json", headers=headers)


@pytest.fixture
def provider(httpserver: HTTPServer) -> Provider:
    return Provider(httpserver)


@pytest.fixture
def station(fresh_database_url: str, tmp_path: Path) -> Iterator[Station]:
    (tmp_path / "lanternwatch.yaml").write_text(DEFINITION)
    made = Station.of(
        settings_of(
            database_url=fresh_database_url,
            vendors_dir=tmp_path,
            public_url=PUBLIC_URL,
            oauth_apps=json.dumps({"lanternwatch": APP}),
        )
    )
    made.lease.acquire(made.control)
    yield made
    made.close()


def create(station: Station, provider: Provider, given: Mapping[str, object] | None = None, **options: object) -> UUID:
    with station.database.transaction() as db:
        organization = connections.create_organization(db, "An organization")
    made, _ = credentials.create(
        station,
        organization_id=organization.organization_id,
        vendor="lanternwatch",
        credentials=given or {},
        options={"port": str(provider.port), **options},
        identifier=None,
        refresh_interval_secs=3600,
        timeout_secs=60,
    )
    return made


def view_of(station: Station, connection_id: UUID) -> ConnectionView:
    with station.database.connection() as db:
        view = connections.get_connection(db, connection_id)
    assert view is not None
    return view


def token_of(station: Station, connection_id: UUID) -> dict[str, Any] | None:
    with station.database.connection() as db:
        return vault.load(db, station.keyring, connection_id, "token")


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


def begun(station: Station, connection_id: UUID, **more: Any) -> str:
    return state_of(authorization.authorize_url(station, connection_id, **more).url)


def authorized(station: Station, provider: Provider, **options: object) -> UUID:
    connection_id = create(station, provider, {}, **options)
    authorization.finish(station, state=begun(station, connection_id), code="a-good-code")
    return connection_id


# ---- there


def test_the_consent_page_is_asked_for_what_the_definition_says(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    departure = authorization.authorize_url(station, connection_id)

    parts = urlsplit(departure.url)
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.scheme, parts.netloc, parts.path) == ("http", f"127.0.0.1:{provider.port}", "/authorize")
    assert len(asked.pop("state")) >= 43  # 256 bits
    assert len(asked.pop("code_challenge")) == 43
    assert asked == {
        "response_type": "code",
        "client_id": "our-app",
        "redirect_uri": "https://health.example/v1/oauth2/callback",
        "scope": "read,offline",
        "code_challenge_method": "S256",
        "access_type": "offline",
    }
    assert "the-secret" not in departure.url
    assert provider.seen == []


def test_two_attempts_share_neither_state_nor_verifier(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    urls = [authorization.authorize_url(station, connection_id).url for _ in range(2)]

    for name in ("state", "code_challenge"):
        assert len({parse_qs(urlsplit(url).query)[name][0] for url in urls}) == 2


def test_a_connection_that_waits_for_consent_is_neither_tested_nor_run(station: Station, provider: Provider) -> None:
    view = view_of(station, create(station, provider))

    assert (view.state, provider.seen) == (ConnectionState.PENDING, [])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"public_url": None}, "CONNECTION_HEALTH_PUBLIC_URL", id="no public URL"),
        pytest.param({"oauth_apps": None}, "no OAuth application 'lanternwatch'", id="no application"),
        pytest.param({"oauth_apps": '{"other": {"client_id": "x"}}'}, "'lanternwatch'", id="another's application"),
    ],
)
def test_what_the_operator_left_out_is_told_to_the_operator(
    station: Station, provider: Provider, settings: dict[str, Any], words: str
) -> None:
    connection_id = create(station, provider)
    bare = Station.of(settings_of(**{**station.settings.model_dump(), "vault_keys": _keys(station), **settings}))
    try:
        with pytest.raises(AuthorizationNotSetUpError, match=words) as told:
            authorization.authorize_url(bare, connection_id)
    finally:
        bare.close()
    assert told.value.owner is ResolutionOwner.LEEN


def _keys(station: Station) -> str:
    assert station.settings.vault_keys is not None
    return station.settings.vault_keys.get_secret_value()


def test_a_connection_with_a_key_of_its_own_has_no_consent_page(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider, {"token": "a-token-of-a-test"}, method="token")

    assert view_of(station, connection_id).state is ConnectionState.ACTIVE
    assert authorization.link_of(station, view_of(station, connection_id)) is None
    with pytest.raises(AuthorizationNotOfferedError):
        authorization.authorize_url(station, connection_id)
    with pytest.raises(NotFoundError):
        authorization.authorize_url(station, uuid4())


# ---- and back


def test_the_code_is_exchanged_once_with_its_verifier_and_the_token_stored(
    station: Station, provider: Provider
) -> None:
    connection_id = create(station, provider)
    url = authorization.authorize_url(station, connection_id).url
    along: list[ConnectionView] = []

    arrival = authorization.finish(
        station, state=state_of(url), code="a-good-code", along=lambda _, view: along.append(view)
    )

    (form,) = provider.forms
    assert challenge_of(form.pop("code_verifier")) == parse_qs(urlsplit(url).query)["code_challenge"][0]
    assert form == {
        "grant_type": "authorization_code",
        "code": "a-good-code",
        "redirect_uri": "https://health.example/v1/oauth2/callback",
        "audience": "inventory",
    }
    sent = provider.seen[0].authorization
    assert sent is not None
    assert (sent.username, sent.password) == ("our-app", "the-secret-of-our-app")
    assert provider.paths() == ["/token"]  # nothing is tried with the token before it is stored
    view = view_of(station, connection_id)
    assert (view.state, view.requested_trigger, view.cred_version) == (ConnectionState.ACTIVE, Trigger.CREDENTIALS, 2)
    assert (arrival.was_pending, arrival.cred_version, arrival.redirect_url) == (True, 2, None)
    assert [seen.state for seen in along] == [ConnectionState.ACTIVE]
    kept = token_of(station, connection_id)
    assert kept is not None
    assert (kept["access_token"], kept["refresh_token"]) == ("access-token-1", "refresh-token-1")


def test_a_customers_own_application_is_used_where_the_definition_says_so(station: Station, provider: Provider) -> None:
    own = {"client_id": "their-app", "client_secret": "the-secret-of-their-app"}
    connection_id = create(station, provider, own, method="theirs")
    url = authorization.authorize_url(station, connection_id).url
    authorization.finish(station, state=state_of(url), code="a-good-code")

    assert parse_qs(urlsplit(url).query)["client_id"] == ["their-app"]
    assert (provider.forms[0]["client_id"], provider.forms[0]["client_secret"]) == tuple(own.values())


def test_what_a_door_cannot_store_along_leaves_nothing_stored(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)

    def refuse(_db: object, _view: ConnectionView) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        authorization.finish(station, state=begun(station, connection_id), code="a-good-code", along=refuse)
    assert (view_of(station, connection_id).state, token_of(station, connection_id)) == (ConnectionState.PENDING, None)


def test_of_callbacks_that_come_at_once_one_is_taken_and_one_code_is_sent(station: Station, provider: Provider) -> None:
    state = begun(station, create(station, provider))

    def back(_: int) -> str:
        try:
            authorization.finish(station, state=state, code="a-good-code")
        except AttemptRefusedError as refused:
            return refused.problem
        return "taken"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(back, range(8)))

    assert sorted(results) == ["taken", *["was finished before"] * 7]
    assert len(provider.forms) == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param(None, "not begun here", id="none"),
        pytest.param("", "not begun here", id="empty"),
        pytest.param("A" * 43, "not begun here", id="forged"),
        pytest.param("A" * 100_000, "not begun here", id="endless"),
        pytest.param("stäte", "not begun here", id="not ASCII"),
        pytest.param("a\x00b", "not begun here", id="with a zero"),
    ],
)
def test_a_state_that_was_never_given_out_does_nothing(
    station: Station, provider: Provider, state: str | None, words: str
) -> None:
    with pytest.raises(AttemptRefusedError, match=words) as refused:
        authorization.finish(station, state=state, code="a-good-code")
    assert refused.value.redirect_url is None
    assert provider.seen == []


def test_an_attempt_that_took_too_long_is_over(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider, oauth2_redirect_urls={"error": "https://app.example/no?x=1"})
    state = begun(station, connection_id)
    with station.database.transaction() as db:
        db.execute(b"UPDATE authorization_attempt SET expires_at = now()")

    with pytest.raises(AttemptRefusedError, match="took too long") as refused:
        authorization.finish(station, state=state, code="a-good-code")
    assert refused.value.redirect_url is not None
    assert refused.value.redirect_url.startswith("https://app.example/no?x=1&error=attempt_refused&")
    assert provider.seen == []


def test_a_connection_that_was_deleted_meanwhile_gets_no_token(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    states = [begun(station, connection_id) for _ in range(2)]

    def delete(_: Request) -> Response:
        with station.database.transaction() as db:
            connections.delete_connection(db, connection_id)
        return _json(TOKEN)

    provider.replies["/token"] = [delete]
    for state in states:
        with pytest.raises(AttemptRefusedError, match="was deleted"):
            authorization.finish(station, state=state, code="a-good-code")
    assert token_of(station, connection_id) is None
    assert len(provider.forms) == 1


def test_another_attempt_that_was_on_is_void_once_one_was_finished(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    left_open = begun(station, connection_id)
    authorization.finish(station, state=begun(station, connection_id), code="a-good-code")

    with pytest.raises(AttemptRefusedError, match="finished before"):
        authorization.finish(station, state=left_open, code="another-code")


# ---- what can go wrong


@pytest.mark.parametrize(
    ("error", "owner"),
    [
        pytest.param("access_denied", ResolutionOwner.CUSTOMER, id="the customer said no"),
        pytest.param("consent_required", ResolutionOwner.CUSTOMER, id="an administrator must consent"),
        pytest.param("server_error", ResolutionOwner.VENDOR, id="the page failed"),
        pytest.param("temporarily_unavailable", ResolutionOwner.VENDOR, id="the page is away"),
        pytest.param("invalid_scope", ResolutionOwner.LEEN, id="we asked for what is not there"),
        pytest.param("unauthorized_client", ResolutionOwner.LEEN, id="our application may not"),
        pytest.param("<script>alert(1)</script>", ResolutionOwner.CUSTOMER, id="what is no code is not repeated"),
    ],
)
def test_an_error_of_the_consent_page_has_an_owner(
    station: Station, provider: Provider, error: str, owner: ResolutionOwner
) -> None:
    urls = {"success": "https://app.example/yes", "error": "http://localhost:3000/no"}
    connection_id = create(station, provider, oauth2_redirect_urls=urls)

    with pytest.raises(ConsentDeniedError) as denied:
        authorization.finish(station, state=begun(station, connection_id), error=error, code="x")

    assert (denied.value.owner, denied.value.connection_id) == (owner, connection_id)
    assert "<" not in str(denied.value)
    assert denied.value.redirect_url is not None
    assert denied.value.redirect_url.startswith("http://localhost:3000/no?error=consent_denied")
    assert provider.seen == []
    assert view_of(station, connection_id).state is ConnectionState.PENDING


def _slow(_: Request) -> Response:
    return Response("no", status=503, headers={"Retry-After": "1"})


@pytest.mark.parametrize(
    ("replies", "name", "reason"),
    [
        pytest.param(
            [_json({"error": "invalid_grant"}, 400)], HealthName.UNAUTHORIZED, "grant_invalid", id="the code is over"
        ),
        pytest.param(
            [_json({"error": "invalid_client"}, 401)], HealthName.INTERNAL_ERROR, "application", id="our secret"
        ),
        pytest.param(
            [_json({"error": "incorrect_client_credentials"})],
            HealthName.INTERNAL_ERROR,
            "application",
            id="our secret, told with a success status",
        ),
        pytest.param(
            [_json({"error": "unauthorized_client"}, 400)], HealthName.INTERNAL_ERROR, "application", id="not allowed"
        ),
        pytest.param([Response("oops", status=500)], HealthName.VENDOR_SERVER_ERROR, "server_error", id="500"),
        pytest.param([Response("", status=429)], HealthName.RATE_LIMIT_EXCEEDED, "rate_limit", id="429"),
        pytest.param([_json({"token_type": "Bearer"})], HealthName.INTERNAL_ERROR, "schema", id="no token in it"),
        pytest.param([Response("<html>hi</html>")], HealthName.VENDOR_SERVER_ERROR, "outage_page", id="a web page"),
    ],
)
def test_a_code_that_brings_no_token_is_judged_like_any_answer(
    station: Station, provider: Provider, replies: list[Reply], name: HealthName, reason: str
) -> None:
    connection_id = create(station, provider)
    provider.replies["/token"] = replies

    with pytest.raises(CodeRefusedError) as refused:
        authorization.finish(station, state=begun(station, connection_id), code="a-secret-code")

    verdict = refused.value.verdict
    assert (verdict.name, verdict.reason) == (name, reason)
    assert verdict.evidence is not None
    assert refused.value.exchanges
    shown = repr(refused.value) + str(refused.value.exchanges) + str(refused.value)
    assert not [secret for secret in ("a-secret-code", APP["client_secret"]) if secret in shown]
    assert (view_of(station, connection_id).state, token_of(station, connection_id)) == (ConnectionState.PENDING, None)


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
def test_a_customers_own_application_that_is_refused_is_the_customers(
    station: Station, provider: Provider, code: str
) -> None:
    connection_id = create(station, provider, {"client_id": "their-app", "client_secret": "x" * 20}, method="theirs")
    provider.replies["/token"] = [_json({"error": code}, 401)]

    with pytest.raises(CodeRefusedError) as refused:
        authorization.finish(station, state=begun(station, connection_id), code="a-good-code")
    assert (refused.value.owner, refused.value.verdict.reason) == (ResolutionOwner.CUSTOMER, "client_invalid")


@pytest.mark.parametrize(
    "iss",
    [
        pytest.param("https://evil.example", id="another server"),
        pytest.param("https://127.0.0.1", id="the same host at another port"),
        pytest.param("{here}.evil.example", id="a name that begins alike"),
        pytest.param("", id="nobody"),
        pytest.param("https://[", id="no URL"),
    ],
)
@pytest.mark.parametrize("came", [{"code": "a-good-code"}, {"error": "access_denied"}], ids=["a code", "an error"])
def test_an_answer_of_another_server_is_refused_before_its_code_is_sent_anywhere(
    station: Station, provider: Provider, iss: str, came: dict[str, Any]
) -> None:
    connection_id = create(station, provider)
    state = begun(station, connection_id)

    with pytest.raises(AttemptRefusedError, match="another server"):
        authorization.finish(station, state=state, iss=iss.format(here=f"http://127.0.0.1:{provider.port}"), **came)
    assert provider.forms == []
    assert token_of(station, connection_id) is None


def test_an_answer_that_names_its_own_server_is_taken(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    iss = f"http://127.0.0.1:{provider.port}/realms/one"
    authorization.finish(station, state=begun(station, connection_id), code="a-good-code", iss=iss)
    assert token_of(station, connection_id) is not None


@pytest.mark.parametrize("method", ["realm", "realm_said"])
@pytest.mark.parametrize(
    "iss",
    [
        pytest.param("{here}/realms/two", id="another realm of the same host"),
        pytest.param("{here}/realms/one/", id="with a slash more"),
        pytest.param("{here}/realms/One", id="with a capital"),
        pytest.param("{here}", id="the host alone"),
        pytest.param("", id="nobody"),
        pytest.param("https://evil.example/realms/one", id="another server"),
    ],
)
@pytest.mark.parametrize("came", [{"code": "a-good-code"}, {"error": "access_denied"}], ids=["a code", "an error"])
def test_where_the_issuer_is_named_another_one_is_refused_though_its_host_is_the_same(
    station: Station, provider: Provider, iss: str, method: str, came: dict[str, Any]
) -> None:
    connection_id = create(station, provider, method=method)
    state = begun(station, connection_id)

    with pytest.raises(AttemptRefusedError, match="another server"):
        authorization.finish(station, state=state, iss=iss.format(here=f"http://127.0.0.1:{provider.port}"), **came)
    assert provider.forms == []
    assert token_of(station, connection_id) is None


@pytest.mark.parametrize(
    ("method", "says"),
    [
        pytest.param("realm", True, id="the one that is named"),
        pytest.param("realm", False, id="nobody, where it may keep silent"),
        pytest.param("realm_said", True, id="the one that always says so"),
    ],
)
def test_where_the_issuer_is_named_its_answer_is_taken(
    station: Station, provider: Provider, method: str, says: bool
) -> None:
    connection_id = create(station, provider, method=method)
    iss = f"http://127.0.0.1:{provider.port}/realms/one" if says else None
    authorization.finish(station, state=begun(station, connection_id), code="a-good-code", iss=iss)
    assert token_of(station, connection_id) is not None


@pytest.mark.parametrize("came", [{"code": "a-good-code"}, {"error": "access_denied"}], ids=["a code", "an error"])
def test_an_answer_without_an_issuer_is_refused_where_its_server_always_says_it(
    station: Station, provider: Provider, came: dict[str, Any]
) -> None:
    connection_id = create(station, provider, method="realm_said")
    state = begun(station, connection_id)

    with pytest.raises(AttemptRefusedError, match="without `iss`"):
        authorization.finish(station, state=state, **came)
    assert provider.forms == []
    assert token_of(station, connection_id) is None


def test_an_attempt_that_an_older_version_began_is_compared_by_its_host(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider, method="realm_said")
    with station.database.transaction() as db:
        document = {"verifier": "v", "redirect_uri": "https://health.example/back", "issuer": "id.example"}
        state = authorizations.begin(db, station.keyring, connection_id, document).state
    with pytest.raises(AttemptRefusedError, match="another server"):
        authorization.finish(station, state=state, code="a-good-code", iss="https://elsewhere.example")


def test_a_token_endpoint_that_sends_elsewhere_gets_no_code(station: Station, provider: Provider) -> None:
    provider.replies["/token"] = [Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})]
    state = begun(station, create(station, provider))

    with pytest.raises(CodeRefusedError) as refused:
        authorization.finish(station, state=state, code="a-good-code")
    assert refused.value.verdict.reason in {"redirect_refused", "address_refused"}


def test_a_refused_code_leaves_what_was_in_force(station: Station, provider: Provider) -> None:
    connection_id = authorized(station, provider)
    before = token_of(station, connection_id)
    provider.replies["/token"] = [_json({"error": "invalid_grant"}, 400)]

    with pytest.raises(CodeRefusedError):
        authorization.finish(station, state=begun(station, connection_id), code="too-old-a-code")
    view = view_of(station, connection_id)
    assert (token_of(station, connection_id), view.state, view.cred_version) == (before, ConnectionState.ACTIVE, 2)


@pytest.mark.parametrize(
    "error",
    [
        AuthorizationNotOfferedError("v"),
        AuthorizationNotSetUpError("p"),
        AuthorizationLinkError(),
        AttemptRefusedError("took too long", "https://a.example"),
        ConsentDeniedError(UUID(int=1), "access_denied", "no", ResolutionOwner.CUSTOMER, "https://a.example"),
        CredentialsRefusedError("v", "m", HealthName.UNAUTHORIZED, "r", (("alerts", "no"),)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(back), vars(back)) == (str(error), vars(error))
    if isinstance(error, AuthorizationError):
        assert error.code


# ---- links


def test_a_link_opens_its_connection_until_it_was_used(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    link = authorization.link_of(station, view_of(station, connection_id))
    assert link is not None
    assert link.startswith("https://health.example/v1/oauth2/authorize/")
    assert link == authorization.link_of(station, view_of(station, connection_id))
    ticket = link.rpartition("/")[2]
    assert authorization.open_link(station, ticket) == connection_id

    authorization.finish(station, state=begun(station, connection_id), code="a-good-code")

    with pytest.raises(AuthorizationLinkError):
        authorization.open_link(station, ticket)
    again = authorization.link_of(station, view_of(station, connection_id))
    assert again is not None
    assert authorization.open_link(station, again.rpartition("/")[2]) == connection_id


def test_a_definition_that_broke_or_is_gone_harms_no_document(station: Station, provider: Provider) -> None:
    view = view_of(station, create(station, provider))
    folder = station.settings.vendors_dir
    assert folder is not None
    for text in ("vendor: lanternwatch\n", None):
        file = folder / "lanternwatch.yaml"
        file.unlink() if text is None else file.write_text(text)
        later = Station.of(station.settings)
        assert authorization.link_of(later, view) is None
        later.close()


def test_a_link_that_was_changed_or_is_of_another_house_or_too_old_opens_nothing(
    station: Station, provider: Provider
) -> None:
    view = view_of(station, create(station, provider))
    good = authorizations.link_ticket(station.keyring, view.connection_id, 1, now=datetime.now(UTC))
    other = vault.Keyring.parse(vault.generate_key())
    old = datetime.now(UTC) - timedelta(days=authorizations.LINK_DAYS + 1)
    refused = [
        "",
        "x",
        "%00",
        "é" * 54,
        good[:-1],
        good + "A",
        *(good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in (0, 22, 28, 33, 40)),
        authorizations.link_ticket(other, view.connection_id, 1, now=datetime.now(UTC)),
        authorizations.link_ticket(station.keyring, view.connection_id, 1, now=old),
        authorizations.link_ticket(station.keyring, view.connection_id, 2, now=datetime.now(UTC)),
        authorizations.link_ticket(station.keyring, uuid4(), 1, now=datetime.now(UTC)),
    ]
    assert authorization.open_link(station, good) == view.connection_id
    for ticket in refused:
        with pytest.raises(AuthorizationLinkError):
            authorization.open_link(station, ticket)


# ---- where the customer goes afterwards


def test_where_a_customer_is_sent_afterwards_is_checked_beforehand(station: Station, provider: Provider) -> None:
    with pytest.raises(InvalidCredentialsError) as refused:
        create(station, provider, oauth2_redirect_urls={"success": "http://app.example/in-the-clear"})
    (found,) = refused.value.problems
    assert (found.part, found.name) == ("settings", "oauth2_redirect_urls")
    assert found.problem.startswith("success should begin with https://")


# ---- what is stored, and when it ends


def test_neither_state_nor_verifier_nor_token_stands_in_a_table(station: Station, provider: Provider) -> None:
    connection_id = create(station, provider)
    state = begun(station, connection_id)
    begun(station, connection_id)
    authorization.finish(station, state=state, code="a-good-code")
    secrets = [state, provider.forms[0]["code_verifier"], "access-token-1", "refresh-token-1", APP["client_secret"]]

    with station.database.connection() as db:
        held = "".join(
            str(db.execute(f"SELECT {columns} FROM {table} t".encode()).fetchall())  # noqa: S608 - the test's own words
            for table, columns in (
                ("authorization_attempt", "t::text, encode(sealed, 'escape')"),
                ("credential", "t::text, encode(sealed, 'escape')"),
                ("connection", "t::text, 1"),
                ("audit_entry", "t::text, 1"),
            )
        )
    assert not [secret for secret in secrets if secret in held]


@pytest.mark.parametrize(
    ("answer", "access", "refresh", "lapses"),
    [
        pytest.param({"access_token": "a" * 9}, None, None, None, id="nothing is said"),
        pytest.param({"access_token": "a" * 9, "expires_in": 3600}, 3600, None, 3600, id="no refresh token"),
        pytest.param(
            {"access_token": "a" * 9, "expires_in": 3600, "refresh_token": "r" * 9},
            3600,
            None,
            None,
            id="renewed without an end",
        ),
        pytest.param(
            {
                "access_token": "a" * 9,
                "expires_in": "28800",
                "refresh_token": "r" * 9,
                "refresh_token_expires_in": 15_897_600,
            },
            28_800,
            15_897_600,
            15_897_600,
            id="both, one as text",
        ),
    ],
)
def test_when_a_token_ends_is_known(  # noqa: PLR0917 - a table of moments
    station: Station,
    provider: Provider,
    answer: dict[str, object],
    access: int | None,
    refresh: int | None,
    lapses: int | None,
) -> None:
    provider.replies["/token"] = [_json(answer)]
    connection_id = authorized(station, provider)

    with station.database.connection() as db:
        outlook = authorizations.outlook(db, connection_id)
        listed = authorizations.list_lapsing(db, within=timedelta(days=365))
    assert outlook is not None

    def left_s(moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - outlook.obtained_at).total_seconds() / 60) * 60

    assert left_s(outlook.access_token_expires_at) == access
    assert left_s(outlook.refresh_token_expires_at) == refresh
    assert left_s(outlook.lapses_at) == lapses
    assert [each.connection_id for each in listed] == ([] if lapses is None else [connection_id])


def test_before_a_consent_there_is_no_outlook(station: Station, provider: Provider) -> None:
    with station.database.connection() as db:
        assert authorizations.outlook(db, create(station, provider)) is None


# ---- living on the token


def test_a_token_that_is_over_is_renewed_and_kept_before_it_is_used(station: Station, provider: Provider) -> None:
    connection_id = authorized(station, provider)
    _expire(station, connection_id)
    provider.replies["/token"] = [_json({"access_token": "access-token-2", "refresh_token": "refresh-token-2"})]
    kept: list[object] = []

    def me(_: Request) -> Response:
        kept.append(token_of(station, connection_id))
        return _json({"id": 1})

    provider.replies["/me"] = [me]
    assert credentials.probe_stored(station, connection_id).is_valid

    assert provider.forms[-1] == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-token-1",
        "audience": "inventory",
    }
    assert isinstance(kept[0], dict)
    assert (kept[0]["access_token"], kept[0]["refresh_token"]) == ("access-token-2", "refresh-token-2")


def _expire(station: Station, connection_id: UUID, **changed: object) -> None:
    kept = token_of(station, connection_id)
    assert kept is not None
    with station.database.transaction() as db:
        gone = {**kept, "obtained_at": 1_000_000_000.0, "expires_at": 1_000_003_600.0, **changed}
        vault.store(db, station.keyring, connection_id, "token", gone)


@pytest.mark.parametrize(
    ("reply", "name", "reason"),
    [
        pytest.param(_json({"error": "invalid_grant"}, 400), HealthName.UNAUTHORIZED, "grant_invalid", id="revoked"),
        pytest.param(
            _json({"error": "unauthorized_client"}, 400), HealthName.INTERNAL_ERROR, "application", id="not allowed"
        ),
        pytest.param(
            _json(
                {"error": "unauthorized_client", "error_description": "AADSTS700016: not found in the directory"}, 400
            ),
            HealthName.UNAUTHORIZED,
            "client_invalid",
            id="taken out by the customer's administrator",
        ),
        pytest.param(_json({"error": "invalid_client"}, 401), HealthName.INTERNAL_ERROR, "application", id="our app"),
        pytest.param(Response("", status=500), HealthName.VENDOR_SERVER_ERROR, "server_error", id="500"),
        pytest.param(Response("", status=503), HealthName.VENDOR_SERVER_ERROR, "unavailable", id="503"),
        pytest.param(Response("", status=429), HealthName.RATE_LIMIT_EXCEEDED, "rate_limit", id="429"),
    ],
)
def test_a_renewal_that_fails_has_an_owner_and_keeps_the_refresh_token(
    station: Station, provider: Provider, reply: Response, name: HealthName, reason: str
) -> None:
    connection_id = authorized(station, provider)
    _expire(station, connection_id)
    provider.replies["/token"] = [reply]

    report = credentials.probe_stored(station, connection_id)

    assert (report.verdict.name, report.verdict.reason) == (name, reason)
    kept = token_of(station, connection_id)
    assert kept is not None
    assert kept["refresh_token"] == "refresh-token-1"
    provider.replies["/token"] = [_json({"access_token": "access-token-2"})]
    assert credentials.probe_stored(station, connection_id).is_valid


def test_a_token_that_nothing_renews_is_refused_by_the_vendors_own_word(station: Station, provider: Provider) -> None:
    provider.replies["/token"] = [_json({"access_token": "access-token-1"})]
    connection_id = authorized(station, provider)
    provider.replies["/me"] = [_json({"error": "token_expired"}, 401)]

    report = credentials.probe_stored(station, connection_id)

    assert (report.verdict.name, report.verdict.reason) == (HealthName.UNAUTHORIZED, "token_expired")
    assert report.verdict.evidence is not None
    assert report.verdict.evidence.status == 401


def test_access_that_is_over_without_a_refresh_token_asks_for_consent(station: Station, provider: Provider) -> None:
    provider.replies["/token"] = [_json({"access_token": "access-token-1", "expires_in": 60})]
    connection_id = authorized(station, provider)
    _expire(station, connection_id)

    report = credentials.probe_stored(station, connection_id)

    assert (report.verdict.name, report.verdict.resolution_owner) == (
        HealthName.UNAUTHORIZED,
        ResolutionOwner.CUSTOMER,
    )
    assert report.verdict.reason == "grant_invalid"
    assert "nothing to renew it with" in report.message
    assert provider.paths() == ["/token"]


def test_a_new_secret_of_the_application_keeps_what_was_granted_and_another_application_does_not(
    station: Station, provider: Provider
) -> None:
    own = {"client_id": "their-app", "client_secret": "the-first-secret"}
    connection_id = create(station, provider, own, method="theirs")
    authorization.finish(station, state=begun(station, connection_id), code="a-good-code")
    options = view_of(station, connection_id).options

    report = credentials.replace(
        station,
        connection_id,
        vendor="lanternwatch",
        credentials={**own, "client_secret": "another-secret"},
        options=options,
    )

    assert report is None
    assert credentials.probe_stored(station, connection_id).is_valid
    credentials.replace(
        station,
        connection_id,
        vendor="lanternwatch",
        credentials={**own, "client_id": "other-app"},
        options=options,
    )
    told = credentials.probe_stored(station, connection_id)
    assert told.verdict.name is HealthName.UNAUTHORIZED
    assert "no longer in use" in told.message


# ---- data types


def connected(station: Station, provider: Provider) -> UUID:
    return create(station, provider, {"token": "a-token-of-a-test"}, method="token")


def test_each_data_type_that_has_a_check_is_tried_after_the_accounts(station: Station, provider: Provider) -> None:
    provider.replies["/alerts"] = [_json({"error": "insufficient_scope"}, 403)]
    report = credentials.probe_stored(station, connected(station, provider))

    assert report.is_valid
    assert [(each.name, each.is_ok, each.endpoint, each.is_refused) for each in report.data_types] == [
        ("devices", True, "GET /devices", False),
        ("alerts", False, "GET /alerts", True),
    ]
    assert report.message == "The vendor took the credentials, but they do not open alerts."
    assert "insufficient_scope" in report.data_types[1].sentence


def test_no_data_type_is_tried_where_the_account_itself_is_refused(station: Station, provider: Provider) -> None:
    connection_id = connected(station, provider)
    provider.seen.clear()
    provider.replies["/me"] = [_json({}, 401)]
    report = credentials.probe_stored(station, connection_id)

    assert (report.is_valid, report.data_types, provider.paths()) == (False, (), ["/me"])


def test_a_vendor_that_wants_a_pause_ends_the_test_of_data_types(station: Station, provider: Provider) -> None:
    connection_id = connected(station, provider)
    provider.replies["/devices"] = [Response("", status=429, headers={"Retry-After": "600"})]

    report = credentials.probe_stored(station, connection_id)

    assert report.is_valid
    assert [each.is_ok for each in report.data_types] == [None, None]
    assert report.data_types[1].sentence.startswith("was not tried: ")
    assert report.message == "The vendor took the credentials; devices and alerts could not be tried."


def test_credentials_that_would_lose_a_data_type_are_refused_and_the_old_ones_stay(
    station: Station, provider: Provider
) -> None:
    connection_id = connected(station, provider)
    _last_run_read(station, connection_id, ["devices", "alerts"])
    provider.replies["/alerts"] = [_json({"error": "insufficient_scope"}, 403)]
    new = {"token": "a-token-that-may-less"}

    with pytest.raises(CredentialsRefusedError, match="read alerts, these may not") as refused:
        credentials.replace(station, connection_id, vendor="lanternwatch", credentials=new, options=_options(provider))

    assert [name for name, _ in refused.value.lost] == ["alerts"]
    assert refused.value.is_refusal
    assert view_of(station, connection_id).cred_version == 1

    _last_run_read(station, connection_id, ["devices"])  # the old ones have lost it themselves: partial beats none
    assert credentials.replace(
        station, connection_id, vendor="lanternwatch", credentials=new, options=_options(provider)
    )
    assert view_of(station, connection_id).cred_version == 2


def _options(provider: Provider) -> dict[str, object]:
    return {"port": str(provider.port), "method": "token"}


def _last_run_read(station: Station, connection_id: UUID, names: list[str]) -> None:
    read = json.dumps([{"data_type": name, "ended": name in names} for name in ("devices", "alerts", "notes")])
    with station.database.transaction() as db:
        db.execute(
            b"UPDATE health SET name = 'HEALTHY', status = 'HEALTHY', owner = 'LEEN', reason = 'ok', since = now(),"
            b" run_seq = run_seq + 1, data_types = %s::jsonb WHERE connection_id = %s",
            (read, connection_id),
        )
