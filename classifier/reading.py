"""What an answer says of itself: machine codes, words, a status inside the body, whether a success reports a failure.

JSON whatever its shape of error, XML, HTML, form bodies and plain text. Below 400 only members that are shaped like an
error are read, never rows of data. Total and bounded: at most 64 KiB of body, a few levels, a few dozen members.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from classifier import markup
from classifier.outcome import Exchange

LONGEST_BODY: Final = 65_536


class Kind(StrEnum):
    """What a body turned out to be."""

    EMPTY = "empty"
    JSON = "JSON"
    XML = "XML"
    HTML = "a web page"
    FORM = "a form"
    TEXT = "text"
    BINARY = "binary"
    SKIPPED = "data"
    BROKEN = "broken"


class _Role(StrEnum):
    CODE = "code"
    TEXT = "text"
    EITHER = "either"
    INTO = "into"
    SKIP = "skip"


@dataclass(slots=True)
class Reading:
    """An answer, read.

    codes: as written, outermost first; texts: sentences, outermost first; inner_status: a 4xx or 5xx inside the body;
    reports_failure: a success status whose body says that the call failed; document: the body's JSON where it was parsed;
    soap_fault: whose fault a SOAP fault is, `client` or `server`, else empty.
    """

    exchange: Exchange
    kind: Kind = Kind.EMPTY
    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    inner_status: int | None = None
    reports_failure: bool = False
    document: object = None
    xml: markup.Xml | None = None
    html: markup.Html | None = None
    soap_fault: str = ""

    @property
    def status(self) -> int:
        """The status that counts: the one inside the body where a success carries a failure.

        A SOAP fault comes with 500 whoever is to blame (SOAP 1.1 section 6.2), so there the fault counts: 200.
        """
        outer = self.exchange.status or 0
        if self.soap_fault and outer == 500:
            outer = 200
        if self.inner_status is not None and (outer < 400 or (outer == 400 and self.inner_status < 500)):
            return self.inner_status
        return outer


_ROLES: Final[Mapping[str, _Role]] = MappingProxyType(
    {
        name: role
        for role, names in {
            _Role.CODE: "code errorcode errcode errno error_code errortype exceptionname messagecode faultcode subcode "
            "errorkey tag __type exceptioncode statuscode internalcode rule oerrorcode httpstatuscode httpcode "
            "httpstatus category policyname errorid id_code exceptionid ecode returncode retcode ret resultcode "
            "statecode exceptiontype errorname reasoncode gcode subtype name value quotaerror authorizationerror "
            "authenticationerror requesterror queryerror internalerror",
            _Role.TEXT: "message msg messages detail description errordescription errormessage errormessages errormsg "
            "errmsg errorsummary title text info faultstring exceptionmessage developermessage usermessage "
            "errorusertitle errorusermsg hint explanation summary failurereason errordetail statusmessage "
            "longmessage shortmessage localizedmessage displaymessage cause problem errorusermessage verbose "
            "statustext additionalinfo moreinfo errorreason msgs note",
            _Role.EITHER: "error reason status type err stat result failure fault exception errors warnings response "
            "state statusdescription",
            _Role.INTO: "details errordetails fail innererror rootcause operationerrors extensions meta data body "
            "errorcauses apierrors errorinfo problems validationerrors header responsestatus context",
            _Role.SKIP: "request params parameters headers input query variables path args stack stacktrace trace "
            "debug links config metadata locations source instance documentationurl helpurl url uri href docs "
            "moreinfourl requestid traceid",
        }.items()
        for name in names.replace("_", "").split()
    }
)


@lru_cache(maxsize=2048)
def _role_of_short(name: str) -> _Role | None:
    return _ROLES.get("".join([letter for letter in name.lower() if letter.isalnum()]))


def _role(name: str) -> _Role | None:
    return _role_of_short(name) if len(name) <= 40 else None


_CODE: Final = re.compile(r"-?[A-Za-z0-9_.\-:#/@]{1,160}\Z")
_LEADING_CODE: Final = re.compile(
    r"\(?([A-Za-z]+(?:[_.][A-Za-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|AADSTS\d+)\)?\s*[:\-]\s"
)
_STATUS_NAMES: Final = frozenset(
    {"code", "status", "statuscode", "httpstatus", "httpstatuscode", "httpcode", "errorcode", "error", "errcode"}
)


@lru_cache(maxsize=1024)
def _is_status_name(name: str) -> bool:
    return "".join([letter for letter in name.lower() if letter.isalnum()]) in _STATUS_NAMES


_SEVERITIES: Final = frozenset({"fatal", "error", "warn", "warning", "info", "debug", "critical", "true", "false"})


class _Walk:
    """Collects codes and texts out of a parsed error, within bounds."""

    __slots__ = ("left", "reading")

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.left = 80

    def _take_text(self, text: str) -> None:
        text = text[:2_000]
        if text and not text.isspace():
            self.reading.texts.append(text)
            if ":" in text or " - " in text:
                found = _LEADING_CODE.match(text)
                if found is not None:
                    self.reading.codes.append(found.group(1))

    def _take_code(self, text: str) -> None:
        if "://" in text or text.startswith("about:"):
            text = text.split("#", 1)[0].rstrip("/").rsplit("/", 1)[-1]
        if text and len(text) <= 160 and text.lower() not in _SEVERITIES:
            self.reading.codes.append(text)

    def _take(self, name: str, value: str | float, role: _Role | None) -> None:
        reading = self.reading
        if isinstance(value, str):
            value = value.strip()
            if not value:
                return
            code_like = _CODE.match(value) is not None
            if reading.inner_status is None and len(value) == 3 and value.isdecimal() and _is_status_name(name):
                number = int(value)
                if 400 <= number < 600:
                    reading.inner_status = number
            if role is _Role.TEXT:
                self._take_text(value)
                if code_like and ("_" in value or "." in value) and not value.endswith("."):
                    self._take_code(value)
            elif role is not None:
                if code_like or (role is _Role.CODE and "://" in value):
                    self._take_code(value)
                else:
                    self._take_text(value)
        elif role is not None and not isinstance(value, bool):
            if reading.inner_status is None and 400 <= value < 600 and _is_status_name(name):
                reading.inner_status = int(value)
            if role is not _Role.TEXT and isinstance(value, int) and -(10**12) < value < 10**12:
                reading.codes.append(str(value))

    def into(self, node: object, depth: int, role: _Role | None) -> None:
        if depth > 6 or self.left <= 0:
            return
        self.left -= 1
        if isinstance(node, dict):
            nested: list[tuple[object, _Role | None]] = []
            for count, (name, value) in enumerate(node.items()):
                if count >= 40:
                    break
                own = _role(name)
                if own is _Role.SKIP:
                    continue
                if isinstance(value, (str, int, float)):
                    self._take(name, value, own if own is not _Role.INTO else role)
                elif value:
                    nested.append((value, own))
            for value, own in nested:
                self.into(value, depth + 1, own)
        elif isinstance(node, list):
            for item in node[:10]:
                if isinstance(item, str):
                    self._take("", item, role if role in {_Role.TEXT, _Role.CODE} else _Role.EITHER)
                else:
                    self.into(item, depth + 1, role)


# --- success statuses -------------------------------------------------------------------------------------------------

_FALSE_FLAGS: Final = frozenset({"ok", "success", "succeeded", "issuccess", "successful", "issuccessful"})
_TRUE_FLAGS: Final = frozenset({"haserror", "iserror", "haserrors", "error", "failed", "failure"})
_BAD_WORDS: Final = frozenset({"error", "fail", "failed", "failure", "nok", "ko", "err", "unauthorized", "forbidden"})
_WORD_FLAGS: Final = frozenset({"status", "stat", "result", "state", "response", "responsestatus"})
_ERROR_MEMBERS: Final = frozenset(
    {"error", "errors", "fault", "err", "exception", "errordescription", "errormessage", "errormessages", "fail"}
)
_NUMBER_FLAGS: Final = frozenset(
    {"code", "errcode", "errorcode", "errno", "statuscode", "status", "retcode", "ret", "resultcode", "returncode"}
)
_ENVELOPE: Final = frozenset(
    "error errors fault err exception errordescription errormessage errormessages fail message msg detail details code "
    "status statuscode errorcode errcode requestid reqid traceid trace correlationid timestamp time date path success ok "
    "type title instance jsonrpc id meta errortype erroruri data result results response extensions description info "
    "reason name documentationurl docs helpurl links version apiversion debugid logid server took warnings messages "
    "hint subcode errorsubcode needed provided errmsg request method accountid errorid retcode ret state "
    "rid ts url body headers severity retryafter resources errno stat isretryable retryable".split()
)
_ERROR_ENTRY: Final = _ENVELOPE | frozenset(
    "field location locations parameter source key value rule summary domain debug innererror reasoncode target "
    "errorclass resourceid resourcetype category errorreason validation index property attribute errormsg timestamputc pointer".split()
)
_NEEDLES_SMALL: Final = (
    b"rror", b"ault\"", b"\"ok\"", b"\"stat", b"ode\"", b"uccess", b"\"fail", b"\"msg\"", b"\"message\"", b"\"ret\"",
    b"\"err", b"xception\"", b"\"result\"", b"uccee",
)  # fmt: skip
_NEEDLES_LARGE: Final = (
    b"\"errors\"", b"\"error\"", b"\"Error\"", b"\"Errors\"", b"\"fault\"", b"\"Fault\"", b"\"error_code\"",
    b"\"errorCode\"", b"\"error_message\"", b"\"success\":false", b"\"success\": false", b"\"ok\":false",
    b"\"ok\": false", b"\"errcode\"", b"\"fail\"",
)  # fmt: skip
_SMALL: Final = 2_048
_HEAD: Final = 1_024


@lru_cache(maxsize=2048)
def _plain_short(name: str) -> str:
    return "".join([letter for letter in name.lower() if letter.isalnum()])


def _plain(name: str) -> str:
    return _plain_short(name) if len(name) <= 40 else ""


def _says_success(value: object) -> bool:
    return str(value).strip().lower() in {
        "",
        "0",
        "ok",
        "success",
        "successful",
        "none",
        "null",
        "false",
        "no error",
        "200",
    }


def _is_error_entry(entry: object) -> bool:
    if isinstance(entry, str):
        return bool(entry.strip())
    if not isinstance(entry, dict) or not entry:
        return False
    names = [_plain(name) for name in entry]
    shaped = sum(name in _ERROR_ENTRY for name in names)
    telling = any(_role(name) in {_Role.TEXT, _Role.CODE, _Role.EITHER} for name in entry)
    return telling and shaped * 4 >= len(names) * 3


def _is_error_value(value: object) -> bool:
    """Return whether an error member's value is an error, rather than a row of data or an empty place."""
    if value is None or value is False or value == 0:
        return False
    if value is True:
        return True
    if isinstance(value, str):
        return not _says_success(value)
    if isinstance(value, list):
        return bool(value) and all(_is_error_entry(entry) for entry in value[:5])
    if isinstance(value, dict):
        return any(not _is_empty(part) and not _says_success(part) for part in value.values())
    return not _says_success(value)


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_empty(part) for part in list(value.values())[:20])
    return value is None or value in ("", [], False)


