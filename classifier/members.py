"""The members of an error's JSON that tell something: which names hold codes, which sentences, and how to walk them.

Names are compared without case and punctuation. Bounded in depth, members and length; never raises.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What a member of some name holds."""

    CODE = "code"
    TEXT = "text"
    EITHER = "either"
    INTO = "into"
    FIELDS = "fields"
    """As EITHER; and in an object under such a name every text counts, whatever its own name."""
    SKIP = "skip"


@dataclass(slots=True)
class Said:
    """What an answer says.

    codes: as written, outermost first; texts: sentences; inner_status: a 4xx or 5xx that stands in the body.
    """

    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    inner_status: int | None = None


_ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        name: role
        for role, names in {
            Role.CODE: "code responsecode errorcode errcode errno error_code errortype exceptionname "
            "messagecode faultcode subcode "
            "errorkey tag __type exceptioncode statuscode internalcode rule oerrorcode httpstatuscode httpcode "
            "httpstatus category policyname errorid id_code exceptionid ecode returncode retcode ret resultcode "
            "statecode exceptiontype errorname reasoncode gcode subtype name value quotaerror authorizationerror "
            "authenticationerror requesterror queryerror internalerror oauthproblem errorclass "
            "codigo exceptionclass",
            Role.TEXT: "message msg messages detail description errordescription errormessage errormessages errormsg "
            "errmsg errorsummary title text info faultstring exceptionmessage developermessage usermessage "
            "errorusertitle errorusermsg hint explanation summary failurereason errordetail statusmessage "
            "longmessage shortmessage localizedmessage displaymessage cause problem errorusermessage verbose "
            "statustext additionalinfo moreinfo errorreason msgs note desc replytext statusdesc statusdetail rm "
            "oauthproblemadvice "
            "errortext responsetext servermessages descripcion descricao descrizione mensaje mensagem messaggio "
            "meldung nachricht",
            Role.FIELDS: "error errors erro erros erreur errore fehler fielderrors validationerrors reasons faults "
            "failures",
            Role.EITHER: "reason status type err stat result failure fault exception warnings response "
            "state statusdescription",
            Role.INTO: "details errorresponse responseerrordetails errordetails fail innererror rootcause "
            "operationerrors extensions meta data body "
            "errorcauses apierrors errorinfo problems header responsestatus context",
            Role.SKIP: "request params parameters headers input query variables path args stack stacktrace trace "
            "debug links config metadata locations source instance documentationurl helpurl url uri href docs "
            "moreinfourl requestid traceid",
        }.items()
        for name in names.replace("_", "").split()
    }
)


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set: how these modules write their tables of names."""
    return frozenset(text.split())


@lru_cache(maxsize=8192)
def plain_name(name: str) -> str:
    """Return a name as it is compared: letters and digits, lower case; empty where it is longer than 40."""
    return "".join([letter for letter in name.lower() if letter.isalnum()]) if len(name) <= _LONGEST_NAME else ""


_LONGEST_NAME: Final = 40
_SENTENCE_ENDS: Final = ("message", "msg", "description", "errortext", "desc")


@lru_cache(maxsize=8192)
def role_of(name: str) -> Role | None:
    """Return what a member of this name holds, None where the name says nothing.

    Besides the listed names, `…Message` holds a sentence and `…Code` a code.
    """
    plain = plain_name(name)
    role = _ROLES.get(plain)
    if role is None and plain.endswith(_SENTENCE_ENDS):
        return Role.TEXT
    if role is None and plain.endswith("code"):
        return Role.CODE
    return role


_CODE: Final = re.compile(r"-?[A-Za-z0-9_.\-:#/@]{1,160}\Z")
_LEADING_CODE: Final = re.compile(
    r"\(?([A-Za-z]+(?:[_.][A-Za-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|AADSTS\d+)\)?\s*[:\-]\s"
)
_STATUS_NAMES: Final = frozenset(
    {"code", "status", "statuscode", "httpstatus", "httpstatuscode", "httpcode", "errorcode", "error", "errcode"}
    | {"responsecode"}
)


_HUMPED: Final = re.compile(r"[a-z][A-Z]")
_SEVERITIES: Final = frozenset({"fatal", "error", "warn", "warning", "info", "debug", "critical", "true", "false"})


_OF_THE_WAY: Final = frozenset({407, 511})
"""Statuses of a proxy and a network on the way: in a vendor's body they are its own numbers (RFC 9110, RFC 6585)."""


