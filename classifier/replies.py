"""Whether a small answer that is a reply and no data tells of a failure: all its members weighed together.

Names are read by what they are built of (`error-type`, `statusStr`, `RetMsg`), so that a wrapper never met before is
read too. A reply fails where its words complain, or a member blames, and hardly anything stands beside that is data.
The same for XML, once it is a tree. Bounded in depth and members; never raises.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Final

from classifier.complaints import complains_exactly, complains_of, complains_of_code
from classifier.members import Collector, Role, Said, plain_name, words
from classifier.wrapping import (
    BAD_WORDS,
    LIFE,
    MAY_BE_ANYTHING,
    NO_WRAPPERS,
    WELL,
    is_empty,
    is_fine,
    says_success,
)


class Sort(Enum):
    """What a member of some name is, in a reply."""

    FAULT = auto()
    """An error itself: an object, a list, a sentence, a number."""
    FAULT_CODE = auto()
    CALL_CODE = auto()
    TEXT = auto()
    STATUS = auto()
    """How the call ended, as a word or a number; or an object that says so."""
    GRANT = auto()
    """A flag that is true where all is well."""
    BLAME = auto()
    """A flag that is true where something is wrong."""
    ECHO = auto()
    """What says nothing: times, ids of the request, links, what was asked for."""
    SIZE = auto()
    """A count of what was found: it says nothing where it is nought."""
    RECORD = auto()
    OTHER = auto()


def _either(spellings: str) -> str:
    return "|".join(sorted(spellings.split(), key=len, reverse=True))


_BLAMING: Final = _either(
    "error errors err errs fault faults exception exceptions failure failures fail fatal erro erros errores errore "
    "erreur fehler"
)
_OF_THE_CALL: Final = _either(
    "status stat result results response responses resp rsp reply ret return rtn api service server query request req "
    "http call operation biz global system sys execution exec invocation auth authentication ws soap rpc gateway "
    "business main overall outcome processing processamento retorno respuesta resposta resultado reponse antwort "
    "ergebnis estado statut cstat codigo codice esito rslt rspn state"
)
_VOICE: Final = _either(
    "display debug user developer dev full internal short long localized human validation friendly message msg text "
    "sub additional more extended public descrizione descricao descripcion"
)
_CODE_ENDS: Final = _either("code cd no num number type key class value tag")
_TEXT_ENDS: Final = _either(
    "str string text txt desc descr description msg msgs message messages info information reason reasons detail "
    "details explanation title note notes cause word words summary statement phrase hint remark list array notice why "
    "mensagem mensaje messaggio meldung nachricht motivo descricao descripcion descrizione detalle detalhe"
)
_BUILT: Final = re.compile(rf"(?:{_BLAMING}|{_OF_THE_CALL}|{_VOICE})*?(?:({_CODE_ENDS})|({_TEXT_ENDS}))?\d?\Z")
_HAS_BLAME: Final = re.compile(rf"(?:{_BLAMING})")
_HAS_CALL: Final = re.compile(rf"(?:{_OF_THE_CALL}|code)")
_GRANTS: Final = words(
    "ok success succeeded successful issuccess issuccessful issucceeded isok valid isvalid authenticated "
    "authorized "
    "loggedin isauthenticated isauthorized login authpassed granted accepted flag "
    "successyn successflag issuccessfull sucesso exito erfolg succes succeed suc"
)
_LETS_IN: Final = words("authenticated authorized loggedin isauthenticated isauthorized authpassed login")
_BLAMES: Final = re.compile(
    r"(?:has|is|with|api)?(?:errors?|failed|failure|fault|denied|unauthorized|throttled)\Z|"
    r"(?:[a-z]{0,12}limit)?(?:exceeded|reached)\Z"
)
_ECHOES: Final = words(
    "request requestid reqid traceid trace timestamp time date datetime took duration version apiversion path "
    "uri url "
    "endpoint method links docs documentation documentationurl help helpurl href lang language server host "
    "node "
    "instance jsonrpc transactionid rid logid elapsed cost correlationid trackingid stacktrace stack "
    "retryafter terms "
    "termsofuse copyright params parameters query input action command operation type objecttype schema xmlns "
    "warnings "
    "hostid serverid ts t tid sid moreinfo moreinfourl contact support signature sign nonce category domain "
    "cookie "
    "transactid usage resource retryable isretryable serverversion ipscatver apiversion reqserialnum code "
    "requestparameters get searchparameters encoding format responsetime executiontime headers field location "
    "locations pointer property attribute extensions source param "
    "processingtime elapsedtime tz resolution solution suggestion suggestions remedy retryin"
)
_SIZES: Final = words(
    "total count totalcount totalresults totalrecords resultcount recordcount size page pages pagesize perpage "
    "limit "
    "offset pagination paging totalpages next previous prev hasmore nextpage cursor length found num rows "
    "taskscount "
    "taskserror messagecount"
)
_RECORDS: Final = words("id uuid guid severity level priority created updated modified name title subject")
_RECORD_ENDS: Final = ("edat", "edon", "eddate", "edtime")
_HEAD_ENDS: Final = (
    "response",
    "result",
    "results",
    "reply",
    "resp",
    "rsp",
    "header",
    "head",
    "envelope",
    "output",
    "status",
    "meta",
    "metadata",
    "body",
    "return",
    "payload",
    "info",
    "retorno",
    "respuesta",
    "resposta",
    "resultado",
    "reponse",
    "antwort",
    "ergebnis",
    "responsemessage",
    "responsemessages",
)
_HEADS: Final = words("d r data root message messages control login auth authentication logon signin") | frozenset(
    _HEAD_ENDS
)


@lru_cache(maxsize=4096)
def sort_of(name: str) -> Sort:  # noqa: C901, PLR0911, PLR0912 - one line and one way out per sort
    """Return what a member of this name is."""
    plain = plain_name(name)
    if plain.startswith(_EARLIER):
        return Sort.OTHER
    if plain == "xmotivo":
        plain = "motivo"  # how Brazilian fiscal documents mark texts
    if plain in {"list", "array", "state"}:
        return Sort.OTHER
    if plain in _RECORDS or plain.endswith(_RECORD_ENDS):
        return Sort.RECORD
    if plain.endswith(_CALL_IDS):
        return Sort.ECHO
    if plain in _GRANTS:
        return Sort.GRANT
    if plain in _SIZES:
        return Sort.SIZE
    if plain in _ECHOES and plain != "code":
        return Sort.ECHO
    built = _BUILT.match(plain) if plain else None
    if built is None:
        if plain.endswith(_FAULT_IDS):
            return Sort.FAULT_CODE
        if _BLAMES.match(plain) is not None:
            return Sort.BLAME
        if plain.endswith(("error", "fault", "exception")):
            return Sort.FAULT
        if complains_of_code(name):
            return Sort.BLAME
        if plain.startswith("odata"):
            return Sort.ECHO
        return Sort.RECORD if plain.endswith("id") else Sort.OTHER
    blames = _HAS_BLAME.search(plain) is not None
    if built.group(1):
        if blames:
            return Sort.FAULT_CODE
        return Sort.CALL_CODE if _HAS_CALL.search(plain) is not None else Sort.ECHO
    if blames:
        return Sort.FAULT
    if built.group(2):
        return Sort.TEXT
    return Sort.STATUS if _HAS_CALL.search(plain) is not None else Sort.OTHER


_CALL_IDS: Final = ("requestid", "traceid", "correlationid", "trackingid", "logid", "trid", "stid", "timestamp", "protocol")
"""How names of what the call itself was given end: EPP's and registrars' transaction ids are among them."""
_FAULT_IDS: Final = ("errorid", "errid", "faultid", "exceptionid")
_EARLIER: Final = ("last", "previous", "recent", "latest")


_ACTS: Final = words("operation action command method resource")
"""Echoes that hold the reply where they are objects."""
_ABOUT: Final = ("meta", "metadata", "header", "head", "control", "authentication", "login", "auth")
"""Heads that tell of the call: an id in them is the call's."""


