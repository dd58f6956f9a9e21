"""Whether a success status' body reports a failure, by its own top-level members; rows of data are never read.

Shape decides first (`ok: false`, `error: {…}`, `status: error`). Where it leaves the matter open (`code: 5` beside a
sentence), an answer that is nothing but its wrapping is a failure where its sentence complains (`complains`).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from classifier.members import Role, plain_name, role_of, words
from classifier.replies.complaints import complains, complains_of, complains_of_code, only_sentence
from classifier.replies.names import Sort, ends_as_error, sort_of
from classifier.replies.wrapping import (
    BAD_WORDS,
    BLAMED,
    COMPLAINING,
    DATA,
    ENTRY_TELLS,
    ENVELOPE,
    ENVELOPE_ENDS,
    ENVELOPE_STARTS,
    ERROR_FLAGS,
    ERROR_MEMBERS,
    FALSE_FLAGS,
    HEADS,
    MORE_HEADS,
    NO_TEXT_ENDS,
    NO_WRAPPERS,
    NUMBER_FLAGS,
    OF_ERRORS,
    PAGING,
    SAYINGS,
    STAT_FAILS,
    STATS,
    STATUS_CODES,
    TRUE_FLAGS,
    WORD_FLAGS,
    WRAPPER_ENDS,
    WRAPPERS,
    Top,
    is_data,
    is_empty,
    is_error_value,
    is_fine,
    says_success,
)


def _flag(top: Top) -> bool:
    """`ok: false`, `HasError: true`, `stat: fail`, unless so much stands beside them that it is a record's own."""
    if top.strangers > (0 if "id" in top.members else 1 if top.has_name else 3) or _names_a_thing(top):
        return False
    for name, value in top.members.items():
        if name in FALSE_FLAGS and (value is False or value == "false" or (value == "0" and name.startswith("is"))):
            return not any(_are_things(other, part) for other, part in top.members.items())
        if name in ERROR_FLAGS and value is True:
            return True
        if name in STATS and isinstance(value, str) and value.lower() in STAT_FAILS and top.strangers < 3:
            return True
    return False


def _are_things(name: str, value: object) -> bool:
    """Return whether a member holds rows of things, rather than of what is told of the call."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and not _TOLD_IN.search(name)


_TOLD_IN: Final = re.compile(
    r"(?:err(?:or)?s?|messages?|reasons?|faults?|failures?|details?|notifications?|infos?|causes?)\Z"
)


def _names_a_thing(top: Top) -> bool:
    """Return whether a name is that of a thing, and not of an error (`name: Invalid_ApiKey`)."""
    name = top.members.get("name")
    return isinstance(name, str) and name != "" and not (complains_of(name) or complains_of_code(name))


_RECORD_ENDS: Final = ("edat", "edon", "eddate", "edtime", "created", "updated", "modified")


def _error_member(top: Top) -> bool:
    """`error: {…}`, `errors: […]`, `fault: …` that hold an error, and hardly anything beside."""
    for name, value in top.members.items():
        if name not in ERROR_MEMBERS or not is_error_value(value) or _is_count(name, value):
            continue
        nested = isinstance(value, (dict, list))
        if _is_beside_the_point(top, name, value):
            continue
        if isinstance(value, list) and not PAGING.isdisjoint(top.members):
            continue  # a page of errors that somebody's product collects
        if name == "errors" and "data" in top.members:
            return not (top.has_data and top.says_ok)
        if nested and "id" in top.members and any(part.endswith(_RECORD_ENDS) for part in top.members):
            continue  # a record that went wrong, as a job does
        if name == "exception" and not nested:
            if _is_thrown(top, str(value)):
                return True
            continue
        if (top.strangers <= top.most_beside) if nested else (top.named + top.denials <= 1 and not top.leads_a_life):
            return True
    return False


_OF_A_TRACE: Final = ("file", "line", "trace")


def _is_thrown(top: Top, value: str) -> bool:
    """Return whether an exception's name or text is that of the call, rather than one in a record."""
    most = 2 if _CLASS.fullmatch(value) is not None else 0
    beside = top.strangers - sum(part in top.members for part in _OF_A_TRACE)
    return not top.has_data and beside <= most and not top.says_ok and _is_python_like(top, value)


