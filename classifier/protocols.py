"""What exceptions say that carry a server's own words: FTP, IMAP, POP, SMTP, XML-RPC, and databases of a vendor.

Reply codes are read as their documents have them, words by the phrases. A database is a vendor's where its driver
serves none of ours, or where the call's URL names it. Bounded by the length of a message; never raises.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from classifier.folding import words_of
from classifier.members import words
from classifier.outcome import ExceptionLink
from classifier.phrases import INDEX, Where
from classifier.reasons import REASONS
from classifier.vocabulary import HealthName

_TOLD: Final = frozenset({HealthName.RATE_LIMIT_EXCEEDED, HealthName.UNAUTHORIZED, HealthName.VENDOR_SERVER_ERROR})


def told_in_words(message: str) -> str | None:
    """Return the reason that a server's sentence gives: on credentials, throttling or its own fault, else None."""
    hit = INDEX.find(words_of(message), Where.BODY)
    return hit.rule.reason if hit is not None and REASONS[hit.rule.reason].name in _TOLD else None


# --- replies of mail and file servers ---------------------------------------------------------------------------------

_REPLY: Final = re.compile(r"\A\W{0,3}(?:b['\"])?(\d{3})\b")
_CROWDED: Final = re.compile(
    r"\b(?:too many|max(?:imum)?)\b.{0,40}\b(?:users?|connections?|clients?|sessions?|logins?|processes)\b|"
    r"\b(?:connection|user|session|client) limit\b",
    re.IGNORECASE,
)
_IN_CLEAR: Final = re.compile(r"\b(?:encrypt\w*|TLS|SSL|AUTH TLS|STARTTLS)\b", re.IGNORECASE)
_OF_FTP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "421": "unavailable",
        "425": "connection_failed",
        "426": "connection_lost",
        "430": "credentials_invalid",
        "434": "connection_failed",
        "450": "unavailable",
        "451": "server_error",
        "452": "server_error",
        "500": "bad_request",
        "501": "bad_request",
        "502": "unsupported",
        "503": "bad_request",
        "504": "unsupported",
        "522": "unsupported",
        "530": "credentials_invalid",
        "532": "credentials_invalid",
        "534": "unsupported",
        "550": "not_found",
        "551": "bad_request",
        "552": "quota",
        "553": "bad_request",
    }
)
"""RFC 959 section 4.2.1, RFC 2228 and RFC 2428: what a reply of an FTP server means."""
_OF_SMTP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "421": "unavailable",
        "450": "unavailable",
        "451": "server_error",
        "452": "server_error",
        "454": "unavailable",
        "530": "credentials_invalid",
        "534": "credentials_invalid",
        "535": "credentials_invalid",
        "538": "unsupported",
        "550": "permission_missing",
        "554": "client_error",
    }
)
"""RFC 5321 section 4.2.3, RFC 4954 section 6."""
_OF_MAILBOX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AUTHENTICATIONFAILED": "credentials_invalid",
        "AUTHORIZATIONFAILED": "permission_missing",
        "EXPIRED": "token_expired",
        "NOPERM": "permission_missing",
        "CONTACTADMIN": "account_disabled",
        "WEBALERT": "account_locked",
        "UNAVAILABLE": "unavailable",
        "SERVERBUG": "server_error",
        "CORRUPTION": "server_error",
        "CLIENTBUG": "bad_request",
        "CANNOT": "unsupported",
        "NONEXISTENT": "not_found",
        "TRYCREATE": "not_found",
        "PRIVACYREQUIRED": "wrong_client",
        "INUSE": "concurrency",
        "LIMIT": "rate_limit",
        "THROTTLED": "rate_limit",
        "OVERQUOTA": "quota",
        "AUTH": "credentials_invalid",
        "IN-USE": "concurrency",
        "LOGIN-DELAY": "rate_limit",
        "SYS/TEMP": "unavailable",
        "SYS/PERM": "server_error",
    }
)
"""Response codes in brackets: IMAP's (RFC 5530, RFC 9051) and POP3's (RFC 2449, RFC 3206)."""
_IN_BRACKETS: Final = re.compile(r"\[([A-Z][A-Z/-]{2,24})\b")
_NOT_PERMITTED: Final = re.compile(r"permission denied|access (?:is )?denied|not permitted", re.IGNORECASE)


def _by_reply(message: str, meanings: Mapping[str, str]) -> str | None:
    found = _REPLY.match(message)
    if found is None:
        return told_in_words(message)
    if _CROWDED.search(message) is not None:
        return "concurrency"
    reason = meanings.get(found.group(1))
    if reason is None:
        return told_in_words(message)
    if reason == "credentials_invalid" and _IN_CLEAR.search(message) is not None:
        return "wrong_client"
    if found.group(1) == "550" and _NOT_PERMITTED.search(message) is not None:
        return "permission_missing"
    told = told_in_words(message)
    return told if told is not None and _is_finer(told, reason) else reason


