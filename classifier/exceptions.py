"""Python exceptions as data, and what their classes mean: whose failure it was, by module and name.

The chain is read outermost first. A class that only wraps others (`requests.ConnectionError`) lets the ones it wraps
speak; the first that is exact decides. No library is imported: modules and names are compared as text.
"""

import errno as errors
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from classifier.libraries import Meaning, carried_status, of_library
from classifier.outcome import ExceptionLink
from classifier.protocols import of_protocol
from classifier.reasons import REASONS
from classifier.vocabulary import HealthName

_LONGEST_CHAIN: Final = 12
_LONGEST_MESSAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionRule:
    """Classes of one meaning. module: a module or its root; names: empty for every class of it not named elsewhere.

    wraps: True where a cause, if there is one, says more.
    """

    id: str
    reason: str
    module: str
    names: tuple[str, ...] = ()
    wraps: bool = False


def _rule(id_: str, reason: str, module: str, names: str = "", *, wraps: bool = False) -> ExceptionRule:
    return ExceptionRule(id=f"exception.{id_}", reason=reason, module=module, names=tuple(names.split()), wraps=wraps)


RULES: Final[tuple[ExceptionRule, ...]] = (
    # Ours: this project.
    _rule("our_deadline", "budget_spent", "worker.wire.errors", "DeadlineReached DeadlineReachedError"),
    _rule("our_guard", "address_refused", "worker.wire.errors", "BlockedAddressError"),
    _rule("our_size_guard", "body_too_large", "worker.wire.errors", "BodyTooLargeError"),
    _rule("our_redirect_guard", "redirect_refused", "worker.wire.errors", "RedirectRefusedError"),
    _rule("our_redirect_count", "redirect_loop", "worker.wire.errors", "TooManyRedirects TooManyRedirectsError"),
    _rule("our_incomplete", "truncated_body", "worker.wire.errors", "IncompleteBodyError"),
    _rule("our_stop", "interrupted", "worker.wire.errors", "WireStop RunStopped"),
    _rule("our_scope_guard", "address_refused", "worker.wire.errors", "CredentialScopeError"),
    _rule("our_header_guard", "body_too_large", "worker.wire.errors", "HeadersTooLargeError"),
    _rule("our_share", "rate_limit", "worker.wire.errors", "RateLimitedLocallyError"),
    _rule("our_interrupt", "budget_spent", "worker.in_flight", "DeadlineInterrupt"),
    _rule("our_malformed", "bad_json", "vendors.errors", "MalformedBodyError"),
    _rule("our_credentials", "credentials_missing", "vendors.errors", "MissingCredentialError"),
    _rule("our_application", "application", "vendors.errors", "MissingApplicationError ApplicationRefusedError"),
    _rule("our_consent", "grant_invalid", "vendors.errors", "AuthorizationNeededError"),
    _rule("our_credential_form", "credentials_invalid", "vendors.errors", "InvalidCredentialsError"),
    _rule("our_shape", "schema", "vendors.errors", "UnexpectedShapeError"),
    _rule("our_pagination", "pagination", "vendors.errors", "PaginationError"),
    _rule("our_job", "job_failed", "vendors.errors", "JobFailedError"),
    _rule("our_answer", "error_in_body", "vendors.errors", "AnswerRefusedError AnswerReportsError"),
    _rule("our_definition", "definition", "vendors.errors"),
    _rule(
        "our_vault",
        "vault",
        "models.errors",
        "VaultError KeyringError UnknownKeyError VaultKeyError VaultTamperedError VaultSwappedError",
    ),
    _rule("our_fence", "interrupted", "models.errors", "FencedError"),
    _rule("our_vault_missing", "vault", "worker.errors", "VaultNotConfiguredError"),
    _rule("our_refused_credentials", "credentials_invalid", "worker.errors", "CredentialsRefusedError"),
    _rule("our_models", "database", "models"),
    _rule("our_worker", "bug", "worker"),
    _rule("our_vendors", "bug", "vendors"),
    # Ours: database, broker, pool, vault, models.
    _rule("psycopg", "database", "psycopg"),
    _rule("psycopg_pool", "database", "psycopg_pool"),
    _rule("psycopg2", "database", "psycopg2"),
    _rule("sqlalchemy", "database", "sqlalchemy"),
    _rule("alembic", "database", "alembic"),
    _rule("asyncpg", "database", "asyncpg"),
    _rule("sqlite3", "database", "sqlite3"),
    _rule("redis", "broker", "redis"),
    _rule("kombu", "broker", "kombu"),
    _rule("amqp", "broker", "amqp"),
    _rule(
        "time_limit",
        "budget_spent",
        "celery",
        "SoftTimeLimitExceeded TimeLimitExceeded TimeoutError",
    ),
    _rule("celery_lost", "worker_lost", "celery", "WorkerLostError WorkerTerminate WorkerShutdown"),
    _rule("celery_stop", "interrupted", "celery", "Terminated TaskRevokedError Ignore Reject Retry TaskPredicate"),
    _rule("celery", "broker", "celery"),
    _rule("billiard_time_limit", "budget_spent", "billiard", "SoftTimeLimitExceeded TimeLimitExceeded TimeoutError"),
    _rule(
        "billiard_lost",
        "worker_lost",
        "billiard",
        "WorkerLostError LaxBoundedSemaphore RestartFreqExceeded CoroStop",
    ),
    _rule("billiard_stop", "interrupted", "billiard", "Terminated"),
    _rule("billiard", "broker", "billiard"),
    _rule("rq_time_limit", "budget_spent", "rq", "JobTimeoutException HorseMonitorTimeoutException"),
    _rule("rq_lost", "worker_lost", "rq", "AbandonedJobError DequeueTimeout ShutDownImminentException StopRequested"),
    _rule("rq", "broker", "rq"),
    _rule("dramatiq_time_limit", "budget_spent", "dramatiq", "TimeLimitExceeded"),
    _rule("dramatiq_stop", "interrupted", "dramatiq", "Shutdown Interrupt"),
    _rule("dramatiq", "broker", "dramatiq"),
    _rule("func_timeout", "budget_spent", "func_timeout"),
    _rule("timeout_decorator", "budget_spent", "timeout_decorator"),
    _rule("wrapt_timeout_decorator", "budget_spent", "wrapt_timeout_decorator"),
    _rule("stopit", "budget_spent", "stopit"),
    _rule("huey_time_limit", "budget_spent", "huey", "TaskTimeout"),
    _rule("huey", "broker", "huey"),
    _rule("prefect_time_limit", "budget_spent", "prefect", "TaskRunTimeout FlowRunTimeout TimedOut"),
    _rule("temporal_time_limit", "budget_spent", "temporalio", "TimeoutError"),
    _rule("airflow_time_limit", "budget_spent", "airflow", "AirflowTaskTimeout"),
    _rule("airflow", "bug", "airflow"),
    _rule("pymysql", "database", "pymysql"),
    _rule("mysqlclient", "database", "MySQLdb"),
    _rule("mysql_connector", "database", "mysql"),
    _rule("pymongo", "database", "pymongo"),
    _rule("peewee", "database", "peewee"),
    _rule("django_db", "database", "django.db"),
    _rule("aiosqlite", "database", "aiosqlite"),
    _rule("oracledb", "database", "oracledb"),
    _rule("pyodbc", "database", "pyodbc"),
    _rule("pika", "broker", "pika"),
    _rule("aiormq", "broker", "aiormq"),
    _rule("kafka", "broker", "kafka"),
    _rule("confluent_kafka", "broker", "confluent_kafka"),
    *(
        _rule(f"uses_{module}", "broker", module)
        for module in ("pymemcache", "aio_pika", "aiokafka", "nats", "stomp", "aioredis", "valkey", "pylibmc", "zmq")
    ),
    *(
        _rule(f"uses_{module}", "database", module)
        for module in ("motor", "tortoise", "databases", "asyncmy", "aiomysql", "aiopg", "pg8000", "apsw", "duckdb")
    ),
    _rule("hvac", "vault", "hvac"),
    _rule("nacl", "vault", "nacl"),
    _rule("cryptography", "vault", "cryptography"),
    _rule("jwcrypto", "vault", "jwcrypto"),
    _rule("pycryptodome", "vault", "Crypto"),
    _rule("keyring", "vault", "keyring"),
    _rule("pydantic", "schema", "pydantic"),
    _rule("pydantic_core", "schema", "pydantic_core"),
    _rule("jsonschema", "schema", "jsonschema"),
    _rule("marshmallow", "schema", "marshmallow"),
    # The way out.
    _rule("proxy", "proxy", "requests", "ProxyError"),
    _rule("proxy_url", "proxy", "requests", "InvalidProxyURL"),
    _rule("urllib3_proxy", "proxy", "urllib3", "ProxyError ProxySchemeUnknown ProxySchemeUnsupported"),
    _rule("httpx_proxy", "proxy", "httpx", "ProxyError"),
    _rule("socks", "proxy", "socks"),
    # Our own URLs and headers.
    _rule(
        "requests_url",
        "bad_url",
        "requests",
        "InvalidURL MissingSchema InvalidSchema InvalidHeader URLRequired",
    ),
    _rule("requests_use", "bug", "requests", "StreamConsumedError UnrewindableBodyError InvalidJSONError"),
    _rule(
        "urllib3_url",
        "bad_url",
        "urllib3",
        "LocationParseError LocationValueError URLSchemeUnknown HostChangedError",
    ),
    _rule(
        "urllib3_use",
        "bug",
        "urllib3",
        "PoolError EmptyPoolError ClosedPoolError FullPoolError TimeoutStateError UnrewindableBodyError "
        "BodyNotHttplibCompatible ResponseNotChunked HTTPWarning SecurityWarning InsecureRequestWarning "
        "NotOpenSSLWarning SystemTimeWarning InsecurePlatformWarning DependencyWarning",
    ),
    _rule(
        "http_use",
        "bug",
        "http.client",
        "NotConnected ImproperConnectionState CannotSendRequest CannotSendHeader ResponseNotReady "
        "UnknownTransferEncoding "
        "UnimplementedFileMode",
    ),
    _rule("http_url", "bad_url", "http.client", "InvalidURL"),
    _rule("requests_warning", "bug", "requests", "RequestsWarning FileModeWarning RequestsDependencyWarning"),
    # The network to the vendor.
    _rule("requests_status", "connection_failed", "requests", "HTTPError", wraps=True),
    _rule("requests_connect_timeout", "connect_timeout", "requests", "ConnectTimeout"),
    _rule("requests_read_timeout", "read_timeout", "requests", "ReadTimeout"),
    _rule("requests_timeout", "read_timeout", "requests", "Timeout", wraps=True),
    _rule("requests_tls", "tls", "requests", "SSLError"),
    _rule("requests_truncated", "truncated_body", "requests", "ChunkedEncodingError"),
    _rule("requests_encoding", "bad_encoding", "requests", "ContentDecodingError"),
    _rule("requests_json", "bad_json", "requests", "JSONDecodeError"),
    _rule("requests_redirects", "redirect_loop", "requests", "TooManyRedirects"),
    _rule("requests_retries", "unavailable", "requests", "RetryError", wraps=True),
    _rule("requests", "connection_failed", "requests", wraps=True),
    _rule("urllib3_dns", "dns", "urllib3", "NameResolutionError"),
    _rule("urllib3_connect_timeout", "connect_timeout", "urllib3", "ConnectTimeoutError"),
    _rule("urllib3_read_timeout", "read_timeout", "urllib3", "ReadTimeoutError"),
    _rule("urllib3_timeout", "read_timeout", "urllib3", "TimeoutError", wraps=True),
    _rule("urllib3_tls", "tls", "urllib3", "SSLError"),
    _rule("urllib3_truncated", "truncated_body", "urllib3", "IncompleteRead InvalidChunkLength"),
    _rule("urllib3_encoding", "bad_encoding", "urllib3", "DecodeError"),
    _rule("urllib3_retries", "unavailable", "urllib3", "ResponseError MaxRetryError", wraps=True),
    _rule("urllib3_connect", "connection_failed", "urllib3", "NewConnectionError", wraps=True),
    _rule("urllib3_header", "connection_lost", "urllib3", "InvalidHeader HeaderParsingError"),
    _rule("urllib3_protocol", "connection_lost", "urllib3", "ProtocolError ConnectionError", wraps=True),
    _rule("urllib3", "connection_failed", "urllib3", wraps=True),
    _rule("http_truncated", "truncated_body", "http.client", "IncompleteRead"),
    _rule("http", "connection_lost", "http.client"),
    _rule("urllib", "connection_failed", "urllib.error", wraps=True),
    _rule("ssl", "tls", "ssl"),
    _rule("dns", "dns", "socket", "gaierror herror"),
    _rule("dnspython", "dns", "dns"),
    _rule("trio", "connection_lost", "trio", "BrokenResourceError ClosedResourceError"),
    _rule("anyio", "connection_lost", "anyio", "EndOfStream BrokenResourceError ClosedResourceError"),
    _rule("h2", "connection_lost", "h2"),
    _rule("h11", "connection_lost", "h11", "RemoteProtocolError"),
    _rule("hpack", "connection_lost", "hpack"),
    _rule("websockets", "connection_lost", "websockets", wraps=True),
    _rule("google_auth_transport", "connection_failed", "google.auth", "TransportError", wraps=True),
    _rule("azure_request", "connection_failed", "azure.core", "ServiceRequestError", wraps=True),
    _rule("azure_response", "connection_lost", "azure.core", "ServiceResponseError IncompleteReadError", wraps=True),
    _rule(
        "ldap3",
        "connection_failed",
        "ldap3",
        "LDAPSocketOpenError LDAPSocketReceiveError LDAPSocketSendError LDAPSocketCloseError LDAPServerPoolError "
        "LDAPServerPoolExhaustedError LDAPSessionTerminatedByServerError",
    ),
    _rule("ldap3_tls", "tls", "ldap3", "LDAPSSLConfigurationError LDAPStartTLSError LDAPCertificateError"),
    _rule("paramiko", "connection_failed", "paramiko", "NoValidConnectionsError SSHException ChannelException"),
    _rule("zeep_transport", "connection_failed", "zeep", "TransportError", wraps=True),
    _rule("zeep_xml", "bad_xml", "zeep", "XMLSyntaxError XMLParseError"),
    _rule("zeep_wsdl", "bug", "zeep", "ValidationError LookupError NamespaceError SignatureVerificationFailed"),
    _rule("twisted", "connection_failed", "twisted.internet.error"),
    _rule("curl_cffi", "connection_failed", "curl_cffi", wraps=True),
    _rule("niquests", "connection_failed", "niquests", wraps=True),
    _rule("smtplib", "connection_lost", "smtplib", "SMTPServerDisconnected SMTPConnectError"),
    _rule("imaplib", "connection_lost", "imaplib", "abort"),
    _rule("pycurl", "connection_failed", "pycurl", wraps=True),
    _rule("pyopenssl", "tls", "OpenSSL"),
    _rule("ftplib", "connection_lost", "ftplib"),
    _rule("socket_timeout", "read_timeout", "socket", "timeout"),
    _rule("socket", "connection_failed", "socket"),
    _rule("builtin_refused", "connection_refused", "builtins", "ConnectionRefusedError"),
    _rule(
        "builtin_lost",
        "connection_lost",
        "builtins",
        "ConnectionResetError ConnectionAbortedError BrokenPipeError ConnectionError",
    ),
    _rule("builtin_timeout", "read_timeout", "builtins", "TimeoutError"),
    _rule("asyncio_timeout", "read_timeout", "asyncio", "TimeoutError"),
    _rule("httpx_connect_timeout", "connect_timeout", "httpx", "ConnectTimeout"),
    _rule("httpx_timeout", "read_timeout", "httpx", "ReadTimeout WriteTimeout"),
    _rule("httpx_pool", "bug", "httpx", "PoolTimeout InvalidURL UnsupportedProtocol CookieConflict StreamError"),
    _rule("httpx_encoding", "bad_encoding", "httpx", "DecodingError"),
    _rule("httpx_redirects", "redirect_loop", "httpx", "TooManyRedirects"),
    _rule("httpx_lost", "connection_lost", "httpx", "ReadError WriteError RemoteProtocolError CloseError"),
    _rule("httpx", "connection_failed", "httpx", wraps=True),
    _rule("httpcore", "connection_failed", "httpcore", wraps=True),
    _rule("aiohttp_url", "bad_url", "aiohttp", "InvalidURL"),
    _rule(
        "aiohttp_lost",
        "connection_lost",
        "aiohttp",
        "ServerDisconnectedError ClientPayloadError ClientOSError",
    ),
    _rule("aiohttp_tls", "tls", "aiohttp", "ClientSSLError ClientConnectorSSLError ClientConnectorCertificateError"),
    _rule("aiohttp_timeout", "read_timeout", "aiohttp", "ServerTimeoutError SocketTimeoutError ConnectionTimeoutError"),
    _rule("aiohttp_proxy", "proxy", "aiohttp", "ClientProxyConnectionError ClientHttpProxyError"),
    _rule("aiohttp_dns", "dns", "aiohttp", "ClientConnectorDNSError"),
    _rule("aiohttp", "connection_failed", "aiohttp", wraps=True),
    _rule("botocore_credentials", "credentials_missing", "botocore", "NoCredentialsError PartialCredentialsError"),
    _rule("botocore_use", "bug", "botocore", "ParamValidationError UnknownServiceError DataNotFoundError"),
    _rule("botocore_proxy", "proxy", "botocore", "ProxyConnectionError"),
    _rule(
        "botocore_network",
        "connection_failed",
        "botocore",
        "EndpointConnectionError ConnectionError HTTPClientError ConnectionClosedError",
    ),
    _rule("botocore_connect_timeout", "connect_timeout", "botocore", "ConnectTimeoutError"),
    _rule("botocore_read_timeout", "read_timeout", "botocore", "ReadTimeoutError"),
    _rule("botocore_tls", "tls", "botocore", "SSLError"),
    # Bodies that are not what they should be.
    _rule("json", "bad_json", "json"),
    _rule("simplejson", "bad_json", "simplejson"),
    _rule("orjson", "bad_json", "orjson", "JSONDecodeError"),
    _rule("xml", "bad_xml", "xml"),
    _rule("lxml", "bad_xml", "lxml"),
    _rule("zlib", "bad_encoding", "zlib"),
    _rule("gzip", "bad_encoding", "gzip"),
    _rule("brotli", "bad_encoding", "brotli"),
    _rule("zstandard", "bad_encoding", "zstandard"),
    # What reads and shapes data on our side.
    *(_rule(f"shapes_{module}", "schema", module) for module in ("cattrs", "attr", "attrs", "msgspec", "dacite")),
    *(
        _rule(f"uses_{module}", "bug", module)
        for module in ("polars", "pandas", "numpy", "pyarrow", "dateutil", "yaml", "tomllib", "pickle", "jinja2")
    ),
    _rule("process_pool", "worker_lost", "concurrent.futures", "BrokenProcessPool BrokenExecutor BrokenThreadPool"),
    _rule("ray_lost", "worker_lost", "ray", "WorkerCrashedError ActorDiedError NodeDiedError RaySystemError"),
    _rule("ray_memory", "memory", "ray", "OutOfMemoryError"),
    # Our machine and code.
    _rule("memory", "memory", "builtins", "MemoryError"),
    _rule("keyboard", "interrupted", "builtins", "KeyboardInterrupt SystemExit GeneratorExit"),
    _rule("builtins", "bug", "builtins"),
)


