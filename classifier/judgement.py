"""What one exchange means: the stages in order, each asked in turn until one says something.

An answer passes: the vendor's dialect, our own way out, throttling by status, codes that are exact, words that are
exact, throttling by headers, vague words, weak codes, the status. A success status stops early: only a body that
reports a failure, or is no data at all, goes on. Where no answer came, the exception's classes decide.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from classifier import exceptions, retry_time
from classifier.codes import BY_CODE, CodeRule, squashed
from classifier.dialect import Condition, Dialect, DialectRule
from classifier.outcome import Exchange, ExceptionLink
from classifier.phrases import INDEX, PhraseHit, Where, words_of, words_of_code
from classifier.reading import Kind, Reading, at_path, read_failure, read_success
from classifier.reasons import REASONS
from classifier.statuses import reason_of_status
from classifier.verdict import Judgement, TraceStep
from classifier.vocabulary import HealthName, Phase

_RATE: Final = HealthName.RATE_LIMIT_EXCEEDED
_CUSTOMER: Final = HealthName.UNAUTHORIZED
_VAGUE_RANK: Final = 56
"""Word rules from this rank on say no more than `forbidden` does; a spent rate limit in a header beats them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a stage found: a reason, the rule that says so, and what it saw (a code, words, a header)."""

    reason: str
    rule: str
    saw: str = ""


Trace = list[TraceStep]


# --- what the stages ask ----------------------------------------------------------------------------------------------


def _where(reading: Reading) -> Where:
    status = reading.status
    if status < 300:
        return Where.BODY
    if status == 401:
        return Where.UNAUTHORIZED
    if status in {403, 402}:
        return Where.FORBIDDEN
    if status in {404, 410}:
        return Where.MISSING
    if status == 429:
        return Where.THROTTLED
    if status >= 500:
        return Where.FAULT
    if reading.exchange.phase is Phase.TOKEN:
        return Where.BAD | Where.TOKEN
    return Where.BAD


def _code_rule(reading: Reading, *, weak: bool) -> tuple[CodeRule, str] | None:
    """Return the code rule that decides: throttling before credentials, those before the rest; else the first."""
    best: tuple[int, CodeRule, str] | None = None
    for code in reading.codes:
        rule = BY_CODE.get(squashed(code))
        if rule is None or rule.weak is not weak or not _may_decide(REASONS[rule.reason].name, rule.reason, reading):
            continue
        rank = _ORDER[REASONS[rule.reason].name]
        if best is None or rank < best[0]:
            best = (rank, rule, code)
    return None if best is None else best[1:]


_ORDER: Final[Mapping[HealthName, int]] = MappingProxyType(
    {
        HealthName.RATE_LIMIT_EXCEEDED: 0,
        HealthName.UNAUTHORIZED: 1,
        HealthName.INTERNAL_ERROR: 2,
        HealthName.VENDOR_SERVER_ERROR: 3,
        HealthName.VENDOR_CLIENT_ERROR: 4,
        HealthName.EXECUTION_TIMEOUT: 5,
        HealthName.HEALTHY: 6,
    }
)


def _may_decide(name: HealthName, reason: str, reading: Reading) -> bool:
    """Return whether a code or its words may overrule the answer's status."""
    status = reading.status
    if status < 300 or name is _RATE:
        return True
    if status >= 500:
        return name in {HealthName.VENDOR_SERVER_ERROR, _CUSTOMER}
    if status in {401, 402, 403}:
        return name is _CUSTOMER or reason in {"clock", "wrong_client"}
    if status in {404, 410}:
        return name in {HealthName.VENDOR_CLIENT_ERROR, HealthName.HEALTHY} or reason in _MISSING_MAY
    return status != 429


_MISSING_MAY: Final = frozenset({"feature_disabled", "licence", "account_disabled", "token_expired", "token_revoked"})


def _code_words(reading: Reading) -> PhraseHit | None:
    where = _where(reading)
    best: PhraseHit | None = None
    for code in reading.codes[:12]:
        if BY_CODE.get(squashed(code)) is not None or code.isdecimal():
            continue
        hit = INDEX.find(words_of_code(code), Where.CODE)
        if (
            hit is None
            or not (hit.rule.where & where)
            or not _may_decide(REASONS[hit.rule.reason].name, hit.rule.reason, reading)
        ):
            continue
        if best is None or hit.rule.rank < best.rule.rank:
            best = hit
    return best


