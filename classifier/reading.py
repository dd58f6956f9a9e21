"""What an answer says of itself: machine codes, words, a status inside the body, whether a success reports a failure.

JSON whatever its shape of error, XML, HTML, form bodies and plain text. Below 400 only members that are shaped like an
error are read, never rows of data. Total and bounded: at most 64 KiB of body, a few levels, a few dozen members.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from classifier import markup
from classifier.members import Collector, Role, Said, plain_name, role_of, words
from classifier.outcome import Exchange
from classifier.replies.complaints import complains_of, only_sentence
from classifier.replies.documents import XML_CODES, XML_TEXT_ENDS, XML_TEXTS, XML_WRAPPERS, xml_fails
from classifier.replies.failing import failure_in, failure_in_list
from classifier.replies.names import Sort, sort_of
from classifier.replies.weighing import weighed
from classifier.replies.wrapping import NO_WRAPPERS

LONGEST_BODY: Final = 65_536
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand around JSON: blanks, and the mark of byte order."""


class Kind(StrEnum):
    """What a body turned out to be."""

    EMPTY = "empty"
    JSON = "JSON"
    XML = "XML"
    HTML = "a web page"
    FORM = "a form"
    TEXT = "text"
    SKIPPED = "data"
    BROKEN = "broken"


@dataclass(slots=True, kw_only=True)
class Reading(Said):
    """An answer, read.

    reports_failure: a success status whose body says that the call failed; document: the body's JSON, where parsed;
    lacks_records: what should hold records does not, as its reader found;
    telling: the sentence that says most, once the words were asked; soap_fault: whose fault a SOAP fault is, `client`
    or `server`, else empty.
    """

    exchange: Exchange
    kind: Kind = Kind.EMPTY
    reports_failure: bool = False
    document: object = None
    xml: markup.Xml | None = None
    html: markup.Html | None = None
    soap_fault: str = ""
    lacks_records: bool = False
    telling: str = ""

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


def _decoded(body: bytes) -> str:
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return body.decode("utf-16", "replace")
    return body.decode("utf-8", "replace")


_scan: Final = json.JSONDecoder().raw_decode


def _parsed(text: str) -> tuple[bool, object]:
    """Return whether a text without blanks before it is JSON, and what it holds."""
    try:
        document, end = _scan(text)
    except (ValueError, RecursionError, MemoryError):
        return False, None
    is_whole = end == len(text) or not text[end:].strip(" \t\r\n")
    return is_whole, document if is_whole else None


_SALVAGE: Final = re.compile(r'"([A-Za-z_.@]{1,40})"\s{0,20}:\s{0,20}(?:"((?:[^"\\]|\\.){1,1000})"|(\d{3})\b)')


def _salvage(reading: Reading, text: str) -> None:
    """Read what can be read of JSON that was cut off or is broken."""
    collector = Collector(reading)
    for name, value, number in _SALVAGE.findall(text[:4_096])[:40]:
        role = role_of(name)
        if role is not None and role is not Role.SKIP:
            collector.take(name, int(number) if number else value.replace("\\n", " ").replace('\\"', '"'), role)


_TELLING_SORTS: Final = frozenset({Sort.TEXT, Sort.FAULT, Sort.FAULT_CODE})
_SOAP_SIDES: Final = words("client server sender receiver mustunderstand versionmismatch dataencodingunknown")


def _take_xml(reading: Reading, xml: markup.Xml) -> None:
    collector = Collector(reading)
    if xml.root.lower() == "envelope" and "fault" in xml.names:
        said = next((value.lower() for name, value in xml.leaves if plain_name(name) in {"faultcode", "value"}), "")
        reading.soap_fault = "client" if "client" in said or "sender" in said else "server"
    for written, value in (*xml.attributes.items(), *xml.inner):
        name = plain_name(written)
        if name in {"code", "status", "errorcode", "exceptioncode", "type", "subcode"}:
            collector.take(name, value, Role.CODE)
        elif name in _XML_SAYINGS:
            collector.take(name, value, Role.TEXT)
    _take_leaves(reading, xml)


_XML_SAYINGS: Final = words("message msg text statustext errordescr errormessage reason description errortext")
"""Attributes that hold a sentence."""


