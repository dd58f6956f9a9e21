"""What a customer typed: normalised where that is safe, refused by name where it is not, and never echoed."""

import contextlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vendors.catalogue import Catalogue
from vendors.credentials_schema import LONGEST_VALUE, input_schema, prepare
from vendors.definition import Definition
from vendors.errors import FieldProblem, InvalidCredentialsError
from vendors.loader import load_definition
from vendors.requests_made import base_url_of

SECRET = "s3cr3t-value"
DEFINITIONS = Path(__file__).parent / "definitions"


def a_definition(
    tmp_path: Path,
    *,
    credentials: str = "token: {secret: true}",
    settings: str = "{}",
    required: str = "[token]",
    base_url: str = "https://api.demo.example",
    auth: str = "{type: bearer, token: '${credentials.token}'}",
    more: str = "",
) -> Definition:
    file = tmp_path / "demo.yaml"
    file.write_text(
        f"vendor: demo\ncredentials: {{properties: {{{credentials}}}, required: {required}}}\n"
        f"settings: {{properties: {settings}}}\nbase_url: {base_url}\nauth: {auth}\n"
        f"check: {{path: /me}}\ndata_types: {{users: {{request: {{path: /users}}, id: id}}}}\n{more}"
    )
    return load_definition(file)


@pytest.mark.parametrize(
    ("words", "typed", "value"),
    [
        pytest.param("{}", "  abc \n", "abc", id="blanks are cut off"),
        pytest.param("{}", "\ufeff\u200babc\u00a0", "abc", id="invisible characters too"),
        pytest.param("{}", 12, "12", id="a number becomes text"),
        pytest.param("{prefix: cs_}", "abc", "cs_abc", id="a prefix is put before"),
        pytest.param("{prefix: cs_}", "cs_abc", "cs_abc", id="but not twice"),
        pytest.param("{suffix: .x.example}", "abc", "abc.x.example", id="a suffix is put after"),
        pytest.param("{suffix: .x.example}", "abc.x.example", "abc.x.example", id="but not twice either"),
        pytest.param("{pattern: '^[a-z]+$', suffix: '!'}", "abc!", "abc!", id="the pattern is for what was typed"),
        pytest.param("{default: eu}", "", "eu", id="a default for nothing"),
        pytest.param("{default: eu}", None, "eu", id="and for null"),
        pytest.param("{type: integer}", " 7 ", 7, id="digits become a whole number"),
        pytest.param("{type: number}", "1.5", 1.5, id="or a number"),
        pytest.param("{type: boolean}", "Yes", True, id="yes is true"),
        pytest.param("{type: boolean}", False, False, id="false is false"),
        pytest.param("{type: array}", "a, b\nc,,", ["a", "b", "c"], id="a list by commas and lines"),
        pytest.param("{type: array, items: {type: string, enum: [a, b]}}", ["a"], ["a"], id="a list as it is"),
        pytest.param("{format: multiline}", "-----BEGIN\nx", "-----BEGIN\nx", id="lines where they are meant"),
    ],
)
def test_what_was_typed_is_made_ready(tmp_path: Path, words: str, typed: object, value: object) -> None:
    definition = a_definition(tmp_path, settings=f"{{field: {words}}}")
    assert prepare(definition, {"token": "t"}, {"field": typed}).settings["field"] == value


@pytest.mark.parametrize(
    ("words", "typed", "problem"),
    [
        pytest.param("{pattern: '^[a-z]+$'}", "A1", "does not have the right form (^[a-z]+$)", id="pattern"),
        pytest.param(
            "{pattern: '^[a-z]+$', examples: [acme]}",
            "A1",
            "does not have the right form, such as acme",
            id="with an example",
        ),
        pytest.param("{enum: [eu, us]}", "asia", "should be one of eu, us", id="enum"),
        pytest.param("{minLength: 3}", "ab", "is shorter than 3 characters", id="too short"),
        pytest.param("{maxLength: 3}", "abcd", "is longer than 3 characters", id="too long"),
        pytest.param("{type: integer}", "seven", "should be a whole number", id="no number"),
        pytest.param("{type: integer, minimum: 2}", "1", "should be at least 2", id="too small"),
        pytest.param("{type: integer, maximum: 2}", 3, "should be at most 2", id="too large"),
        pytest.param("{type: boolean}", "maybe", "should be true or false", id="no flag"),
        pytest.param(
            "{type: array, items: {type: string, enum: [a]}}", "b", "should be one of a", id="no item of the list"
        ),
        pytest.param("{type: array}", 5, "should be a list", id="no list"),
        pytest.param("{}", ["a"], "should be text", id="no text"),
        pytest.param("{}", "a\nb", "holds a line break or another control character", id="a line break inside"),
        pytest.param("{}", "x" * (LONGEST_VALUE + 1), "is longer than 65536 characters", id="much too long"),
        pytest.param("{prefix: cs_}", "cs_", "is empty but for its prefix or suffix", id="nothing but the prefix"),
    ],
)
def test_what_does_not_fit_is_told_by_name(tmp_path: Path, words: str, typed: object, problem: str) -> None:
    definition = a_definition(tmp_path, settings=f"{{field: {words}}}")
    with pytest.raises(InvalidCredentialsError) as caught:
        prepare(definition, {"token": "t"}, {"field": typed})
    assert caught.value.problems == (FieldProblem(part="settings", name="field", problem=problem),)