def _is_beside_the_point(top: Top, name: str, value: object) -> bool:
    """Return whether an error is none of the call's: it is numbered nought, a thing's own, or one that was recorded."""
    if name in _MESSAGES and _is_numbered_well(top):
        return True
    if name == "exception" and isinstance(value, dict) and top.has_data:
        return True
    return top.strangers > 0 and (_is_done_in_part(top) or _is_a_things_own(top, name, value))


_MESSAGES: Final = ("errormessage", "errormsg", "errmsg")


def _is_numbered_well(top: Top) -> bool:
    """Return whether a number named after errors says that there is none, so that the message beside it is no error."""
    return any(str(top.members.get(name, "")).strip() in {"0", "200"} for name in OF_ERRORS)


def _is_done_in_part(top: Top) -> bool:
    """Return whether the call was done, so that errors tell what went wrong of it in part."""
    if any(str(top.members.get(flag, "")).lower() == "warning" for flag in WORD_FLAGS):
        return True
    if any(top.members.get(flag) is True for flag in FALSE_FLAGS):
        return True
    return any(name in _DONE_TO and isinstance(value, list) and value for name, value in top.members.items())


_DONE_TO: Final = words("added updated created deleted removed succeeded changed processed imported")
"""Lists of what the call was done to."""


def _is_a_things_own(top: Top, name: str, value: object) -> bool:
    """Return whether errors beside other members are a thing's: counted, its faults, or what its check found."""
    if value is True:
        return not top.has_text
    if any(other.endswith("id") and other[:-2] in NO_WRAPPERS for other in top.members):
        return isinstance(value, dict)
    if not isinstance(value, list):
        return False
    is_counted = any(other.endswith("count") and part for other, part in top.members.items())
    is_row = "id" in top.members and "jsonrpc" not in top.members and isinstance(value[0], str)
    return is_counted or is_row or top.judges_a_thing or name in {"faults", "exceptions"}


def _is_count(name: str, value: object) -> bool:
    return name.endswith("s") and isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_python_like(top: Top, value: str) -> bool:
    """Return whether an exception's name or text stands beside what else an answer tells of it."""
    return "errorcode" in top.members or "exception" in value.lower()


_CLASS: Final = re.compile(r"[A-Za-z_]\w*(?:[.\\]\w+)+(?:Error|Exception)")


def _status_word(top: Top) -> bool:
    """`status: error` beside a message or a code, and no data."""
    told = top.has_text or "code" in top.members or "errorcode" in top.members
    told = told or (top.lacks_data and top.named == 0 and len(top.members) == 2)
    if _is_told_in_data(top):
        return _says_bad(top)
    most = 3 if "errormessage" in top.members and "errorcode" in top.members else 1
    if not told or top.has_data or top.named > most or str(top.members.get("id", "")).isdecimal():
        return False
    if top.has_name and (top.strangers > 0 or not top.has_text):
        return False
    return _says_bad(top)


def _says_bad(top: Top) -> bool:
    return any(
        isinstance(value, str) and value.lower() in BAD_WORDS
        for value in (top.members.get(name) for name in WORD_FLAGS)
    )


def _is_told_in_data(top: Top) -> bool:
    """Return whether what should be data is a code or a sentence alone (`status: error, data: {code: …}`)."""
    data = top.members.get("data")
    return (
        isinstance(data, dict)
        and 0 < len(data) <= 2
        and top.named == 0
        and all(isinstance(value, str) and plain_name(name) in _TOLD_IN_DATA for name, value in data.items())
    )


_TOLD_IN_DATA: Final = words("code errorcode error message msg reason")


def _refused_status(top: Top) -> bool:
    """`Status: INVALID` beside a `StatusDetail` that says why: what was asked for is not valid."""
    if top.has_data or top.strangers > 2 or top.is_record:
        return False
    if any(sort_of(name) in {Sort.OTHER, Sort.RECORD} and not is_empty(value) for name, value in top.members.items()):
        return False
    return any(
        isinstance(value, str)
        and value.lower() in _NOT_AS_ASKED
        and any(other.startswith(name) and other.removeprefix(name) in _DETAILS for other in top.members)
        for name, value in top.members.items()
        if name in WORD_FLAGS
    )