def _take_leaves(reading: Reading, xml: markup.Xml) -> None:
    """Take what the leaves say; where none is named after a sentence, those that are one."""
    collector = Collector(reading)
    for name, value in xml.leaves:
        plain = plain_name(name).rstrip("0123456789")
        local = value.rpartition(":")[2] if plain in {"faultcode", "value"} else value
        if local.lower() in _SOAP_SIDES:
            continue  # whose fault it is, and nothing of what it is
        if plain in XML_CODES:
            collector.take(plain, local, Role.CODE)
        elif plain in XML_TEXTS or plain.endswith(XML_TEXT_ENDS) or sort_of(name) in _TELLING_SORTS:
            collector.take(plain, value, Role.TEXT)
    if not reading.texts:
        for _name, value in xml.leaves:
            if " " in value:
                collector.take("message", value, Role.TEXT)


_HEADER_CODES: Final = ("x-amzn-errortype", "x-ms-error-code", "x-error-code", "x-amz-error-code", "grpc-message")
_HEADER_CODE_ENDS: Final = ("-errorcode", "-error-code", "-errortype")
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
        elif name in _HEADER_CODES or name.endswith(_HEADER_CODE_ENDS):
            said = value[:300]
            (reading.texts if " " in said else reading.codes).append(said.split(":", 1)[0] if " " not in said else said)
        elif name == "reason" or ("error" in name and name.startswith("x-")):
            (reading.texts if " " in value else reading.codes).append(value[:300])


def _content_type(exchange: Exchange) -> str:
    return exchange.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def is_clipped(exchange: Exchange) -> bool:
    """Return whether the body went on beyond what was kept."""
    return exchange.clipped or len(exchange.body) >= LONGEST_BODY


def _take_json(reading: Reading, text: str) -> None:
    whole, document = _parsed(text)
    reading.kind = Kind.JSON
    if whole:
        reading.document = document
        Collector(reading).into(document)
    elif not _SALVAGE.search(text, 0, 4_096) and text[0] == "[":
        _take_text(reading, text)  # `[ERROR 400] Invalid or missing API key` is no list
    else:
        _salvage(reading, text)


_PHRASE_OF_STATUS: Final[Mapping[int, frozenset[str]]] = MappingProxyType(
    {
        400: frozenset({"bad request"}),
        401: frozenset({"unauthorized", "authorization required"}),
        402: frozenset({"payment required"}),
        403: frozenset({"forbidden"}),
        404: frozenset({"not found"}),
        405: frozenset({"not allowed", "method not allowed"}),
        500: frozenset({"internal server error"}),
        502: frozenset({"bad gateway"}),
        503: frozenset({"service unavailable", "service temporarily unavailable"}),
        504: frozenset({"gateway timeout", "gateway time-out"}),
    }
)


def _repeats(heading: str, status: int | None) -> bool:
    """Return whether a heading says no more than the status, as on the stock pages of nginx and Apache."""
    said = heading.lower().removeprefix("error").removeprefix(" ").removeprefix(str(status)).strip(" -:.!")
    return said in _PHRASE_OF_STATUS.get(status or 0, ()) or not said


def _take_page(reading: Reading, text: str) -> None:
    reading.kind = Kind.HTML
    status = reading.exchange.status
    reading.html = page = markup.read_html(text, wants_text=status is None or status < 300)
    headings = [heading for heading in page.headings if not _repeats(heading, reading.exchange.status)]
    reading.texts.extend(headings if page.headings else (page.text,))


def _take_document(reading: Reading, text: str) -> None:
    reading.kind = Kind.XML
    reading.xml = xml = markup.read_xml(text)
    if xml is not None:
        _take_xml(reading, xml)


_COUNTED: Final = re.compile(r"\AL_|\d+\Z")
"""What PayPal's NVP puts around a member's name (`L_LONGMESSAGE0`)."""


def _take_form(reading: Reading, text: str) -> None:
    reading.kind = Kind.FORM
    collector = Collector(reading)
    for name, value in parse_qsl(text[:4_096])[:40]:
        collector.take(name, value, role_of(_COUNTED.sub("", name)))


def _take_text(reading: Reading, text: str) -> None:
    reading.kind = Kind.TEXT
    if text[0] == '"':
        whole, document = _parsed(text)
        text = document if whole and isinstance(document, str) else text
    Collector(reading).take("message", text[:1_000].strip(), Role.TEXT)


