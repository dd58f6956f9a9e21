"""What a member of a reply is, by what its name is built of (`error-type`, `statusStr`, `RetMsg`).

So wrappers never met before are read too, in several languages.
"""

import re
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from typing import Final

from classifier.members import plain_name, words
from classifier.replies.complaints import complains_of_code
from classifier.replies.wrapping import NO_WRAPPERS, is_empty


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
    "error errors err errs fault faults exception exceptions failure failures fail fatal reject rejection "
    "denial erro erros errores errore "
    "erreur fehler"
)
_OF_THE_CALL: Final = _either(
    "status stat ack result results res response responses resp rsp reply ret return rtn api service server "
    "query request req "
    "http call operation biz global system sys execution exec invocation auth authentication ws soap rpc gateway "
    "business main overall outcome processing processamento retorno respuesta resposta resultado reponse antwort "
    "ergebnis estado statut cstat codigo codice esito rslt rspn state"
)
_VOICE: Final = _either(
    "display debug user developer dev full internal short long localized human validation friendly message msg text "
    "sub additional more extended public descrizione descricao descripcion"
)
_CODE_ENDS: Final = _either("code cod cd no num number type key class value tag")
_TEXT_ENDS: Final = _either(
    "str string text txt desc descr description msg msgs message messages info information reason reasons detail "
    "details explanation title note notes cause word words summary statement phrase hint remark list array notice why "
    "mensagem mensaje messaggio meldung nachricht motivo descricao descripcion descrizione detalle detalhe"
)
_BUILT: Final = re.compile(rf"(?:{_BLAMING}|{_OF_THE_CALL}|{_VOICE})*?(?:({_CODE_ENDS})|({_TEXT_ENDS}))?\d?\Z")
_HAS_BLAME: Final = re.compile(rf"(?:{_BLAMING})")
_HAS_CALL: Final = re.compile(rf"(?:{_OF_THE_CALL}|code|cod)")
_GRANTS: Final = words(
    "ok success succeeded successful issuccess issuccessful issucceeded isok valid isvalid authenticated "
    "authorized "
    "loggedin isauthenticated isauthorized login authpassed granted accepted flag "
    "saved islogin isloggedin successyn successflag issuccessfull sucesso exito erfolg succes succeed suc"
)
LETS_IN: Final = words(
    "authenticated authorized loggedin isauthenticated isauthorized authpassed login islogin isloggedin"
)
_BLAMES: Final = re.compile(
    r"(?:has|is|with|api)?(?:errors?|failed|failure|fault|denied|unauthorized|throttled|aborted|rejected|refused)"
    r"(?:flag|yn|indicator)?\Z|"
    r"(?:[a-z]{0,12}limit)?(?:exceeded|reached)\Z"
)
_ECHOES: Final = words(
    "request requestid reqid traceid trace timestamp time date datetime took duration version apiversion path "
    "uri url "
    "endpoint method links docs documentation documentationurl help helpurl href lang language server "
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
    "processingtime elapsedtime rundate executedms tz redirect redirecturl oper op cmd func "
    "trace backtrace traceback resolution solution suggestion suggestions remedy retryin"
)
_SIZES: Final = words(
    "total count totalcount totalresults totalrecords resultcount recordcount size page pages pagesize perpage "
    "limit "
    "offset pagination paging totalpages next previous prev hasmore nextpage cursor length found num rows "
    "taskscount "
    "taskserror messagecount"
)
_RECORDS: Final = words(
    "id uuid guid severity level priority created updated modified name title subject host hostname device"
)
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
_HEADS: Final = words(
    "d r data root message messages control ctl ctrl hdr answer outcome resultset login auth authentication "
    "logon signin"
) | frozenset(_HEAD_ENDS)


def ends_as_error(plain: str) -> bool:
    """Return whether a plain name ends like an error's (`serviceFault`), which `default` does by chance alone."""
    return plain.endswith(("error", "fault", "exception")) and not plain.endswith("default")


@lru_cache(maxsize=4096)
def sort_of(name: str) -> Sort:  # noqa: C901, PLR0911, PLR0912 - one line and one way out per sort
    """Return what a member of this name is."""
    plain = plain_name(name)
    if plain.startswith(_EARLIER):
        return Sort.OTHER
    if plain == "xmotivo":
        plain = "motivo"  # how Brazilian fiscal documents mark texts
    if plain in {"errnm", "errname", "errornm"}:
        return Sort.FAULT
    if plain in {"list", "array", "state"}:
        return Sort.OTHER
    if plain in _RECORDS or plain.endswith(_RECORD_ENDS):
        return Sort.RECORD
    if plain.endswith(_CALL_IDS):
        return Sort.ECHO
    if plain == "rc":
        return Sort.CALL_CODE
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
        if ends_as_error(plain):
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


_CALL_IDS: Final = (
    "versionid",
    "callname",
    "responseid",
    "requestid",
    "traceid",
    "correlationid",
    "trackingid",
    "logid",
    "trid",
    "stid",
    "timestamp",
    "protocol",
    "payloadversion",
)
"""How names of what the call itself was given end: EPP's and registrars' transaction ids are among them."""
_FAULT_IDS: Final = ("errorid", "errid", "faultid", "exceptionid")
_EARLIER: Final = ("last", "previous", "recent", "latest")


def is_named_after_a_thing(name: str) -> bool:
    """Return whether a name is that of a thing, which may have failed without the call having failed."""
    plain = plain_name(name)
    return plain in NO_WRAPPERS or plain.startswith(_EARLIER) or plain.removesuffix("s") in NO_WRAPPERS


def is_head(name: str) -> bool:
    """Return whether an object of this name heads or wraps a reply."""
    plain = plain_name(name)
    return (plain in _HEADS or plain.endswith(_HEAD_ENDS)) and not is_named_after_a_thing(name)


TELLING_SORTS: Final = frozenset({Sort.FAULT, Sort.FAULT_CODE, Sort.CALL_CODE, Sort.TEXT})
ABOUT_THE_CALL: Final = TELLING_SORTS | {Sort.STATUS, Sort.GRANT}


def is_of_the_call(entry: object) -> bool:
    """Return whether a list's entry tells of the call and of nothing else."""
    if not isinstance(entry, dict):
        return True
    return all(is_empty(value) or sort_of(name) in ABOUT_THE_CALL for name, value in islice(entry.items(), 20))