def test_everything_that_is_wrong_is_told_at_once_and_no_value_is_echoed(tmp_path: Path) -> None:
    definition = a_definition(
        tmp_path,
        credentials="token: {secret: true, pattern: '^t[0-9]+$'}, client_id: {}",
        required="[token, client_id]",
        settings="{region: {enum: [eu, us]}}",
    )
    with pytest.raises(InvalidCredentialsError) as caught:
        prepare(definition, {"token": SECRET, "tokne": SECRET, "zzz": SECRET}, {"region": SECRET})
    assert str(caught.value) == (
        "demo: credentials.tokne is unknown (did you mean 'token'?); "
        "credentials.zzz is unknown; known: token, client_id; "
        "credentials.token does not have the right form (^t[0-9]+$); credentials.client_id is missing; "
        "settings.region should be one of eu, us"
    )
    assert SECRET not in repr(caught.value)


def test_secrets_are_listed_and_hidden(tmp_path: Path) -> None:
    definition = a_definition(
        tmp_path, credentials="token: {secret: true, prefix: t_}, pin: {type: integer, secret: true}, id: {}"
    )
    prepared = prepare(definition, {"token": SECRET, "pin": 123456, "id": "open"}, {})
    assert prepared.secrets == (f"t_{SECRET}", SECRET, "123456")
    assert SECRET not in repr(prepared)
    assert "open" not in repr(prepared)


HOSTS = [
    *("evil.example/", "evil.example#", "evil.example?", "x@evil.example", "evil.example:443", "evil.example\\"),
    *("a b", "é", "..", "-a", "[::1]", "a..b", "%2e"),
]


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        pytest.param("Acme", "acme", id="upper case"),
        pytest.param("acme.vendor.example", "acme", id="with the suffix"),
        pytest.param("https://acme.vendor.example/login?x=1", "acme", id="a pasted address"),
        pytest.param("acme.", "acme", id="a dot at the end"),
        pytest.param("acme.eu", "acme.eu", id="two labels"),
    ],
)
@pytest.mark.parametrize("by_suffix", [True, False], ids=["suffix of the field", "suffix in the URL"])
def test_a_host_is_normalised(tmp_path: Path, typed: str, host: str, by_suffix: bool) -> None:
    if by_suffix:
        settings, url = "{site: {suffix: .vendor.example}}", "https://${settings.site}/v1"
    else:
        settings, url = "{site: {}}", "https://${settings.site}.vendor.example/v1"
    definition = a_definition(tmp_path, settings=settings, base_url=url)
    prepared = prepare(definition, {"token": "t"}, {"site": typed})
    scope = {"settings": prepared.settings, "credentials": prepared.credentials}
    assert base_url_of(definition, scope) == f"https://{host}.vendor.example/v1"


@pytest.mark.parametrize("typed", HOSTS)
@pytest.mark.parametrize(
    ("words", "url", "more"),
    [
        ("{suffix: .vendor.example}", "https://${settings.site}/v1", ""),
        ("{}", "https://${settings.site}.vendor.example/v1", ""),
        ("{}", "https://${settings.site}/v1", "allowed_hosts: ['*.vendor.example']\n"),
    ],
    ids=["suffix", "literal", "allow-list"],
)
def test_no_typed_host_leads_elsewhere(tmp_path: Path, typed: str, words: str, url: str, more: str) -> None:
    definition = a_definition(tmp_path, settings=f"{{site: {words}}}", base_url=url, more=more)
    _refused_or_at_home(definition, typed)