_NOT_AS_ASKED: Final = words("invalid malformed")
_DETAILS: Final = words("detail details message msg text")


def _states_http(top: Top) -> bool:
    """`statusCode: 403` beside an `errorCode` or an `errorMessage`: HTTP's own status, where another was sent."""
    if top.has_data or top.strangers > 3 or top.is_record or "method" in top.members:
        return False
    if any(isinstance(value, list) and value for value in top.members.values()):
        return False
    stated = any(_is_failing_number(name, top.members.get(name), has_text=True) for name in _OF_HTTP)
    told = any(not is_empty(top.members.get(name)) for name in _ERRORS_OWN)
    return stated and told and not any(name.endswith(_RECORD_ENDS) for name in top.members)


_OF_HTTP: Final = ("statuscode", "httpstatus", "httpstatuscode", "httpcode")
_ERRORS_OWN: Final = ("errorcode", "errcode", "errormessage", "errormsg", "errmsg")


def _number(top: Top) -> bool:
    """`code: 40105` beside a message, and no data."""
    if top.has_data or top.strangers > 1 or "id" in top.members:
        return False
    if not top.strangers and _blames_us(top):
        return True
    if top.leads_a_life or any(name.endswith(_RECORD_ENDS) for name in top.members):
        return False
    failing = any(
        name in NUMBER_FLAGS and _is_failing_number(name, value, has_text=top.has_text)
        for name, value in top.members.items()
    )
    return failing and not _is_told_fine(top)


def _blames_us(top: Top) -> bool:
    """Return whether a number that may mean anything stands beside a sentence on what was wrong with the call."""
    numbered = any(
        (name in NUMBER_FLAGS or name.endswith("responsecode")) and _is_no_success(value)
        for name, value in top.members.items()
    )
    return numbered and any(
        role_of(name) is Role.TEXT and isinstance(value, str) and BLAMED.search(value[:300]) is not None
        for name, value in top.members.items()
    )


def _status_told(top: Top) -> bool:
    """`status: 3` beside a `status_message` on what was wrong with the call, and nothing else."""
    if top.strangers or top.has_data or top.is_record:
        return False
    status = top.members.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or status == 0 or 100 <= status < 400:
        return False
    texts = (top.members.get(f"status{end}") for end in _DETAILS)
    return any(isinstance(text, str) and BLAMED.search(text[:300]) is not None for text in texts)


def _exception_object(top: Top) -> bool:
    """`objectType: KalturaAPIException` beside a code and a message: an exception, and hardly anything else.

    Or an `error_class` that is one, and no more than what it is about.
    """
    thrown = top.members.get("errorclass")
    if isinstance(thrown, str) and _THROWN.search(thrown) is not None and len(top.members) <= _MOST_ABOUT:
        return not top.has_data
    if not top.has_text or "code" not in top.members or top.is_record or top.strangers > 2:
        return False
    kind = top.members.get("objecttype", top.members.get("class"))
    return isinstance(kind, str) and kind.endswith(("Exception", "Fault"))


_THROWN: Final = re.compile(r"(?:Exception|Error)\b")
_MOST_ABOUT: Final = 5
_TOO_MANY: Final = re.compile(r"\btoo (?:many|frequent) (?:api )?(?:requests?|calls?)\b", re.IGNORECASE)


def _throttled_though_fine(top: Top) -> bool:
    """`success: true` beside `too many requests`, and no data where it should be."""
    if not top.lacks_data or top.strangers or top.has_data:
        return False
    return any(
        isinstance(value, str) and _TOO_MANY.search(value[:200]) is not None
        for name, value in top.members.items()
        if name in COMPLAINING or name.endswith(NO_TEXT_ENDS)
    )


def _is_no_success(value: object) -> bool:
    """Return whether a number of three digits or more is none of success."""
    text = str(value).strip()
    return text.isdecimal() and 3 <= len(text) <= 9 and not 200 <= int(text) < 300 and text[0] != "0"


def _is_told_fine(top: Top) -> bool:
    return any(
        isinstance(value, str) and value != "" and is_fine(value)
        for name, value in top.members.items()
        if role_of(name) is Role.TEXT or name in COMPLAINING
    )


