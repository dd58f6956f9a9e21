"""OAuth2 by authorization code as a definition says it; what a provider answers: tests/worker/test_authorization."""

from collections.abc import Mapping
from typing import Any

import pytest
from oauthlib.common import Request as OAuthRequest
from oauthlib.oauth2 import AuthorizationCodeGrant
from oauthlib.oauth2.rfc6749.grant_types.authorization_code import code_challenge_method_s256

from tests.vendors.engine.fakes import NOW, THINGS, FakeSession, Reply, Tokens, connect, define
from vendors.connector import app_of
from vendors.consent import (
    Consent,
    challenge_of,
    consent_way,
    new_verifier,
    offers_consent,
    redirect_urls_problem,
)
from vendors.credentials_schema import prepare
from vendors.definition import Auth, AuthType, Definition
from vendors.errors import (
    AuthorizationNeededError,
    InvalidCredentialsError,
    MissingApplicationError,
    MissingReferenceError,
)
from vendors.token_endpoint import AuthContext
from vendors.wire import Request

APP = {"client_id": "us", "client_secret": "s3cret-of-ours"}
BASE = "https://api.lantern.example/v1"


def consenting(**more: Any) -> Definition:
    way = {"type": "oauth2_authorization_code", "authorize_url": "https://id.lantern.example/o", "token_url": "/t"}
    return define(
        auth={**way, **more}, credentials={"properties": {}}, settings={"properties": {"tenant": {"title": "Tenant"}}}
    )


def consent(definition: Definition, app: Mapping[str, object] | None = None, **given: Any) -> Consent:
    scope = {"credentials": given, "settings": {}, "app": APP if app is None else app, "now": NOW}
    way = consent_way(definition, scope)
    assert way is not None
    return Consent("lantern", way, AuthContext(base_url=BASE, scope=scope, tokens=Tokens(), clock=lambda: NOW))


def url_of(definition: Definition, **given: Any) -> str:
    return consent(definition, **given).url(state="st", challenge="ch", redirect_uri="https://we.example/back?a=b")


def test_a_definition_says_no_more_than_where_and_what_for() -> None:
    auth = consenting(scopes=["read", "admin:org"]).auth

    assert (auth.type, auth.app, auth.client_auth) == (AuthType.OAUTH2_AUTHORIZATION_CODE, "lantern", "basic")
    assert auth.client_id is not None
    assert auth.client_id.raw == "${app.client_id}"


@pytest.mark.parametrize(
    ("words", "query"),
    [
        pytest.param({}, "", id="no scopes"),
        pytest.param({"scopes": ["read", "a:b"]}, "&scope=read%20a%3Ab", id="scopes"),
        pytest.param({"scopes": ["read", "write"], "scope_separator": ","}, "&scope=read%2Cwrite", id="commas"),
        pytest.param(
            {"authorize_extra": {"access_type": "offline", "prompt": "consent"}},
            "&access_type=offline&prompt=consent",
            id="further parameters",
        ),
        pytest.param({"authorize_extra": {"tenant": "${settings.tenant?}"}}, "", id="one that is not there"),
    ],
)
def test_the_consent_page_is_called_with_what_the_protocol_wants(words: dict[str, Any], query: str) -> None:
    assert url_of(consenting(**words)) == (
        "https://id.lantern.example/o?response_type=code&client_id=us"
        "&redirect_uri=https%3A%2F%2Fwe.example%2Fback%3Fa%3Db&state=st&code_challenge=ch&code_challenge_method=S256"
        f"{query}"
    )


def test_our_challenge_is_the_one_that_another_implementation_reckons() -> None:
    verifiers = {new_verifier() for _ in range(50)}

    assert len(verifiers) == 50
    for verifier in verifiers:
        assert 43 <= len(verifier) <= 128
        assert code_challenge_method_s256(verifier, challenge_of(verifier))


def test_another_implementation_takes_our_consent_url() -> None:
    class Validator:
        """Says yes to everything that is a question of who, and nothing else."""

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: name != "is_pkce_required"

        def get_default_scopes(self, *_: Any) -> list[str]:
            return []

    grant = AuthorizationCodeGrant(Validator())  # type: ignore[arg-type]  # it answers whatever is asked
    scopes, asked = grant.validate_authorization_request(OAuthRequest(url_of(consenting(scopes=["read", "admin:org"]))))

    assert scopes == ["read", "admin:org"]
    assert (asked["client_id"], asked["state"], asked["redirect_uri"]) == ("us", "st", "https://we.example/back?a=b")
    assert (asked["request"].code_challenge_method, asked["response_type"]) == ("S256", "code")


