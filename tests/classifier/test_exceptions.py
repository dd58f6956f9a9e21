"""Whose failure an exception was: every class that our libraries or the wire may raise has a deliberate verdict."""

import http.client
import importlib
import inspect
import pkgutil
import socket
import ssl
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Final

import pytest
import requests
import urllib3

from classifier import ExceptionLink, Exchange, judge
from classifier.cases import exception_links
from classifier.exceptions import chain, meaning
from classifier.reasons import REASONS
from classifier.statuses import reason_of_status
from classifier.vocabulary import HealthName
from worker.in_flight import DeadlineInterrupt

INTERNAL: Final = HealthName.INTERNAL_ERROR
VENDOR: Final = HealthName.VENDOR_SERVER_ERROR
TIMEOUT: Final = HealthName.EXECUTION_TIMEOUT


def name_of(*links: ExceptionLink) -> HealthName:
    meant = meaning(links)
    assert meant is not None
    return REASONS[meant.reason or reason_of_status(meant.status or 0)].name


def classes_of(module: ModuleType) -> Iterator[type[BaseException]]:
    for _name, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, BaseException) and value.__module__.split(".")[0] == module.__name__.split(".")[0]:
            yield value


def all_classes_of(package: str) -> Iterator[type[BaseException]]:
    root = importlib.import_module(package)
    yield from classes_of(root)
    for found in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}."):
        leaf = found.name.rsplit(".", 1)[-1]
        if leaf in {"exceptions", "exc", "errors", "fernet", "_exceptions"}:
            yield from classes_of(importlib.import_module(found.name))


OURS: Final = ("psycopg", "psycopg_pool", "sqlalchemy", "redis", "kombu", "celery", "billiard", "cryptography", "amqp")


@pytest.mark.parametrize("package", OURS)
def test_a_failure_of_our_own_libraries_is_never_laid_on_a_vendor_or_customer(package: str) -> None:
    found = {cls for cls in all_classes_of(package) if cls.__module__.split(".")[0] == package}
    assert len(found) >= 2
    for cls in found:
        link = ExceptionLink(module=cls.__module__, name=cls.__name__, message="401 rate limit exceeded")
        expected = {INTERNAL, TIMEOUT} if package in {"celery", "billiard"} else {INTERNAL}
        assert name_of(link) in expected, cls


@pytest.mark.parametrize("name", ["SoftTimeLimitExceeded", "TimeLimitExceeded"])
@pytest.mark.parametrize("module", ["celery.exceptions", "billiard.exceptions"])
def test_only_time_limits_of_the_whole_job_are_an_execution_timeout(module: str, name: str) -> None:
    assert name_of(ExceptionLink(module=module, name=name)) is TIMEOUT


REQUESTS: Final = {
    "ConnectTimeout": "connect_timeout",
    "ReadTimeout": "read_timeout",
    "Timeout": "read_timeout",
    "ConnectionError": "connection_failed",
    "SSLError": "tls",
    "ProxyError": "proxy",
    "ChunkedEncodingError": "truncated_body",
    "ContentDecodingError": "bad_encoding",
    "TooManyRedirects": "redirect_loop",
    "RetryError": "unavailable",
    "JSONDecodeError": "bad_json",
    "InvalidJSONError": "bug",
    "StreamConsumedError": "bug",
    "UnrewindableBodyError": "bug",
    "InvalidURL": "bad_url",
    "MissingSchema": "bad_url",
    "InvalidSchema": "bad_url",
    "InvalidHeader": "bad_url",
    "URLRequired": "bad_url",
    "InvalidProxyURL": "proxy",
    "HTTPError": "connection_failed",
    "RequestException": "connection_failed",
    "RequestsWarning": "bug",
    "RequestsDependencyWarning": "bug",
    "FileModeWarning": "bug",
}
URLLIB3: Final = {
    "BodyNotHttplibCompatible": "bug",
    "ClosedPoolError": "bug",
    "ConnectTimeoutError": "connect_timeout",
    "DecodeError": "bad_encoding",
    "DependencyWarning": "bug",
    "EmptyPoolError": "bug",
    "FullPoolError": "bug",
    "HTTPError": "connection_failed",
    "HTTPWarning": "bug",
    "HeaderParsingError": "connection_lost",
    "HostChangedError": "bad_url",
    "IncompleteRead": "truncated_body",
    "InsecurePlatformWarning": "bug",
    "InsecureRequestWarning": "bug",
    "InvalidChunkLength": "truncated_body",
    "InvalidHeader": "connection_lost",
    "LocationParseError": "bad_url",
    "LocationValueError": "bad_url",
    "MaxRetryError": "unavailable",
    "NameResolutionError": "dns",
    "NewConnectionError": "connection_failed",
    "NotOpenSSLWarning": "bug",
    "PoolError": "bug",
    "ProtocolError": "connection_lost",
    "ProxyError": "proxy",
    "ProxySchemeUnknown": "proxy",
    "ProxySchemeUnsupported": "proxy",
    "ReadTimeoutError": "read_timeout",
    "RequestError": "connection_failed",
    "ResponseError": "unavailable",
    "ResponseNotChunked": "bug",
    "SSLError": "tls",
    "SecurityWarning": "bug",
    "SystemTimeWarning": "bug",
    "TimeoutError": "read_timeout",
    "TimeoutStateError": "bug",
    "URLSchemeUnknown": "bad_url",
    "UnrewindableBodyError": "bug",
}
HTTP: Final = {
    "BadStatusLine": "connection_lost",
    "CannotSendHeader": "bug",
    "CannotSendRequest": "bug",
    "HTTPException": "connection_lost",
    "ImproperConnectionState": "bug",
    "IncompleteRead": "truncated_body",
    "InvalidURL": "bad_url",
    "LineTooLong": "connection_lost",
    "NotConnected": "bug",
    "RemoteDisconnected": "connection_lost",
    "ResponseNotReady": "bug",
    "UnimplementedFileMode": "bug",
    "UnknownProtocol": "connection_lost",
    "UnknownTransferEncoding": "bug",
}