def _words(reading: Reading) -> PhraseHit | None:
    where = _where(reading)
    best: PhraseHit | None = None
    for text in reading.texts[:12]:
        hit = INDEX.find(words_of(text), where)
        if hit is not None and (best is None or hit.rule.rank < best.rule.rank):
            best = hit
    return best


def _remaining_is_zero(headers: Mapping[str, str]) -> str | None:
    for name, value in headers.items():
        if "remaining" in name and ("limit" in name or "quota" in name):
            first = value.split(",", 1)[0].split(";", 1)[0].strip()
            if first in {"0", "0.0"}:
                return name
        elif name == "ratelimit" and (";r=0;" in f"{value};" or "remaining=0" in value.replace(" ", "")):
            return name
    return None


# --- stages -----------------------------------------------------------------------------------------------------------


def _by_status_first(reading: Reading) -> Found | None:
    status = reading.status
    if status in {407, 511}:
        return Found(reason_of_status(status), f"status.{status}")
    if status == 429:
        hit = _code_rule(reading, weak=False)
        if hit is not None and REASONS[hit[0].reason].name is _RATE and hit[0].reason != "rate_limit":
            return Found(hit[0].reason, hit[0].id, hit[1])
        words = _code_words(reading) or _words(reading)
        if words is not None and REASONS[words.rule.reason].name is _RATE:
            return Found(words.rule.reason, words.rule.id, words.words)
        return Found("rate_limit", "status.429")
    return None


def _by_code(reading: Reading) -> Found | None:
    hit = _code_rule(reading, weak=False)
    if hit is None:
        return None
    return Found(hit[0].reason, hit[0].id, hit[1])


def _by_words(reading: Reading) -> Found | None:
    in_code = _code_words(reading)
    in_text = _words(reading)
    hit = in_code if in_text is None or (in_code is not None and in_code.rule.rank <= in_text.rule.rank) else in_text
    if hit is None or hit.rule.rank in _VAGUE_RANKS or hit.rule.rank >= _OURS_RANK:
        return None
    return Found(hit.rule.reason, hit.rule.id, hit.words)


_OURS_RANK: Final = 79
"""Word rules from this rank on speak of our request: a weak code of another kind beats them."""
_VAGUE_RANKS: Final = frozenset({_VAGUE_RANK, _VAGUE_RANK + 1})


def _by_throttle_header(reading: Reading) -> Found | None:
    status = reading.exchange.status or 0
    headers = reading.exchange.headers
    if status in {403, 400} and headers.get("retry-after"):
        return Found("rate_limit", "header.retry_after", "retry-after")
    if status in {403, 409, 503}:
        name = _remaining_is_zero(headers)
        if name is not None:
            return Found("rate_limit", "header.nothing_remaining", name)
    return None


def _by_vague_words(reading: Reading) -> Found | None:
    for hit in (_words(reading), _code_words(reading)):
        if hit is not None and hit.rule.rank in _VAGUE_RANKS:
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    return None


def _by_weak_code(reading: Reading) -> Found | None:
    if reading.status >= 500:
        return None
    hit = _code_rule(reading, weak=True)
    if hit is None or REASONS[hit[0].reason].name is HealthName.VENDOR_CLIENT_ERROR:
        return None
    return Found(hit[0].reason, hit[0].id, hit[1])


def _by_words_on_us(reading: Reading) -> Found | None:
    """Ask what is said of our request: words first, they are finer than weak codes."""
    for hit in (_words(reading), _code_words(reading)):
        if hit is not None:
            return Found(hit.rule.reason, hit.rule.id, hit.words)
    code = _code_rule(reading, weak=True) if reading.status < 500 else None
    return None if code is None else Found(code[0].reason, code[0].id, code[1])


def _by_status(reading: Reading) -> Found | None:
    status = reading.status
    if status < 300:
        if reading.soap_fault == "server":
            return Found("server_error", "body.soap_server_fault")
        return Found("error_in_body", "body.reports_failure")
    if status < 400:
        return _by_redirect(reading)
    return Found(reason_of_status(status), f"status.{status}" if status < 600 else "status.other")


