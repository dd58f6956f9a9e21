"""How answers are wrapped: names of members that tell how a call went, of those around data, and what a value says.

Names are compared as `members.plain_name` writes them. Shared by the checks of `shapes` and `complaints`.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from classifier.members import Role, plain_name, role_of, words

FALSE_FLAGS: Final = frozenset({"ok", "success", "succeeded", "issuccess", "successful", "issuccessful"})
TRUE_FLAGS: Final = frozenset({"haserror", "iserror", "haserrors", "error", "failed", "failure"})
BAD_WORDS: Final = frozenset(
    {"error", "fail", "failed", "failure", "nok", "ko", "ng", "err", "unauthorized", "forbidden"}
    | {"erro", "erreur", "fehler", "falha", "bad_request", "invalid_request", "internal_server_error"}
)
WORD_FLAGS: Final = words(
    "status stat result state response responsestatus code returncode resultcode rc responsecode responsemessage "
    "outcome ack"
)
ERROR_MEMBERS: Final = words(
    "error errors fault err exception errordescription errormessage errormessages fail errorresponse errordetails "
    "errordetail responseerrordetails modelstate exceptions faults errorarray faultstring"
)
ERROR_FLAGS: Final = frozenset({"haserror", "iserror", "haserrors"})
STATS: Final = frozenset({"stat", "status"})
STAT_FAILS: Final = frozenset({"fail", "nok", "ko"})
PAGING: Final = words(
    "total totalcount count next nextpage nextpagetoken nextcursor cursor hasmore page perpage pagesize offset limit "
    "pagination paging totalpages totalresults"
)
MAY_BE_ANYTHING: Final = words("text description title summary")
"""Names of sentences that are as often what was asked for as what is said of the call."""
SAYINGS: Final = words("msg message messages")
WRAPPERS: Final = words("xml response result d body payload root envelope output serviceresponse operation return ret")
WRAPPER_ENDS: Final = ("response", "result", "resp")
NO_WRAPPERS: Final = words(
    "job task run export import build deployment deploy payment charge order invoice device host event alert incident "
    "issue ticket user item record message command execution transaction shipment delivery webhook test check "
    "account agent alarm app application asset backup call campaign certificate check client cluster comment computer "
    "connection connector contact container credential customer dashboard database domain door email endpoint entry "
    "environment file finding firewall flow gateway group hook instance integration interface invitation key license "
    "log machine member monitor node notification package page payment pipeline plan plugin policy post printer probe "
    "process product profile project query queue release report repository resource role rule scan scanner schedule "
    "script sensor server service session setting site source stage step storage subscription switch sync target team "
    "template tenant thread token translation tunnel upload vendor volume vulnerability workflow workspace "
    "property properties schema definition field column label setting option config variable"
)
"""Names of things that may well have failed without the call having failed."""
HEADS: Final = ("meta", "status", "head", "header", "responsestatus")
MORE_HEADS: Final = words("metadata info responsemetadata requeststatus result messages")
"""Heads that hold other things too: they count only where hardly anything stands beside them."""
DATA: Final = ("data", "result", "results", "response", "resources")
NUMBER_FLAGS: Final = frozenset(
    {"code", "errcode", "errorcode", "errno", "statuscode", "status", "retcode", "ret", "resultcode", "returncode"}
    | {"responsestatus", "rc", "cod", "codigo", "estado", "rspcode", "rspcd", "resultcd", "rtncd"}
    | {"responsecode", "respcode", "rtncode", "bizcode", "httpcode", "httpstatus", "httpstatuscode", "errorno"}
)
OF_ERRORS: Final = frozenset({"errcode", "errorcode", "errno", "errorno"})
"""Numbers that name an error: small ones too, which elsewhere may be counts or statuses."""
STATUS_CODES: Final = words(
    "responsestatus code cod codigo estado statuscode errorcode errcode responsecode httpcode httpstatus httpstatuscode"
)
CLAIMS: Final = WORD_FLAGS | NUMBER_FLAGS | words("infocode replycode exception querystatus subcode gcode")
"""Members that claim how the call went."""
COMPLAINING: Final = words(
    "message msg messages msgs info reason text response result error errors exception desc rm statusdescription "
    "statusdetail statusdesc statustext statusmessage replytext errorinfo errortext messagelist"
)
"""Members whose sentence is about the call; titles, descriptions and notes may be about anything."""
SENTENCES: Final = COMPLAINING - WORD_FLAGS
"""Of those, the ones that never hold how the call ended."""
NO_TEXT_ENDS: Final = ("message", "msg", "errortext", "errordesc")
GRANTS: Final = words("authenticated authorized login loggedin isauthenticated isauthorized")
LIFE: Final = words(
    "active inactive enabled disabled open opened closed new draft published archived expired pending queued running "
    "completed complete done resolved unresolved acknowledged scheduled sent delivered created up down online offline "
    "healthy unhealthy degraded"
)
"""Words for the life of a thing rather than the end of a call: what has such a status is a record."""
ENVELOPE: Final = words(
    "error errors reasons faults failures errorresponse errordetails errordetail responseerrordetails "
    "responsecode fault err exception errordescription errormessage errormessages fail "
    "message msg detail details code "
    "status statuscode errorcode errcode requestid reqid traceid trace correlationid timestamp time date "
    "path success ok "
    "type title instance jsonrpc id meta errortype erroruri data result results response extensions description info "
    "reason name documentationurl docs helpurl links version apiversion debugid logid server took warnings messages "
    "hint subcode errorsubcode needed provided errmsg request method accountid errorid retcode ret state "
    "rid ts url body headers severity retryafter resources errno stat isretryable retryable outcome ack httpcode "
    "httpstatus httpstatuscode failuredescription rolledback faultcode faultstring errorno runtime svtrid cltrid cod"
)
_ERROR_ENTRY: Final = ENVELOPE | words(
    "field location locations parameter source key value rule summary domain debug innererror reasoncode target "
    "errorclass resourceid resourcetype category errorreason validation index property attribute errormsg "
    "timestamputc pointer"
)


_SUCCESS: Final = frozenset(
    {"", "0", "ok", "okay", "success", "successful", "succeeded", "none", "null", "false", "no error", "noerror"}
    | {"n/a", "na", "nil", "200", "00", "000", "0000", "00000", "000000"}
)
WELL: Final = frozenset({"ok", "okay", "success", "successful", "succeeded", "true", "done", "completed"})
BLAMED: Final = re.compile(
    r"\b(?:is|are) (?:required|invalid|missing|unknown|deprecated|no longer)\b|\brequired\W{0,2}\Z|"
    r"\A(?:invalid|missing|unknown|unsupported|illegal) [a-z]|\bnot (?:supported|valid|a valid)\b",
    re.IGNORECASE,
)
"""How a sentence says what was wrong with a call."""
_FINE: Final = ("successful", "成功", "正常", "정상")


def says_success(value: object) -> bool:
    """Return whether a value says that nothing went wrong, or nothing at all."""
    return str(value).strip().lower() in _SUCCESS


def is_fine(text: str) -> bool:
    """Return whether a sentence tells that all went well."""
    said = text[:200].strip().lower()
    if said in _SUCCESS or said.startswith(("success", "ok")):
        return True
    return any(word in said for word in _FINE) and not any(no in said for no in ("unsuccessful", "not ", "不", "失败"))


TELLING: Final = frozenset({Role.TEXT, Role.CODE, Role.EITHER, Role.FIELDS})


ENTRY_TELLS: Final = words(
    "message msg code detail details description text error errors reason title errorcode errorid status info fault "
    "statustext "
    "errortype exception statuscode errno summary faultstring err errcode rule field"
)
"""Members of which an error's entry has one; a type and a date alone make a row of data."""