def _index() -> tuple[
    Mapping[tuple[str, str], ExceptionRule], Mapping[str, ExceptionRule], Mapping[str, ExceptionRule]
]:
    named: dict[tuple[str, str], ExceptionRule] = {}
    whole: dict[str, ExceptionRule] = {}
    bare: dict[str, ExceptionRule] = {}
    for rule in RULES:
        if not rule.names:
            whole.setdefault(rule.module, rule)
        for name in rule.names:
            named.setdefault((rule.module, name), rule)
    # A name without a module was found in another exception's text: there, the network's own names are meant.
    for root in ("urllib3", "http.client", "requests", "ssl", "socket", "builtins"):
        for (module, name), rule in named.items():
            if module == root and (root != "builtins" or rule.reason.startswith(("connection", "read"))):
                bare.setdefault(name, rule)
    for name in ("SSLCertVerificationError", "SSLEOFError", "SSLZeroReturnError", "CertificateError"):
        bare[name] = whole["ssl"]
    for name in ("RemoteDisconnected", "BadStatusLine", "LineTooLong"):
        bare[name] = whole["http.client"]
    return MappingProxyType(named), MappingProxyType(whole), MappingProxyType(bare)


_NAMED, _WHOLE, _BARE = _index()
_ERRNO: Final[Mapping[int, str]] = MappingProxyType(
    {
        errors.ECONNREFUSED: "connection_refused",
        errors.ECONNRESET: "connection_lost",
        errors.ECONNABORTED: "connection_lost",
        errors.EPIPE: "connection_lost",
        errors.ENETUNREACH: "connection_failed",
        errors.EHOSTUNREACH: "connection_failed",
        errors.EHOSTDOWN: "connection_failed",
        errors.ENETDOWN: "connection_failed",
        errors.ETIMEDOUT: "connect_timeout",
        errors.EADDRNOTAVAIL: "resources",
        errors.ENOSPC: "resources",
        errors.EDQUOT: "resources",
        errors.EMFILE: "resources",
        errors.ENFILE: "resources",
        errors.ENOBUFS: "resources",
        errors.EAGAIN: "resources",
        errors.ENOMEM: "memory",
    }
)
_ERRNO_IN_TEXT: Final = re.compile(r"\[Errno (-?\d{1,5})\]|Error\((\d{1,5}),")
_TOO_MANY: Final = re.compile(r"too many (\d{3}) error responses")
_DNS: Final = frozenset({-2, -3, -5, 8, 11001})