_LOGIN_PATH: Final = re.compile(
    r"/(?:log[-_]?in|sign[-_]?in|sso|saml2?|auth/login|oauth2?/authorize|adfs|idp|accounts/login|session/new|login\.\w+)(?:[/?#.]|$)",
    re.IGNORECASE,
)


def _by_redirect(reading: Reading) -> Found:
    location = reading.exchange.headers.get("location", "")[:2_000]
    if _LOGIN_PATH.search(location) or location.lower().startswith(
        ("https://login.", "https://sso.", "https://accounts.")
    ):
        return Found("login_page", "redirect.login", "location")
    return Found("redirected", "redirect.other", "location" if location else "")


_Stage = Callable[[Reading], Found | None]
STAGES: Final[tuple[tuple[str, _Stage], ...]] = (
    ("status that settles it", _by_status_first),
    ("machine code", _by_code),
    ("words", _by_words),
    ("throttling header", _by_throttle_header),
    ("vague words", _by_vague_words),
    ("weak machine code", _by_weak_code),
    ("words on our request", _by_words_on_us),
    ("status", _by_status),
)


# --- dialects ---------------------------------------------------------------------------------------------------------


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _values(reading: Reading, path: str) -> list[str]:
    if reading.xml is not None:
        found = [value for name, value in reading.xml.leaves if name == path]
        return found or ([reading.xml.attributes[path.lower()]] if path.lower() in reading.xml.attributes else [])
    if reading.document is None:
        return []
    return [
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in at_path(reading.document, path)
        if isinstance(value, (str, int, float))
    ]


def _holds(when: Condition, reading: Reading) -> bool:
    exchange = reading.exchange
    if when.statuses and (exchange.status or 0) not in when.statuses:
        return False
    if when.phases and exchange.phase not in when.phases:
        return False
    if when.empty_body and exchange.body.strip():
        return False
    if when.url is not None and when.url not in exchange.url:
        return False
    for name, accepted in when.headers.items():
        value = exchange.headers.get(name)
        if value is None or ("*" not in accepted and value.strip().lower() not in accepted):
            return False
    for path, accepted in when.paths.items():
        if not any("*" in accepted or value in accepted for value in _values(reading, path)):
            return False
    if when.codes and not any(squashed(code) in when.codes for code in reading.codes):
        return False
    if when.words:
        texts = [_folded(text) for text in (*reading.texts, *reading.codes)]
        return any(phrase in text for phrase in when.words for text in texts)
    return True


def _by_dialect(reading: Reading, dialect: Dialect) -> tuple[DialectRule, str] | None:
    for rule in dialect.rules:
        if _holds(rule.when, reading):
            return rule, reading.codes[0] if reading.codes else ""
    return None


# --- judging ----------------------------------------------------------------------------------------------------------


def _path(url: str) -> str:
    start = url.find("://")
    start = 0 if start < 0 else url.find("/", start + 3)
    if start < 0:
        return "/"
    end = min((at for at in (url.find("?", start), url.find("#", start)) if at >= 0), default=len(url))
    return url[start : min(end, start + 200)] or "/"


def _call(exchange: Exchange, endpoint: str | None) -> str:
    return endpoint or f"{exchange.method} {_path(exchange.url)}"


def _said(reading: Reading, found: Found) -> str:
    for code in reading.codes:
        if not code.isdecimal() and len(code) <= 80 and code.lower() not in {"error", "fail", "failed", "errors"}:
            return f" {code}"
    if reading.texts:
        text = " ".join(reading.texts[0][:160].split())
        return f' "{text[:117]}…"' if len(text) > 118 else f' "{text}"'
    return f" with {found.saw}" if found.rule.startswith("header.") else ""


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


def _decide_failure(reading: Reading, trace: Trace | None) -> Found:
    seen = _seen(reading) if trace is not None else ""
    for stage, ask in STAGES:
        found = ask(reading)
        _note(trace, stage, found, found.saw or seen if found is not None else seen)
        if found is not None:
            return found
    return Found("client_error", "status.other")