@pytest.mark.parametrize(
    ("module", "meant"),
    [
        pytest.param(requests.exceptions, REQUESTS, id="requests"),
        pytest.param(urllib3.exceptions, URLLIB3, id="urllib3"),
        pytest.param(http.client, HTTP, id="http.client"),
    ],
)
def test_every_exception_of_the_wire_has_its_reason(module: ModuleType, meant: dict[str, str]) -> None:
    found = {cls.__name__: cls for cls in classes_of(module)}
    assert set(found) - {"CompatJSONDecodeError", "BaseHTTPError"} <= set(meant), "a class has no deliberate verdict"
    for name, reason in meant.items():
        if name in found:
            link = ExceptionLink(module=found[name].__module__, name=name)
            decided = meaning((link,))
            assert decided is not None
            assert decided.reason == reason, name


@pytest.mark.parametrize("cls", sorted(set(classes_of(ssl)), key=str))
def test_every_failure_of_tls_is_the_vendors(cls: type[BaseException]) -> None:
    assert name_of(ExceptionLink(module="ssl", name=cls.__name__)) is VENDOR


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(socket.gaierror(-2, "Name or service not known"), "dns", id="name resolution"),
        pytest.param(TimeoutError("timed out"), "read_timeout", id="a socket's timeout"),
        pytest.param(ConnectionRefusedError(111, "Connection refused"), "connection_refused", id="refused"),
        pytest.param(ConnectionResetError(104, "reset"), "connection_lost", id="reset"),
        pytest.param(BrokenPipeError(32, "Broken pipe"), "connection_lost", id="broken pipe"),
        pytest.param(OSError(101, "Network is unreachable"), "connection_failed", id="no route"),
        pytest.param(OSError(28, "No space left on device"), "resources", id="disk full"),
        pytest.param(OSError(24, "Too many open files"), "resources", id="too many files"),
        pytest.param(PermissionError(13, "Permission denied"), "bug", id="a file of ours"),
        pytest.param(MemoryError(), "memory", id="memory"),
        pytest.param(KeyError("next"), "bug", id="a bug"),
        pytest.param(RecursionError(), "bug", id="recursion"),
        pytest.param(zlib.error("incorrect header check"), "bad_encoding", id="not gzip"),
        pytest.param(KeyboardInterrupt(), "interrupted", id="interrupted"),
    ],
)
def test_an_exception_means(error: BaseException, reason: str) -> None:
    decided = meaning(chain(error))
    assert decided is not None
    assert decided.reason == reason


