"""What an exception of a vendor's own library means: the status it carries, the code, the words, the name of its class.

Any library whose classes no rule names is read so. No library is imported; names and messages are text.
"""

import re
from dataclasses import dataclass
from typing import Final

from classifier.codes import BY_CODE, squashed
from classifier.folding import words_of, words_of_code
from classifier.outcome import ExceptionLink
from classifier.phrases import INDEX, OURS_RANK, VAGUE_RANKS, PhraseHit, Where, where_of_status
from classifier.protocols import told_in_words
from classifier.reasons import REASONS
from classifier.statuses import reason_of_status
from classifier.vocabulary import HealthName


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a chain means: a reason, or (`status`) an HTTP status that the exception carried; link: the deciding one."""

    rule: str
    link: ExceptionLink
    reason: str | None = None
    status: int | None = None


_JOB_TIME: Final = re.compile(r"(?:Soft|Hard)?(?:Time|Job|Task|Worker)(?:Limit|Time)(?:Exceeded|d?Out|out)\w*\Z")
"""Names by which queues call a job that ran out of its time, rather than one request of it."""
_HTTP_ERROR: Final = re.compile(
    r"\b([45]\d\d) (?:Client|Server) Error\b|\b(?:Client|Server) error '([45]\d\d)\b|"
    r"\bHTTP(?: ?Error| status)?(?: code)?[ :]+\(?([45]\d\d)\b|\A([45]\d\d), message=|"
    r"<ProtocolError for [^<>]{0,200}: ([45]\d\d)\b|\bstatus[ _-]?code[\]'\"]?[ :=(]{1,3}([45]\d\d)\b|"
    r"\b(?:code=|Code: {1,4})([45]\d\d)\b|\(([45]\d\d)\) when calling|\breceived ([45]\d\d)\b|"
    r"\bwith (?:status )?code ([45]\d\d)\b|"
    r"\A\(?\[?([45]\d\d)[)\]]?(?:[\n:{ ]{1,3}(?-i:Reason|\{|[A-Z(]|[45]\d\d )|\Z)|"
    r"\A(?:API )?Error code: ([45]\d\d)\b|\b[A-Z]\w{0,40}(?:Error|Exception)\(([45]\d\d),|"
    r"\bStatus:\s{1,8}([45]\d\d)\s",
    re.IGNORECASE,
)
"""How libraries write an HTTP status into an exception's text."""
_CODE: Final = re.compile(
    r"\(([A-Za-z][A-Za-z0-9_.]{2,80})\) when calling|['\"](?:error|errorCode|code)['\"]: ?['\"]([A-Za-z_]{2,80})['\"]|"
    r"\A\('?([A-Za-z_]{4,60})'?[:,)] ?|\A([a-z_]{4,60}): |\bStatusCode\.([A-Z_]{4,40})\b|\A([A-Z][A-Z_]{4,60}): "
)
"""How libraries write a vendor's code into an exception's text."""
_HUMPED: Final = re.compile(r"\b([a-z]{2,20}(?:[A-Z][a-z]{1,20}){1,4})\b")
_OF_AN_API: Final = re.compile(
    r"(?:Api|API|Http|HTTP|Request|Response|Client|Service|Server|Remote|Rpc|RPC|Soap|SOAP|Rest|REST|Sdk|SDK|Graph|"
    r"Query|Web|Auth|Login|Session|Bind)\w{0,20}(?:Error|Exception|Fault|Failure|Denied)\Z|"
    r"\A(?:Fault|Problem)\Z"
)
"""Names by which a vendor's library hands on what the vendor said."""
_OF_THE_NETWORK: Final = re.compile(
    r"(?:Connect|Connection|Network|Transport|Communication)(?:Error|Exception|Failed)\Z"
)
_TO_THE_POINT: Final = frozenset({HealthName.UNAUTHORIZED, HealthName.RATE_LIMIT_EXCEEDED})


def carried_status(message: str) -> int | None:
    """Return the HTTP status of an error that an exception's text carries, None where it carries none."""
    found = _HTTP_ERROR.search(message)
    return int(next(group for group in found.groups() if group)) if found is not None else None