def _failing_members(document: Mapping[str, object]) -> bool:
    """Return whether a success status' body reports a failure in its own top-level members."""
    plain = {_plain(name): value for name, value in list(document.items())[:60]}
    strangers = sum(name not in _ENVELOPE and not _is_empty(value) for name, value in plain.items())
    # A row of data may well hold a text named error, so beside one hardly anything else may stand.
    named = strangers + sum(name in plain for name in ("id", "name"))
    for name, value in plain.items():
        if name in _FALSE_FLAGS and (value is False or (isinstance(value, str) and value.lower() == "false")):
            return True
        if (
            name in {"stat", "status"}
            and isinstance(value, str)
            and value.lower() in {"fail", "nok", "ko"}
            and strangers < 3
        ):
            return True
    data = any(
        not _is_empty(plain[name]) for name in ("data", "result", "results", "response", "resources") if name in plain
    )
    for name, value in plain.items():
        if name in {"haserror", "iserror", "haserrors"} and value is True:
            return True
        if name in _ERROR_MEMBERS and _is_error_value(value):
            whole = isinstance(value, (dict, list))
            if name == "exception" and not whole:
                continue
            if strangers <= 4 if whole else named <= 1:
                return True
            if name == "errors" and "data" in plain:
                return True
    has_text = any(_role(name) is _Role.TEXT and isinstance(value, str) and value for name, value in document.items())
    for name, value in plain.items():
        if (
            name in _WORD_FLAGS
            and isinstance(value, str)
            and value.lower() in _BAD_WORDS
            and (has_text or "code" in plain or "errorcode" in plain)
            and named < 2
            and not data
        ):
            return True
        if name in _NUMBER_FLAGS and not data and strangers < 2 and _is_failing_number(name, value, has_text=has_text):
            return True
        if name in {"meta", "status", "head", "header", "responsestatus"} and isinstance(value, dict) and not data:
            inner = {_plain(key): part for key, part in list(value.items())[:20]}
            if inner.get("error") is True:
                return True
            for key in ("code", "status", "statuscode", "httpstatus"):
                number = inner.get(key)
                if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600:
                    return True
    return False