def _is_finer(told: str, reason: str) -> bool:
    """Return whether words say more than the code beside them: of the same, of throttling, or why a login failed."""
    name = REASONS[told].name
    if name is HealthName.UNAUTHORIZED and reason == "connection_failed":
        return True
    return name is REASONS[reason].name or name is HealthName.RATE_LIMIT_EXCEEDED


def _of_mailbox(message: str) -> str | None:
    message = message.removeprefix("b").strip("'\"")
    for code in _IN_BRACKETS.findall(message)[:4]:
        if code in _OF_MAILBOX:
            return _OF_MAILBOX[code]
    return "concurrency" if _CROWDED.search(message) is not None else told_in_words(message)


# --- XML-RPC ----------------------------------------------------------------------------------------------------------

_FAULT: Final = re.compile(r"\A<Fault (-?\d{1,9}): ['\"]?(.{0,400})", re.DOTALL)
_THROWN: Final = re.compile(r"Traceback \(most recent|\bException\b|\bat line \d")


_RESERVED_FAULTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        -32700: "bad_request",
        -32701: "bad_request",
        -32702: "bad_request",
        -32600: "bad_request",
        -32601: "unsupported",
        -32602: "invalid_parameter",
        -32603: "server_error",
        -32400: "server_error",
        -32300: "gateway",
    }
)
"""Specification for Fault Code Interoperability, version 20010516."""


def _of_xml_rpc(name: str, message: str) -> str | None:
    """Return what a fault of XML-RPC means; a status of HTTP is found by the reader of all libraries."""
    if name == "ResponseError":
        return "bad_xml"
    found = _FAULT.match(message)
    if found is None:
        return None
    reserved = _RESERVED_FAULTS.get(int(found.group(1)))
    if reserved is not None:
        return reserved
    told = told_in_words(found.group(2))
    if told is not None:
        return told
    return "server_error" if _THROWN.search(found.group(2)) is not None else "error_in_body"


# --- databases --------------------------------------------------------------------------------------------------------

_DATABASES: Final = words(
    "oracle mysql mariadb postgresql postgres redshift mssql sqlserver mongodb snowflake cassandra teradata "
    "clickhouse databricks hive trino presto db2 hana odbc jdbc vertica sybase cockroachdb"
)
_MAY_BE_OURS: Final = words(
    "oracledb cx_Oracle pymysql MySQLdb mysql psycopg psycopg2 asyncpg pymssql pyodbc pymongo sqlalchemy pg8000 "
    "aiomysql asyncmy"
)
_NEVER_OURS: Final = words(
    "snowflake teradatasql databricks redshift_connector clickhouse_connect clickhouse_driver cassandra trino prestodb "
    "hdbcli vertica_python pyhive impala ibm_db neo4j couchbase influxdb_client"
)
_ORACLE: Final = re.compile(r"\b(?:ORA|TNS)-(\d{5})\b")
_OF_ORACLE: Final[Mapping[int, str]] = MappingProxyType(
    {
        number: reason
        for reason, numbers in {
            "credentials_invalid": (1004, 1005, 1017, 1988, 12638, 28040),
            "account_locked": (28000,),
            "token_expired": (28001, 28002, 28011),
            "permission_missing": (1031, 1045, 1046, 1749, 1950, 41900),
            "concurrency": (18, 20, 2391, 12516, 12519, 12520),
            "quota": (2395, 2399, 1536),
            "not_found": (942, 4043, 1918),
            "bad_query": (*range(900, 942), *range(943, 1000), 1722, 1843, 1861),
            "conflict": (54, 60, 1555),
            "connect_timeout": (12170, 12535),
            "read_timeout": (1013, 3136),
            "connection_refused": (12541, 12542),
            "connection_lost": (1041, 1092, 3113, 3114, 3135, 12537, 12547, 12571),
            "connection_failed": (12154, 12505, 12514, 12543, 12545),
            "unavailable": (1033, 1034, 1089, 1090, 12518, 12528),
        }.items()
        for number in numbers
    }
)
"""Oracle Database Error Messages (https://docs.oracle.com/error-help/db/)."""
_ORACLES_DRIVER: Final = re.compile(r"\b(DP[YI])-(\d{4})\b")
_MYSQL: Final = re.compile(r"\A\(?(\d{4})\b")
_OF_MYSQL: Final[Mapping[int, str]] = MappingProxyType(
    {
        number: reason
        for reason, numbers in {
            "credentials_invalid": (1045, 1698, 1251, 1396),
            "permission_missing": (1044, 1142, 1143, 1227, 1370),
            "account_locked": (1129, 3118),
            "token_expired": (1820, 1862),
            "ip_not_allowed": (1130,),
            "concurrency": (1040, 1203),
            "quota": (1226,),
            "bad_query": (1054, 1064, 1146, 1049, 1109, 1305),
            "connection_refused": (2002, 2003),
            "dns": (2005,),
            "connection_lost": (2006, 2013, 2055),
            "unavailable": (1053, 1077, 1290),
        }.items()
        for number in numbers
    }
)
"""MySQL Server Error Reference (https://dev.mysql.com/doc/mysql-errors/en/)."""
_SQLSTATE: Final = re.compile(r"[\[('](\d[0-9A-Z]{4}|HYT0[01]|IM00\d)[\])']")
_OF_SQLSTATE: Final[tuple[tuple[str, str], ...]] = (
    ("28", "credentials_invalid"),
    ("42501", "permission_missing"),
    ("42", "bad_query"),
    ("08", "connection_failed"),
    ("53300", "concurrency"),
    ("53400", "quota"),
    ("53", "server_error"),
    ("57014", "read_timeout"),
    ("57", "unavailable"),
    ("58", "server_error"),
    ("XX", "server_error"),
    ("HYT", "read_timeout"),
    ("IM00", "bug"),
    ("22", "invalid_parameter"),
    ("23", "conflict"),
    ("3D", "tenant_unknown"),
    ("40", "conflict"),
)
"""SQLSTATE classes (ISO/IEC 9075-2, as PostgreSQL's Appendix A and ODBC list them); the longer prefix first."""
_BY_CLASS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "InvalidPassword": "credentials_invalid",
        "InvalidAuthorizationSpecification": "credentials_invalid",
        "InsufficientPrivilege": "permission_missing",
        "TooManyConnections": "concurrency",
        "UndefinedTable": "bad_query",
        "UndefinedColumn": "bad_query",
        "ProgrammingError": "bad_query",
        "DataError": "invalid_parameter",
        "IntegrityError": "conflict",
        "NotSupportedError": "unsupported",
        "InterfaceError": "bug",
        "InvalidRequest": "bad_query",
        "SyntaxException": "bad_query",
        "TrinoUserError": "bad_query",
        "PrestoUserError": "bad_query",
        "Unauthorized": "permission_missing",
        "Unavailable": "unavailable",
        "OperationTimedOut": "read_timeout",
        "ReadTimeout": "read_timeout",
        "WriteTimeout": "read_timeout",
        "OverloadedErrorMessage": "overloaded",
    }
)
"""Classes of PEP 249 and of drivers that name an error by its class."""
_NAMED_INSIDE: Final = re.compile(r"\b(AuthenticationFailed|Unauthorized|BadCredentials)\(")