def _telling(status: int) -> tuple[int, int]:
    return {429: 0, 401: 1, 403: 2}.get(status, 3), status


_ALONE: Final = frozenset({Role.TEXT, Role.CODE})


_MOST_ENTRIES: Final = 5
"""Entries of a list of errors that are read: the sixth says nothing that decides."""
MOST_TEXTS: Final = 8
MOST_CODES: Final = 12
"""What is collected of an answer, and asked what it means: what is said by then decides."""


class Collector:
    """Collects codes and sentences out of a parsed error, within bounds."""

    __slots__ = ("left", "said")

    def __init__(self, said: Said) -> None:
        self.said = said
        self.left = 80

    def _status(self, number: int) -> None:
        """Keep the most telling of the statuses in a body, so that the order of its members does not matter."""
        before = self.said.inner_status
        if (
            400 <= number < 600
            and number not in _OF_THE_WAY
            and (before is None or _telling(number) < _telling(before))
        ):
            self.said.inner_status = number

    def text(self, text: str) -> None:
        """Take a sentence, and the code that it may begin with (`invalid_token: The token …`)."""
        texts = self.said.texts
        if len(texts) >= MOST_TEXTS:
            return
        text = text[:2_000]
        if text and text not in texts:
            texts.append(text)
            if ":" in text or " - " in text:
                found = _LEADING_CODE.match(text)
                if found is not None:
                    self.said.codes.append(found.group(1))

    def code(self, text: str) -> None:
        """Take a machine code; of a URL (RFC 9457) its last part."""
        if len(self.said.codes) >= MOST_CODES:
            return
        if "://" in text or text.startswith("about:"):
            text = text.split("#", 1)[0].rstrip("/").rsplit("/", 1)[-1]
        if text and len(text) <= 160 and text.lower() not in _SEVERITIES and text not in self.said.codes:
            self.said.codes.append(text)

    def take(self, name: str, value: str | float, role: Role | None) -> None:
        """Take one member for what its name and its looks say."""
        if isinstance(value, bool):
            return
        if isinstance(value, str):
            self._take_text(name, value.strip(), role)
        elif role is not None:
            if 400 <= value < 600 and plain_name(name) in _STATUS_NAMES:
                self._status(int(value))
            if role is not Role.TEXT and isinstance(value, int) and -(10**12) < value < 10**12:
                self.code(str(value))

    def _take_text(self, name: str, value: str, role: Role | None) -> None:
        if not value:
            return
        if len(value) == 3 and value.isdecimal() and plain_name(name) in _STATUS_NAMES:
            self._status(int(value))
        if role is None:
            return
        is_code = " " not in value and _CODE.match(value) is not None
        if role is Role.TEXT:
            self.text(value)
            if is_code and ("_" in value or "." in value or _HUMPED.search(value)) and not value.endswith("."):
                self.code(value)
        elif is_code or (role is Role.CODE and "://" in value):
            self.code(value)
        else:
            self.text(value)

    def into(self, node: object, role: Role | None = Role.EITHER, depth: int = 0) -> None:
        """Take all that a parsed value holds: scalars before what is nested."""
        if depth > 6 or self.left <= 0:
            return
        self.left -= 1
        if isinstance(node, dict):
            self._into_object(node, role, depth)
        elif isinstance(node, list):
            for item in node[:_MOST_ENTRIES]:
                if isinstance(item, str):
                    self.take("", item, role if role in _ALONE else Role.EITHER)
                else:
                    self.into(item, role, depth + 1)

    def _into_object(self, node: Mapping[str, object], role: Role | None, depth: int) -> None:
        nested: list[tuple[object, Role | None]] = []
        for name, value in islice(node.items(), 40):
            own = role_of(name)
            if own is Role.SKIP:
                continue
            if own is None and role is Role.FIELDS:
                own = Role.TEXT
            if isinstance(value, (str, int, float)):
                self.take(name, value, own if own is not Role.INTO else role)
            elif value:
                nested.append((value, own))
        for value, own in nested:
            self.into(value, own, depth + 1)


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