def _is_failing_number(name: str, value: object, *, has_text: bool) -> bool:
    if isinstance(value, str):
        text = value.strip()
        if not text.lstrip("-").isdecimal() or len(text) > 9 or not text.strip("0"):
            return False
        value = int(text)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    if 400 <= value < 600:
        return has_text or name in {"code", "statuscode", "errorcode", "errcode"}
    if name == "status" or not has_text:
        return False
    return value != 0 and not 100 <= value < 400


def _only_text(document: Mapping[str, object]) -> str | None:
    """Return the sentence of a body that is nothing but one short sentence (`{"message": "Unauthorized"}`)."""
    if len(document) != 1:
        return None
    ((name, value),) = document.items()
    if _role(name) in {_Role.TEXT, _Role.EITHER} and isinstance(value, str) and len(value) <= 80:
        return value
    return None


# --- bodies -----------------------------------------------------------------------------------------------------------


def _decoded(body: bytes) -> str:
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return body.decode("utf-16", "replace")
    return body.decode("utf-8", "replace")


def _parsed(text: str) -> tuple[bool, object]:
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return False, None


_SALVAGE: Final = re.compile(r'"([A-Za-z_.@]{1,40})"\s{0,20}:\s{0,20}(?:"((?:[^"\\]|\\.){1,1000})"|(\d{3})\b)')