@pytest.mark.parametrize(
    ("auth", "sends"),
    [
        pytest.param({}, {"Authorization": "Basic dXM6czNjcmV0LW9mLW91cnM="}, id="basic"),
        pytest.param({"client_auth": "form"}, {"client_id": "us", "client_secret": "s3cret-of-ours"}, id="form"),
    ],
)
def test_the_code_is_sent_once_with_the_clients_proof_and_hidden(auth: dict[str, Any], sends: dict[str, str]) -> None:
    session = FakeSession(
        lambda _: {"access_token": "t1", "refresh_token": "r1", "expires_in": 60, "id_token": "not kept"}
    )
    document = consent(consenting(**auth)).exchange(session, code="c0de", verifier="v" * 43, redirect_uri="https://b")

    (request,) = session.requests
    assert request.url == f"{BASE}/t"
    assert not request.idempotent
    form = dict(request.form or ())
    assert (
        form.items()
        >= {
            "grant_type": "authorization_code",
            "code": "c0de",
            "code_verifier": "v" * 43,
            "redirect_uri": "https://b",
        }.items()
    )
    assert {**form, **request.auth_headers}.items() >= sends.items()
    assert session.hidden >= {"c0de", "v" * 43, "s3cret-of-ours", "t1", "r1"}
    assert set(document) == {"for", "access_token", "refresh_token", "obtained_at", "expires_at"}


def test_a_public_client_proves_itself_by_its_verifier_alone() -> None:
    session = FakeSession(lambda _: {"access_token": "t1"})
    public = consent(consenting(), app={"client_id": "us"})
    public.exchange(session, code="c", verifier="v", redirect_uri="https://b")

    (request,) = session.requests
    assert dict(request.auth_headers) == {}
    assert dict(request.form or ())["client_id"] == "us"
    assert "client_secret" not in dict(request.form or ())


def test_an_application_that_the_settings_lack_is_named() -> None:
    with pytest.raises(MissingApplicationError, match="no OAuth application 'lantern'"):
        consent(consenting(), app={})
    with pytest.raises(MissingApplicationError, match="'shared'"):
        consent(consenting(app="shared"), app={})
    with pytest.raises(MissingApplicationError):
        connect(consenting(), credentials={})
    assert app_of(consenting(app="shared")) == "shared"


def test_an_application_of_the_customers_own_is_asked_of_the_customer() -> None:
    fields = {"properties": {"client_id": {}, "client_secret": {"secret": True}}}
    own = {"client_id": "${credentials.client_id}", "client_secret": "${credentials.client_secret}"}
    way = {"type": "oauth2_authorization_code", "authorize_url": "/o", "token_url": "/t", **own}
    definition = define(auth=way, credentials=fields)

    assert url_of(definition, app={}, client_id="they", client_secret="x").startswith(f"{BASE}/o?response_type=code")
    with pytest.raises(InvalidCredentialsError, match=r"credentials\.client_id is missing"):
        prepare(definition, {}, {})
    with pytest.raises(MissingReferenceError):
        consent(definition, app={})
    assert app_of(definition) == ""


def test_consent_is_offered_where_one_of_the_ways_has_it_and_needed_where_it_is_chosen() -> None:
    ways = {
        "key": {"type": "none"},
        "consent": {"type": "oauth2_authorization_code", "authorize_url": "/o", "token_url": "/t"},
    }
    definition = define(
        auth={"choose": "settings.way", "map": ways},
        credentials={"properties": {}},
        settings={"properties": {"way": {"enum": ["key", "consent"]}}},
    )

    assert offers_consent(definition)
    assert not offers_consent(define())
    assert consent_way(definition, {"credentials": {}, "settings": {"way": "key"}}) is None
    chosen = consent_way(definition, {"credentials": {}, "settings": {"way": "consent"}})
    assert isinstance(chosen, Auth)


# ---- renewing


def granted(**more: Any) -> dict[str, Any]:
    session = FakeSession(lambda _: {"access_token": "t1", "refresh_token": "r1", "expires_in": 3600, **more})
    return dict(consent(consenting()).exchange(session, code="c", verifier="v", redirect_uri="https://b"))


def over(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "obtained_at": NOW.timestamp() - 7200, "expires_at": NOW.timestamp() - 3600}


def read(tokens: Tokens, vendor: Any, **words: Any) -> FakeSession:
    session = FakeSession(vendor)
    connector = connect(consenting(**words), credentials={}, tokens=tokens, app=APP)
    list(connector.pull(session, "things", None))
    return session


def vendor_of(answer: dict[str, Any]) -> Any:
    def vendor(request: Request) -> Any:
        return answer if request.url.endswith("/t") else {"items": []}

    return vendor


def test_scopes_are_asked_for_at_the_consent_page_alone() -> None:
    session = read(Tokens(over(granted())), vendor_of({"access_token": "t2"}), scopes=["read"])

    assert dict(session.requests[0].form or ()) == {"grant_type": "refresh_token", "refresh_token": "r1"}


