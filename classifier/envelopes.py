"""Whether a success status' body reports a failure, by its own top-level members; rows of data are never read."""

from collections.abc import Mapping
from itertools import islice
from typing import Final

from classifier.members import Role, plain_name, role_of, words

_FALSE_FLAGS: Final = frozenset({"ok", "success", "succeeded", "issuccess", "successful", "issuccessful"})
_TRUE_FLAGS: Final = frozenset({"haserror", "iserror", "haserrors", "error", "failed", "failure"})
BAD_WORDS: Final = frozenset({"error", "fail", "failed", "failure", "nok", "ko", "err", "unauthorized", "forbidden"})
_WORD_FLAGS: Final = words(
    "status stat result state response responsestatus code returncode resultcode rc responsecode responsemessage"
)
_ERROR_MEMBERS: Final = frozenset(
    {"error", "errors", "fault", "err", "exception", "errordescription", "errormessage", "errormessages", "fail"}
    | {"errorresponse", "errordetails", "errordetail", "responseerrordetails", "exceptions", "faults"}
)
_ERROR_FLAGS: Final = frozenset({"haserror", "iserror", "haserrors"})
_STATS: Final = frozenset({"stat", "status"})
_STAT_FAILS: Final = frozenset({"fail", "nok", "ko"})
_PAGING: Final = words(
    "total totalcount count next nextpage nextpagetoken nextcursor cursor hasmore page perpage pagesize offset limit "
    "pagination paging totalpages totalresults"
)
_SAYINGS: Final = words("msg message messages")
_WRAPPERS: Final = words("response result d body payload root envelope output serviceresponse")
_HEADS: Final = ("meta", "status", "head", "header", "responsestatus")
_DATA: Final = ("data", "result", "results", "response", "resources")
_NUMBER_FLAGS: Final = frozenset(
    {"code", "errcode", "errorcode", "errno", "statuscode", "status", "retcode", "ret", "resultcode", "returncode"}
    | {"responsecode", "respcode", "rtncode", "bizcode"}
)
_ENVELOPE: Final = words(
    "error errors reasons faults failures errorresponse errordetails errordetail responseerrordetails "
    "responsecode fault err exception errordescription errormessage errormessages fail "
    "message msg detail details code "
    "status statuscode errorcode errcode requestid reqid traceid trace correlationid timestamp time date "
    "path success ok "
    "type title instance jsonrpc id meta errortype erroruri data result results response extensions description info "
    "reason name documentationurl docs helpurl links version apiversion debugid logid server took warnings messages "
    "hint subcode errorsubcode needed provided errmsg request method accountid errorid retcode ret state "
    "rid ts url body headers severity retryafter resources errno stat isretryable retryable"
)
_ERROR_ENTRY: Final = _ENVELOPE | words(
    "field location locations parameter source key value rule summary domain debug innererror reasoncode target "
    "errorclass resourceid resourcetype category errorreason validation index property attribute errormsg "
    "timestamputc pointer"
)


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


_TELLING: Final = frozenset({Role.TEXT, Role.CODE, Role.EITHER, Role.FIELDS})


def _is_error_entry(entry: object) -> bool:
    if isinstance(entry, str):
        return bool(entry.strip())
    if not isinstance(entry, dict) or not entry:
        return False
    names = [plain_name(name) for name in entry]
    shaped = sum(name in _ERROR_ENTRY for name in names)
    telling = any(role_of(name) in _TELLING for name in entry)
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
        return any(_is_telling(name, part) for name, part in islice(value.items(), 40))
    return not _says_success(value)


def _is_telling(name: str, part: object) -> bool:
    """Return whether a member of an error's object tells something: counts and lists of numbers do not."""
    if _is_empty(part) or _says_success(part):
        return False
    if isinstance(part, list):
        return isinstance(part[0], (str, dict))
    return role_of(name) in _TELLING or isinstance(part, (str, dict))


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_empty(part) for part in list(value.values())[:20])
    return value is None or value in ("", [], False)


_ENVELOPE_STARTS: Final = ("response", "retc", "retm", "retext", "returnc", "returnm", "respc", "respm", "error", "err")
_ENVELOPE_ENDS: Final = ("message", "msg")


def _is_envelope(name: str) -> bool:
    """Return whether a member is part of how answers are wrapped, rather than data."""
    return name in _ENVELOPE or name.startswith(_ENVELOPE_STARTS) or name.endswith(_ENVELOPE_ENDS)