def _is_named_after_a_thing(name: str) -> bool:
    plain = plain_name(name)
    return plain in NO_WRAPPERS or plain.startswith(_EARLIER) or plain.removesuffix("s") in NO_WRAPPERS


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
        strangers = sum(sort in {Sort.OTHER, Sort.SIZE} for sort in sorts)
        if strangers and any(plain_name(name) in _ROW_IDS for name in entry):
            return False
        if not is_of_the_call and not _TELLING.issuperset(sorts):
            return False
        if _TELLING.isdisjoint(sorts) or strangers * 4 > len(sorts):
            return False
    return True


_ROW_IDS: Final = words("id uuid guid")
_TELLING: Final = frozenset({Sort.FAULT, Sort.FAULT_CODE, Sort.CALL_CODE, Sort.TEXT})
_ABOUT_THE_CALL: Final = _TELLING | {Sort.STATUS, Sort.GRANT}
_HEAD_SORTS: Final = frozenset({Sort.STATUS, Sort.ECHO, Sort.TEXT})


def _is_of_the_call(entry: object) -> bool:
    """Return whether a list's entry tells of the call and of nothing else."""
    if not isinstance(entry, dict):
        return True
    return all(is_empty(value) or sort_of(name) in _ABOUT_THE_CALL for name, value in islice(entry.items(), 20))


