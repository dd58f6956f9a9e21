"""What single answers mean: data that quotes errors, pages where data should be, headers, phases, broken bodies."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from classifier import ExceptionLink, Exchange, HealthName, Judgement, Phase, judge

NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
JSON: Final = {"content-type": "application/json"}
HTML: Final = {"content-type": "text/html"}


def answer(
    status: int,
    body: object = "",
    headers: dict[str, str] | None = None,
    *,
    url: str = "https://api.example.com/v1/items?key=secret",
    phase: Phase = Phase.DATA,
    clipped: bool = False,
) -> Judgement:
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    exchange = Exchange(
        method="GET", url=url, phase=phase, status=status, headers=headers or JSON, body=raw, clipped=clipped
    )
    return judge(exchange, observed_at=NOW)


ROWS: Final = [
    {
        "id": n,
        "message": "401 Unauthorized: rate limit exceeded",
        "error": "access denied",
        "code": 403,
        "status": "error",
    }
    for n in range(40)
]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="an empty list"),
        pytest.param({}, id="an empty object"),
        pytest.param(ROWS, id="a bare list of rows that quote errors"),
        pytest.param({"data": ROWS}, id="rows that quote errors"),
        pytest.param({"data": ROWS, "errors": []}, id="and an empty list of errors"),
        pytest.param({"errors": [], "data": ROWS}, id="before the rows as well"),
        pytest.param({"data": ROWS, "errors": None, "error": ""}, id="empty error members"),
        pytest.param({"error_count": 5, "failed": 3, "items": ROWS}, id="counts of errors"),
        pytest.param({"errors": ROWS, "total": 40, "next": None}, id="a list of errors that are the data"),
        pytest.param({"success": True, "errors": [], "result": ROWS}, id="an envelope of success"),
        pytest.param({"code": 0, "message": "ok", "data": []}, id="code 0"),
        pytest.param({"code": "200000", "data": {"list": []}}, id="a code of success of their own"),
        pytest.param({"status": "success", "data": []}, id="status success"),
        pytest.param({"status": "OK", "results": []}, id="status OK"),
        pytest.param(
            {"id": "j", "status": "failed", "error": "401 from upstream", "started": 1, "ended": 2}, id="a job"
        ),
        pytest.param({"code": "DE", "name": "Germany"}, id="a row with a code"),
        pytest.param({"id": 5, "code": 7, "message": "Door opened"}, id="an event with a code and a message"),
        pytest.param({"retention_days": 30, "return_address": "x", "state": "error", "kind": "vault"}, id="settings"),
        pytest.param({"zipCode": 4010, "countryCode": 276, "city": "Basel"}, id="codes of other kinds"),
        pytest.param(
            {"id": 1, "name": "n", "error": "401", "errorTime": "t", "errorCount": 3}, id="a scan that failed"
        ),
        pytest.param({"ok": True, "warning": "superfluous_charset", "members": []}, id="a warning"),
        pytest.param(
            {"data": {"items": []}, "extensions": {"cost": {"throttleStatus": {"currentlyAvailable": 0}}}}, id="cost"
        ),
        pytest.param({"message": "Authorized"}, id="a message of success"),
        pytest.param({"access_token": "x", "token_type": "bearer", "error": None}, id="a token"),
        pytest.param(None, id="null"),
        pytest.param(0, id="a number"),
    ],
)
def test_data_is_never_a_failure(body: object) -> None:
    judged = answer(200, body)
    assert judged.name is HealthName.HEALTHY, judged


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param({"ok": False, "error": "invalid_auth"}, "token_invalid", id="Slack"),
        pytest.param(
            {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}, "rate_limit", id="GraphQL"
        ),
        pytest.param({"data": ROWS, "errors": [{"message": "Internal error"}]}, "server_error", id="behind many rows"),
        pytest.param(
            {"code": 40105, "message": "Access token is incorrect"}, "token_invalid", id="a number for a code"
        ),
        pytest.param({"error": {"code": -32601, "message": "Method not found"}, "id": 1}, "not_found", id="JSON-RPC"),
        pytest.param({"success": False, "message": "Something else"}, "error_in_body", id="no hint whose fault"),
        pytest.param({"meta": {"code": 429}, "data": {}}, "rate_limit", id="a status inside the body"),
        pytest.param({"Fault": {"Error": [{"Message": "Token expired"}]}}, "token_expired", id="a Fault"),
        pytest.param({"message": "Too many requests"}, "rate_limit", id="nothing but a sentence"),
    ],
)
def test_a_success_that_reports_a_failure_is_one(body: object, reason: str) -> None:
    assert answer(200, body).reason == reason


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        pytest.param('{"items": [{"id": 1}, {"id"', JSON, "bad_json", id="cut off"),
        pytest.param('{"items": []}{"items": []}', JSON, "bad_json", id="two documents"),
        pytest.param(
            "<!doctype html><title>Down for maintenance</title>", JSON, "maintenance", id="a page labelled JSON"
        ),
        pytest.param("<!doctype html><title>Oops</title>", HTML, "outage_page", id="a page"),
        pytest.param("<html><form><input type='password'></form></html>", HTML, "login_page", id="a sign-in page"),
        pytest.param("Internal Server Error", JSON, "server_error", id="words labelled JSON"),
        pytest.param("It works!", JSON, "bad_json", id="words labelled JSON that say nothing"),
        pytest.param("Too many requests, try again later", JSON, "rate_limit", id="a complaint labelled JSON"),
        pytest.param('"Invalid API key"', JSON, "token_invalid", id="a sentence as JSON"),
        pytest.param("ERROR 131 :: LIMIT EXCEEDED", {"content-type": "text/plain"}, "rate_limit", id="a bare error"),
        pytest.param(
            "Error\nErrorID=268959743, Detail=User or password error",
            {"content-type": "text/plain"},
            "credentials_invalid",
            id="an error of two lines",
        ),
        pytest.param(
            "error,message\n401,unauthorized", {"content-type": "text/plain"}, "ok", id="a table with such a head"
        ),
        pytest.param(
            "Fatal error: Uncaught PDOException: SQLSTATE[HY000] in /srv/api.php:12",
            HTML,
            "server_error",
            id="a program's last words",
        ),
        pytest.param(
            "<br />\n<b>Parse error</b>: unexpected x in <b>/srv/api.php</b>", HTML, "bad_json", id="marked up"
        ),
        pytest.param(
            "<html><title>Bandwidth limit exceeded</title></html>", HTML, "rate_limit", id="a page on throttling"
        ),
        pytest.param("Too many requests", {"content-type": "text/plain"}, "rate_limit", id="a plain sentence"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', JSON, "ok", id="a mark of byte order"),
        pytest.param(b'{"a": "\xe9"}', JSON, "ok", id="a wrong charset"),
        pytest.param('{"a": 1}\n{"error": "access denied"}\n', JSON, "ok", id="JSON lines"),
        pytest.param("id,error\n1,rate limit exceeded\n", {"content-type": "text/csv"}, "ok", id="CSV"),
        pytest.param("[" * 5_000 + "]" * 5_000, JSON, "ok", id="deeper than the parser goes"),
        pytest.param("", JSON, "ok", id="nothing"),
    ],
)
def test_a_success_body_that_is_no_data(body: str | bytes, headers: dict[str, str], reason: str) -> None:
    assert answer(200, body, headers).reason == reason


def test_a_body_that_we_cut_off_is_not_called_broken() -> None:
    assert answer(200, '{"items": [{"id": 1}, {"id"', clipped=True).name is HealthName.HEALTHY
    assert answer(200, b'{"items": ["' + b"x" * 70_000).name is HealthName.HEALTHY


def test_a_failure_whose_body_we_cut_off_is_still_read() -> None:
    cut = '{"errors": [{"message": "Rate limit exceeded", "extensions": {"code": "RATE_LIM'
    assert answer(200, cut, clipped=True).reason == "rate_limit"
    assert answer(400, '{"error": "invalid_grant", "error_descri', clipped=True).reason == "grant_invalid"


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        pytest.param(403, {"retry-after": "60"}, "rate_limit", id="403 with Retry-After"),
        pytest.param(403, {"x-ratelimit-remaining": "0"}, "rate_limit", id="403 with nothing remaining"),
        pytest.param(402, {"x-quota-remaining": "0"}, "rate_limit", id="402 with nothing of a quota remaining"),
        pytest.param(403, {"x-ratelimit-remaining": "4980"}, "forbidden", id="403 with much remaining"),
        pytest.param(404, {"x-ratelimit-remaining": "0"}, "not_found", id="404 that used the last call"),
        pytest.param(401, {"x-ratelimit-remaining": "0"}, "unauthorized", id="401 that used the last call"),
        pytest.param(200, {"x-ratelimit-remaining": "0"}, "ok", id="a success that used the last call"),
        pytest.param(503, {"retry-after": "30"}, "unavailable", id="503 with Retry-After is an outage"),
        pytest.param(401, {"www-authenticate": 'Bearer error="invalid_token"'}, "token_invalid", id="a challenge"),
        pytest.param(403, {"www-authenticate": 'Bearer error="insufficient_scope"'}, "scope_missing", id="a scope"),
        pytest.param(400, {"x-amzn-errortype": "ThrottlingException:http://x/"}, "rate_limit", id="AWS"),
        pytest.param(302, {"location": "https://acme.example/login?next=/"}, "login_page", id="sent to sign in"),
        pytest.param(302, {"location": "https://eu.acme.example/v1"}, "redirected", id="sent elsewhere"),
        pytest.param(407, {}, "proxy", id="our proxy"),
        pytest.param(511, {}, "egress", id="a captive portal"),
        pytest.param(304, {}, "ok", id="not modified"),
        pytest.param(799, {}, "server_error", id="a status nobody gave out"),
        pytest.param(499, {}, "client_error", id="another 4xx"),
    ],
)
def test_statuses_and_headers_mean(status: int, headers: dict[str, str], reason: str) -> None:
    assert answer(status, "", headers).reason == reason


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", ["resource_not_found", "internal_error", "InvalidParameter", "bad_request"])
def test_a_denial_stays_one_whatever_else_its_code_says(status: int, code: str) -> None:
    assert answer(status, {"code": code, "message": "x"}).name is HealthName.UNAUTHORIZED


def test_what_a_code_says_of_the_scope_beats_a_spent_limit() -> None:
    judged = answer(403, {"error": "insufficient_scope"}, {**JSON, "x-ratelimit-remaining": "0"})
    assert judged.reason == "scope_missing"


def test_a_page_reached_by_a_redirect_to_sign_in_is_the_customers() -> None:
    judged = answer(200, "<html><div id=root></div></html>", HTML, url="https://acme.example/users/sign_in")
    assert judged.reason == "login_page"


def test_the_query_stays_out_of_the_sentence() -> None:
    assert "secret" not in answer(403, {"error": "forbidden"}).sentence
    assert answer(403, {"error": "insufficient_scope"}).sentence.startswith(
        "GET /v1/items answered 403 insufficient_scope; the token lacks a scope."
    )


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (403, {"error": "Forbidden", "message": "Upgrade your plan"}, 'answered 403 "Upgrade your plan"; the plan'),
        (503, {"error": {"type": "OAuthException", "message": "Down"}}, 'answered 503 "Down"; the vendor is not'),
        (400, {"error": "invalid_grant", "error_description": "revoked"}, "answered 400 invalid_grant; the vendor no"),
        (500, "", "answered 500; the vendor failed."),
    ],
)
def test_a_sentence_quotes_what_decided(status: int, body: object, sentence: str) -> None:
    assert sentence in answer(status, body).sentence


def test_a_sentence_on_an_exception_names_the_call() -> None:
    link = ExceptionLink(module="requests.exceptions", name="ReadTimeout", message="Read timed out.")
    exchange = Exchange(method="GET", url="https://x/v1/items?key=secret", exception=(link,))
    judged = judge(exchange, observed_at=NOW)
    assert judged.sentence == ("GET /v1/items raised ReadTimeout: Read timed out; the vendor did not answer in time.")


def test_the_time_to_come_back_is_told_with_a_rate_limit_and_an_outage() -> None:
    for status in (429, 503):
        judged = answer(status, "", {"retry-after": "60"})
        assert judged.retry_at is not None
        assert (judged.retry_at - NOW).total_seconds() == 60
    assert answer(401, "", {"retry-after": "60"}).retry_at is None


def test_an_answer_that_broke_off_is_judged_by_its_exception() -> None:
    link = ExceptionLink(module="requests.exceptions", name="ChunkedEncodingError")
    exchange = Exchange(method="GET", url="https://x/", status=200, body=b'{"a":', exception=(link,))
    assert judge(exchange, observed_at=NOW).reason == "truncated_body"


def test_an_error_status_counts_though_its_body_broke_off() -> None:
    link = ExceptionLink(module="requests.exceptions", name="ChunkedEncodingError")
    exchange = Exchange(method="GET", url="https://x/", status=401, exception=(link,))
    assert judge(exchange, observed_at=NOW).reason == "unauthorized"


def test_no_answer_and_no_exception_is_a_failed_connection() -> None:
    assert judge(Exchange(method="GET", url="https://x/"), observed_at=NOW).reason == "connection_failed"


NGINX_PAGE: Final = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx/1.24.0</center>\r\n</body>\r\n</html>\r\n"
)


@pytest.mark.parametrize(
    ("status", "title", "reason"),
    [
        (401, "401 Authorization Required", "unauthorized"),
        (403, "403 Forbidden", "forbidden"),
        (404, "404 Not Found", "not_found"),
        (502, "502 Bad Gateway", "gateway"),
        (503, "503 Service Temporarily Unavailable", "unavailable"),
    ],
)
def test_a_stock_page_that_repeats_the_status_says_no_more_than_it(status: int, title: str, reason: str) -> None:
    verdict = answer(status, NGINX_PAGE.format(title), HTML)
    assert (verdict.reason, verdict.rule) == (reason, f"status.{status}")


def test_a_page_of_the_same_make_that_says_more_is_read() -> None:
    assert answer(403, NGINX_PAGE.format("Your IP address is not allowed"), HTML).reason == "ip_not_allowed"


@pytest.mark.parametrize(
    "title",
    [
        "400 The plain HTTP request was sent to HTTPS port",
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
    ],
)
def test_plain_http_to_a_tls_port_is_our_wrong_protocol(title: str) -> None:
    assert answer(400, NGINX_PAGE.format(title), HTML).reason == "wrong_client"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("The access token expired", "token_expired"),
        ("The access token was revoked", "token_revoked"),
        ("The access token is malformed", "token_invalid"),
    ],
)
def test_the_sentence_beside_invalid_token_says_what_is_wrong_with_it(said: str, reason: str) -> None:
    """RFC 6750 section 3.1: the code stands for expired, revoked and malformed ones alike."""
    challenge = {**JSON, "www-authenticate": f'Bearer realm="x", error="invalid_token", error_description="{said}"'}
    assert answer(401, "", challenge).reason == reason
    assert answer(401, {"error": "invalid_token", "error_description": said}).reason == reason


@pytest.mark.parametrize("status", [401, 403])
def test_a_host_that_never_saw_the_credentials_says_nothing_about_them(status: int) -> None:
    exchange = Exchange(
        method="GET",
        url="https://elsewhere.example.com/x",
        status=status,
        headers=JSON,
        body=b'{"error": "invalid_token"}',
        without_credentials=True,
    )
    verdict = judge(exchange, observed_at=NOW)
    assert (verdict.name, verdict.reason) == (HealthName.VENDOR_CLIENT_ERROR, "redirected")
    assert judge(replace(exchange, without_credentials=False), observed_at=NOW).name is HealthName.UNAUTHORIZED
    assert judge(replace(exchange, status=429), observed_at=NOW).name is HealthName.RATE_LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"policy": {"message": "Access denied page text", "code": "403"}}, id="a single record"),
        pytest.param({"code": "login.error", "text": "Invalid credentials", "locale": "en"}, id="a translation"),
        pytest.param({"message": "success", "data": {"error": "Unauthorized"}}, id="a record of an error"),
        pytest.param({"status": "closed", "message": "Access denied"}, id="a thing with a life of its own"),
        pytest.param({"code": 0, "message": "Authentication failed logins report"}, id="code 0 beside such words"),
        pytest.param({"error": "OK", "status_code": 1, "results": [{"id": 1}]}, id="an error named OK"),
        pytest.param({"error_rate": 0.1, "errors": 3, "requests": 30}, id="a count"),
        pytest.param(["error", "warning", "info"], id="a list of words"),
        pytest.param(b')]}\'\n[{"id": 1, "status": "error"}]', id="behind a guard against script tags"),
        pytest.param(
            {"default": {"id": "A", "type": "reference", "summary": "Mine"}}, id="what is no fault but default"
        ),
        pytest.param({"added": ["a1"], "errors": ["b2 - mac invalid"], "updated": ["c3"]}, id="done in part"),
        pytest.param({"id": 7, "status": "failed", "message": "Access denied for root", "code": 403},
                     id="a counted thing"),
        pytest.param({"title": "Access denied", "description": "User gets 403", "status": "open", "type": "error"},
                     id="a ticket"),
        pytest.param({"title": "Conflict", "description": "A story of two towns"}, id="a book"),
        pytest.param({"code": "missing", "name": "Missing", "description": "No value was given"}, id="a row of codes"),
        pytest.param({"message": "Deleted"}, id="what was done, in a word"),
        pytest.param({"query_status": "hash not found"}, id="a search that found nothing"),
    ],
)  # fmt: skip
def test_a_record_that_talks_of_errors_is_no_failure(body: object) -> None:
    assert answer(200, body).name is HealthName.HEALTHY


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param({"code": 5, "response": "Invalid API key"}, "token_invalid", id="a sentence under response"),
        pytest.param({"result": {"status": "Invalid session key"}, "error": None}, "token_expired", id="in a status"),
        pytest.param(["error", 10100, "apikey: invalid"], "token_invalid", id="a list"),
        pytest.param({"code": -1, "msg": "token\u5931\u6548"}, "token_expired", id="Chinese"),
        pytest.param({"a_response": {"error": {"code": 7, "msg": "App call limited"}}}, "rate_limit", id="wrapped"),
        pytest.param({"service-error": {"status": {"statusText": "Invalid API Key"}}}, "token_invalid", id="named so"),
        pytest.param({"header": {"code": 9, "desc": "Login failed"}, "body": {}}, "credentials_invalid", id="a head"),
        pytest.param({"status": "Not Found", "message": "No entry x", "path": "/v2/x", "timestamp": "2026-01-01"},
                     "not_found", id="a phrase of HTTP"),
        pytest.param({"title": "Unauthorized", "detail": "No authorization token provided"}, "token_invalid",
                     id="problem details without a status"),
        pytest.param({"statusCode": 403, "error": "The key is outdated", "service": "Public"}, "forbidden",
                     id="a status and an error"),
        pytest.param({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "detail": "An error occurred",
                      "status": "404"}, "not_found", id="SCIM"),
        pytest.param({"name": "NotAuthorizedError", "details": "No token was found."}, "token_invalid",
                     id="an error's name"),
        pytest.param({"non_field_errors": ["Unable to log in with provided credentials."]}, "credentials_invalid",
                     id="errors of no field"),
        pytest.param({"message": "Field x not found in schema"}, "invalid_parameter", id="one message on our request"),
        pytest.param({"response": "INVALID ACCOUNT"}, "credentials_invalid", id="a code in words"),
        pytest.param({"message": "Invalid CSS selector"}, "error_in_body", id="one message that blames"),
        pytest.param({"error_class": "A::Exception::API::RateLimit", "method": "Zone/list", "account": "acme"},
                     "rate_limit", id="an error's class"),
        pytest.param({"Envelope": {"Success": "0", "Message": "Invalid credentials", "Info": {"Run_Date": "20261005"},
                                   "Result": ""}}, "credentials_invalid", id="a success of 0"),
        pytest.param(b"response=3&responsetext=Invalid Username&authcode=&orderid=1&type=sale&response_code=300",
                     "credentials_invalid", id="a form of a gateway"),
        pytest.param(b"<div>We are currently having some issues. Please check back soon.</div>", "maintenance",
                     id="a notice"),
        pytest.param({"type": "rate_limit_exceeded", "description": "Wait before you send more."}, "rate_limit",
                     id="a type and a description"),
        pytest.param({"status": "error", "messages": {"model": ["The model is invalid."]}, "payload": None},
                     "error_in_body", id="messages by field"),
        pytest.param({"status": 3, "status_message": "Invalid request: no valid number"}, "invalid_parameter",
                     id="a small status and its message"),
        pytest.param({"code": "X_Y", "message": "It cannot be null", "objectType": "APIException", "args": {"p": "x"}},
                     "invalid_parameter", id="an exception's object"),
        pytest.param({"success": True, "code": "R0000", "msg": "too many request 200 times", "data": None},
                     "rate_limit", id="throttled in a success"),
    ],
)  # fmt: skip
def test_a_wrapper_that_complains_is_a_failure(body: object, reason: str) -> None:
    assert answer(200, body).reason == reason


XML: Final = {"content-type": "text/xml"}


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        pytest.param("<r><Ack>Failure</Ack><Errors><ShortMessage>Token</ShortMessage></Errors></r>", True, id="ack"),
        pytest.param("<login errorCode='551' errorDescr='Authentication failed'/>", True, id="attributes"),
        pytest.param("<x status='400' status_text='Authentication failed'/>", True, id="a status and its text"),
        pytest.param("<x status='200' status_text='OK'><task/></x>", False, id="a status of success"),
        pytest.param("<jobs><job><status>failed</status><message>disk</message></job></jobs>", False, id="rows"),
        pytest.param("<Envelope><Body><RESULT><SUCCESS>TRUE</SUCCESS></RESULT></Body></Envelope>", False, id="no page"),
    ],
)
def test_xml_is_read_near_its_root(body: str, *, fails: bool) -> None:
    assert (answer(200, body, XML).name is not HealthName.HEALTHY) is fails


def test_the_sentence_that_decided_is_the_one_that_is_quoted() -> None:
    body = {"title": "Bad Request", "details": [{"detail": "Only an administrator may read this."}]}
    verdict = answer(400, body)
    assert verdict.reason == "permission_missing"
    assert "Only an administrator may read this." in verdict.sentence


@pytest.mark.parametrize("number", [407, 511])
def test_a_status_of_the_way_inside_a_body_is_the_vendors_own_number(number: int) -> None:
    """A proxy's refusal has that status itself (RFC 9110 section 15.5.8)."""
    told = answer(200, {"status": "error", "error": {"code": number, "message": "REQUEST_LIMIT_EXCEEDED"}})
    assert told.reason == "rate_limit"
    assert answer(number, {"error": {"code": number}}).name is HealthName.INTERNAL_ERROR


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        pytest.param('callback({"error": {"code": 401, "message": "Invalid API key"}});', "text/javascript",
                     "token_invalid", id="padding around JSON"),
        pytest.param("Status-Code: 2200\nStatus-Text: Authentication error\n", "text/plain", "credentials_invalid",
                     id="lines of members"),
        pytest.param("[RESPONSE]\r\nCODE = 530\r\nDESCRIPTION = Authentication failed\r\nEOF\r\n", "text/plain",
                     "credentials_invalid", id="lines under a heading"),
        pytest.param("response=3&responsetext=Authentication Failed&response_code=300", "text/plain",
                     "credentials_invalid", id="a form"),
        pytest.param('{"findResponse": [{"ack": ["Failure"], "error": [{"message": ["Invalid token"]}]}]}',
                     "application/json", "token_invalid", id="a list around every element"),
        pytest.param('{"Items": [{"Error": "2", "Description": "Unknown key", "Cause": "x"}]}', "application/json",
                     "token_invalid", id="an error in place of rows"),
        pytest.param('{"messages": [{"type": "FATAL", "text": "Not authorized."}]}', "application/json",
                     "unauthorized", id="nothing but a grave message"),
        pytest.param("ERROR_KEY_DOES_NOT_EXIST", "text/plain", "token_invalid", id="a code that is all there is"),
        pytest.param('<epp><response><result code="2200"><msg>Authentication error</msg></result></response></epp>',
                     "text/xml", "credentials_invalid", id="a registry's answer"),
        pytest.param("RT/4.4.3 401 Refused\n\nno more to say", "text/plain", "unauthorized", id="its own status line"),
    ],
)  # fmt: skip
def test_a_success_is_read_in_whatever_it_is_wrapped(body: str, content_type: str, reason: str) -> None:
    assert answer(200, body, {"content-type": content_type}).reason == reason


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param('callback({"items": [{"error": "Access denied"}]});', "text/javascript", id="padding around rows"),
        pytest.param("name: bob\nstatus: disabled\nmessage: Access denied\n", "text/plain", id="lines of a record"),
        pytest.param("host=a&status=down&error=timeout", "application/x-www-form-urlencoded", id="a form of a record"),
        pytest.param('{"items": [{"error": "Invalid token", "count": 3}]}', "application/json", id="a row on an error"),
        pytest.param('{"messages": [{"type": "error", "text": "Login failed", "id": 3}]}', "application/json",
                     id="a message with an id"),
        pytest.param('{"action": "login", "status": "FAILURE", "message": "Invalid password", "ip": "1.2.3.4"}',
                     "application/json", id="who did what from where"),
        pytest.param('{"ok": false, "vulnerabilities": [{"title": "Improper authentication"}]}', "application/json",
                     id="a false flag beside rows"),
        pytest.param('<epp><response><result code="1000"><msg>Command completed</msg></result></response></epp>',
                     "text/xml", id="a registry's answer that is well"),
    ],
)  # fmt: skip
def test_data_in_the_same_wrappers_stays_data(body: str, content_type: str) -> None:
    assert answer(200, body, {"content-type": content_type}).name is HealthName.HEALTHY


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        pytest.param("Status=INVALID\nStatusDetail=no such order", "text/plain", "not_found", id="a status' detail"),
        pytest.param("ssl_result=7000\nssl_result_message=Invalid login", "text/plain", "credentials_invalid",
                     id="lines with one prefix"),
        pytest.param('{"errorCode": 403005, "errorMessage": "Odd", "statusCode": 403, "callId": "a", "why": "b"}',
                     "application/json", "forbidden", id="a status of HTTP beside an error's code"),
        pytest.param('{"status": "error", "time": 0.0, "data": {"code": "AccessDenied"}}', "application/json",
                     "permission_missing", id="a code where data should be"),
        pytest.param('[{"message": [{"id": "120", "key": "Bad", "value": "The value is not valid"}]}]',
                     "application/json", "invalid_parameter", id="the only message, with a key"),
        pytest.param('{"ctatt": {"errCd": "107", "errNm": "Invalid API key", "route": null}}', "application/json",
                     "token_invalid", id="an error's number and name in a thing"),
        pytest.param('{"query_status": "illegal_hash"}', "application/json", "error_in_body", id="nothing but a code"),
        pytest.param('{"status": "5100", "message": "This call is no longer there"}', "application/json",
                     "error_in_body", id="a number, and what was wrong"),
        pytest.param('<Request valid="0"><URI>Invalid Key</URI></Request>', "text/xml", "token_invalid",
                     id="a root that is not valid"),
        pytest.param("<Envelope><Body><ResponseCode>401</ResponseCode></Body></Envelope>", "text/xml",
                     "unauthorized", id="a status of HTTP in SOAP"),
        pytest.param('<r:Report xmlns:r="x"><r:Exception exceptionCode="MissingParameterValue"/></r:Report>',
                     "text/xml", "ok", id="a report of another name is data"),
        pytest.param('<ExceptionReport><Exception exceptionCode="MissingParameterValue"/></ExceptionReport>',
                     "text/xml", "invalid_parameter", id="OWS Common, section 8"),
        pytest.param('<div><form action="/in"><input type="password" name="p"></form></div>', "", "login_page",
                     id="a piece of a page that asks for a login"),
        pytest.param("<article><h1>We&rsquo;ll be back soon!</h1></article>", "", "maintenance",
                     id="a piece of a page that is away"),
    ],
)  # fmt: skip
def test_failures_in_rarer_wrappers_are_read(body: str, content_type: str, reason: str) -> None:
    assert answer(200, body, {"content-type": content_type}).reason == reason


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param("Status=INVALID\nserial=12\nmodel=X", "text/plain", id="a status without its detail"),
        pytest.param('{"licenseKey": "x", "status": "invalid", "statusMessage": "expired"}', "application/json",
                     id="a thing that is invalid"),
        pytest.param('{"deviceId": "a", "name": "b", "statusCode": 401, "errorMessage": "x", "place": "y"}',
                     "application/json", id="a device that met a status"),
        pytest.param('{"pump": {"errCode": 3, "errText": "Login failed"}}', "application/json", id="a pump's state"),
        pytest.param('{"code": 301, "message": "Route moved to gate 12"}', "application/json", id="a number's text"),
        pytest.param('{"query_status": "hash_not_found"}', "application/json", id="nothing was found"),
        pytest.param('{"messages": [{"id": "1", "key": "k", "value": "The token is invalid"}]}', "application/json",
                     id="rows of messages"),
        pytest.param("<article><title>Maintenance of pumps</title></article>", "text/xml", id="an article"),
        pytest.param("<section><h1>Notes</h1><form></form></section>", "text/xml", id="a section with a form"),
        pytest.param('<Email valid="0"><Address>a@b.c</Address></Email>', "text/xml", id="an address that is checked"),
    ],
)  # fmt: skip
def test_data_in_rarer_wrappers_stay_data(body: str, content_type: str) -> None:
    assert answer(200, body, {"content-type": content_type}).name is HealthName.HEALTHY


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        pytest.param(500, {"status": {"code": 14, "message": "Token has expired"}}, "token_expired", id="meant"),
        pytest.param(500, {"error": "Internal Server Error", "message": "Token has expired"}, "server_error",
                     id="an exception that nobody caught"),
        pytest.param(503, {"message": "Token has expired"}, "unavailable", id="a gateway's own token"),
        pytest.param(500, {"message": "Access denied for user 'root'@'localhost'"}, "server_error", id="its database"),
        pytest.param(503, {"Code": "ServiceUnavailable", "Message": "Number of requests exceeded"}, "rate_limit",
                     id="words on throttling beside a code on availability"),
        pytest.param(403, {"message": "The API has been temporarily disabled"}, "unavailable", id="switched off"),
        pytest.param(422, {"plan_ids": ["Plan ids can't be blank"]}, "invalid_parameter", id="a field named plan"),
        pytest.param(401, {"message": "nonce must be higher than 5"}, "wrong_client", id="a nonce used before"),
        pytest.param(451, {"message": "Access blocked"}, "client_error", id="withheld by law"),
        pytest.param(400, {"message": "x does not exist or you do not have permission"}, "not_found",
                     id="which of the two is not told"),
        pytest.param(400, {"error": "Read https://x.example/only/https first"}, "bad_request", id="a link's words"),
        pytest.param(400, {"errors": {"businessName": "Business name is required."}}, "bad_request",
                     id="a field named after a business"),
        pytest.param(400, {"error": "Purchase Invoice is required"}, "bad_request", id="an invoice that is a field"),
        pytest.param(422, {"error": "Asset has no value change plan"}, "invalid_parameter", id="a plan of a thing"),
        pytest.param(400, {"Message": "Roles list contains roles that do not exist"}, "not_found", id="listed roles"),
        pytest.param(422, {"title": "The payment token provided is invalid"}, "bad_request", id="a card's token"),
        pytest.param(405, {"message": "The method is not allowed for this resource"}, "unsupported", id="a method"),
        pytest.param(405, {"message": "You do not have permission to do this"}, "permission_missing",
                     id="a permission behind a method's status"),
        pytest.param(413, {"detail": "Maximum request body size 1048576 exceeded"}, "too_large", id="a size"),
        pytest.param(422, {"errors": [{"code": "parameter_invalid", "message": "admin_ids must contain only ids"}]},
                     "invalid_parameter", id="a parameter's code beside words on admins"),
        pytest.param(400, "[ERROR 400] Invalid or missing API key", "token_invalid", id="a text that begins as a list"),
        pytest.param(402, {"message": "You have hit your hourly limit for API calls"}, "rate_limit",
                     id="a limit behind the status of payment"),
    ],
)  # fmt: skip
def test_words_count_where_they_can_be_meant(status: int, body: object, reason: str) -> None:
    assert answer(status, body).reason == reason