def _lookup(link: ExceptionLink) -> ExceptionRule | None:
    if not link.module:
        return _BARE.get(link.name)
    module = link.module
    while True:
        rule = _NAMED.get((module, link.name))
        if rule is not None:
            return rule
        rule = _WHOLE.get(module)
        if rule is not None:
            return rule
        module = module.rpartition(".")[0]
        if not module:
            return None


_LIBCURL: Final = re.compile(r"\A\(?(\d{1,2}),")
_OF_LIBCURL: Final[Mapping[int, str]] = MappingProxyType(
    {
        3: "bad_url",
        5: "proxy",
        6: "dns",
        7: "connection_refused",
        18: "truncated_body",
        27: "memory",
        28: "read_timeout",
        35: "tls",
        47: "redirect_loop",
        51: "tls",
        52: "connection_lost",
        55: "connection_lost",
        56: "connection_lost",
        58: "tls",
        60: "tls",
        61: "bad_encoding",
        77: "tls",
        83: "tls",
        92: "connection_lost",
        97: "proxy",
    }
)
"""libcurl's numbers of errors (https://curl.se/libcurl/c/libcurl-errors.html)."""


def _of_os_error(link: ExceptionLink) -> str | None:
    if link.module == "pycurl":
        found = _LIBCURL.match(link.message)
        return _OF_LIBCURL.get(int(found.group(1))) if found is not None else None
    number = link.errno
    if number is None:
        found = _ERRNO_IN_TEXT.search(link.message)
        if found is not None:
            number = int(found.group(1) or found.group(2))
    if number is None:
        return None
    if link.module in {"", "urllib3", "requests"} or link.module.startswith(("urllib3.", "requests.")):
        if number in _DNS:
            return "dns"
        # BSD and Windows numbers in texts of other machines.
        number = {
            61: errors.ECONNREFUSED,
            54: errors.ECONNRESET,
            10054: errors.ECONNRESET,
            10061: errors.ECONNREFUSED,
        }.get(number, number)
    return _ERRNO.get(number)