def _beside(members: Mapping[str, object]) -> int:
    """Return how many members there are, echoes left out, or nought where there is but one of any kind."""
    if len(members) == 1:
        return 0
    return 9 if len(members) > 8 else sum(sort_of(name) is not Sort.ECHO for name in members)


class _Weighing:
    """What a reply's members weigh, gathered in one walk."""

    __slots__ = (
        "_collector",
        "claims",
        "complaints",
        "error_lists",
        "faults",
        "hard_proofs",
        "is_in_a_thing",
        "is_in_parts",
        "is_listed",
        "is_nought",
        "is_well",
        "left",
        "proofs",
        "records",
        "rows",
        "said",
        "sizes",
        "strangers",
        "texts",
    )

    def __init__(self) -> None:
        self.said = Said()
        self._collector = Collector(self.said)
        self.left = 48
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
        self.is_well = False
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

    def _object(
        self, name: str, value: Mapping[str, object], sort: Sort, depth: int, *, in_fault: bool, beside: int
    ) -> None:
        plain = plain_name(name)
        if is_empty(value) or (sort is Sort.ECHO and beside and plain not in _ACTS):
            return
        is_head = _is_head(name) or (sort in _HEAD_SORTS and not _is_named_after_a_thing(name))
        is_thing = not (in_fault or sort is Sort.FAULT or is_head)
        if depth >= 4 or (is_thing and (beside > 1 or depth > 2 or _is_named_after_a_thing(name))):
            self.rows += 1
            return
        self.is_in_a_thing |= is_thing
        if sort is Sort.FAULT and not in_fault:
            texts, complaints = self.texts, self.complaints
            self.walk(value, depth + 1, in_fault=True)
            if self.texts > texts or self.complaints > complaints:
                self.proofs += 1
                self.hard_proofs += 1
            return
        records, faults, claims = self.records, self.faults, self.claims
        self.walk(value, depth + 1, in_fault=in_fault)
        if plain.endswith(_ABOUT):
            self.records = records
        if is_head and self.is_in_a_thing and self.faults > faults:
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
            is_told = _is_error_list(name, value) if is_fault else all(map(_is_of_the_call, value[:5]))
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
        if sort is Sort.OTHER and text.lower() in BAD_WORDS and plain_name(name) == "state":
            sort = Sort.STATUS
        if sort is Sort.OTHER or sort is Sort.SIZE or sort is Sort.BLAME:
            if in_fault or (plain_name(name) in _MAY_HOLD_WORDS and len(text) <= 120):
                self._complain(text)
            self.strangers += not in_fault
            return
        if sort is Sort.ECHO:
            if in_fault and " " in text:
                self.texts += 1
                self._complain(text)
            return
        if sort is Sort.RECORD:
            if in_fault or complains_exactly(text):
                self._complain(text)
            else:
                self.records += 1
            return
        self._told(text, sort, in_fault=in_fault)

    def _told(self, text: str, sort: Sort, *, in_fault: bool) -> None:
        lower = text[:80].lower()
        if sort is Sort.GRANT:
            self.proofs += lower in {"false", "no", "n", "fail", "failed"}
            self.hard_proofs += lower in {"false", "no", "n"}
            self.is_well |= lower in {"true", "yes", "y"}
            return
        if sort in {Sort.STATUS, Sort.CALL_CODE}:
            if lower in WELL or lower in {"done", "complete", "completed"}:
                self.is_well = True
            elif lower in LIFE:
                self.records += 1
            elif lower in BAD_WORDS or _ENDS_BADLY.search(text) is not None:
                self.proofs += 1
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
        if " " in text or sort is Sort.TEXT:
            self.texts += 1
        self._complain(text)

    def _complain(self, text: str) -> None:
        self._collector.take("", text, Role.EITHER if " " not in text else Role.TEXT)
        if complains_of(text) if " " in text else complains_of_code(text) or complains_of(text):
            self.complaints += 1

    def _flag(self, name: str, sort: Sort, *, value: bool) -> None:
        if sort is Sort.GRANT and not value and plain_name(name) in _LETS_IN:
            self._complain("not_authenticated")
        if sort is Sort.BLAME and value:
            self._collector.take("", name, Role.CODE)
            self.complaints += _REFUSES.search(plain_name(name)) is not None
        if sort is Sort.GRANT or sort is Sort.STATUS:
            self.proofs += not value
            self.hard_proofs += not value
            self.is_well |= value
        elif sort is Sort.BLAME or sort is Sort.FAULT:
            self.proofs += value
        elif sort is Sort.OTHER or sort is Sort.RECORD:
            self.strangers += 1

    def _number(self, name: str, value: float, sort: Sort, *, in_fault: bool) -> None:
        if sort in _NUMBERS_OF_THE_CALL:
            self._call_number(name, value, sort)
        elif sort is Sort.GRANT:
            if value == 0 and plain_name(name) in _LETS_IN:
                self._flag(name, sort, value=False)
                return
            self.claims += value == 0
            self.is_well |= value == 1
        elif sort is Sort.RECORD:
            self.records += not in_fault
        elif sort is Sort.SIZE and value > 0:
            self.sizes += 1
            self.strangers += value > 1 and not in_fault
        elif sort in {Sort.OTHER, Sort.BLAME} and value != 0:
            self.strangers += not in_fault

    def _call_number(self, name: str, value: float, sort: Sort) -> None:
        if sort is Sort.FAULT_CODE or sort is Sort.FAULT:
            self.claims += value != 0
            self.is_nought |= value == 0
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
        if self._is_data or self._is_fine:
            return False
        if self.complaints:
            return self.strangers <= min(1, self.proofs) or (
                self.strangers <= 2 <= self.proofs and self.hard_proofs > 0
            )
        return self.strangers == 0 and self.proofs > 0 and self.texts > 0

    @property
    def _is_data(self) -> bool:
        if self.rows or self.records or (self.is_in_a_thing and not self.hard_proofs):
            return True
        if self.error_lists and self.sizes:
            return True  # a page of errors that somebody's product collects
        return self.is_listed and (self.strangers > 0 or not (self.faults or self.hard_proofs))

    @property
    def _is_fine(self) -> bool:
        """Whether it says that all is well, and nothing that weighs more says otherwise."""
        if self.is_well and not (self.hard_proofs and self.proofs > 1):
            return True
        return self.is_nought and not (self.hard_proofs or self.faults)

    @property
    def is_no_page(self) -> bool:
        """Whether it tells of a failure, given that records should be there and are not."""
        return not self.rows and (self.complaints > 0 or self.proofs > 0)