_ERROR_CODE: Final = re.compile(r"(?:E|ERR|ERROR|F|FAIL)[-_.]?\d{1,8}\Z", re.IGNORECASE)


def _code_word(top: Top) -> bool:
    """`errorCode: SessionTimeout`, `returnCode: E1001` beside a message, and no data."""
    if top.has_data or top.strangers > 1 or top.is_record or top.says_ok:
        return False
    for name, value in top.members.items():
        if not isinstance(value, str) or not value or says_success(value) or value.lstrip("-").isdecimal():
            continue
        if top.has_text and name == "status" and _REFUSED.match(value) is not None:
            return True
        if name in OF_ERRORS and " " not in value and (top.has_text or complains_of_code(value)):
            return True
        if name in NUMBER_FLAGS and _is_failing_code(top, name, value) and top.has_saying:
            return True
        if top.has_text and name in {"objecttype", "type", "class"} and value.endswith(("Exception", "Fault")):
            return True
    return False


def _is_failing_code(top: Top, name: str, code: str) -> bool:
    """Return whether a code in letters tells by its looks that the call failed."""
    if _ERROR_CODE.match(code) is not None or (_is_lettered(code) and top.lacks_data):
        return True
    return name == "code" and not top.strangers and _BLAMES_US.search(code) is not None


_LETTERED: Final = re.compile(r"[A-Z]{1,5}[-_.]?(\d{2,8})\Z")
_BLAMES_US: Final = re.compile(
    r"\A(?:[A-Za-z]{2,20}[._:-])?(?:[Ii]nvalid|INVALID|[Mm]issing|MISSING|[Uu]nknown|UNKNOWN|[Uu]nsupported|UNSUPPORTED|[Mm]alformed|MALFORMED)"
    r"(?:[A-Z_.-]|\Z)|"
    r"(?:NotFound|NOT_FOUND|_not_found|Required|_REQUIRED|_required|Failed|_FAILED|_failed|_no_route)\Z"
)
"""Codes by which an API tells that it could not do as it was asked (`InvalidDateRange`, `report_not_found`)."""
_WELL_LETTERS: Final = ("S", "I", "OK", "N")


def _is_lettered(code: str) -> bool:
    """Return whether a code is letters and a number that is not nought, as in `A0230`; letters of success are none."""
    found = _LETTERED.match(code)
    return found is not None and found.group(1).strip("0") != "" and not code.startswith(_WELL_LETTERS)


_REFUSED: Final = re.compile(r"REQUEST_(?:NOT_|DENIED|FAILED|ERROR|INVALID|REJECTED)", re.IGNORECASE)


def _inner_status(top: Top) -> bool:
    """`meta: {code: 403}`, `status: {error: true}`, and no data."""
    if _is_status_all_data(top) or any(_is_failing_head(name, inner) for name, inner in _heads(top)):
        return True
    filled = [(name, value) for name, value in top.members.items() if not is_empty(value)]
    return len(filled) == 1 and filled[0][0].endswith(("header", "head")) and _is_numbered_head(filled[0][1])


def _only_status(top: Top) -> bool:
    """`status: {code: 13, message: …}` and nothing else: numbers of success are 0, 1 and those of HTTP."""
    filled = [(name, value) for name, value in top.members.items() if not is_empty(value)]
    if len(filled) != 1 or filled[0][0] != "status" or not isinstance(filled[0][1], dict):
        return False
    head = Top(filled[0][1])
    code = str(head.members.get("code", "")).strip()
    return code.lstrip("-").isdecimal() and int(code) not in _WELL_NUMBERS and head.has_text and not head.says_ok


_WELL_NUMBERS: Final = frozenset({0, 1, *range(200, 300)})


def _is_numbered_head(head: object) -> bool:
    """Return whether a head without a body gives a number that is not nought, and a sentence beside it."""
    if not isinstance(head, dict):
        return False
    top = Top(head)
    return top.strangers == 0 and _number(top)


def _is_status_all_data(top: Top) -> bool:
    """Return whether a status of an error is all that the data holds (`code: …, message: …, data: {status: 404}`)."""
    data = top.members.get("data")
    if not isinstance(data, dict) or not data or not top.has_text or top.strangers:
        return False
    inner = {plain_name(name): value for name, value in islice(data.items(), 4)}
    number = inner.get("status", inner.get("statuscode"))
    is_alone = all(is_empty(value) for name, value in inner.items() if name not in {"status", "statuscode", "params"})
    return is_alone and isinstance(number, int) and 400 <= number < 600


