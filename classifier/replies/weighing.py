"""Whether a small answer that is a reply and no data tells of a failure: all its members weighed together.

A reply fails where its words complain, or a member blames, and hardly anything stands beside that is data. The same for
XML, once it is a tree. Bounded in depth and members; never raises.
"""

import re
from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

from classifier.members import Collector, Role, Said, plain_name, words
from classifier.replies.complaints import complains_exactly, complains_of, complains_of_code
from classifier.replies.names import (
    LETS_IN,
    TELLING_SORTS,
    Sort,
    is_head,
    is_named_after_a_thing,
    is_of_the_call,
    sort_of,
)
from classifier.replies.wrapping import BAD_WORDS, LIFE, MAY_BE_ANYTHING, WELL, is_empty, is_fine, says_success

_ACTS: Final = words("operation action command method resource")
"""Echoes that hold the reply where they are objects."""
_ABOUT: Final = ("meta", "metadata", "header", "head", "control", "authentication", "login", "auth")
"""Heads that tell of the call: an id in them is the call's."""


def _is_error_list(name: str, entries: list[object]) -> bool:
    """Return whether a list under the name of errors holds errors, rather than rows on errors.

    `failures` and `faults` are mostly what somebody's product found, so there nothing else may stand in an entry.
    """
    is_of_the_call = "err" in plain_name(name)
    for entry in entries[:5]:
        if isinstance(entry, str):
            continue
        if not isinstance(entry, dict):
            return False
        sorts = [sort_of(name) for name, value in islice(entry.items(), 20) if not is_empty(value)]
        strangers = sum(
            sort_of(name) in {Sort.OTHER, Sort.SIZE} and not plain_name(name).startswith(_OF_AN_ERROR)
            for name, value in islice(entry.items(), 20)
            if not is_empty(value)
        )
        if strangers and any(plain_name(name) in _ROW_IDS for name in entry):
            return False
        if not is_of_the_call and not TELLING_SORTS.issuperset(sorts):
            return False
        if TELLING_SORTS.isdisjoint(sorts) or strangers * 4 > len(sorts):
            return False
    return True


_OF_AN_ERROR: Final = ("err", "severity")
_ROW_IDS: Final = words("id uuid guid")
_HEAD_SORTS: Final = frozenset({Sort.STATUS, Sort.ECHO, Sort.TEXT})


def _beside(members: Mapping[str, object]) -> int:
    """Return how many members there are, echoes left out, or nought where there is but one of any kind."""
    if len(members) == 1:
        return 0
    if len(members) > 8:
        return 9
    return sum(sort_of(name) is not Sort.ECHO for name, value in members.items() if value is not None)