_IS_FORM: Final = re.compile(r"[A-Za-z_][\w.\-]{0,40}=[^\s&=<>\"]{0,500}(?:&|\Z)|error=[^\n]{0,200}\Z")


def read_failure(exchange: Exchange) -> Reading:
    """Return what an answer with a status of 300 or more says."""
    reading = Reading(exchange=exchange)
    if exchange.headers:
        _take_headers(reading, exchange.headers)
    text = _decoded(exchange.body[:LONGEST_BODY]).lstrip() if exchange.body else ""
    if not text:
        return reading
    if text[0] in "{[":
        _take_json(reading, text)
    elif text[0] == "<":
        (_take_page if markup.is_html(text) else _take_document)(reading, text)
    elif "urlencoded" in _content_type(exchange) or _IS_FORM.match(text) is not None:
        _take_form(reading, text)
    else:
        _take_text(reading, text)
    return reading


_ANYWHERE: Final = re.compile(
    rb'"(?:_?errors?|Errors?|ErrorResponse|error_[a-z]{1,20}|error(?:Code|Message)|[Ff]ault|fail)"\s{0,4}:\s{0,4}[^nf\[\s]'
    rb'|"_?[Ee]rrors"\s{0,4}:\s{0,4}\[\s{0,40}[^\]\s]|"(?:success|ok)"\s{0,4}:\s{0,4}false'
)
_OUTSIDE: Final = re.compile(
    rb'rror|ault"|"ok"|"stat|ode"|uccess|"fail|"msg"|"message"|"ret|"err|xception"|"meta"|"head|"resp|"result"|"isE'
)
_ALWAYS_PARSED: Final = 2_048
"""Bytes up to which a success status' JSON is parsed whole; larger ones only where a failure may be reported."""


def _may_report_failure(body: bytes) -> bool:
    """Return whether a large JSON object may report a failure: what can be told without parsing its rows.

    Members before its first list and behind its last are looked at closely; what lies between is rows, where only
    members count that no row of data should do without being read.
    """
    first = body.find(b"[")
    head = body[: first if 0 <= first < 1_024 else 1_024]
    last = body.rfind(b"]")
    tail = body[max(last, len(body) - 1_024) :]
    if _OUTSIDE.search(head) is not None or _OUTSIDE.search(tail) is not None:
        return True
    # Plain searches first: they are a hundred times faster than the pattern, and mostly find nothing.
    if b"rror" not in body and b'ault"' not in body and b'"fail"' not in body and b"false" not in body:
        return False
    # What is this small is parsed in less time than the pattern takes.
    return len(body) <= _ALWAYS_PARSED or _ANYWHERE.search(body) is not None


_BEGINS_WITH_ERROR: Final = re.compile(
    r'\{\s{0,20}"(?:errors?|fault|_errors)"\s{0,20}:\s{0,20}[\[{]\s{0,20}[{"]', re.IGNORECASE
)


def _read_success_json(reading: Reading, body: bytes, *, is_told: bool) -> None:
    reading.kind = Kind.JSON
    if not is_told and _is_plainly_data(reading.exchange, body):
        reading.kind = Kind.SKIPPED
        return
    text = _decoded(body)
    whole, document = _parsed(text)
    if not whole:
        _read_unparsed(reading, body, text)
        return
    reading.document = document
    if isinstance(document, list) and len(document) == 1 and isinstance(document[0], dict) and len(document[0]) == 1:
        document = document[0]
    if isinstance(document, list):
        _take_said(reading, failure_in_list(document))
    elif isinstance(document, dict):
        _take_failing(reading, document)


def _take_failing(reading: Reading, document: Mapping[str, object]) -> None:
    """Take what an object tells of a failure, or else the one sentence that it is."""
    if not _take_said(reading, failure_in(document, lacks_records=reading.lacks_records)):
        _take_sentence(reading, document)


def _take_sentence(reading: Reading, document: Mapping[str, object]) -> None:
    sentence = only_sentence(document)
    if sentence is not None:
        reading.texts.append(sentence)


def _take_said(reading: Reading, said: Said | None) -> bool:
    if said is None:
        return False
    reading.reports_failure = True
    reading.codes.extend(said.codes)
    reading.texts.extend(said.texts)
    reading.inner_status = said.inner_status
    return True