def meaning(links: Iterable[ExceptionLink], url: str = "") -> Meaning | None:
    """Return what a chain means, None for an empty one. An exception that no rule knows is a bug of ours.

    url: of the call that raised it, empty where it is not known: it may name a database that is the vendor's.
    """
    chain_ = tuple(links)[:_LONGEST_CHAIN]
    fallback: Meaning | None = None
    for position, link in enumerate(chain_):
        reason = of_protocol(link, url) if link.module else None
        if reason is not None:
            return Meaning(rule="exception.protocol", link=link, reason=reason)
        rule = _lookup(link)
        if rule is None:
            if position and not link.module:
                continue
            found = of_library(link, url) if position == 0 and not link.module.startswith(("builtins", "__")) else None
            if found is not None:
                return found
            fallback = fallback or Meaning(rule="exception.unknown", link=link, reason="bug")
            continue
        decided = _by_rule(rule, link)
        if decided is not None and not (rule.wraps and decided.status is None and decided.reason == rule.reason):
            if rule.id == "exception.builtins" and fallback is not None:
                break
            proxied = _proxied(chain_) if _is_network(decided.reason) else None
            return proxied or decided
        fallback = fallback or decided
    if fallback is not None and _is_network(fallback.reason):
        return _proxied(chain_) or fallback
    return fallback