def _decide_success(reading: Reading, trace: Trace | None) -> Found | None:
    """Return what is wrong with a success status' answer, None where nothing is."""
    found: Found | None = None
    kind = reading.kind
    if kind is Kind.BROKEN:
        found = Found("bad_json", "body.broken")
    elif kind is Kind.HTML and reading.html is not None:
        if reading.html.asks_login or _LOGIN_PATH.search(_path(reading.exchange.url)):
            found = Found("login_page", "body.login_page")
        else:
            hit = INDEX.find(words_of(reading.html.text), Where.FAULT)
            maintenance = hit is not None and hit.rule.reason == "maintenance"
            found = Found("maintenance" if maintenance else "outage_page", "body.web_page")
    elif kind is Kind.JSON and not reading.reports_failure and reading.texts:
        hit = INDEX.find(words_of(reading.texts[0]), Where.BODY)
        if hit is not None and REASONS[hit.rule.reason].name in {_RATE, _CUSTOMER, HealthName.VENDOR_SERVER_ERROR}:
            found = Found(hit.rule.reason, hit.rule.id, hit.words)
    _note(trace, "a success's body", found, f"status {reading.exchange.status}, {kind.value}")
    if found is None and reading.reports_failure:
        return _decide_failure(reading, trace)
    return found


def _status_of_links(exchange: Exchange) -> int:
    return exchange.status or 0


def decide_exception(links: Sequence[ExceptionLink], trace: Trace | None = None) -> tuple[Found, ExceptionLink] | None:
    """Return what a chain of exceptions means and which of them decided; None for an empty chain."""
    meant = exceptions.meaning(links)
    if meant is None:
        return None
    found = Found(meant.reason or reason_of_status(meant.status or 0), meant.rule, meant.link.name)
    _note(trace, "exception", found, " ← ".join(f"{link.module}.{link.name}" for link in links[:6]))
    return found, meant.link


def sentence_of_exception(link: ExceptionLink, call: str | None) -> str:
    """Return one clause on an exception: where it happened and what it says."""
    said = f": {' '.join(link.message[:160].split())}" if link.message else ""
    return f"{call} raised {link.name}{said}" if call else f"{link.name}{said}"


def judge(
    exchange: Exchange,
    *,
    observed_at: datetime,
    dialect: Dialect | None = None,
    endpoint: str | None = None,
    trace: Trace | None = None,
) -> Judgement:
    """Return what one exchange means. Pure, total and deterministic.

    observed_at: aware, UTC: relative waits count from it; endpoint: method and path template for the sentence;
    trace: a list that takes the rules asked on the way.
    """
    status = exchange.status
    if status is None or (exchange.exception and status < 400):
        decided = decide_exception(exchange.exception, trace)
        if decided is None:
            found = Found("connection_failed", "exchange.nothing_came")
            return judgement_of(found, f"{_call(exchange, endpoint)} got no answer")
        found, link = decided
        return judgement_of(found, sentence_of_exception(link, _call(exchange, endpoint)))
    success = status < 300 or status == 304
    if success:
        reading = read_success(exchange, wants_document=dialect is not None and _reads_success(dialect, status))
    else:
        reading = read_failure(exchange)
    found_or_none: Found | None = None
    if dialect is not None and dialect.rules:
        met = _by_dialect(reading, dialect)
        if met is not None:
            found_or_none = Found(met[0].reason, met[0].id, met[1])
        _note(trace, f"dialect {dialect.family}", found_or_none, f"{len(dialect.rules)} rules")
    if found_or_none is None:
        found_or_none = _decide_success(reading, trace) if success else _decide_failure(reading, trace)
    call = _call(exchange, endpoint)
    if found_or_none is None:
        return judgement_of(_OK, f"{call} answered {status}")
    found = found_or_none
    retry: datetime | None = None
    name = REASONS[found.reason].name
    if name is _RATE:
        retry = retry_time.retry_at(
            exchange.headers, reading.document, observed_at=observed_at, texts=tuple(reading.texts)
        )
    elif name is HealthName.VENDOR_SERVER_ERROR:
        retry = retry_time.retry_at(
            {key: exchange.headers[key] for key in ("retry-after", "date") if key in exchange.headers},
            reading.document if found.reason == "maintenance" else None,
            observed_at=observed_at,
        )
    return judgement_of(found, f"{call} answered {status}{_said(reading, found)}", retry)


_OK: Final = Found("ok", "status.success")


def _reads_success(dialect: Dialect, status: int) -> bool:
    return any(
        (rule.when.paths or rule.when.codes) and (not rule.when.statuses or status in rule.when.statuses)
        for rule in dialect.rules
    )