def is_of_a_vendors_database(link: ExceptionLink, url: str) -> bool:
    """Return whether a driver's exception is about a database that is a vendor's, and not our own."""
    root = link.module.partition(".")[0]
    if root in _NEVER_OURS:
        return True
    scheme = url.partition("://")[0].partition("+")[0].partition(":")[0].lower()
    return root in _MAY_BE_OURS and scheme in _DATABASES


_OURS_TO_INSTALL: Final = re.compile(
    r"trust ?store|key ?store|driver manager|client library|no such file", re.IGNORECASE
)
"""What a driver misses on our own machine."""


def _of_database(link: ExceptionLink) -> str:  # noqa: C901, PLR0911 - one way out per driver's manner
    message = link.message
    if _OURS_TO_INSTALL.search(message) is not None:
        return "bug"
    if "pg_hba.conf" in message:  # the host is not let in (PostgreSQL, section 20.1)
        return "ip_not_allowed"
    if _CROWDED.search(message) is not None:
        return "concurrency"
    number = _ORACLE.search(message)
    if number is not None and int(number.group(1)) in _OF_ORACLE:
        return _OF_ORACLE[int(number.group(1))]
    driver = _ORACLES_DRIVER.search(message)
    if driver is not None:
        return "connection_failed" if driver.group(2).startswith("6") or driver.group(2) == "4011" else "bug"
    if link.module.startswith(("pymysql", "MySQLdb", "mysql", "sqlalchemy")):
        number = _MYSQL.match(message)
        if number is not None and int(number.group(1)) in _OF_MYSQL:
            return _OF_MYSQL[int(number.group(1))]
    if _NAMED_INSIDE.search(message) is not None:
        return "credentials_invalid"
    for state in _SQLSTATE.findall(message)[:2]:
        reason = next((reason for start, reason in _OF_SQLSTATE if state.startswith(start)), None)
        if reason is not None:
            told = told_in_words(message)
            return told if told is not None and _is_finer(told, reason) else reason
    return told_in_words(message) or _BY_CLASS.get(link.name, "connection_failed")


# --- the door ---------------------------------------------------------------------------------------------------------


def of_protocol(link: ExceptionLink, url: str) -> str | None:
    """Return the reason that an exception's own protocol gives, None where it speaks none of these.

    url: of the call, empty where it is not known.
    """
    root = link.module.partition(".")[0]
    if root == "ftplib":
        return _by_reply(link.message, _OF_FTP)
    if root == "smtplib":
        return _by_reply(link.message, _OF_SMTP) if _REPLY.match(link.message) is not None else None
    if root in {"imaplib", "poplib"}:
        return _of_mailbox(link.message)
    if root == "xmlrpc":
        return _of_xml_rpc(link.name, link.message)
    return _of_database(link) if is_of_a_vendors_database(link, url) else None