def _heads(top: Top) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the objects that head an answer without data; what is one level deeper in them counts as theirs."""
    for name, value in top.members.items():
        head = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(head, dict):
            continue
        if name not in HEADS and not ((name in MORE_HEADS or name.endswith("status")) and top.strangers <= 3):
            continue
        if any(is_data(other, top.members[other]) for other in DATA if other != name and other in top.members):
            continue
        if name not in HEADS and any(isinstance(other, list) and other for other in top.members.values()):
            continue
        inner = dict(islice(head.items(), 20))
        for part in ("status", "Status", "result"):
            deeper = inner.get(part)
            if isinstance(deeper, dict):
                inner = {**inner, **dict(islice(deeper.items(), 20))}
        yield name, inner


def _is_failing_head(name: str, members: Mapping[str, object]) -> bool:
    inner = {plain_name(key): part for key, part in members.items()}
    said = [inner.get(key) for key in ("rc", "status", "result", "resultcode", "code")]
    head = Top(members)
    is_bad = any(isinstance(word, str) and word.lower() in BAD_WORDS for word in said)
    if is_bad and not inner.keys().isdisjoint(SAYINGS):
        return name != "result" or head.strangers == 0
    numbers = (inner.get(key) for key in ("code", "status", "statuscode", "httpstatus"))
    if inner.get("error") is True or any(
        isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600 for number in numbers
    ):
        return name != "result" or (head.strangers == 0 and head.has_text)
    if head.says_ok:
        return False
    failures = head.members.get("failures")
    if name not in {"status", "info", "result"} and (
        _error_member(head) or (isinstance(failures, list) and is_error_value(failures))
    ):
        return True
    if name in {"result", "messages"} and _flag(head):
        return head.strangers == 0 and head.has_text
    return complains(head, claims=name not in {"status", "header", "head"})


_CHECKS: Final = (
    _flag,
    _error_member,
    _states_http,
    _status_word,
    _refused_status,
    _number,
    _code_word,
    _status_told,
    _exception_object,
    _only_status,
    _inner_status,
    _throttled_though_fine,
    complains,
)


def failing_part(document: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the part of a success status' body that reports a failure, without its data; None where nothing does.

    Its own top-level members are read, and those of an object that wraps all the rest (`{"Response": {"Error": {…}}}`).
    """
    return _failing_part(document, depth=0)


def _failing_part(document: Mapping[str, object], *, depth: int) -> Mapping[str, object] | None:
    top = Top(document)
    for check in _CHECKS:
        if check(top):
            return _part_of(document, top)
    if depth == 2 or any(top.members.get(name) is True for name in FALSE_FLAGS):
        return None
    filled = [
        (name, value)
        for name, value in top.members.items()
        if not is_empty(value) and name not in {"id", "jsonrpc", "sign", "signature"}
    ]
    if not 0 < len(filled) <= 2:
        return None
    parts = (_in_member(top, name, value, depth=depth, is_alone=len(filled) == 1) for name, value in filled)
    return next((part for part in parts if part is not None), None)


def _in_member(top: Top, name: str, value: object, *, depth: int, is_alone: bool) -> Mapping[str, object] | None:
    if isinstance(value, list):
        return value[0] if is_alone and len(value) == 1 and _is_lone_error(value[0]) else None
    if not isinstance(value, dict):
        return None
    if name in WRAPPERS or name.endswith(WRAPPER_ENDS):
        return _in_wrapper(value, depth=depth)
    if ends_as_error(name) and name not in ERROR_MEMBERS:
        return value if top.strangers <= 1 and "last" not in name and _has_message(value) else None
    if (name in _HOLDERS or (is_alone and name not in NO_WRAPPERS)) and not top.says_ok:
        return _in_holder(value, depth=depth, lacks_data=top.lacks_data)
    return None


_HOLDERS: Final = words("data message")
"""Names of wrappers and of data alike."""