def _is_plainly_data(exchange: Exchange, body: bytes) -> bool:
    """Return whether JSON is data and ends where it should, as far as can be told without parsing it."""
    if len(body) <= _ALWAYS_PARSED and _ROWS_FIRST.match(body) is None:
        return False
    is_object = body[:1] == b"{"
    if is_object and _may_report_failure(body):
        return False
    return is_clipped(exchange) or (body[-1:] == (b"}" if is_object else b"]") and b"}{" not in body)


def _read_unparsed(reading: Reading, body: bytes, text: str) -> None:
    """Read JSON that does not parse: cut off by us, too deep, one value a line, or broken."""
    if is_clipped(reading.exchange):
        reading.kind = Kind.SKIPPED
        if _BEGINS_WITH_ERROR.match(text) is not None:
            reading.reports_failure = True
            _salvage(reading, text)
    elif _is_deep(body):
        reading.kind = Kind.SKIPPED
    elif not _is_json_lines(text):
        reading.kind = Kind.BROKEN


def _is_deep(body: bytes) -> bool:
    """Return whether a body is nested deeper than the parser goes, though it may be sound."""
    return (body.count(b"[") > 900 or body.count(b"{") > 900) and body[-1:] in {b"]", b"}"}


def _is_json_lines(text: str) -> bool:
    """Return whether the text is one JSON value a line; reads its first two lines."""
    lines = [line for line in text.split("\n", 3)[:3] if line.strip()][:2]
    return len(lines) == 2 and all(_parsed(line)[0] for line in lines)


def _read_success_markup(reading: Reading, text: str, declared: str) -> None:
    if _CRASHED.match(text) is not None:
        reading.kind = Kind.BROKEN
        reading.texts.append(markup.read_html(text).text[:300])
    elif markup.is_html(text) or markup.is_page_fragment(text):
        _take_page(reading, text)
    elif "json" in declared:
        reading.kind = Kind.BROKEN
    else:
        reading.kind = Kind.XML
        reading.xml = xml = markup.read_xml(text)
        if xml is not None and xml_fails(xml):
            reading.reports_failure = True
            _take_xml(reading, xml)
        elif xml is not None and xml.root.lower() not in NO_WRAPPERS:
            tree = markup.read_tree(text)
            if tree is not None and (xml.root.lower() in XML_WRAPPERS or xml.root.endswith("Response")):
                _take_failing(reading, tree)
            elif tree is not None and not _take_said(reading, weighed(tree)):
                _take_sentence(reading, tree)


_FORM_BODY: Final = re.compile(
    r"[A-Za-z_][\w.\-]{0,40}=[^&=<>\"\n]{0,500}(?:&[A-Za-z_][\w.\-]{0,40}=[^&=<>\"\n]{0,500}){1,40}\Z"
)
"""A form's members, and nothing else: some gateways leave blanks unescaped."""
_FORM_FAILS: Final = re.compile(
    rb"(?:\A|&)(?:ACK|status|result|response)=(?:error|fail(?:ed|ure)?)(?=&)", re.IGNORECASE
)


_CRASHED: Final = re.compile(
    r"(?:<[^<>]{0,40}>|\s){0,8}(?:PHP )?"
    r"(?:SQLSTATE\[|Fatal error|Parse error|Warning: [a-z_:]{2,40}\(|Uncaught |Traceback \(most recent|"
    r"Exception in thread|"
    r"(?:[A-Za-z_]\w{0,40}[.\\]){1,8}\w{0,60}(?:Exception|Error)\b\W)"
)
"""How a program's own last words begin, where a body should be."""
_BEGINS_BADLY: Final = re.compile(
    r"(?:\W{0,3})(?:error|err|fail|failed|failure|fault|exception|unable|invalid|missing|access denied|not authorized)"
    r"(?:[:!.#\]]| {0,3}[\r\n\d]| (?![,;|\t]))",
    re.IGNORECASE,
)
_STATUS_LINE: Final = re.compile(r"[A-Z]{2,10}/\d[\d.]{0,8} ([45]\d\d) [^\n]{2,60}")
"""How the status of a protocol of its own begins a body (`RT/4.4.3 400 Bad request`)."""
_CODED: Final = re.compile(r"(?:ERROR|ERR|FAIL)_[A-Z0-9_]{2,60}\Z")
"""A code that is the whole of a body."""
_PIPED: Final = re.compile(r"(?:ERR|ERROR|FAIL|NOK|KO)[|;][^\n]{0,300}\Z")
_LONGEST_LINE: Final = 240
_MOST_BARS: Final = 4
"""A line with more of them is a record, as in the Common Event Format."""