class Weighing:
    """What a reply's members weigh, gathered in one walk."""

    __slots__ = (
        "_collector",
        "asked",
        "checks",
        "claims",
        "complaints",
        "ends",
        "error_lists",
        "faults",
        "hard_proofs",
        "held",
        "is_alone",
        "is_in_a_thing",
        "is_in_parts",
        "is_listed",
        "is_nought",
        "is_well",
        "left",
        "numbered",
        "objects",
        "proofs",
        "records",
        "refusals",
        "rows",
        "said",
        "sizes",
        "spoken",
        "strangers",
        "texts",
    )

    def __init__(self) -> None:
        self.said = Said()
        self._collector = Collector(self.said)
        self.left = 48
        self.asked = 0
        """How many texts were asked whether they complain, which is what costs time."""
        self.rows = 0
        """Lists and objects that hold something and are no part of a reply."""
        self.strangers = 0
        self.records = 0
        self.claims = 0
        """Members that may say that the call failed: a number that is not nought."""
        self.proofs = 0
        """Members that say so: a false success, an error with something in it, a status that is a bad word."""
        self.complaints = 0
        self.faults = 0
        """Members named after errors that hold a sentence."""
        self.texts = 0
        self.sizes = 0
        self.error_lists = 0
        self.hard_proofs = 0
        """Proofs that no thing's record has: a false flag, an error's object, an HTTP status."""
        self.checks = 0
        """Flags that tell of something else that it is not valid, where that stands beside."""
        self.is_well = False
        self.refusals = 0
        """Flags that say by their name that the call was refused."""
        self.ends = 0
        """Words that say that the call ended badly."""
        self.held = 0
        """Sentences where data should be."""
        self.numbered = 0
        """Members named after an error's code that hold a number."""
        self.spoken = 0
        """Complaints under a name that says that it is the response's."""
        self.objects = 0
        """Objects named after errors that tell something."""
        self.is_alone = False
        """Whether the document has but one member, which is named after an error."""
        self.is_nought = False
        """A number that mostly says that all is well, and at some vendors that nothing is."""
        self.is_in_parts = False
        """Whether it is made of several answers, and each of them failed."""
        self.is_listed = False
        """Whether some of it stands in a list that is not one of errors."""
        self.is_in_a_thing = False
        """Whether all stands in an object whose name says nothing."""

    def walk(self, members: Mapping[str, object], depth: int, *, in_fault: bool) -> None:
        """Weigh an object's members."""
        before = self._tally
        for name, value in islice(members.items(), 40):
            self.left -= 1
            if self.left < 0:
                self.rows += 1
                return
            if value is None or value in ("", [], {}):
                continue
            sort = sort_of(name)
            if isinstance(value, dict):
                self._object(name, value, sort, depth, in_fault=in_fault, beside=_beside(members))
            elif isinstance(value, list):
                self._list(name, value, sort, depth, in_fault=in_fault)
            elif isinstance(value, str):
                self._text(name, value.strip(), sort, in_fault=in_fault)
            elif isinstance(value, bool):
                self._flag(name, sort, value=value)
            elif isinstance(value, (int, float)):
                self._number(name, value, sort, in_fault=in_fault)
        if depth and all(after > earlier for after, earlier in zip(self._tally, before, strict=True)):
            self.hard_proofs += 1

    @property
    def _tally(self) -> tuple[int, int, int]:
        """Errors' numbers, errors' sentences, complaints: where all stand in one object, it is an error's own."""
        return self.numbered, self.faults, self.complaints

    def _object(
        self, name: str, value: Mapping[str, object], sort: Sort, depth: int, *, in_fault: bool, beside: int
    ) -> None:
        plain = plain_name(name)
        if is_empty(value) or (sort is Sort.ECHO and beside and plain not in _ACTS):
            return
        heads = is_head(name) or (sort in _HEAD_SORTS and not is_named_after_a_thing(name))
        is_thing = not (in_fault or sort is Sort.FAULT or heads)
        if depth >= 4 or (is_thing and (beside > 1 or depth > 2 or is_named_after_a_thing(name))):
            self.rows += 1
            return
        self.is_in_a_thing |= is_thing
        if sort is Sort.FAULT and not in_fault:
            texts, complaints = self.texts, self.complaints
            self.walk(value, depth + 1, in_fault=True)
            if self.texts > texts or self.complaints > complaints:
                self.objects += 1
                self.proofs += 1
                self.hard_proofs += 1
            return
        records, faults, claims = self.records, self.faults, self.claims
        self.walk(value, depth + 1, in_fault=in_fault)
        if plain.endswith(_ABOUT):
            self.records = records
        if heads and self.is_in_a_thing and self.faults > faults:
            self.hard_proofs += 1  # a thing's record has no head of its own
        if plain == "status" and self.texts and (self.claims > claims or not beside):
            self.hard_proofs += 1
            self.proofs += 1

    def _list(self, name: str, value: list[object], sort: Sort, depth: int, *, in_fault: bool) -> None:
        is_fault = sort is Sort.FAULT
        if depth >= 4 or not (in_fault or is_fault or sort is Sort.TEXT or sort is Sort.STATUS):
            self.rows += sort not in {Sort.ECHO, Sort.SIZE}
            return
        if not in_fault:
            if sort is Sort.STATUS and _all_parts_fail(value, self):
                return
            is_told = _is_error_list(name, value) if is_fault else all(map(is_of_the_call, value[:5]))
            if not is_told or (len(value) > 3 and not is_fault):
                self.rows += 1
                return
            self.is_listed |= not is_fault
        for entry in value[:3]:
            if isinstance(entry, dict):
                self.walk(entry, depth + 1, in_fault=in_fault or is_fault)
            elif isinstance(entry, str):
                self._text("", entry.strip(), sort, in_fault=in_fault or is_fault)
        if is_fault and any(isinstance(entry, dict) for entry in value[:3]):
            self.hard_proofs += 1
            self.proofs += 1
            self.error_lists += 1

    def _text(self, name: str, text: str, sort: Sort, *, in_fault: bool) -> None:
        if not text or text.startswith(("http://", "https://")):
            return
        if text.lstrip("-").isdecimal() and len(text) < 10:
            self._number(name, int(text), sort, in_fault=in_fault)
            return
        if sort is Sort.BLAME and text.lower() in _FLAG_WORDS:
            self._flag(name, sort, value=_FLAG_WORDS[text.lower()])
            return
        if sort is Sort.OTHER and name.lower() == "state" and text.lower() in _STATE_FAILS:
            sort = Sort.STATUS
        if sort in _SILENT:
            self._aside(name, text, sort, in_fault=in_fault)
            return
        if sort is Sort.GRANT and text.lower() in _REFUSALS and plain_name(name) in LETS_IN:
            self._complain("not_authenticated")
        complaints = self.complaints
        self._told(text, sort, in_fault=in_fault)
        if self.complaints > complaints and _OF_THE_RESPONSE.match(plain_name(name)) is not None:
            self.spoken += 1

    def _aside(self, name: str, text: str, sort: Sort, *, in_fault: bool) -> None:
        """Weigh a text whose name says nothing of the call."""
        if _CAPITALS.match(text) is not None and sort is not Sort.RECORD:
            self.proofs += 1
            self._complain(text)
        elif sort is Sort.ECHO:
            if in_fault and " " in text:
                self.texts += 1
                self._complain(text)
            self.proofs += not in_fault and text.lower() in BAD_WORDS and plain_name(name) in _KINDS
            self.records += not in_fault and "." in text and plain_name(name) == "domain"  # a host's, not an error's
        elif sort is Sort.RECORD:
            if in_fault or complains_exactly(text):
                self._complain(text)
            else:
                self.records += 1
        else:
            if in_fault or (len(text) <= _LONGEST_WORDS and plain_name(name) in _MAY_HOLD_WORDS):
                self._complain(text)
            self.strangers += not in_fault
            self.held += name == "data" and " " in text and len(text) <= _LONGEST_WORDS

    def _told(self, text: str, sort: Sort, *, in_fault: bool) -> None:
        lower = text[:80].lower()
        if sort is Sort.GRANT:
            self.proofs += lower in {"false", "no", "n", "fail", "failed"}
            self.hard_proofs += lower in {"false", "no", "n"}
            self.is_well |= lower in {"true", "yes", "y"}
            return
        if sort in {Sort.STATUS, Sort.CALL_CODE}:
            if lower in WELL or lower in _DONE:
                self.is_well = True
            elif lower in LIFE:
                self.records += 1
            elif lower in BAD_WORDS or _ENDS_BADLY.search(text) is not None:
                self.proofs += 1
                self.ends += 1
                self.texts += _TELLS_WHICH.match(text) is not None
                self._complain(text)
            else:
                self.claims += 1
                self._complain(text)
            return
        if says_success(text) or is_fine(text):
            self.is_well |= sort is not Sort.FAULT and not in_fault
            return
        if sort is Sort.FAULT or sort is Sort.FAULT_CODE:
            self.proofs += not in_fault
            self.faults += sort is Sort.FAULT
        if " " in text or sort is Sort.TEXT or not text.isascii():
            self.texts += 1
        self._complain(text)

    def _complain(self, text: str) -> None:
        self._collector.take("", text, Role.EITHER if " " not in text else Role.TEXT)
        if self.asked >= _MOST_ASKED:
            return
        self.asked += 1
        if complains_of(text) if " " in text else complains_of_code(text) or complains_of(text):
            self.complaints += 1

    def _flag(self, name: str, sort: Sort, *, value: bool) -> None:
        if sort is Sort.GRANT and not value and plain_name(name) in LETS_IN:
            self._complain("not_authenticated")
        if sort is Sort.BLAME and value:
            self._collector.take("", name, Role.CODE)
            self.refusals += _REFUSES.search(plain_name(name)) is not None
        if sort is Sort.GRANT or sort is Sort.STATUS:
            self.proofs += not value
            self.hard_proofs += not value
            self.checks += not value and plain_name(name) in _CHECKED
            self.is_well |= value
        elif sort is Sort.BLAME or sort is Sort.FAULT:
            self.proofs += value
        elif sort is Sort.OTHER or sort is Sort.RECORD:
            self.strangers += 1

    def _number(self, name: str, value: float, sort: Sort, *, in_fault: bool) -> None:
        if sort in _NUMBERS_OF_THE_CALL:
            self._call_number(name, value, sort)
        elif sort is Sort.GRANT:
            if value == 0 and plain_name(name) in LETS_IN:
                self._flag(name, sort, value=False)
                return
            self.claims += value == 0
            self.is_well |= value == 1
        elif sort is Sort.RECORD:
            self.records += not in_fault
        elif sort is Sort.SIZE and value > 0:
            self.sizes += 1
            self.strangers += value > 1 and not in_fault
        elif sort is Sort.BLAME and value == 1:
            self._flag(name, sort, value=True)
        elif sort in {Sort.OTHER, Sort.BLAME} and value != 0:
            self.strangers += not in_fault

    def _call_number(self, name: str, value: float, sort: Sort) -> None:
        if sort is Sort.FAULT_CODE or sort is Sort.FAULT:
            self.claims += value != 0
            self.numbered += sort is Sort.FAULT_CODE and abs(value) >= _LEAST_CODE
            self.is_nought |= value == 0
            self.is_well |= value == 0 and plain_name(name) == "error" and sort is Sort.FAULT
        else:
            is_well = 200 <= value < 300
            self.claims += not is_well and (value != 0 or sort is Sort.STATUS)
            self.is_nought |= is_well or (value == 0 and sort is Sort.CALL_CODE)
            self.hard_proofs += 400 <= value < 600 and plain_name(name) not in _PLAIN_NUMBERS
        if value != 0:
            self._collector.take("code" if 400 <= value < 600 else "", value, Role.CODE)

    @property
    def fails(self) -> bool:
        """Whether all that tells of a failure."""
        if self.is_in_parts:
            return not self.rows
        if not self._is_outspoken and (self._is_data or self._is_fine):
            return False
        if self.strangers == 0:
            is_told = self.texts > 0 or self.is_alone
            return self.refusals > 0 or self.complaints > 0 or (self.proofs > 0 and is_told)
        if self.strangers == 1 and (self.spoken or (self.held and self.complaints > 1 and self.claims)):
            return True
        if self.complaints:
            return self.strangers == 1 <= self.proofs or (self.strangers <= 2 <= self.proofs and self.hard_proofs > 0)
        is_told = (self.objects > 0 and self.texts > 0) or (self.held == 1 and self.ends > 0)
        return self.strangers == 1 and is_told

    @property
    def _is_outspoken(self) -> bool:
        """Whether the response's own words and numbers complain, so that ids beside are those of what was asked for."""
        return self.spoken > 0 and self.claims > 1 and not (self.rows or self.strangers or self.is_well)

    @property
    def _is_data(self) -> bool:
        if self.rows or self.records or (self.is_in_a_thing and not self.hard_proofs):
            return True
        if (self.error_lists and self.sizes) or (self.checks and self.strangers):
            return True  # a page of errors that somebody's product collects
        return self.is_listed and (self.strangers > 0 or not (self.faults or self.hard_proofs))

    @property
    def _is_fine(self) -> bool:
        """Whether it says that all is well, and nothing that weighs more says otherwise."""
        if self.is_well and not (self.hard_proofs and self.proofs > 1):
            return True
        return self.is_nought and not (self.hard_proofs or (self.faults and not self.is_in_a_thing))

    @property
    def is_no_page(self) -> bool:
        """Whether it tells of a failure, given that records should be there and are not."""
        return not self.rows and (self.complaints > 0 or self.proofs > 0)


