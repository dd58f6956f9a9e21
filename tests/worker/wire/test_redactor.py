"""Redaction: no secret is kept in any encoding, and no machine code is lost."""

import base64
import html
import json
import traceback
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.worker.wire.conftest import SECRET, OpenRun
from tests.worker.wire.faults import FaultServer
from vendors.wire import Request
from worker.wire.capture import SAMPLE_BYTES
from worker.wire.redactor import MASK, SHORTEST_ANYWHERE, Redactor, is_secret_header

TOKEN = "sk-9f8e7d6c5b4a39281706"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda secret: secret,
    "lower case": str.lower,
    "upper case": str.upper,
    "percent": lambda secret: urllib.parse.quote(secret, safe=""),
    "percent as in a path": urllib.parse.quote,
    "percent, small digits": lambda secret: (
        urllib.parse.quote(secret, safe="").replace("%2F", "%2f").replace("%3D", "%3d")
    ),
    "percent twice": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
    "form": urllib.parse.quote_plus,
    "json": json.dumps,
    "json, not ASCII": lambda secret: json.dumps(secret, ensure_ascii=False),
    "json, escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "html": html.escape,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "base64 of a pair": lambda secret: base64.b64encode(f"user@x:{secret}".encode()).decode(),
    "base64 of a longer pair": lambda secret: base64.b64encode(f"client-1:{secret}".encode()).decode(),
    "base64 within more": lambda secret: base64.b64encode(f"aa{secret}zzz".encode()).decode(),
    "base64, percent": lambda secret: urllib.parse.quote(base64.b64encode(secret.encode()).decode(), safe=""),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "hexadecimal, upper case": lambda secret: secret.encode().hex().upper(),
    "UTF-8 read as Latin-1": lambda secret: secret.encode().decode("latin-1"),
}


def shown_as(name: str, secret: str) -> str:
    """Return the secret in an encoding, without the quotation marks that JSON puts around it."""
    shown = ENCODINGS[name](secret)
    return shown[1:-1] if name.startswith("json") else shown


class TestByValue:
    @pytest.mark.parametrize("name", ENCODINGS)
    @pytest.mark.parametrize(
        "secret", [SECRET, TOKEN, "pässwörd ünd mehr", "a&b<c>\"d'e", "x+y/z==\\\\q", "日本語の秘密です"]
    )
    @pytest.mark.parametrize(
        "around", ["{}", "before {} after", "abc{}abc", '{{"echo": "{}"}}', "https://x.example/{}?q={}"]
    )
    def test_no_encoding_is_kept(self, name: str, secret: str, around: str) -> None:
        text = around.replace("{{", "{").replace("}}", "}").replace("{}", shown_as(name, secret))
        clean = Redactor((secret,)).data(text.encode())
        assert MASK.encode() in clean
        for kept in (secret, secret.lower(), secret.upper()):
            assert kept.encode() not in clean
        if "base64" in name:
            digits = base64.b64encode(secret.encode()).decode().rstrip("=")
            assert digits[1:-1].encode() not in clean

    @pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16"])
    def test_utf_16_is_no_hiding_place(self, codec: str) -> None:
        shown = TOKEN.encode(codec)
        assert shown[2:-2] not in Redactor((TOKEN,)).data(b"\0x" + shown + b"x\0")

    @settings(max_examples=150, deadline=None)
    @example(secret="0" * 8, before="0", after="0", name="raw")
    @example(secret="%41%42%43", before="", after="", name="percent twice")
    @given(
        secret=st.text(
            st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=SHORTEST_ANYWHERE, max_size=80
        ),
        before=st.text(max_size=20),
        after=st.text(max_size=20),
        name=st.sampled_from(sorted(ENCODINGS)),
    )
    def test_whatever_the_secret_is(self, secret: str, before: str, after: str, name: str) -> None:
        secret = secret.strip()
        if len(secret) < SHORTEST_ANYWHERE or secret in before + after or secret in MASK * 9:
            return
        shown = shown_as(name, secret)
        clean = Redactor((secret,)).data((before + "|" + shown + "|" + after).encode("utf-8", "surrogatepass"))
        if "base64" in name or name in {"lower case", "upper case"}:
            assert f"|{shown}|".encode() not in clean
        else:
            assert shown.encode("utf-8", "surrogatepass") not in clean or shown in before + after

    def test_several_secrets_of_which_one_holds_the_other(self) -> None:
        redactor = Redactor(("abcdefgh", "abcdefghijklmnop"))
        assert redactor.text("x abcdefghijklmnop y abcdefgh z") in {"x *** y *** z", "x ***ijklmnop y *** z"}

    def test_a_short_secret_is_masked_where_it_stands_alone(self) -> None:
        redactor = Redactor(("ab12",))
        assert redactor.text('{"pin": "ab12", "id": "cab12d"}') == '{"pin": "***", "id": "cab12d"}'

    @pytest.mark.parametrize("secret", ["", "1", "ab", "429"])
    def test_too_short_a_secret_blots_nothing_out(self, secret: str) -> None:
        text = '{"code": 429, "id": "1ab", "message": "slow down"}'
        assert Redactor((secret,)).text(text) == text

    def test_short_secrets_are_masked_by_their_places(self) -> None:
        redactor = Redactor(("ab",))
        assert redactor.headers({"authorization": "Basic ab", "x-api-key": "ab"}) == {
            "authorization": MASK,
            "x-api-key": MASK,
        }
        assert redactor.text("https://x.example/?api_key=ab&page=2") == "https://x.example/?api_key=***&page=2"

    def test_a_secret_learned_later_is_masked_from_then_on(self) -> None:
        redactor = Redactor()
        redactor.hide(TOKEN + "\n")
        assert TOKEN not in redactor.text(f"token {TOKEN}!")

    def test_it_does_not_show_its_secrets(self) -> None:
        assert TOKEN not in repr(Redactor((TOKEN,)))


