from dataclasses import replace
from typing import Any

import pytest

from tests.vendors.engine.fakes import BASE, THINGS, connect, define, read, read_until_error
from vendors.definition import Place, RequestSpec, Target
from vendors.errors import MissingCredentialError, UnexpectedShapeError, UnusableValueError
from vendors.expressions import ACCOUNT_ROOTS, compile_value
from vendors.requests_made import RequestMaker, base_url_of, host_is_allowed, origin_of
from vendors.wire import Request

SETTINGS = {"properties": {"state": {"type": "string"}, "tenant": {"type": "string", "pattern": "^[a-z]+$"}}}


def sent(request: dict[str, Any], settings: dict[str, object] | None = None, **top: Any) -> Request:
    things = {**THINGS, "request": {"path": "/things", **request}}
    definition = define({"things": things}, settings=SETTINGS, **top)
    found = read(definition, lambda _: {"items": []}, settings=settings or {})
    return found.session.requests[0]


def test_a_missing_optional_parameter_is_left_out() -> None:
    query = {"state": "${settings.state?}", "all": True, "n": 5, "kind": ["a", "b"]}
    assert sent({"query": query}).query == (("all", "true"), ("n", "5"), ("kind", "a"), ("kind", "b"))
    assert sent({"query": query}, {"state": "on"}).query[0] == ("state", "on")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(MissingCredentialError, match=r"settings\.state"):
        sent({"query": {"state": "${settings.state}"}})


def test_a_reference_in_a_path_is_encoded_and_cannot_leave_it() -> None:
    assert sent({"path": "/a/${settings.state}/b"}, {"state": "x/y?z#"}).url == f"{BASE}/a/x%2Fy%3Fz%23/b"
    with pytest.raises(UnusableValueError):
        sent({"path": "/a/${settings.state}/b"}, {"state": ".."})


def test_a_query_in_a_url_comes_before_the_other_parameters() -> None:
    spec = RequestSpec(
        path=compile_value("/things?a=1", roots=ACCOUNT_ROOTS), query={"b": compile_value(2, roots=ACCOUNT_ROOTS)}
    )
    draft = RequestMaker(spec, base_url=BASE).draft({})
    assert (draft.url, draft.query, draft.endpoint) == (f"{BASE}/things", [("a", "1"), ("b", "2")], "GET /things")


def test_bodies() -> None:
    assert sent({"json": {"a": "${settings.state?}", "b": [1, None]}}).json == {"b": [1, None]}
    assert sent({"form": {"a": "${settings.state?}", "b": 1}}).form == (("b", "1"),)
    body = sent({"graphql": {"query": "query {a}", "variables": {"n": 5, "s": "${settings.state?}"}}}).json
    assert body == {"query": "query {a}", "variables": {"n": 5}}
    assert sent({"graphql": {"query": "query {a}"}}).json == {"query": "query {a}", "variables": {}}


def test_a_method_is_post_where_there_is_a_body() -> None:
    bodies: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"form": {}})
    assert [sent(body).method for body in bodies] == ["GET", "POST", "POST"]


def test_json_is_asked_for_unless_a_header_says_otherwise() -> None:
    assert sent({}).headers["Accept"].startswith("application/json")
    assert sent({"headers": {"accept": "application/x"}}).headers == {"accept": "application/x"}


def test_values_find_their_places() -> None:
    definition = define({"things": {**THINGS, "request": {"path": "/{n}/x", "headers": {"X-Next": "old"}}}})
    maker = connect(definition)._readers["things"]._maker  # type: ignore[attr-defined] # what is inside
    draft = maker.draft({})
    draft.put(Target(place=Place.QUERY, name="a"), 1)
    draft.put(Target(place=Place.QUERY, name="a"), 2)
    draft.put(Target(place=Place.HEADER, name="x-next"), "new")
    draft.put(Target(place=Place.FORM, name="f"), True)
    draft.put(Target(place=Place.PATH, name="n"), "a/b")
    draft.put(Target(place=Place.JSON, name="page.after"), "c")
    assert (draft.query, draft.form, draft.url) == ([("a", "2")], [("f", "true")], f"{BASE}/a%2Fb/x")
    assert draft.headers == {"x-next": "new", "Accept": draft.headers["Accept"]}
    assert draft.json == {"page": {"after": "c"}}
    draft.json = {"page": 5}
    with pytest.raises(UnexpectedShapeError, match="no place"):
        draft.put(Target(place=Place.JSON, name="page.after"), "c")


def test_drafts_do_not_share_their_bodies() -> None:
    definition = define({"things": {**THINGS, "request": {"path": "/x", "json": {"page": {}}}}})
    maker = connect(definition)._readers["things"]._maker  # type: ignore[attr-defined] # what is inside
    maker.draft({}).put(Target(place=Place.JSON, name="page.after"), "c")
    assert maker.draft({}).json == {"page": {}}


# ---- where calls may go