def _all_parts_fail(parts: list[object], whole: Weighing) -> bool:
    """Return whether a reply in parts (a batch's answers, an RPC's results) fails in each, and take what they say."""
    weighed: list[Weighing] = []
    for part in parts[:5]:
        if not isinstance(part, dict):
            return False
        weighing = Weighing()
        weighing.walk(part, 1, in_fault=False)
        inner = part.get("status")
        is_refused = isinstance(inner, int) and 400 <= inner < 600 and "body" in part
        if weighing.rows or weighing.strangers or not (weighing.hard_proofs if is_refused else weighing.fails):
            return False
        if not (is_refused or (isinstance(inner, dict) and weighing.hard_proofs)):
            return False
        weighed.append(weighing)
    for weighing in weighed:
        whole.said.codes.extend(weighing.said.codes)
        whole.said.texts.extend(weighing.said.texts)
        whole.said.inner_status = whole.said.inner_status or weighing.said.inner_status
        whole.complaints += weighing.complaints
    whole.is_in_parts = bool(weighed)
    return whole.is_in_parts


_TELLS_WHICH: Final = re.compile(r"(?:error|fail)-[A-Za-z]{3,40}\Z")
_CAPITALS: Final = re.compile(r"(?:ERROR|ERR)_(?!RATE|COUNT|LOG|LEVEL|BUDGET)[A-Z0-9_]{2,60}\Z")
"""An error's code wherever it stands; names of metrics are none."""
_STATE_FAILS: Final = words("error fail failed failure nok ko")
"""What a state says of a call: a device may be unauthorized."""
_DONE: Final = words("done complete completed warning warn partial partialsuccess partialfailure")
_FLAG_WORDS: Final[Mapping[str, bool]] = MappingProxyType(
    {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}
)
_CHECKED: Final = words("valid isvalid accepted granted")
_REFUSALS: Final = words("false no n fail failed failure denied error")
_LEAST_CODE: Final = 100
"""Smaller numbers are as often a thing's own state."""
_OF_THE_RESPONSE: Final = re.compile(r"(?:response|resp|reply)(?:text|message|msg|desc|description)\Z")
_KINDS: Final = words("type kind messagetype msgtype")
"""Echoes that may tell of which kind a reply is (`type: error`)."""
_MOST_ASKED: Final = 12
"""A reply has said by then what it has to say."""
_SILENT: Final = frozenset({Sort.OTHER, Sort.SIZE, Sort.BLAME, Sort.ECHO, Sort.RECORD})
_LONGEST_WORDS: Final = 120
_MAY_HOLD_WORDS: Final = words("data result payload body value content output")
"""Names of data that hold what went wrong at some vendors, where something else says that it did."""
_REFUSES: Final = re.compile(
    r"(?:requires?|needs?)(?:re)?(?:login|auth)|(?:login|auth|authentication)required\Z|denied\Z|unauthorized\Z|throttled\Z|"
    r"limit(?:exceeded|reached)\Z"
)
"""Flags that say by their name alone that a call was refused."""
_NUMBERS_OF_THE_CALL: Final = frozenset({Sort.FAULT_CODE, Sort.CALL_CODE, Sort.STATUS, Sort.FAULT})
_PLAIN_NUMBERS: Final = words("code status state number")
_ENDS_BADLY: Final = re.compile(
    r"(?:ERROR|FAILED|FAILURE|DENIED|FAULT|REJECTED)\Z|\A(?:ERR|ERROR|FAIL|FAILED)[-_:.]|\A(?:error|fail)-| NG\Z"
)
"""Codes in capitals that end, or begin, as a failure does (`ERR-PARAM`)."""