def _is_network(reason: str | None) -> bool:
    return reason is not None and REASONS[reason].name is HealthName.VENDOR_SERVER_ERROR


def _proxied(links: tuple[ExceptionLink, ...]) -> Meaning | None:
    for link in links:
        rule = _lookup(link)
        if (rule is not None and rule.reason == "proxy") or "Tunnel connection failed" in link.message:
            return Meaning(rule=rule.id if rule is not None else "exception.proxy", link=link, reason="proxy")
    return None


def _by_rule(rule: ExceptionRule, link: ExceptionLink) -> Meaning | None:
    if rule.module in {"requests", "urllib3", "httpx", "urllib.error", "aiohttp"} and rule.wraps:
        found = _TOO_MANY.search(link.message)
        status = int(found.group(1)) if found is not None else carried_status(link.message)
        if status is not None:
            return Meaning(rule=rule.id, link=link, status=status)
    if rule.wraps or rule.id in {"exception.builtins", "exception.builtin_lost"} or rule.module == "socket":
        exact = _of_os_error(link)
        if exact is not None and not (rule.id == "exception.builtins" and link.name not in _OS_ERRORS):
            return Meaning(rule=rule.id, link=link, reason=exact)
    if rule.module == "builtins" and link.name == "ValueError" and "Fernet key" in link.message:
        return Meaning(rule="exception.vault_key", link=link, reason="vault")
    return Meaning(rule=rule.id, link=link, reason=rule.reason)