CUSTOMER: Final = HealthName.UNAUTHORIZED
LIMITED: Final = HealthName.RATE_LIMIT_EXCEEDED
OUR_OWN: Final = {
    "worker.wire.errors": {
        "WireStop": INTERNAL,
        "DeadlineReached": TIMEOUT,
        "RunStopped": INTERNAL,
        "WireError": INTERNAL,
        "BlockedAddressError": INTERNAL,
        "CredentialScopeError": INTERNAL,
        "RedirectRefusedError": INTERNAL,
        "TooManyRedirectsError": VENDOR,
        "BodyTooLargeError": INTERNAL,
        "HeadersTooLargeError": INTERNAL,
        "IncompleteBodyError": VENDOR,
        "RateLimitedLocallyError": LIMITED,
    },
    "vendors.errors": {
        "VendorError": INTERNAL,
        "DefinitionError": INTERNAL,
        "UnknownVendorError": INTERNAL,
        "MissingCredentialError": CUSTOMER,
        "InvalidCredentialsError": CUSTOMER,
        "MissingApplicationError": INTERNAL,
        "ApplicationRefusedError": INTERNAL,
        "AuthorizationNeededError": CUSTOMER,
        "ExpressionError": INTERNAL,
        "MissingReferenceError": INTERNAL,
        "UnusableValueError": INTERNAL,
        "_EndpointError": INTERNAL,
        "AnswerRefusedError": HealthName.VENDOR_CLIENT_ERROR,
        "AnswerReportsError": HealthName.VENDOR_CLIENT_ERROR,
        "MalformedBodyError": VENDOR,
        "UnexpectedShapeError": INTERNAL,
        "PaginationError": INTERNAL,
        "JobFailedError": VENDOR,
    },
    "worker.errors": {"CredentialsRefusedError": CUSTOMER},
    "models.errors": {},
}


@pytest.mark.parametrize("module", OUR_OWN)
def test_every_error_of_our_own_has_a_deliberate_verdict(module: str) -> None:
    found = {cls.__name__ for cls in classes_of(importlib.import_module(module)) if cls.__module__ == module}
    for name in found:
        expected = OUR_OWN[module].get(name, INTERNAL)
        if module in {"worker.wire.errors", "vendors.errors"}:
            assert name in OUR_OWN[module], f"{name} has no deliberate verdict"
        assert name_of(ExceptionLink(module=module, name=name)) is expected, name


def test_the_wait_for_our_own_share_is_told() -> None:
    link = ExceptionLink(
        module="worker.wire.errors",
        name="RateLimitedLocallyError",
        message="own limit for acme: the next request may go in 120 s",
    )
    now = datetime(2026, 1, 9, tzinfo=UTC)
    judged = judge(Exchange(method="GET", url="https://x/", exception=(link,)), observed_at=now)
    assert judged.retry_at == now + timedelta(seconds=120)


@pytest.mark.parametrize(
    ("module", "name", "health"),
    [
        ("worker.in_flight", "DeadlineInterrupt", TIMEOUT),
        ("models.errors", "VaultKeyError", INTERNAL),
        ("pydantic_core._pydantic_core", "ValidationError", INTERNAL),
        ("somewhere.else", "OddProblem", INTERNAL),
    ],
)
def test_a_class_means(module: str, name: str, health: HealthName) -> None:
    assert name_of(ExceptionLink(module=module, name=name)) is health


def refused() -> requests.ConnectionError:
    """What requests raises, with the chain as it really comes: causes in args, and in urllib3's `reason`."""
    try:
        requests.get("http://127.0.0.1:1/", timeout=1, proxies={"http": ""})
    except requests.ConnectionError as error:
        return error
    raise AssertionError


def test_a_chain_goes_from_requests_down_to_the_socket() -> None:
    names = [link.name for link in chain(refused())]
    assert names[0] == "ConnectionError"
    assert "NewConnectionError" in names
    decided = meaning(chain(refused()))
    assert decided is not None
    assert decided.reason == "connection_refused"


def test_a_proxy_anywhere_in_the_chain_is_our_own_way_out() -> None:
    inner = OSError("Tunnel connection failed: 407 Proxy Authentication Required")
    error = requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", inner))  # type: ignore[arg-type]
    decided = meaning(chain(error))
    assert decided is not None
    assert decided.reason == "proxy"


def fail_while_handling_a_timeout() -> None:
    rows: dict[str, int] = {}
    try:
        requests_timeout()
    except requests.exceptions.ReadTimeout:
        rows["missing"] += 1


def requests_timeout() -> None:
    raise requests.exceptions.ReadTimeout("slow")