def _salvage(reading: Reading, text: str) -> None:
    """Read what can be read of JSON that was cut off or is broken."""
    walk = _Walk(reading)
    for name, value, number in _SALVAGE.findall(text[:4_096])[:40]:
        role = _role(name)
        if role is not None and role is not _Role.SKIP:
            walk._take(name, int(number) if number else value.replace("\\n", " ").replace('\\"', '"'), role)  # noqa: SLF001 - same module


_XML_CODES: Final = frozenset(
    {"code", "errorcode", "faultcode", "subcode", "value", "exceptioncode", "errno", "type", "status"}
)
_XML_TEXTS: Final = frozenset(
    "message msg line text reason description detail title error faultstring errormessage errordescription "
    "exceptiontext statusmessage string".split()
)
_XML_FAILURES: Final = frozenset(
    {
        "error",
        "errors",
        "errorresponse",
        "fault",
        "exceptionreport",
        "serviceexceptionreport",
        "exception",
        "errordocument",
    }
)


def _take_xml(reading: Reading, xml: markup.Xml) -> None:
    walk = _Walk(reading)
    if xml.root.lower() == "envelope" and "fault" in xml.names:
        said = next((value.lower() for name, value in xml.leaves if _plain(name) in {"faultcode", "value"}), "")
        reading.soap_fault = "client" if "client" in said or "sender" in said else "server"
    for name in ("code", "status", "errorcode"):
        value = xml.attributes.get(name)
        if value:
            walk._take(name, value, _Role.CODE)  # noqa: SLF001 - same module
    message = xml.attributes.get("message") or xml.attributes.get("msg")
    if message:
        walk._take("message", message, _Role.TEXT)  # noqa: SLF001 - same module
    for name, value in xml.inner:
        if name in {"code", "msg", "message", "type"}:
            walk._take(name, value, _Role.TEXT if name.startswith("m") else _Role.CODE)  # noqa: SLF001 - same module
    for name, value in xml.leaves:
        plain = _plain(name)
        if plain in _XML_CODES:
            walk._take(plain, value.rpartition(":")[2] if plain in {"faultcode", "value"} else value, _Role.CODE)  # noqa: SLF001 - same module
        elif plain in _XML_TEXTS:
            walk._take(plain, value, _Role.TEXT)  # noqa: SLF001 - same module