def weighed(document: Mapping[str, object], *, lacks_records: bool = False) -> Said | None:
    """Return what a document says where it is a reply that tells of a failure, None where it is not.

    lacks_records: the caller knows that records should be there and are not, so that less proof is needed.
    """
    told = [
        name for name, value in islice(document.items(), 8) if not is_empty(value) and sort_of(name) is not Sort.ECHO
    ]
    if told and len(told) < 8 and all(plain_name(name) in MAY_BE_ANYTHING for name in told):
        return None
    if len(told) == 1 == len(document) and (said := _only_code(told[0], document[told[0]])) is not None:
        return said
    weighing = Weighing()
    weighing.is_alone = len(told) == 1 and sort_of(told[0]) in {Sort.FAULT, Sort.FAULT_CODE}
    weighing.walk(document, 0, in_fault=False)
    return weighing.said if weighing.fails or (lacks_records and weighing.is_no_page) else None


_ILL_ASKED: Final = re.compile(r"(?:illegal|invalid|malformed|missing)_[a-z]{2,30}(?:_[a-z]{2,30}){0,3}\Z")
_OF_A_CALL: Final = re.compile(
    r"(?:query|request|call|response|api|operation)_?(?:status|code|result)\Z", re.IGNORECASE
)


def _only_code(name: str, value: object) -> Said | None:
    """Return what a body says that is nothing but how the call ended (`{"query_status": "illegal_hash"}`)."""
    if not isinstance(value, str) or _ILL_ASKED.match(value) is None or _OF_A_CALL.match(name) is None:
        return None
    said = Said()
    Collector(said).take("code", value, Role.CODE)
    return said


def said_by(document: Mapping[str, object]) -> Said:
    """Return what a document says by the names of its members, whether it fails or not."""
    weighing = Weighing()
    weighing.walk(document, 0, in_fault=False)
    return weighing.said