class TestByPattern:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            (
                '{"access_token": "abcDEF123", "token_type": "Bearer"}',
                '{"access_token": "***", "token_type": "Bearer"}',
            ),
            ('{"refresh_token":"r\\"x","expires_in":3600}', '{"refresh_token":"***","expires_in":3600}'),
            ('{"accessToken" : "abcDEF123"}', '{"accessToken" : "***"}'),
            ('{"client_secret": "plainwordsecret"}', '{"client_secret": "***"}'),
            ('{"X-Api-Key": "abc123"}', '{"X-Api-Key": "***"}'),
            ('{"Authorization": "Bearer a b c d"}', '{"Authorization": "***"}'),
            ('{"headers": {"Cookie": "a=b; c=d; e=f"}}', '{"headers": {"Cookie": "***"}}'),
            ('{"access_token": "cut-off-at-the-end', '{"access_token": "***'),
            ("grant_type=refresh_token&refresh_token=abc.def&client_secret=x9", None),
            ("curl -H 'Authorization: Bearer abc.def-123'", "curl -H 'Authorization: Bearer ***'"),
            ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic ***"),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl here", "token *** here"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nend", "***\nend"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE cut", "***"),
            ("https://u:p@x.example/a", "https://***@x.example/a"),
            ("https://x.example/a?X-Amz-Signature=0a1b2c&X-Amz-Credential=AKIA&x=1", None),
            ("https://x.example/cb?code=4/0AfJohXlongauthorizationcode&state=1", None),
        ],
    )
    def test_credentials_by_name_and_shape_are_masked(self, text: str, clean: str | None) -> None:
        found = Redactor().text(text)
        assert MASK in found
        if clean is not None:
            assert found == clean
        for kept in ("abc.def", "x9", "0a1b2c", "AKIA", "4/0AfJoh"):
            assert kept not in found

    @pytest.mark.parametrize(
        "text",
        [
            '{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}',
            '{"error": "invalid_token", "code": "InvalidAuthenticationToken"}',
            '{"errors": {"client_secret": "is invalid", "api_key": "missing", "pwd": "This field may not be blank."}}',
            '{"refresh_token": "expired"}',
            '{"password": ["too short"], "token": null, "secret": 5}',
            'Bearer realm="x", error="invalid_token", error_description="The Bearer token expired"',
            'Bearer authorization_uri="https://login.example/authorize", error="insufficient_claims"',
            "Bearer authentication is required for this resource",
            'Basic realm="Restricted"',
            '{"next_page_token": "abc123def456", "key": "PROJ-17", "keys": ["a"]}',
            "https://x.example/items?page_token=abc123&page=2&sort_key=name&code=403",
            "https://x.example/cb?error=access_denied&error_code=65004",
            '{"code": "TokenExpired", "token_count": 12, "max_tokens": 4096}',
            "429 Too Many Requests: quota for key exceeded",
        ],
    )
    def test_machine_codes_and_sentences_stay(self, text: str) -> None:
        assert Redactor((TOKEN,)).text(text) == text

    @pytest.mark.parametrize(
        ("name", "is_secret"),
        [
            ("authorization", True),
            ("proxy-authorization", True),
            ("cookie", True),
            ("set-cookie", True),
            ("x-api-key", True),
            ("apikey", True),
            ("ocp-apim-subscription-key", False),
            ("x-auth-token", True),
            ("x-amz-security-token", True),
            ("dd-api-key", True),
            ("private-token", False),
            ("x-vault-token", True),
            ("www-authenticate", False),
            ("x-ratelimit-remaining-tokens", False),
            ("x-ratelimit-limit-tokens", False),
            ("retry-after", False),
            ("x-request-id", False),
            ("x-amzn-errortype", False),
        ],
    )
    def test_headers_that_carry_credentials_are_known_by_name(self, name: str, *, is_secret: bool) -> None:
        assert is_secret_header(name) is is_secret