def _all_parts_fail(parts: list[object], whole: _Weighing) -> bool:
    """Return whether a reply in parts (a batch's answers, an RPC's results) fails in each, and take what they say."""
    weighed: list[_Weighing] = []
    for part in parts[:5]:
        if not isinstance(part, dict):
            return False
        weighing = _Weighing()
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


_FLAG_WORDS: Final[Mapping[str, bool]] = MappingProxyType(
    {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}
)
_MAY_HOLD_WORDS: Final = words("data result payload body value content output")
"""Names of data that hold what went wrong at some vendors, where something else says that it did."""
_REFUSES: Final = re.compile(
    r"(?:requires?|needs?)(?:re)?(?:login|auth)|(?:login|auth|authentication)required\Z|denied\Z|unauthorized\Z|throttled\Z|"
    r"limit(?:exceeded|reached)\Z"
)
"""Flags that say by their name alone that a call was refused."""
_NUMBERS_OF_THE_CALL: Final = frozenset({Sort.FAULT_CODE, Sort.CALL_CODE, Sort.STATUS, Sort.FAULT})
_PLAIN_NUMBERS: Final = words("code status state number")
_ENDS_BADLY: Final = re.compile(r"(?:ERROR|FAILED|FAILURE|DENIED|FAULT|REJECTED)\Z")