def test_our_bug_while_handling_a_network_failure_is_our_bug() -> None:
    with pytest.raises(KeyError) as caught:
        fail_while_handling_a_timeout()
    links = chain(caught.value)
    assert [link.name for link in links] == ["KeyError", "ReadTimeout"]
    assert name_of(*links) is INTERNAL


def test_a_suppressed_context_is_not_followed() -> None:
    error = ValueError("ours")
    error.__context__ = requests.exceptions.ReadTimeout()
    error.__suppress_context__ = True
    assert len(chain(error)) == 1


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert [link.message for link in chain(first)] == ["a", "b"]


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    @property
    def reason(self) -> object:
        raise RuntimeError


def test_a_hostile_exception_is_read_all_the_same() -> None:
    (link,) = chain(HostileError())
    assert (link.name, link.message) == ("HostileError", "")


def test_messages_and_chains_are_clipped() -> None:
    error: BaseException = ValueError("x" * 10_000)
    for _ in range(50):
        outer = ValueError("y" * 10_000)
        outer.__cause__ = error
        error = outer
    links = chain(error)
    assert len(links) == 12
    assert max(len(link.message) for link in links) == 500


def test_groups_are_followed() -> None:
    group = ExceptionGroup("several", [requests.exceptions.ConnectTimeout("slow")])
    assert [link.name for link in chain(group)] == ["ExceptionGroup", "ConnectTimeout"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://x", 401),
        ("requests.exceptions.RetryError: Max retries (Caused by ResponseError('too many 429 error responses'))", 429),
        ("googleapiclient.errors.HttpError: <HttpError 403 when requesting https://x>", 403),
        ("urllib.error.HTTPError: HTTP Error 404: Not Found", 404),
        ("aiohttp.client_exceptions.ClientResponseError: 401, message='Unauthorized', url='https://x'", 401),
    ],
)
def test_an_exception_that_carries_a_status_is_judged_by_it(text: str, status: int) -> None:
    decided = meaning(exception_links(text))
    assert decided is not None
    assert decided.status == status


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the ListObjects operation",
            "rate_limit",
        ),
        (
            "grpc._channel._InactiveRpcError: <_InactiveRpcError: status = StatusCode.UNAVAILABLE, details = x>",
            "unavailable",
        ),
        ("google.auth.exceptions.RefreshError: ('invalid_grant: Token has been revoked.', {})", "grant_invalid"),
        ("simple_salesforce.exceptions.SalesforceAuthenticationFailed: INVALID_LOGIN", "credentials_invalid"),
        ("openai.RateLimitError: Error code: 429", "rate_limit"),
        ("dns.resolver.NXDOMAIN: The DNS query name does not exist: api.example.com.", "dns"),
        ("some_sdk.errors.Oddity: it is odd", "bug"),
    ],
)
def test_an_exception_of_a_vendors_own_library_is_read_by_its_code_and_name(text: str, reason: str) -> None:
    decided = meaning(exception_links(text))
    assert decided is not None
    assert decided.reason == reason


def test_code_that_had_to_be_interrupted_is_told_without_a_budget_that_nobody_knows() -> None:
    exchange = Exchange(method="GET", url="https://api.example.com/v1", exception=chain(DeadlineInterrupt()))
    verdict = judge(exchange, observed_at=datetime(2026, 1, 9, tzinfo=UTC))
    assert verdict.reason == "budget_spent"
    assert "did not come back by itself" in verdict.sentence
    assert " 0 s" not in verdict.sentence