def _has_message(error: Mapping[str, object]) -> bool:
    """Return whether an error's object, or one inside it, has a sentence or a code."""
    for name, value in islice(error.items(), 20):
        plain = plain_name(name)
        if isinstance(value, dict):
            if any(plain_name(inner) in ENTRY_TELLS for inner in value):
                return True
        elif not is_empty(value) and (plain in ENTRY_TELLS or plain.endswith(ENVELOPE_ENDS)):
            return True
    return False


def _in_wrapper(value: Mapping[str, object], *, depth: int) -> Mapping[str, object] | None:
    """Return the failing part of what a wrapper holds; a small number or a status beside strangers is none."""
    inner = Top(value)
    sentence = only_sentence(value)
    if sentence is not None and complains_of(sentence):
        return value
    if any(check(inner) for check in (_flag, _error_member, _code_word, _inner_status, complains)):
        return _part_of(value, inner)
    if inner.named == 0 and (_status_word(inner) or (_number(inner) and not OF_ERRORS.isdisjoint(inner.members))):
        return _part_of(value, inner)
    return None if depth == 1 else _deeper(inner, depth=depth)


def _in_holder(value: Mapping[str, object], *, depth: int, lacks_data: bool) -> Mapping[str, object] | None:
    """Return the failing part of an object under a name that says nothing: a thing of that name may have failed.

    So only an error's own object, a number that is named after errors, or a head that fails, and nothing beside it.
    """
    inner = Top(value)
    if inner.is_record:
        return None
    nested = not inner.strangers and any(
        isinstance(part, (dict, list)) and name in {"error", "errors", "fault"} and is_error_value(part)
        for name, part in inner.members.items()
    )
    numbered = not inner.strangers and _number(inner) and (lacks_data or not OF_ERRORS.isdisjoint(inner.members))
    if nested or numbered or _inner_status(inner):
        return _part_of(value, inner)
    return None if depth == 1 else _deeper(inner, depth=depth)


def _deeper(inner: Top, *, depth: int) -> Mapping[str, object] | None:
    """Look into the wrapper within a wrapper (`{"operation": {"result": {…}}}`)."""
    for name, value in inner.members.items():
        if isinstance(value, dict) and (name in WRAPPERS or name.endswith(("response", "result", "error"))):
            if name.endswith("error"):
                return value if _has_message(value) else None
            return _in_wrapper(value, depth=depth + 1)
    return None


def _is_lone_error(entry: object) -> bool:
    """Return whether a result holds nothing but an error and numbers (`{"statement_id": 0, "error": "…"}`)."""
    if not isinstance(entry, dict) or not 1 <= len(entry) <= 3 or "id" in entry:
        return False
    error = entry.get("error")
    return (
        isinstance(error, (str, dict))
        and is_error_value(error)
        and all(isinstance(part, int) for name, part in entry.items() if name != "error")
    )


def _part_of(document: Mapping[str, object], top: Top) -> Mapping[str, object]:
    """Return what of a failing body tells of the failure."""
    part = error_part(document)
    for _name, inner in _heads(top):
        part = {**inner, **part}
    return part


def _is_failing_number(name: str, value: object, *, has_text: bool) -> bool:
    if isinstance(value, str):
        text = value.strip()
        if not text.lstrip("-").isdecimal() or len(text) > 9 or not text.strip("0"):
            return False
        value = int(text) if text[0] != "0" else -1  # with a nought before it, it is no status
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    if 400 <= value < 600:
        return has_text or name in STATUS_CODES
    if name == "status" or not has_text:
        return False
    if name in OF_ERRORS:
        return value not in {0, 200}
    return value != 0 and not 100 <= value < 400


_KEPT: Final = ENVELOPE | TRUE_FLAGS | frozenset(HEADS) | WRAPPERS | ERROR_MEMBERS


def error_part(document: Mapping[str, object]) -> dict[str, object]:
    """Return a failing body without its data."""
    kept: dict[str, object] = {}
    for name, value in list(document.items())[:60]:
        plain = plain_name(name)
        nested = isinstance(value, (dict, list))
        if nested and (
            plain in DATA or plain == "request" or not (plain in _KEPT or plain.startswith(ENVELOPE_STARTS))
        ):
            continue
        kept[name] = value
    return kept