def _is_error_entry(entry: object) -> bool:
    if isinstance(entry, str):
        return bool(entry.strip())
    if isinstance(entry, list):
        return 0 < len(entry) <= 4 and all(part is None or isinstance(part, str) for part in entry)
    if not isinstance(entry, dict) or not entry:
        return False
    names = [plain_name(name) for name, part in entry.items() if not is_empty(part)]
    if "id" in names and any(name not in _ERROR_ENTRY and not name.endswith(NO_TEXT_ENDS) for name in names):
        return False  # a row on an error
    if not names or (ENTRY_TELLS.isdisjoint(names) and not any(name.endswith(NO_TEXT_ENDS) for name in names)):
        return False
    shaped = sum(
        name in _ERROR_ENTRY or name.endswith(NO_TEXT_ENDS) or name.startswith(("err", "severity")) for name in names
    )
    telling = any(role_of(name) in TELLING for name in entry)
    return telling and shaped * 4 >= len(names) * 3


def is_error_value(value: object) -> bool:
    """Return whether an error member's value is an error, rather than a row of data or an empty place."""
    if value is None or value is False or value == 0:
        return False
    if value is True:
        return True
    if isinstance(value, str):
        return not says_success(value)
    if isinstance(value, list):
        return bool(value) and all(map(_is_error_entry, value[:3]))
    if isinstance(value, dict):
        return any(_is_telling(name, part) for name, part in islice(value.items(), 40))
    return not says_success(value)