@pytest.mark.parametrize(
    ("answer", "words", "left_s"),
    [
        pytest.param({}, {}, 500, id="the same refresh token goes on to its end"),
        pytest.param({"refresh_token": "r2"}, {}, None, id="another one has an end of its own, which nobody told"),
        pytest.param({"refresh_token": "r2", "refresh_token_expires_in": 900}, {}, 900, id="told"),
        pytest.param({"refresh_token": "r2"}, {"refresh_lifetime": "P1D"}, 86_400, id="documented"),
        pytest.param({"refresh_token": "r2", "x": {"y": 60}}, {"refresh_expires_in_path": "x.y"}, 60, id="elsewhere"),
    ],
)
def test_when_a_refresh_token_ends_is_kept_over_renewals(
    answer: dict[str, Any], words: dict[str, Any], left_s: int | None
) -> None:
    tokens = Tokens(over(granted(refresh_token_expires_in=500)))
    read(tokens, vendor_of({"access_token": "t2", **answer}), **words)

    (saved,) = tokens.saved
    lapses_at = saved.get("lapses_at")
    assert saved.get("refresh_expires_at") == lapses_at
    assert (None if lapses_at is None else round(float(str(lapses_at)) - NOW.timestamp())) == left_s


def test_a_refusal_stands_where_there_is_nothing_to_renew_with() -> None:
    document = granted()
    del document["refresh_token"]
    session = FakeSession(lambda _: Reply(status=401, body={"error": "invalid_token"}))
    connector = connect(consenting(), credentials={}, tokens=Tokens(document), app=APP)

    with pytest.raises(Exception, match="status 401"):
        list(connector.pull(session, "things", None))
    assert [request.url for request in session.requests] == [f"{BASE}/things"]


def test_without_a_grant_nothing_is_sent() -> None:
    session = FakeSession(lambda _: {})
    for document in (None, {**granted(), "for": "another application"}):
        connector = connect(consenting(), credentials={}, tokens=Tokens(document), app=APP)
        with pytest.raises(AuthorizationNeededError, match="nobody has authorized"):
            list(connector.pull(session, "things", None))
    assert session.requests == []


# ---- checks of data types


def test_a_data_type_is_checked_by_its_own_request_and_rules() -> None:
    rules = [{"status": [404], "body": {"path": "code", "eq": "NONE"}, "action": "retry"}]
    things = {**THINGS, "check": {"path": "/things", "query": {"limit": 1}}, "errors": rules}
    definition = define({"things": things, "others": {**THINGS, "request": {"path": "/others"}}})
    session = FakeSession(lambda _: {"items": []})
    connector: Any = connect(definition)

    assert connector.checked_data_types == ("things",)
    connector.check_data_type(session, "things")

    (request,) = session.requests
    assert (request.endpoint, request.query, request.data_type) == ("GET /things", (("limit", "1"),), "things")
    assert request.policy is not None
    with pytest.raises(ValueError, match="others has no check"):
        connector.check_data_type(session, "others")


# ---- where a customer goes afterwards


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("https://app.example/done?x=1", None, id="TLS"),
        pytest.param("http://127.0.0.1:3000/done", None, id="this machine"),
        pytest.param("http://localhost/done", None, id="this machine by name"),
        pytest.param("http://[::1]:3000/done", None, id="this machine, IPv6"),
        pytest.param("http://app.example/done", "https://", id="in the clear"),
        pytest.param("ftp://app.example/done", "https://", id="another protocol"),
        pytest.param("https://user:word@app.example/", "user name", id="a user"),
        pytest.param("http://127.0.0.1:80@evil.example/", "user name", id="a host that looks like another"),
        pytest.param("http://127.0.0.1.evil.example/", "https://", id="a name that begins like this machine"),
        pytest.param("javascript:alert(1)", "whole URL", id="a script"),
        pytest.param("//evil.example/x", "https://", id="no scheme"),
        pytest.param("https:///done", "whole URL", id="no host"),
        pytest.param("https://app.example\\@evil.example/", "character", id="a backslash"),
        pytest.param("https://app.example/\r\nSet-Cookie: a=b", "character", id="a line break"),
        pytest.param(" https://app.example/", "character", id="a blank"),
        pytest.param("https://äpp.example/", "character", id="not ASCII"),
        pytest.param("https://app.example/#x", "fragment", id="a fragment"),
        pytest.param("https://[::1", "whole URL", id="no URL"),
        pytest.param("https://app.example:99999/", "whole URL", id="no port"),
        pytest.param(5, "URL of at most", id="a number"),
        pytest.param("", "URL of at most", id="empty"),
        pytest.param("https://app.example/" + "x" * 2000, "at most", id="too long"),
    ],
)
def test_a_customer_is_sent_only_where_somebody_wrote_a_whole_safe_url(url: object, problem: str | None) -> None:
    found = redirect_urls_problem({"success": url})

    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith("success ")
        assert problem in found


@pytest.mark.parametrize("value", ["https://a.example", [], {}, {"sucess": "https://a.example"}, None, 5])
def test_redirect_urls_of_another_form_are_told(value: object) -> None:
    assert redirect_urls_problem(value) == "should be an object with success and error, each a URL"


def test_redirect_urls_are_no_setting_of_a_vendor_without_a_consent_page() -> None:
    urls = {"oauth2_redirect_urls": {"success": "https://a.example"}}

    assert prepare(consenting(), {}, urls).settings == {}
    with pytest.raises(InvalidCredentialsError, match="oauth2_redirect_urls is unknown"):
        prepare(define(), {"token": "t0ken"}, urls)