# --- the whole way: a vendor that echoes ------------------------------------------------------------------------------


def everywhere(server: FaultServer, shown: str) -> dict[str, str]:
    """Set up a path for each place in which a vendor may echo. Returns name -> URL."""
    header_safe = shown.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "")
    url_safe = urllib.parse.quote(shown, safe="%")

    def drop(peer: Any) -> None:
        peer.send(f"HTTP/1.1 200 {header_safe}\r\nContent-Length: 9999\r\n\r\n".encode("latin-1") + shown.encode())
        peer.close()

    return {
        "body": server.on("/body", lambda peer: peer.answer(403, f'{{"m": "{shown}"}}'.encode())),
        "body of a success": server.on("/fine", lambda peer: peer.answer(200, f'{{"m": "{shown}"}}'.encode())),
        "header": server.on("/header", lambda peer: peer.answer(400, X_Echo=header_safe)),
        "header's name": server.on(
            "/name", lambda peer: peer.send(f"HTTP/1.1 400 X\r\nX-{TOKEN}: 1\r\nContent-Length: 0\r\n\r\n".encode())
        ),
        "cookie": server.on("/cookie", lambda peer: peer.answer(400, Set_Cookie=f"a={header_safe}; Path=/")),
        "redirect": server.on("/redirect", lambda peer: peer.answer(302, Location=f"/body?echo={url_safe}")),
        "refused redirect": server.on("/away", lambda peer: peer.answer(302, Location=f"http://10.0.0.1/{url_safe}")),
        "end of a sample": server.on(
            "/long",
            lambda peer: peer.answer(400, b"." * (SAMPLE_BYTES - len(shown) // 2) + shown.encode() + b"." * 99999),
        ),
        "short body": server.on("/drop", drop),
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(ENCODINGS)), secret=st.sampled_from([SECRET, TOKEN]))
def test_a_vendor_that_echoes_the_secret_anywhere_gets_it_into_nothing_that_is_kept(
    server: FaultServer, open_run: OpenRun, name: str, secret: str
) -> None:
    shown = shown_as(name, secret)
    run = open_run(server, redactor=Redactor((secret, TOKEN)))
    kept: list[object] = []
    for url in everywhere(server, shown).values():
        request = Request(
            method="GET",
            url=url,
            endpoint="GET /echo",
            data_type=url,
            auth_headers={"Authorization": f"Bearer {secret}"},
            auth_query=(("key", secret),),
            idempotent=False,
        )
        try:
            kept.append(repr(run.session.send(request)))
        except Exception as error:  # noqa: BLE001 - what it is, is in other tests
            kept += _texts(error)
        last = run.capture.last(url)
        assert last is not None
        kept += [last, run.capture.evidence(last)]
    kept += [run.capture.summary(), run.capture.kept()]
    text = repr(kept).replace(repr(server.url), "")
    body = b"".join(exchange.body for exchange in run.capture.kept())
    for form in {secret, secret.lower(), secret.upper(), urllib.parse.quote(secret, safe=""), secret.encode().hex()}:
        for shape in (form, json.dumps(form)[1:-1]):
            assert shape not in text
            assert shape.encode() not in body
    digits = base64.b64encode(secret.encode()).decode().rstrip("=")
    assert digits[1:-1] not in text


def _texts(error: BaseException) -> list[object]:
    """Return what a traceback would show of an exception and its causes."""
    found: list[object] = []
    at: BaseException | None = error
    while at is not None:
        found += [str(at), repr(at.args), repr(getattr(at, "url", None))]
        assert not isinstance(at, requests.RequestException) or at.request is None
        at = at.__cause__ or at.__context__
    return found


def test_an_exception_that_goes_further_up_shows_no_secret(server: FaultServer, open_run: OpenRun) -> None:
    run = open_run(server, redactor=Redactor((SECRET,)))
    request = Request(
        method="GET",
        url=server.url + "/things",
        endpoint="GET /things",
        auth_headers={"Authorization": f"Bearer {SECRET}"},
        auth_query=(("strange", SECRET),),
    )
    server.close()
    for call in (run.session.send, run.session.attempt_once):
        with pytest.raises(requests.exceptions.ConnectionError) as caught:
            call(request)
        shown = "".join(traceback.format_exception(caught.value)) + repr(_texts(caught.value))
        assert "strange=***" in shown
        assert SECRET not in shown
        assert urllib.parse.quote_plus(SECRET) not in shown