_LINE: Final = re.compile(r"[ \t]*([A-Za-z][\w.\- ]{0,40}?)[ \t]{0,8}[:=][ \t]{0,8}([^\r\n]{0,500})\Z")
_HEADING: Final = re.compile(r"\[[A-Z][A-Za-z ]{1,30}\]\Z")
_PAIRS: Final = re.compile(r"[a-z]\w{0,30}=[^,=]{0,200}(?:,[a-z]\w{0,30}=[^,=]{0,200}){1,23}\Z")
"""Members in one line (`ret=OK,type=aircon`), as small devices write."""
_MOST_LINES: Final = 24


def _named_lines(text: str) -> dict[str, object] | None:
    """Return a text of lines `name: value` or `name=value` as members, as registrars and payment gateways write.

    None where it has fewer than two or more than 24 such lines, or any other than a heading before and an end after.
    """
    if "\n" not in text:
        if "," not in text or _PAIRS.match(text) is None:
            return None
        text = text.replace(",", "\n")
    lines = [line for line in text[:4_096].split("\n", _MOST_LINES + 3) if line.strip()]
    if not 2 <= len(lines) <= _MOST_LINES + 2:
        return None
    if _HEADING.match(lines[0].strip()) is not None:
        lines = lines[1:-1] if lines[-1].strip() == "EOF" else lines[1:]
    members: dict[str, object] = {}
    for line in lines:
        found = _LINE.match(line.rstrip())
        if found is None:
            return None
        members[found.group(1)] = found.group(2)
    return members if len(members) > 1 else None


def _without_prefix(members: dict[str, object] | dict[str, str]) -> Mapping[str, object]:
    """Return a form's members without the prefix that all their names share (`ssl_result`, `vpc_Message`).

    Only where one of them complains beside a number: a device's lines may share one too.
    """
    prefix, mark, _rest = next(iter(members), "").partition("_")
    if not mark or not 1 <= len(prefix) <= 4 or sort_of(prefix) is not Sort.OTHER or len(members) < 2:
        return members
    if not all(name.startswith(f"{prefix}_") for name in members):
        return members
    if not any(isinstance(value, str) and " " in value and complains_of(value) for value in members.values()):
        return members
    bare = {name[len(prefix) + 1 :]: value for name, value in members.items()}
    is_numbered = any(str(value).isdecimal() and sort_of(name) in _NUMBERED_SORTS for name, value in bare.items())
    return bare if is_numbered else members


_NUMBERED_SORTS: Final = frozenset({Sort.STATUS, Sort.CALL_CODE, Sort.FAULT_CODE})


def _take_plain(reading: Reading, text: str) -> None:
    """Take a plain text: a program's last words, a text that begins as an error does, or a sentence to be weighed."""
    text = text.strip()
    if len(text) <= 2_048 and (members := _named_lines(text)) is not None:
        _take_failing(reading, _without_prefix(members))
        return
    if _CRASHED.match(text) is not None:
        reading.kind = Kind.BROKEN
        reading.texts.append(text[:300])
    elif (stated := _STATUS_LINE.match(text)) is not None:
        reading.reports_failure = True
        reading.inner_status = int(stated.group(1))
        _take_text(reading, text[stated.end() : stated.end() + 300].strip() or text)
    elif _CODED.match(text) is not None:
        reading.reports_failure = True
        Collector(reading).take("code", text, Role.CODE)
        reading.texts.append(text.replace("_", " "))
    elif (
        (_BEGINS_BADLY.match(text) is not None or _PIPED.match(text) is not None)
        and len(text) <= 1_000
        and text.count("\n") <= 3
    ):
        reading.reports_failure = True
        _take_text(reading, text[:300])
    elif len(text) <= _LONGEST_LINE and "\n" not in text and text.count("|") < _MOST_BARS:
        reading.texts.append(text)


