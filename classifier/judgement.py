"""What one exchange means: the stages in order, each asked in turn until one says something.

An answer passes: the vendor's dialect, statuses that settle it, exact codes, exact words, throttling by headers,
 vague words, weak codes, words on our own request, the status. A success status stops early: only a body that
reports a failure, or is no data at all, goes on. Where no answer came, the exception's classes decide.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from classifier import exceptions, retry_time
from classifier.dialect import Dialect
from classifier.dialect_match import reads_success, rule_met
from classifier.folding import words_of
from classifier.members import plain_name
from classifier.outcome import ExceptionLink, Exchange
from classifier.phrases import INDEX, OURS_RANK, VAGUE_RANKS, Where
from classifier.reading import Kind, Reading, is_plainly_data, read_failure, read_success
from classifier.reasons import REASONS
from classifier.replies.wrapping import BLAMED, is_fine
from classifier.signals import Signals, listed_in_words, nothing_remaining
from classifier.statuses import reason_of_status
from classifier.verdict import Judgement, TraceStep
from classifier.vocabulary import HealthName

Trace = list[TraceStep]


@dataclass(frozen=True, slots=True)
class Found:
    """What a stage found: a reason, the rule that says so, and what it saw (a code, words, a header)."""

    reason: str
    rule: str
    saw: str = ""


# --- stages: each returns what it found, or None ----------------------------------------------------------------------


def _by_settled_status(signals: Signals) -> Found | None:
    status = signals.reading.status
    if status in {407, 451, 511}:
        return Found(reason_of_status(status), f"status.{status}")
    if status != 429:
        return None
    code = signals.strong_code
    if code is not None and code.rule.reason != "rate_limit" and _is_rate(code.rule.reason):
        return Found(code.rule.reason, code.rule.id, code.code)
    for hit in (signals.code_words, signals.words):
        if hit is not None and _is_rate(hit.rule.reason):
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    return Found("rate_limit", "status.429")


def _is_rate(reason: str) -> bool:
    return REASONS[reason].name is HealthName.RATE_LIMIT_EXCEEDED


def _by_code(signals: Signals) -> Found | None:
    hit = signals.strong_code
    if hit is None:
        return None
    finer = _FINER_IN_WORDS.get(hit.rule.reason)
    if finer is None and hit.rule.reason == "server_error" and signals.reading.status < 300:
        finer = _THROWN
    told = signals.words if finer is not None else None
    if finer is not None and told is not None and not finer.isdisjoint((told.rule.reason, told.rule.id)):
        return Found(told.rule.reason, told.rule.id, told.words)
    return Found(hit.rule.reason, hit.rule.id, hit.code)


_FINER_IN_WORDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # RFC 6750 section 3.1: `invalid_token` covers expired and revoked ones; its example says which in words.
        "token_invalid": frozenset({"token_expired", "token_revoked"}),
        # A login is an input like any other to who answers GraphQL.
        "bad_query": frozenset({"credentials_invalid"}),
        # `invalid_parameter` beside `api_key is invalid`: the parameter is the credential.
        "invalid_parameter": frozenset({"token_invalid", "credentials_invalid", "words.permission_lacking"}),
        # RFC 7523 section 3.1: an assertion made by a clock that is off is an invalid grant as well.
        "grant_invalid": frozenset({"clock"}),
        # `ServiceUnavailable` is also what servers say that let in so many requests and no more (RFC 9110, 15.6.4).
        "unavailable": frozenset({"rate_limit", "quota", "quota_daily", "concurrency"}),
    }
)
"""Where a code is coarser than the sentence beside it: the reason it gives, and the reasons, or the rules of words,
that may decide instead."""
_THROWN: Final = frozenset({"unauthorized", "permission_missing", "token_invalid", "token_expired", "rate_limit"})
"""Reasons that words may give in a GraphQL answer whose code is INTERNAL_SERVER_ERROR: Apollo's for whatever a resolver
throws (https://www.apollographql.com/docs/apollo-server/data/errors)."""


def _by_words(signals: Signals) -> Found | None:
    in_code, in_text = signals.code_words, signals.words
    hit = in_code if in_text is None or (in_code is not None and in_code.place <= in_text.place) else in_text
    if hit is None or hit.rule.rank in VAGUE_RANKS or hit.rule.rank >= OURS_RANK:
        return None
    return Found(hit.rule.reason, hit.rule.id, hit.words)


def _by_throttling_header(signals: Signals) -> Found | None:
    exchange = signals.reading.exchange
    if exchange.status in {400, 403, 413} and exchange.headers.get("retry-after"):  # 413: RFC 9110 section 15.5.14
        return Found("rate_limit", "header.retry_after", "retry-after")
    if exchange.status in {402, 403, 409, 503}:
        name = nothing_remaining(exchange.headers)
        if name is not None:
            return Found("rate_limit", "header.nothing_remaining", name)
    return None


def _by_vague_words(signals: Signals) -> Found | None:
    for hit in (signals.words, signals.code_words):
        if hit is not None and hit.rule.rank in VAGUE_RANKS:
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    return None


def _by_weak_code(signals: Signals) -> Found | None:
    if signals.reading.status >= 500:
        return None
    hit = signals.weak_code
    if hit is None or REASONS[hit.rule.reason].name is HealthName.VENDOR_CLIENT_ERROR:
        return None
    return Found(hit.rule.reason, hit.rule.id, hit.code)


def _by_words_on_us(signals: Signals) -> Found | None:
    """Read what is said of our request: words first, they are finer than weak codes."""
    for hit in (signals.words, signals.code_words):
        if hit is not None:
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    code = signals.weak_code if signals.reading.status < 500 else None
    return None if code is None else Found(code.rule.reason, code.rule.id, code.code)


def _by_status(signals: Signals) -> Found | None:
    status = signals.reading.status
    if status < 300:
        if signals.reading.soap_fault == "server":
            return Found("server_error", "body.soap_server_fault")
        return Found("error_in_body", "body.reports_failure")
    if status < 400:
        return _by_redirect(signals.reading)
    return Found(reason_of_status(status), f"status.{status}")


_LOGIN_PATH: Final = re.compile(
    r"/(?:log[-_]?in|sign[-_]?in|sso|saml2?|auth/login|oauth2?/authorize|adfs|idp|accounts/login|session/new|login\.\w+)(?![a-z])",
    re.IGNORECASE,
)


def _by_redirect(reading: Reading) -> Found:
    location = reading.exchange.headers.get("location", "")[:2_000]
    if _LOGIN_PATH.search(location) or location.lower().startswith(
        ("https://login.", "https://sso.", "https://accounts.")
    ):
        return Found("login_page", "redirect.login", "location")
    return Found("redirected", "redirect.other", "location" if location else "")


_Stage = Callable[[Signals], Found | None]
STAGES: Final[tuple[tuple[str, _Stage], ...]] = (
    ("status that settles it", _by_settled_status),
    ("machine code", _by_code),
    ("words", _by_words),
    ("throttling header", _by_throttling_header),
    ("vague words", _by_vague_words),
    ("weak machine code", _by_weak_code),
    ("words on our request", _by_words_on_us),
    ("status", _by_status),
)
"""What an answer that failed is asked, in order; the last always says something."""


# --- judging ----------------------------------------------------------------------------------------------------------


def _path(url: str) -> str:
    """Return a URL's path for people, at most 200 characters; the query may hold secrets and stays out."""
    host = url.find("://")
    start = url.find("/", host + 3 if host >= 0 else 0)
    return url[start : start + 200].partition("?")[0].partition("#")[0] if start >= 0 else "/"


def call_of(exchange: Exchange, endpoint: str | None) -> str:
    """Return a call as a sentence names it: its template where there is one, else method and path."""
    return endpoint or f"{exchange.method} {_path(exchange.url)}"


_NO_NEWS: Final = frozenset({"error", "fail", "failed", "errors", "exception", "oauthexception", "failure"})
"""Codes that name no cause: they are left out of sentences."""


def _said(reading: Reading, found: Found) -> str:
    """Return what the vendor said that decided: the code, or else its first sentence, or the header."""
    if found.rule.startswith("code."):
        return f" {found.saw}"
    if found.rule.startswith("header."):
        return f" with {found.saw}"
    codes = (
        code for code in reading.codes if not code.isdecimal() and len(code) <= 80 and code.lower() not in _NO_NEWS
    )
    code = next(codes, None)
    if reading.texts and (code is None or found.rule.startswith("words.")):
        told = reading.telling if reading.telling and found.rule.startswith("words.") else reading.texts[0]
        text = " ".join(told[:160].split())
        return f' "{text[:117]}…"' if len(text) > 118 else f' "{text}"'
    return f" {code}" if code is not None else ""


def judgement_of(found: Found, saw: str, retry_at: datetime | None = None) -> Judgement:
    """Return the judgement that a finding makes, with its sentence."""
    reason = REASONS[found.reason]
    return Judgement(
        name=reason.name,
        reason=reason.id,
        rule=found.rule,
        sentence=reason.sentence.replace("{saw}", saw),
        next_step=reason.next_step,
        retry_at=retry_at,
    )


def _note(trace: Trace | None, stage: str, found: Found | None, saw: str) -> None:
    if trace is not None:
        rule = found.rule if found is not None else "-"
        trace.append(TraceStep(stage=stage, rule=rule, saw=saw, fired=found is not None))


def _seen(reading: Reading) -> str:
    parts = [f"status {reading.exchange.status}"]
    if reading.inner_status is not None and reading.inner_status != reading.exchange.status:
        parts.append(f"status {reading.inner_status} in the body")
    if reading.codes:
        parts.append("codes " + ", ".join(reading.codes[:4])[:120])
    if reading.texts:
        parts.append(f'words "{" ".join(reading.texts[0][:100].split())}"')
    return "; ".join(parts)


def _decide_failure(reading: Reading, trace: Trace | None, without: frozenset[str] = frozenset()) -> Found:
    seen = _seen(reading) if trace is not None else ""
    signals = Signals(reading, without)
    for stage, ask in STAGES:
        found = ask(signals)
        _note(trace, stage, found, found.saw or seen if found is not None else seen)
        if found is not None:
            return found
    return Found("client_error", "status.other")


_TOLD_IN_ONE_SENTENCE: Final = frozenset(
    {HealthName.RATE_LIMIT_EXCEEDED, HealthName.UNAUTHORIZED, HealthName.VENDOR_SERVER_ERROR}
)


def _in_one_sentence(reading: Reading) -> Found | None:
    """Return what a sentence says that is the whole of a body."""
    if not reading.texts or is_fine(reading.texts[0]):
        return None
    hit = INDEX.find(words_of(reading.texts[0]), Where.BODY)
    if hit is None:
        spelled = listed_in_words(reading.texts[0])
        if spelled is not None:
            return Found(spelled.reason, spelled.id, reading.texts[0])
        return Found("error_in_body", "body.blames_us") if _is_told_of_us(reading, None) else None
    if REASONS[hit.rule.reason].name in _TOLD_IN_ONE_SENTENCE or _is_told_of_us(reading, hit.rule.id):
        return Found(hit.rule.reason, hit.rule.id, hit.words)
    return None


_TOLD_OF_US: Final = frozenset(
    {"words.not_found", "words.parser_token", "words.accepted_values", "words.bad_query", "words.unsupported"}
)
_MESSAGES: Final = frozenset({"message", "msg", "error", "detail", "details", "errormessage", "errormsg"})


def _is_told_of_us(reading: Reading, rule_id: str | None) -> bool:
    """Return whether the one member of a body is a message that says what was wrong with our request.

    rule_id: of the words in it, None where there are none: then it must blame by how it is built.
    """
    if not isinstance(reading.document, dict) or not any(plain_name(name) in _MESSAGES for name in reading.document):
        return False
    is_blamed = rule_id in {"words.invalid_parameter", None} and BLAMED.search(reading.texts[0][:300]) is not None
    return is_blamed or rule_id in _TOLD_OF_US


_TOLD_IN_A_HEADING: Final = frozenset({"token_invalid", "token_expired", "credentials_invalid", "licence"})


def _in_page(reading: Reading, text: str) -> Found:
    """Return what a web page in place of data means: an outage, unless its headings tell of something else."""
    for heading in reading.texts[:3]:
        hit = INDEX.find(words_of(heading), Where.THROTTLED)
        if hit is not None and _is_rate(hit.rule.reason):
            return Found(hit.rule.reason, hit.rule.id, hit.words)
        hit = INDEX.find(words_of(heading), Where.BODY)
        if hit is not None and hit.rule.reason in _TOLD_IN_A_HEADING:
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    hit = INDEX.find(words_of(text), Where.FAULT)
    maintenance = hit is not None and hit.rule.reason == "maintenance"
    return Found("maintenance" if maintenance else "outage_page", "body.web_page")


_MAY_BE_A_SENTENCE: Final = frozenset({Kind.JSON, Kind.TEXT, Kind.XML})


def _decide_success(reading: Reading, trace: Trace | None, without: frozenset[str] = frozenset()) -> Found | None:
    """Return what is wrong with a success status' answer, None where nothing is."""
    found: Found | None = None
    kind = reading.kind
    if kind is Kind.BROKEN:
        found = _in_one_sentence(reading) or Found("bad_json", "body.broken")
    elif kind is Kind.HTML and reading.html is not None:
        if reading.html.asks_login or _LOGIN_PATH.search(_path(reading.exchange.url)):
            found = Found("login_page", "body.login_page")
        else:
            found = _in_page(reading, reading.html.text)
    elif kind in _MAY_BE_A_SENTENCE and not reading.reports_failure:
        found = _in_one_sentence(reading)
    _note(trace, "a success's body", found, f"status {reading.exchange.status}, {kind.value}")
    if found is None and reading.reports_failure:
        return _decide_failure(reading, trace, without)
    return found


def decide_exception(
    links: Sequence[ExceptionLink], trace: Trace | None = None, *, url: str = ""
) -> tuple[Found, ExceptionLink] | None:
    """Return what a chain of exceptions means and which of them decided; None for an empty chain.

    url: of the call that raised it, empty where there was none.
    """
    meant = exceptions.meaning(links, url)
    if meant is None:
        return None
    found = Found(meant.reason or reason_of_status(meant.status or 0), meant.rule, meant.link.name)
    _note(trace, "exception", found, " ← ".join(f"{link.module}.{link.name}" for link in links[:6]))
    return found, meant.link


def judgement_of_exception(found: Found, link: ExceptionLink, call: str | None, *, observed_at: datetime) -> Judgement:
    """Return the judgement on an exception. call: where it happened, None for a failure outside any data type."""
    message = " ".join(link.message[:160].split()).rstrip(". ")
    said = f": {message}" if message else ""
    saw = f"{call} raised {link.name}{said}" if call else f"{link.name}{said}"
    retry = retry_time.retry_at({}, observed_at=observed_at, texts=(link.message,)) if _is_rate(found.reason) else None
    return judgement_of(found, saw, retry)


def _retry_at(found: Found, reading: Reading, observed_at: datetime) -> datetime | None:
    """Return when the vendor lets us come back, where the finding is one that passes by itself."""
    name = REASONS[found.reason].name
    exchange = reading.exchange
    if name is HealthName.RATE_LIMIT_EXCEEDED:
        return retry_time.retry_at(
            exchange.headers, reading.document, observed_at=observed_at, texts=tuple(reading.texts)
        )
    if name is HealthName.VENDOR_SERVER_ERROR:
        said = {key: exchange.headers[key] for key in ("retry-after", "date") if key in exchange.headers}
        document = reading.document if found.reason == "maintenance" else None
        return retry_time.retry_at(said, document, observed_at=observed_at)
    return None


def _by_lost_credentials(exchange: Exchange, trace: Trace | None) -> Found | None:
    """Read a refusal by another host, where a redirect led: it never saw the credentials, so the host is wrong."""
    if not exchange.without_credentials or exchange.status not in {401, 403}:
        return None
    found = Found("redirected", "redirect.credentials_left", "another host")
    _note(trace, "redirect", found, found.saw)
    return found


def _by_dialect(reading: Reading, dialect: Dialect | None, trace: Trace | None) -> Found | None:
    if dialect is None or not dialect.rules:
        return None
    rule = rule_met(dialect, reading)
    found = None if rule is None else Found(rule.reason, rule.id, reading.codes[0] if reading.codes else "")
    _note(trace, f"dialect {dialect.family}", found, f"{len(dialect.rules)} rules")
    return found


def judge(
    exchange: Exchange,
    *,
    observed_at: datetime,
    dialect: Dialect | None = None,
    endpoint: str | None = None,
    trace: Trace | None = None,
    lacks_records: bool = False,
) -> Judgement:
    """Return what one exchange means. Pure, total and deterministic.

    observed_at: aware, UTC: relative waits count from it; endpoint: method and path template for the sentence;
    trace: a list that takes the rules asked on the way; lacks_records: whoever read the answer found no records where
    they should be, so that a success status needs less proof of a failure.
    """
    status = exchange.status
    if status is None or (exchange.exception and status < 400):
        return _judge_exception(exchange, endpoint, trace, observed_at)
    success = status < 300 or status == 304
    call = call_of(exchange, endpoint)
    without = dialect.without if dialect is not None else frozenset()
    if not success:
        reading = read_failure(exchange)
        found = (
            _by_lost_credentials(exchange, trace)
            or _by_dialect(reading, dialect, trace)
            or _decide_failure(reading, trace, without)
        )
    else:
        is_asked = dialect is not None or lacks_records
        if not is_asked and is_plainly_data(exchange):
            _note(trace, "a success's body", None, f"status {status}, data")
            return judgement_of(_OK, f"{call} answered {status}")
        is_told = lacks_records or dialect is None or reads_success(dialect, status)
        reading = read_success(exchange, is_told=is_told, lacks_records=lacks_records)
        decided = _by_dialect(reading, dialect, trace) or _decide_success(reading, trace, without)
        if decided is None:
            return judgement_of(_OK, f"{call} answered {status}")
        found = decided
    return judgement_of(
        found, f"{call} answered {status}{_said(reading, found)}", _retry_at(found, reading, observed_at)
    )


def _judge_exception(exchange: Exchange, endpoint: str | None, trace: Trace | None, observed_at: datetime) -> Judgement:
    call = call_of(exchange, endpoint)
    decided = decide_exception(exchange.exception, trace, url=exchange.url)
    if decided is None:
        return judgement_of(Found("connection_failed", "exchange.nothing_came"), f"{call} got no answer")
    found, link = decided
    return judgement_of_exception(found, link, call, observed_at=observed_at)


_OK: Final = Found("ok", "status.success")