def error_alone(entries: list[object]) -> Said | None:
    """Return what a list of one entry says that is an error and nothing else (`[{"errorCode": …, "message": …}]`)."""
    if len(entries) != 1 or not isinstance(entries[0], dict):
        return None
    entry = entries[0]
    if not all(is_empty(value) or _is_of_an_error(name, value) for name, value in islice(entry.items(), 20)):
        return None
    is_named_so = any(sort_of(name) in _NAMED_AFTER_ERRORS for name in islice(entry, 10))
    weighing = _Weighing()
    weighing.walk(entry, 1, in_fault=is_named_so)
    if is_named_so:
        has_sentence = any(" " in text for text in weighing.said.texts)
        return weighing.said if has_sentence or weighing.complaints else None
    # A code and a sentence may be a row of codes: so both must complain, and a number does not.
    is_told = weighing.complaints > 1 and weighing.texts > 0 and not weighing.hard_proofs
    return weighing.said if is_told and len(entry) == 2 else None


def _is_of_an_error(name: str, value: object) -> bool:
    sort = sort_of(name)
    if sort is Sort.ECHO:
        return isinstance(value, str) and plain_name(name) not in _WHEN
    if isinstance(value, (dict, list)):
        return sort is Sort.FAULT
    return sort in _ABOUT_THE_CALL


_WHEN: Final = words("timestamp time date datetime ts t duration took elapsed")
"""Echoes that a row of a log has, and an error in place of rows has none."""
_CONTAINERS: Final = words(
    "items imdata data results result response rows row records record values value entries list output objects "
    "resources return payload body root d"
)


def lone_error(document: Mapping[str, object]) -> Said | None:
    """Return what the only row of a page says where it is an error in place of rows (`{"Items": [{"Error": …}]}`)."""
    rows: list[object] | None = None
    for name, value in islice(document.items(), 12):
        if isinstance(value, list) and value:
            if rows is not None or plain_name(name) not in _CONTAINERS:
                return None
            rows = value
        elif not (is_empty(value) or sort_of(name) in _BESIDE_ROWS) or isinstance(value, dict):
            return None
    if rows is None or len(rows) != 1 or not isinstance(rows[0], dict):
        return None
    named = [value for name, value in islice(rows[0].items(), 10) if plain_name(name) in _ERRORS_OWN]
    is_whole = any(isinstance(value, dict) or (len(rows[0]) > 2 and " " not in str(value)) for value in named)
    return error_alone(rows) if is_whole else None


_ERRORS_OWN: Final = frozenset({"error", "fault", "errorcode", "exception"})
_BESIDE_ROWS: Final = frozenset({Sort.SIZE, Sort.ECHO})


def grave_messages(document: Mapping[str, object]) -> Said | None:
    """Return what a reply says that is nothing but messages of a grave kind (`{"messages": [{"type": "FATAL", …}]}`).

    Rows of a log have times and numbers of their own, so these entries hold a kind, a code and a sentence alone.
    """
    filled = [(name, value) for name, value in islice(document.items(), 8) if not is_empty(value)]
    if len(filled) != 1:
        return None
    ((name, entries),) = filled
    if plain_name(name) not in _MESSAGES or not isinstance(entries, list) or not 1 <= len(entries) <= 3:
        return None
    said = Said()
    collector = Collector(said)
    for entry in entries:
        if not isinstance(entry, dict) or not _is_grave(entry):
            return None
        collector.into(entry)
    return said if said.texts else None