def _is_telling(name: str, part: object) -> bool:
    """Return whether a member of an error's object tells something: counts and lists of numbers do not."""
    if is_empty(part) or says_success(part):
        return False
    if isinstance(part, list):
        return isinstance(part[0], (str, dict))
    if isinstance(part, dict):
        return any(isinstance(inner, (str, list, dict)) and not is_empty(inner) for inner in islice(part.values(), 20))
    return role_of(name) in TELLING or isinstance(part, str)


def is_empty(value: object) -> bool:
    """Return whether a value holds nothing: null, nothing between its brackets, false, or only such things."""
    if isinstance(value, dict):
        return not value or all(map(is_empty, islice(value.values(), 20)))
    return value is None or value in ("", [], False)


_WRAPPING: Final = ENVELOPE | NUMBER_FLAGS
ENVELOPE_STARTS: Final = ("response", "retc", "retm", "retext", "returnc", "returnm", "respc", "respm", "error", "err")
_ENVELOPE_MORE: Final = ("result", "reply", "status", "query")
ENVELOPE_ENDS: Final = (
    "message",
    "msg",
    "code",
    "status",
    "requestid",
    "traceid",
    "serialnum",
    "action",
    "command",
    "version",
    "helpurl",
    "trackingid",
    "referenceid",
    "logid",
)


def _is_envelope(name: str) -> bool:
    """Return whether a member is part of how answers are wrapped, rather than data."""
    return name in _WRAPPING or name.startswith(ENVELOPE_STARTS) or name.endswith(("message", "msg"))


def is_wrapping(name: str) -> bool:
    """Return whether a member may be part of the wrapping: asked only where the sentence must complain as well."""
    return (
        _is_envelope(name)
        or name in COMPLAINING
        or name in CLAIMS
        or name.startswith(_ENVELOPE_MORE)
        or name.endswith(ENVELOPE_ENDS)
    )