def _read_success_text(reading: Reading, body: bytes, declared: str) -> None:
    text = _decoded(body[:2_048]).strip()
    if "json" in declared and not is_clipped(reading.exchange):
        whole, document = _parsed(_decoded(body).strip())
        if whole and isinstance(document, str):
            reading.kind = Kind.JSON
            _take_plain(reading, document[:2_048])
        elif whole or _is_json_lines(_decoded(body).strip()):
            reading.kind = Kind.JSON
        else:
            reading.kind = Kind.BROKEN
            reading.texts.append(text[:300])
    elif "urlencoded" in declared and body.startswith(b"error="):
        _take_form(reading, text)
        reading.reports_failure = bool(reading.codes or reading.texts)
    elif _FORM_FAILS.search(body, 0, 1_024) is not None and not any(blank in body[:1_024] for blank in (b" ", b"\n")):
        _take_form(reading, _decoded(body[:4_096]))
        reading.reports_failure = True
    elif len(body) <= 2_048 and _FORM_BODY.match(text) is not None:
        reading.kind = Kind.FORM
        _take_failing(reading, _without_prefix(dict(parse_qsl(text)[:40])))
    else:
        reading.kind = Kind.TEXT
        if declared in {"", "text/plain", "text/html"}:
            _take_plain(reading, text)


_GUARD: Final = re.compile(rb"\)\]\}'?,?[ \t]*\r?\n|for ?\((?:;;|;)\);")
"""What some vendors put before their JSON so that no script tag can run it."""
_INI: Final = re.compile(rb"\s{0,8}\[[A-Z][A-Za-z ]{1,30}\](?:\s{0,4}\n| [A-Za-z])")
"""A heading over lines of members, or the grade of a line of a log: no JSON begins so."""
_CALLBACK: Final = re.compile(rb"(?:/\*\*/)?\s{0,8}[A-Za-z_$][\w.$]{0,60}\s{0,4}\((?=\s{0,8}[{\[])")
"""How JSON with padding begins: a function's call around it."""


_ROWS_FIRST: Final = re.compile(
    rb'\{\s{0,8}"(?:data|items|results|records|rows|values?|list|entries|objects|resources)"\s{0,4}:\s{0,4}\[\s{0,8}\{'
)
"""The beginning of a page of rows: where it is this plain, small pages need no parsing either."""


def is_plainly_data(exchange: Exchange) -> bool:
    """Return whether a success' JSON is data, told without parsing it; False says nothing."""
    body = exchange.body
    if not 0 < len(body) <= LONGEST_BODY or body[0] not in _OPENING:
        return False
    return _is_plainly_data(exchange, body if body[-1] in _CLOSING else body.rstrip(_BLANK))


_OPENING: Final = frozenset(b"{[")
_CLOSING: Final = frozenset(b"}]")


def read_success(exchange: Exchange, *, is_told: bool = False, lacks_records: bool = False) -> Reading:
    """Return what an answer with a success status says.

    is_told: parse its JSON whatever it looks like; lacks_records: records should be there and are not.
    """
    reading = Reading(exchange=exchange, lacks_records=lacks_records)
    body = exchange.body if len(exchange.body) <= LONGEST_BODY else exchange.body[:LONGEST_BODY]
    if body[:1] in {b")", b"f"} and (guard := _GUARD.match(body)) is not None:
        body = body[guard.end() :]
    elif b"(" in body[:80] and (call := _CALLBACK.match(body)) is not None:
        body = body[call.end() :].rstrip(_BLANK + b";").removesuffix(b")")
    start = body[:64].lstrip(_BLANK)[:1]
    if exchange.headers.get("grpc-status", "0") != "0":
        _take_headers(reading, exchange.headers)
        reading.reports_failure = True
        return reading
    if not start and (not body or body.isspace()):
        return reading
    if start == b"[" and _INI.match(body) is not None:
        _read_success_text(reading, body, "text/plain")
    elif start in {b"{", b"["}:
        _read_success_json(reading, body.strip(_BLANK), is_told=is_told)
    elif start == b"<":
        _read_success_markup(reading, _decoded(body[:16_384]).lstrip(), _content_type(exchange))
    else:
        _read_success_text(reading, body, _content_type(exchange))
    return reading