def of_library(link: ExceptionLink, url: str) -> Meaning | None:
    """Return what an exception of a vendor's own library means, None where it tells of nothing but itself.

    url: of the call that raised it, empty where it is not known.
    """
    if _JOB_TIME.match(link.name) is not None:
        return Meaning(rule="exception.job_time", link=link, reason="budget_spent")
    status = carried_status(link.message)
    if status is not None:
        return _of_status(link, status)
    if "larger than max" in link.message:  # gRPC's own client refuses, under the code of a spent quota
        return Meaning(rule="exception.grpc_size", link=link, reason="body_too_large")
    return _code_in(link) or _of_listed_word(link) or _of_name(link, url)


_SAYS_LITTLE: Final = frozenset({400, 409, 422, 500})
"""Statuses that stand for anything: a code in the text says more."""


def _code_in(link: ExceptionLink) -> Meaning | None:
    """Return what the vendor's code in an exception's text means, None where there is none or it is not known."""
    found = _CODE.search(link.message)
    return _of_code(link, next(group for group in found.groups() if group)) if found is not None else None


def _of_name(link: ExceptionLink, url: str) -> Meaning | None:
    """Read the name of an exception's class, and its words where it hands on what a vendor said."""
    named = _of_code(link, re.sub(r"Exception\Z", "Error", link.name))
    # What is said of credentials and throttling counts before a name that says no more than that something failed.
    hands_on = _OF_AN_API.search(link.name) is not None or (named is not None and not _is_on_our_request(named))
    told = told_in_words(link.message) if hands_on else None
    by_words = Meaning(rule="exception.words", link=link, reason=told) if told is not None else None
    if named is not None and (by_words is None or _is_to_the_point(named) or not _is_to_the_point(by_words)):
        return named
    if by_words is None and url and _OF_THE_NETWORK.search(link.name) is not None:
        return Meaning(rule="exception.network_by_name", link=link, reason="connection_failed")
    return by_words


def _health_of(meaning: Meaning) -> HealthName:
    return REASONS[meaning.reason or "bug"].name


def _is_on_our_request(meaning: Meaning) -> bool:
    return _health_of(meaning) is HealthName.VENDOR_CLIENT_ERROR


def _is_to_the_point(meaning: Meaning) -> bool:
    return _health_of(meaning) in _TO_THE_POINT


def _of_listed_word(link: ExceptionLink) -> Meaning | None:
    """Read a code in a message that is written as one word (`invalidCredentials`), where it is listed."""
    for word in _HUMPED.findall(link.message[:300])[:3]:
        rule = BY_CODE.get(squashed(word))
        if rule is not None and not rule.weak:
            return Meaning(rule=rule.id, link=link, reason=rule.reason)
    return None


def _of_code(link: ExceptionLink, code: str) -> Meaning | None:
    rule = BY_CODE.get(squashed(code))
    if rule is not None:
        return Meaning(rule=rule.id, link=link, reason=rule.reason)
    hit = INDEX.find(words_of_code(code), Where.CODE)
    return Meaning(rule=hit.rule.id, link=link, reason=hit.rule.reason) if hit is not None else None


def _of_status(link: ExceptionLink, status: int) -> Meaning:
    """Read an exception that carries an HTTP status: what it says exactly, a name that says the same, or the status."""
    hit = INDEX.find(words_of(link.message), where_of_status(status))
    if hit is not None and _is_exact(hit):
        return Meaning(rule=hit.rule.id, link=link, reason=hit.rule.reason)
    code = _code_in(link) if status in _SAYS_LITTLE else None
    if code is not None and _is_to_the_point(code):
        return code
    named = _of_code(link, link.name)
    if named is not None and _health_of(named) is REASONS[reason_of_status(status)].name:
        return named
    return Meaning(rule="exception.carried_status", link=link, status=status)


def _is_exact(hit: PhraseHit) -> bool:
    return hit.rule.rank < OURS_RANK and hit.rule.rank not in VAGUE_RANKS