class _Top:
    """A body's top-level members, with what the checks below weigh.

    strangers: members that no envelope of errors has, so that rows of data show themselves; named: the same, but `id`
    and `name` count too, since a row may well hold a text named error and a status named failed.
    """

    __slots__ = ("has_data", "has_text", "members", "named", "strangers")

    def __init__(self, document: Mapping[str, object]) -> None:
        self.members = {plain_name(name) or name: value for name, value in islice(document.items(), 60)}
        self.strangers = sum(not _is_envelope(name) and not _is_empty(value) for name, value in self.members.items())
        self.named = self.strangers + ("id" in self.members) + ("name" in self.members)
        self.has_data = any(not _is_empty(self.members[name]) for name in _DATA if name in self.members)
        self.has_text = any(
            role_of(name) is Role.TEXT and isinstance(value, str) and value != ""
            for name, value in self.members.items()
        )


def _flag(top: _Top) -> bool:
    """`ok: false`, `HasError: true`, `stat: fail`: whatever stands beside them."""
    for name, value in top.members.items():
        if name in _FALSE_FLAGS and (value is False or value == "false"):
            return True
        if name in _ERROR_FLAGS and value is True:
            return True
        if name in _STATS and isinstance(value, str) and value.lower() in _STAT_FAILS and top.strangers < 3:
            return True
    return False


def _error_member(top: _Top) -> bool:
    """`error: {…}`, `errors: […]`, `fault: …` that hold an error, and hardly anything beside."""
    for name, value in top.members.items():
        if name not in _ERROR_MEMBERS or not _is_error_value(value):
            continue
        nested = isinstance(value, (dict, list))
        if isinstance(value, list) and not _PAGING.isdisjoint(top.members):
            continue  # a page of errors that somebody's product collects
        if name == "errors" and "data" in top.members:
            return True
        if (top.strangers <= 4) if nested else (top.named <= 1 and name != "exception"):
            return True
    return False


def _status_word(top: _Top) -> bool:
    """`status: error` beside a message or a code, and no data."""
    told = top.has_text or "code" in top.members or "errorcode" in top.members
    if not told or top.has_data or top.named > 1:
        return False
    return any(
        isinstance(value, str) and value.lower() in BAD_WORDS
        for value in (top.members.get(name) for name in _WORD_FLAGS)
    )


def _number(top: _Top) -> bool:
    """`code: 40105` beside a message, and no data."""
    if top.has_data or top.strangers > 1 or "id" in top.members:
        return False
    return any(
        _is_failing_number(name, top.members[name], has_text=top.has_text)
        for name in _NUMBER_FLAGS
        if name in top.members
    )


def _inner_status(top: _Top) -> bool:
    """`meta: {code: 403}`, `status: {error: true}`, and no data."""
    if top.has_data:
        return False
    for name in _HEADS:
        value = top.members.get(name)
        if not isinstance(value, dict):
            continue
        inner = {plain_name(key): part for key, part in list(value.items())[:20]}
        word = inner.get("rc", inner.get("status", inner.get("result")))
        if isinstance(word, str) and word.lower() in BAD_WORDS and not inner.keys().isdisjoint(_SAYINGS):
            return True
        numbers = (inner.get(key) for key in ("code", "status", "statuscode", "httpstatus"))
        if inner.get("error") is True or any(isinstance(number, int) and 400 <= number < 600 for number in numbers):
            return True
    return False


_CHECKS: Final = (_flag, _error_member, _status_word, _number, _inner_status)


def reports_failure(document: Mapping[str, object]) -> bool:
    """Return whether a success status' body reports a failure in its own top-level members.

    An object that wraps all the rest (`{"Response": {"Error": {…}}}`) is looked into as well.
    """
    top = _Top(document)
    if any(check(top) for check in _CHECKS):
        return True
    if len(top.members) > 2:
        return False
    for name, value in top.members.items():
        if name in _WRAPPERS and isinstance(value, dict):
            inner = _Top(value)
            if _flag(inner) or _error_member(inner) or _status_word(inner):
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
        return has_text or name in {"code", "statuscode", "errorcode", "errcode", "responsecode"}
    if name == "status" or not has_text:
        return False
    return value != 0 and not 100 <= value < 400


def only_sentence(document: Mapping[str, object]) -> str | None:
    """Return the sentence of a body that is nothing but one short sentence (`{"message": "Unauthorized"}`)."""
    if len(document) != 1:
        return None
    ((name, value),) = document.items()
    if role_of(name) in _TELLING and isinstance(value, str) and len(value) <= 80:
        return value
    return None


_KEPT: Final = _ENVELOPE | _TRUE_FLAGS | frozenset(_HEADS) | _WRAPPERS | _ERROR_MEMBERS


def error_part(document: Mapping[str, object]) -> dict[str, object]:
    """Return a failing body without its data."""
    kept: dict[str, object] = {}
    for name, value in list(document.items())[:60]:
        plain = plain_name(name)
        nested = isinstance(value, (dict, list))
        if nested and (
            plain in _DATA or plain == "request" or not (plain in _KEPT or plain.startswith(_ENVELOPE_STARTS))
        ):
            continue
        kept[name] = value
    return kept