def reason_of(text: str, url: str = "") -> str:
    decided = meaning(exception_links(text), url)
    assert decided is not None
    return decided.reason or reason_of_status(decided.status or 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("ftplib.error_perm: 530 Login incorrect.", "credentials_invalid", id="FTP refuses a login"),
        pytest.param("ftplib.error_perm: 530 Sorry, max 7 users", "concurrency", id="FTP has too many users"),
        pytest.param("ftplib.error_perm: 530 Must use encryption", "wrong_client", id="FTP wants TLS"),
        pytest.param("ftplib.error_perm: 550 x: No such file", "not_found", id="FTP has no such file"),
        pytest.param("ftplib.error_perm: 550 Permission denied.", "permission_missing", id="FTP denies a file"),
        pytest.param("ftplib.error_temp: 421 Closing control connection", "unavailable", id="FTP closes"),
        pytest.param("imaplib.IMAP4.error: b'[EXPIRED] Password'", "token_expired", id="a code of RFC 5530"),
        pytest.param("imaplib.IMAP4.error: b'LOGIN failed.'", "credentials_invalid", id="IMAP without a code"),
        pytest.param("imaplib.IMAP4.abort: socket error: EOF", "connection_lost", id="IMAP breaks off"),
        pytest.param("poplib.error_proto: b'-ERR [SYS/TEMP] later'", "unavailable", id="a code of RFC 3206"),
        pytest.param("smtplib.SMTPConnectError: (421, b'Too many connections')", "concurrency", id="SMTP is full"),
        pytest.param("xmlrpc.client.ProtocolError: <ProtocolError for x/y: 503 Busy>", "unavailable", id="a status"),
        pytest.param("xmlrpc.client.Fault: <Fault 3: 'Access Denied'>", "permission_missing", id="words in a fault"),
        pytest.param("xmlrpc.client.Fault: <Fault -32601: 'server error'>", "unsupported", id="a fault reserved"),
        pytest.param("xmlrpc.client.Fault: <Fault 9: 'odd'>", "error_in_body", id="a fault that says nothing"),
    ],
)
def test_protocols_other_than_http_are_read_by_their_own_replies(text: str, reason: str) -> None:
    assert reason_of(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("k.ApiException: (403)\nReason: Forbidden", "forbidden", id="a status in brackets"),
        pytest.param("o.RateError: Error code: 429 - {'x': 1}", "rate_limit", id="a status with a label"),
        pytest.param("e.NotFoundError: NotFoundError(404, 'no_index')", "not_found", id="a status as an argument"),
        pytest.param("p.Refused: received 401 HTTP response", "unauthorized", id="a status in a sentence"),
        pytest.param("s.Refused: [{'errorCode': 'REQUEST_LIMIT_EXCEEDED'}]", "rate_limit", id="a code in its text"),
        pytest.param("l.BindError: not bound - invalidCredentials", "credentials_invalid", id="a code as one word"),
        pytest.param("s.APIError: Invalid API key", "token_invalid", id="words beat a name that says little"),
        pytest.param("m.ServiceError: the client secret has expired", "token_expired", id="as do those of a service"),
        pytest.param("m.ServiceError: odd", "server_error", id="a name alone"),
        pytest.param("m.ValidationError: token expired is no state", "bad_request", id="a name on our own request"),
        pytest.param("m.TransformError: token expired", "bug", id="a name that hands nothing on"),
    ],
)
def test_an_exception_of_a_vendors_library_is_read_for_what_the_vendor_said(text: str, reason: str) -> None:
    assert reason_of(text, "https://api.example.com/") == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("oracledb.DatabaseError: ORA-01017: logon denied", "credentials_invalid", id="Oracle's number"),
        pytest.param("oracledb.DatabaseError: DPI-1047: no client library", "bug", id="Oracle's driver, here"),
        pytest.param('pymysql.err.OperationalError: (1045, "Access denied")', "credentials_invalid", id="MySQL's"),
        pytest.param("pyodbc.Error: ('28000', '[28000] Login failed')", "credentials_invalid", id="a SQLSTATE"),
        pytest.param("pyodbc.Error: ('HYT00', '[HYT00] odd')", "read_timeout", id="ODBC's own SQLSTATE"),
        pytest.param("psycopg.errors.UndefinedTable: no relation x", "bad_query", id="a class"),
        pytest.param("psycopg.OperationalError: FATAL: no pg_hba.conf entry", "ip_not_allowed", id="a host not let in"),
        pytest.param("psycopg.OperationalError: odd", "connection_failed", id="what says nothing else"),
    ],
)
def test_a_database_that_the_call_names_is_the_vendors_and_else_ours(text: str, reason: str) -> None:
    assert reason_of(text, "postgresql://db.customer.example/x") == reason
    assert reason_of(text, "https://api.example.com/") == "database"
    assert reason_of(text) == "database"


def test_a_driver_that_serves_none_of_ours_needs_no_address() -> None:
    said = "snowflake.connector.errors.DatabaseError: 250001 (08001): Incorrect username or password was specified."
    assert reason_of(said) == "credentials_invalid"


def test_a_connection_that_failed_is_the_vendors_only_where_there_was_a_call() -> None:
    assert reason_of("some_sdk.APIConnectionError: odd", "https://api.example.com/") == "connection_failed"
    assert reason_of("some_sdk.APIConnectionError: odd") == "bug"