def _is_grave(entry: Mapping[str, object]) -> bool:
    kinds = 0
    for name, value in islice(entry.items(), 12):
        plain = plain_name(name)
        if plain in _KINDS:
            if not isinstance(value, str) or value.lower() not in _GRAVE:
                return False
            kinds += 1
        elif not (is_empty(value) or (isinstance(value, (str, int)) and sort_of(name) in _TELLING)):
            return plain in {"code", "source"} and isinstance(value, (str, int))
    return kinds > 0


_MESSAGES: Final = words("messages message notifications notices")
_KINDS: Final = words("type severity level kind messagetype severitycode")
_GRAVE: Final = words("error fatal critical exception failure fail")


def unlisted(document: Mapping[str, object]) -> Mapping[str, object]:
    """Return an object without the lists of one that some converters from XML put around every element, and inside.

    What has but one such level stays as it is: that is a page with one row.
    """
    if not any(isinstance(value, list) and value and isinstance(value[0], dict) for value in document.values()):
        return document
    return _unlisted(document, 0) or document


def _unlisted(document: Mapping[str, object], depth: int) -> Mapping[str, object] | None:
    plain: dict[str, object] = {}
    if depth > 5 or len(document) > 40:
        return None
    for name, value in document.items():
        if not isinstance(value, list) or len(value) != 1:
            return None
        only = value[0]
        plain[name] = _unlisted(only, depth + 1) if isinstance(only, dict) else only
        if isinstance(only, dict) and not plain[name]:
            return None
    return plain


_NAMED_AFTER_ERRORS: Final = frozenset({Sort.FAULT, Sort.FAULT_CODE})


def is_data(document: Mapping[str, object]) -> bool:
    """Return whether a document plainly is data: a page of rows or one record, and nothing in it that blames."""
    rows = others = texts = 0
    for name, value in islice(document.items(), 40):
        if not value:
            if value is False and sort_of(name) is Sort.GRANT:
                return False
            continue
        sort = sort_of(name)
        if isinstance(value, list):
            if sort is Sort.FAULT or sort is Sort.TEXT:
                return False
            rows += _are_rows(value, sort)
        elif sort in _BLAMING_SORTS:
            if not _is_well(value, sort):
                return False
        elif sort is Sort.TEXT:
            texts += 1
        elif isinstance(value, dict):
            texts += _is_head(name)
            others += 1
        else:
            others += sort is Sort.OTHER or sort is Sort.RECORD
    return rows > 0 or (others > 2 and not texts)


def _is_head(name: str) -> bool:
    plain = plain_name(name)
    return (plain in _HEADS or plain.endswith(_HEAD_ENDS)) and not _is_named_after_a_thing(name)


def _are_rows(value: list[object], sort: Sort) -> bool:
    """Return whether a list holds rows, rather than the parts of a batch's answer."""
    first = value[0]
    if not isinstance(first, dict):
        return False
    return sort is not Sort.STATUS or (len(value) > 1 and not isinstance(first.get("status"), (int, dict)))


_BLAMING_SORTS: Final = frozenset({Sort.FAULT, Sort.FAULT_CODE, Sort.BLAME, Sort.STATUS, Sort.CALL_CODE, Sort.GRANT})


def _is_well(value: object, sort: Sort) -> bool:
    if isinstance(value, str):
        return value in {"200", "0"} or value.lower() in _HARMLESS
    if value is True:
        return sort is Sort.GRANT or sort is Sort.STATUS
    return value == 200


_HARMLESS: Final = WELL | LIFE


def failure_told(document: Mapping[str, object], *, lacks_records: bool = False) -> Said | None:
    """Return what a document says where it is a reply that tells of a failure, None where it is not.

    lacks_records: the caller knows that records should be there and are not, so that less proof is needed.
    """
    told = [name for name, value in islice(document.items(), 8) if not is_empty(value) and sort_of(name) is not Sort.ECHO]
    if told and len(told) < 8 and all(plain_name(name) in MAY_BE_ANYTHING for name in told):
        return None
    weighing = _Weighing()
    weighing.walk(document, 0, in_fault=False)
    return weighing.said if weighing.fails or (lacks_records and weighing.is_no_page) else None