_OS_ERRORS: Final = frozenset({"OSError", "IOError", "EnvironmentError", "ConnectionError"})


# --- from Python's exceptions -----------------------------------------------------------------------------------------


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except Exception:  # noqa: BLE001 - a foreign __str__ may do anything, and this must not raise
        return ""


def _nested(error: BaseException) -> Iterable[BaseException]:
    found: list[object] = []
    try:
        found.append(getattr(error, "reason", None))
        arguments = getattr(error, "args", ())
        if isinstance(arguments, tuple):
            found.extend(arguments[:5])
        grouped = getattr(error, "exceptions", ())
        if isinstance(grouped, tuple):
            found.extend(grouped[:5])
    except Exception:  # noqa: BLE001 - likewise for a foreign attribute
        return ()
    found.append(error.__cause__)
    if not error.__suppress_context__:
        found.append(error.__context__)
    return (part for part in found if isinstance(part, BaseException))


def chain(error: BaseException) -> tuple[ExceptionLink, ...]:
    """Return an exception and what it wraps as data, outermost first, at most twelve; messages at most 500 characters.

    Follows `__cause__`, `__context__` (where not suppressed), groups, and the exceptions that requests and urllib3 keep
    in `args` and `reason`. Never raises.
    """
    links: list[ExceptionLink] = []
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting and len(links) < _LONGEST_CHAIN:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        number = getattr(current, "errno", None) if isinstance(current, OSError) else None
        links.append(
            ExceptionLink(
                module=type(current).__module__,
                name=type(current).__name__,
                message=_text(current),
                errno=number if isinstance(number, int) else None,
            )
        )
        waiting[:0] = _nested(current)
    return tuple(links)