@given(typed=st.text(alphabet="ab.:/@#?\\-[]%\t \u3002\uff0f", max_size=24))
def test_no_typed_text_leads_elsewhere(tmp_path_factory: pytest.TempPathFactory, typed: str) -> None:
    folder, settings = tmp_path_factory.getbasetemp(), "{site: {suffix: .vendor.example}}"
    definition = a_definition(folder, settings=settings, base_url="https://${settings.site}/v1")
    _refused_or_at_home(definition, typed)


@pytest.mark.parametrize("port", ["0", "65536", "80@evil.example", "80/x", "८०", "8" * 30, "-1"])
def test_a_port_is_a_port(tmp_path: Path, port: str) -> None:
    definition = a_definition(tmp_path, settings="{port: {}}", base_url="http://127.0.0.1:${settings.port}/x")
    with pytest.raises(InvalidCredentialsError, match=r"settings\.port should be a port, a number from 1 to 65535"):
        prepare(definition, {"token": "t"}, {"port": port})


def test_a_host_outside_the_allow_list_is_told(tmp_path: Path) -> None:
    more, url = "allowed_hosts: ['*.v.example']\n", "https://${settings.site}"
    definition = a_definition(tmp_path, settings="{site: {}}", base_url=url, more=more)
    assert prepare(definition, {"token": "t"}, {"site": "a.v.example"}).settings == {"site": "a.v.example"}
    with pytest.raises(InvalidCredentialsError) as caught:
        prepare(definition, {"token": "t"}, {"site": "v.example.evil.example"})
    assert str(caught.value) == "demo: settings.site leads elsewhere: base_url: its host is none of *.v.example"


WAYS = "{choose: settings.way, map: {key: {type: bearer, token: '${credentials.token}'}, none: {type: none}}}"


def test_only_the_chosen_way_to_authenticate_is_asked_for(tmp_path: Path) -> None:
    definition = a_definition(tmp_path, required="[]", settings="{way: {enum: [key, none], default: key}}", auth=WAYS)
    assert prepare(definition, {}, {"way": "none"}).credentials == {}
    with pytest.raises(InvalidCredentialsError) as caught:
        prepare(definition, {}, {})
    assert caught.value.problems == (FieldProblem(part="credentials", name="token", problem="is missing"),)


def test_a_way_that_needs_a_refresh_token_asks_for_it() -> None:
    canaille = Catalogue().get("canaille")
    credentials = {"client_id": "a", "client_secret": "b"}
    assert prepare(canaille, credentials, {"port": "18400"}).settings["method"] == "client"
    with pytest.raises(InvalidCredentialsError, match=r"credentials\.refresh_token is missing"):
        prepare(canaille, credentials, {"port": "18400", "method": "refresh"})


def test_a_form_gets_json_schema(tmp_path: Path) -> None:
    definition = a_definition(tmp_path, settings="{region: {enum: [eu, us]}}")
    schema = input_schema(definition)
    Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert isinstance(properties, Mapping)
    assert properties["credentials"]["properties"]["token"] == {"type": "string", "writeOnly": True}
    assert properties["credentials"]["required"] == ["token"]
    assert schema["required"] == ["credentials"]
    Draft202012Validator(schema).validate({"credentials": {"token": "x"}, "settings": {"region": "eu"}})


def test_a_vendor_without_settings_has_no_form_for_them() -> None:
    schema = input_schema(load_definition(DEFINITIONS / "quarrylog.yaml"))
    assert isinstance(schema["properties"], Mapping)
    assert set(schema["properties"]) == {"credentials"}


def test_the_error_survives_pickling() -> None:
    error = InvalidCredentialsError("demo", (FieldProblem(part="settings", name="a", problem="is missing"),))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), again.problems) == ("demo: settings.a is missing", error.problems)


def _refused_or_at_home(definition: Definition, typed: str) -> None:
    with contextlib.suppress(InvalidCredentialsError):
        prepared = prepare(definition, {"token": "t"}, {"site": typed})
        url = base_url_of(definition, {"settings": prepared.settings, "credentials": prepared.credentials})
        host = url.removeprefix("https://").removesuffix("/v1")
        assert host.endswith(".vendor.example")
        assert not set("/@#?:\\ ") & set(host)