@pytest.mark.parametrize(
    ("base_url", "settings", "url"),
    [
        pytest.param("https://${settings.host}/v2", {"host": "a.example"}, "https://a.example/v2", id="a host"),
        pytest.param(
            "https://${settings.host}/v2", {"host": "a.example:8443"}, "https://a.example:8443/v2", id="a port"
        ),
        pytest.param("${settings.host}", {"host": "https://a.example/x/"}, "https://a.example/x", id="a whole URL"),
        pytest.param("https://a.example/${settings.host}", {"host": "t1"}, "https://a.example/t1", id="a path"),
        pytest.param(
            {"choose": "settings.host", "map": {"eu": "https://eu.example", "us": "https://us.example"}},
            {"host": "eu"},
            "https://eu.example",
            id="a choice",
        ),
    ],
)
def test_a_base_url(base_url: object, settings: dict[str, object], url: str) -> None:
    definition = replace(define(), base_url=compile_value(base_url, roots=ACCOUNT_ROOTS))
    assert base_url_of(definition, {"settings": settings}) == url


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        pytest.param("https://${settings.host}.lantern.example/v2", "evil.example/", id="a slash moves the host"),
        pytest.param("https://${settings.host}.lantern.example/v2", "evil.example#", id="a fragment"),
        pytest.param("https://${settings.host}.lantern.example/v2", "evil.example?", id="a query"),
        pytest.param("https://${settings.host}.lantern.example/v2", "me@evil.example/", id="a user"),
        pytest.param("https://${settings.host}.lantern.example/v2", "evil.example\\", id="a backslash"),
        pytest.param("https://lantern.example${settings.host}/v2", "@evil.example", id="all before is a user"),
        pytest.param("${settings.host}", "ftp://a.example", id="another scheme"),
        pytest.param("${settings.host}", "https://user:pw@a.example", id="a password in it"),
        pytest.param("${settings.host}", "https://a.example?x=1", id="a query in it"),
        pytest.param("${settings.host}", "https:///x", id="no host"),
        pytest.param("${settings.host}", "nonsense", id="no URL"),
        pytest.param("https://${settings.host}.lantern.example", "a b", id="a blank"),
    ],
)
def test_a_base_url_that_leads_elsewhere_is_refused(base_url: str, host: str) -> None:
    definition = replace(define(), base_url=compile_value(base_url, roots=ACCOUNT_ROOTS))
    with pytest.raises(UnusableValueError):
        base_url_of(definition, {"settings": {"host": host}})


def test_a_list_of_hosts_is_kept_to() -> None:
    definition = replace(
        define(), base_url=compile_value("${settings.host}", roots=ACCOUNT_ROOTS), allowed_hosts=("*.lantern.example",)
    )
    assert base_url_of(definition, {"settings": {"host": "https://eu.lantern.example"}})
    with pytest.raises(UnusableValueError, match="its host is none of"):
        base_url_of(definition, {"settings": {"host": "https://lantern.example.evil.example"}})


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        pytest.param("a.example", True, id="itself"),
        pytest.param("A.Example.", True, id="written otherwise"),
        pytest.param("x.b.example", True, id="below a star"),
        pytest.param("b.example", False, id="the star's own name"),
        pytest.param("xb.example", False, id="a name that ends alike"),
        pytest.param("x.a.example", False, id="below a plain name"),
    ],
)
def test_host_is_allowed(host: str, *, allowed: bool) -> None:
    assert host_is_allowed(host, ("a.example", "*.b.example")) is allowed


def test_origins() -> None:
    assert origin_of("HTTPS://A.example./x") == "https://a.example:443"
    assert origin_of("http://a.example:8080") == "http://a.example:8080"
    with pytest.raises(ValueError, match="not an http"):
        origin_of("ftp://a.example")


@pytest.mark.parametrize(
    ("url", "may"),
    [
        pytest.param("https://logs.lantern.example/x", True, id="by TLS"),
        pytest.param("http://logs.lantern.example/x", False, id="in the clear"),
        pytest.param("http://logs.lantern.example:443/x", False, id="in the clear, at the port of TLS"),
        pytest.param("https://logs.lantern.example:8443/x", False, id="at another port"),
        pytest.param("https://other.example/x", False, id="a host that is not listed"),
    ],
)
def test_a_listed_host_may_see_credentials(url: str, *, may: bool) -> None:
    definition = define(allowed_hosts=["api.lantern.example", "logs.lantern.example"])
    thing = definition.data_types["things"]
    request = RequestSpec(path=compile_value(url, roots=ACCOUNT_ROOTS))
    definition = replace(definition, data_types={"things": replace(thing, request=request)})
    found = read_until_error(definition, lambda _: {"items": []})
    assert [request.auth_headers for request in found.session.requests] == (
        [{"Authorization": "Bearer t0ken"}] if may else []
    )
    assert isinstance(found.error, UnusableValueError) is not may