def _xml_fails(xml: markup.Xml) -> bool:
    root = xml.root.lower()
    if root in _XML_FAILURES:
        return True
    if root in {"envelope", "methodresponse"}:
        return "fault" in xml.names
    if xml.attributes.get("status", "").lower() in _BAD_WORDS or xml.attributes.get("stat", "").lower() in _BAD_WORDS:
        return True
    if root in {"response", "result"} and "errors" in xml.names and "error" in xml.names:
        first = next(iter(xml.leaves), ("", ""))
        return _plain(first[0]) in _XML_CODES | _XML_TEXTS
    return False


_HEADER_CODES: Final = ("x-amzn-errortype", "x-ms-error-code", "x-error-code", "x-amz-error-code", "grpc-message")
_CHALLENGE: Final = re.compile(r'\b(error|error_description)\s{0,3}=\s{0,3}"([^"]{1,300})"')
_GRPC: Final = {"16": "UNAUTHENTICATED", "7": "PERMISSION_DENIED", "8": "RESOURCE_EXHAUSTED", "14": "UNAVAILABLE"}


def _take_headers(reading: Reading, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name == "www-authenticate":
            for key, said in _CHALLENGE.findall(value[:2_000]):
                (reading.codes if key == "error" and " " not in said else reading.texts).append(said)
        elif name == "grpc-status":
            if value in _GRPC:
                reading.codes.append(_GRPC[value])
        elif name in _HEADER_CODES:
            said = value[:300]
            (reading.texts if " " in said else reading.codes).append(said.split(":", 1)[0] if " " not in said else said)
        elif name == "reason" or ("error" in name and name.startswith("x-")):
            (reading.texts if " " in value else reading.codes).append(value[:300])


def _content_type(exchange: Exchange) -> str:
    return exchange.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def is_clipped(exchange: Exchange) -> bool:
    """Return whether the body went on beyond what was kept."""
    return exchange.clipped or len(exchange.body) >= LONGEST_BODY


def read_failure(exchange: Exchange) -> Reading:
    """Return what an answer with a status of 300 or more says."""
    reading = Reading(exchange)
    if exchange.headers:
        _take_headers(reading, exchange.headers)
    body = exchange.body[:LONGEST_BODY]
    text = _decoded(body).lstrip() if body else ""
    if not text:
        return reading
    first = text[0]
    if first in "{[":
        whole, document = _parsed(text)
        reading.kind = Kind.JSON
        if whole:
            reading.document = document
            _Walk(reading).into(document, 0, _Role.EITHER)
        else:
            _salvage(reading, text)
    elif first == "<":
        if markup.is_html(text):
            reading.kind = Kind.HTML
            reading.html = page = markup.read_html(text)
            reading.texts.extend(page.headings or (page.text,))
        else:
            reading.kind = Kind.XML
            reading.xml = xml = markup.read_xml(text)
            if xml is not None:
                _take_xml(reading, xml)
    elif first == '"':
        whole, document = _parsed(text)
        reading.kind = Kind.JSON if whole else Kind.TEXT
        reading.texts.append(document[:1_000] if isinstance(document, str) else text[:1_000])
    elif "urlencoded" in _content_type(exchange) or (text.startswith("error=") and "\n" not in text[:200]):
        reading.kind = Kind.FORM
        walk = _Walk(reading)
        for name, value in parse_qsl(text[:4_096], max_num_fields=None)[:40]:
            walk._take(name, value, _role(name))  # noqa: SLF001 - same module
    else:
        reading.kind = Kind.TEXT
        walk = _Walk(reading)
        walk._take("message", text[:1_000].strip(), _Role.TEXT)  # noqa: SLF001 - same module
    return reading


def _read_success_json(reading: Reading, body: bytes, text: str, *, wants_document: bool) -> None:
    exchange = reading.exchange
    reading.kind = Kind.JSON
    small = len(body) <= _SMALL
    if text[0] == "[":
        interesting = small
    elif small:
        interesting = len(body) <= _HEAD or any(needle in body for needle in _NEEDLES_SMALL)
    else:
        head = body[:_HEAD]
        interesting = any(needle in body for needle in _NEEDLES_LARGE) or any(
            needle in head for needle in (b'ode":', b'"stat":', b'"status":"', b'"status": "')
        )
    if not interesting and not wants_document:
        reading.kind = Kind.SKIPPED
        if not is_clipped(exchange) and text.rstrip()[-1:] not in {"}", "]"}:
            reading.kind = Kind.BROKEN
        return
    whole, document = _parsed(text)
    if not whole:
        if is_clipped(exchange):
            reading.kind = Kind.SKIPPED
        elif not _is_json_lines(text):
            reading.kind = Kind.BROKEN
        return
    reading.document = document
    if isinstance(document, list) and len(document) == 1 and isinstance(document[0], dict) and len(document[0]) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return
    if _failing_members(document):
        reading.reports_failure = True
        _Walk(reading).into(_without_data(document), 0, _Role.EITHER)
        return
    sentence = _only_text(document)
    if sentence is not None:
        reading.texts.append(sentence)


def _without_data(document: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in document.items()
        if _plain(name) in _ENVELOPE or _plain(name) in _TRUE_FLAGS or isinstance(value, (str, int, float))
        if not (
            isinstance(value, (dict, list)) and _plain(name) in {"data", "result", "results", "resources", "request"}
        )
    }


def _is_json_lines(text: str) -> bool:
    """Return whether the text is one JSON value a line; reads at most its first three lines."""
    lines = text.split("\n", 3)[:3]
    if len(lines) < 2:
        return False
    return all(_parsed(line)[0] for line in lines[:2] if line.strip())


def read_success(exchange: Exchange, *, wants_document: bool = False) -> Reading:
    """Return what an answer with a success status says. wants_document: parse its JSON whatever it looks like."""
    reading = Reading(exchange)
    body = exchange.body
    if not body or body.isspace():
        return reading
    if len(body) > LONGEST_BODY:
        body = body[:LONGEST_BODY]
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    declared = _content_type(exchange)
    if start in {b"{", b"["}:
        text = _decoded(body).strip()
        _read_success_json(reading, body, text, wants_document=wants_document)
    elif start == b"<":
        text = _decoded(body[:16_384]).lstrip()
        if markup.is_html(text):
            reading.kind = Kind.HTML
            reading.html = page = markup.read_html(text)
            reading.texts.extend(page.headings or (page.text,))
        elif "json" in declared:
            reading.kind = Kind.BROKEN
        else:
            reading.kind = Kind.XML
            reading.xml = xml = markup.read_xml(text)
            if xml is not None and _xml_fails(xml):
                reading.reports_failure = True
                _take_xml(reading, xml)
    elif "json" in declared and not is_clipped(exchange):
        text = _decoded(body).strip()
        whole = _parsed(text)[0] or _is_json_lines(text)
        reading.kind = Kind.JSON if whole else Kind.BROKEN
        if not whole:
            reading.texts.append(text[:300])
    elif "urlencoded" in declared and b"error=" in body[:200]:
        reading.kind = Kind.FORM
        walk = _Walk(reading)
        for name, value in parse_qsl(_decoded(body[:4_096]))[:40]:
            walk._take(name, value, _role(name))  # noqa: SLF001 - same module
        reading.reports_failure = bool(reading.codes or reading.texts)
    else:
        reading.kind = Kind.TEXT if start.isalnum() else Kind.BINARY
    return reading


def at_path(document: object, path: str) -> Iterator[object]:
    """Yield what a dotted path leads to; `*` stands for every member of a list or object."""
    nodes: list[object] = [document]
    for part in path.split("."):
        found: list[object] = []
        for node in nodes[:50]:
            if isinstance(node, dict):
                found.extend(list(node.values())[:50] if part == "*" else [node[part]] if part in node else [])
            elif isinstance(node, list):
                if part == "*":
                    found.extend(node[:50])
                elif part.isdecimal() and int(part) < len(node):
                    found.append(node[int(part)])
        nodes = found
    yield from nodes