class Top:
    """A body's top-level members, with what the checks below weigh.

    strangers: members that no envelope of errors has, so that rows of data show themselves; named: the same, but `id`
    and `name` count too, since a row may well hold a text named error and a status named failed.
    """

    __slots__ = ("has_data", "has_text", "members", "named", "strangers")

    def __init__(self, document: Mapping[str, object]) -> None:
        self.members = {plain_name(name) or name: value for name, value in islice(document.items(), 60)}
        self.strangers = sum(not _is_envelope(name) and not is_empty(value) for name, value in self.members.items())
        self.named = self.strangers + ("id" in self.members) + ("name" in self.members)
        self.has_data = any(is_data(name, self.members[name]) for name in DATA if name in self.members)
        self.has_text = any(_is_sentence(name, value) for name, value in self.members.items())

    @property
    def most_beside(self) -> int:
        """How many members that no reply has may stand beside what tells of a failure: fewer where a thing has a name.

        A record with an error in it is data.
        """
        return 2 if self.has_name else 3

    @property
    def has_name(self) -> bool:
        """Whether a member names a thing: an id, a host, an address."""
        return any(name in _NAMING or (name.endswith("id") and name not in ENVELOPE) for name in self.members)

    @property
    def has_saying(self) -> bool:
        """Whether a text is about the call by its name, which a title or a description may not be."""
        return any(
            isinstance(value, str) and value != "" and (name in SENTENCES or name.endswith(NO_TEXT_ENDS))
            for name, value in self.members.items()
        )

    @property
    def judges_a_thing(self) -> bool:
        """Whether it tells that something else is not valid (`valid: false` beside what was checked)."""
        return self.strangers > 0 and (self.members.get("valid") is False or self.members.get("isvalid") is False)

    @property
    def lacks_data(self) -> bool:
        """Whether a member that should hold data is there and empty."""
        return any(name in self.members and is_empty(self.members[name]) for name in _MAY_LACK)

    @property
    def denials(self) -> int:
        """How many flags of its own are false (`connected: false`): a thing has some, a reply has none."""
        return sum(
            value is False and not _is_envelope(name) and name not in PAGING for name, value in self.members.items()
        )

    @property
    def says_ok(self) -> bool:
        """Whether a member says that all went well, so that words about something else do not count."""
        for name, value in self.members.items():
            if name in FALSE_FLAGS and (value is True or value == "true"):
                return True
            if name in CLAIMS and isinstance(value, str) and value.strip().lower() in WELL:
                return True
            if name in NUMBER_FLAGS and str(value).strip() in _OK_NUMBERS and not (name == "status" and value != 200):
                return True
        return any(
            isinstance(value, str) and is_fine(value)
            for name, value in self.members.items()
            if value and (name in COMPLAINING or name.endswith(NO_TEXT_ENDS))
        )

    @property
    def is_record(self) -> bool:
        """Whether the members look like those of one record: it has an id or a name, or leads a life of its own."""
        return "id" in self.members or "name" in self.members or self.leads_a_life

    @property
    def leads_a_life(self) -> bool:
        """Whether its status is one of a thing rather than of a call."""
        return any(
            isinstance(value, str) and value.lower() in LIFE
            for value in (self.members.get("status"), self.members.get("state"))
        )


_MAY_LACK: Final = (*DATA, "payload", "rows", "items", "records", "list")
_NAMING: Final = words("id uuid key serial number hostname host ip email name domain device agent username")
_OK_NUMBERS: Final = frozenset({"0", "00", "000", "0000", "00000", "000000", "200"})


def is_data(name: str, value: object) -> bool:
    """Return whether a member that may hold data holds some; a word under `result` is none, under `data` it may be."""
    if isinstance(value, str) and name != "data":
        return len(value) > 300
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("error"), str):
        return False
    return not is_empty(value)


def _is_sentence(name: str, value: object) -> bool:
    if isinstance(value, str):
        return value != "" and (role_of(name) is Role.TEXT or name in SENTENCES)
    if isinstance(value, dict) and name == "messages":  # by the fields that they are about
        return 0 < len(value) <= 5 and all(texts_in(told) for told in value.values())
    return name in SAYINGS and isinstance(value, list) and 0 < len(value) <= 5 and bool(texts_in(value))


def texts_in(value: object) -> list[str]:
    """Return the sentences of a member: it is one, or a short list of them or of objects that hold one."""
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        return []
    found: list[str] = []
    for entry in value[:5]:
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, dict):
            found.extend(
                part for name, part in islice(entry.items(), 10) if isinstance(part, str) and role_of(name) is Role.TEXT
            )
    return [text for text in found if text]
