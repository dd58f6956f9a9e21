"""Words that vendors use, as data, and the matcher that finds them: one pass over a text, by an index on first words.

A phrase is written as words; `a|b` stands for either, `~` for up to three words between, `~~` for up to seven (never
past the end of a sentence). Texts are folded first, so that `hasn't been authorised` and `not authorized` are alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from types import MappingProxyType
from typing import Final

from classifier.folding import folded
from classifier.reasons import REASONS
from classifier.vocabulary import HealthName


class Where(Flag):
    """Where a text was met: a phrase decides only where it can be trusted."""

    BODY = auto()
    """A success status whose body reports a failure."""
    BAD = auto()
    """400 and the other 4xx without a meaning of their own."""
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    MISSING = auto()
    """404 and 410."""
    THROTTLED = auto()
    FAULT = auto()
    """5xx."""
    TOKEN = auto()
    """A 4xx of a token endpoint."""
    CODE = auto()
    """A machine code, written out as words."""
    MEANT = auto()
    """500 whose body says something of its own, and not only what its status is called."""
    PLAIN = auto()
    """A 4xx that says one thing of the request: little else may hide behind it (RFC 9110, RFC 6585)."""


_OF_STATUS: Final[Mapping[int, Where]] = MappingProxyType(
    {
        401: Where.UNAUTHORIZED,
        402: Where.FORBIDDEN,
        403: Where.FORBIDDEN,
        404: Where.MISSING,
        410: Where.MISSING,
        429: Where.THROTTLED,
        # Method, representation, length, size, URI, media type, range, expectation, condition, header fields.
        **dict.fromkeys((405, 406, 411, 413, 414, 415, 416, 417, 428, 431), Where.PLAIN),
    }
)


def where_of_status(status: int) -> Where:
    """Return where the words of an answer with a status of 400 or more stand."""
    return _OF_STATUS.get(status) or (Where.FAULT if status >= 500 else Where.BAD)


_LETTERS: Final = {
    "s": Where.BODY,
    "b": Where.BAD,
    "u": Where.UNAUTHORIZED,
    "f": Where.FORBIDDEN,
    "n": Where.MISSING,
    "t": Where.THROTTLED,
    "v": Where.FAULT,
    "k": Where.TOKEN,
    "c": Where.CODE,
    "m": Where.MEANT,
    "o": Where.PLAIN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseRule:
    """Phrases of one meaning. rank: lower is asked first; where: statuses at which they decide."""

    id: str
    reason: str
    rank: int
    where: Where
    phrases: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class PhraseHit:
    """A rule that was met, and the words that met it."""

    rule: PhraseRule
    words: str
    place: tuple[int, int] = (0, 0)
    """Rank and place of the rule: the lower decides."""


def _where(letters: str) -> Where:
    found = Where(0)
    for letter in letters:
        found |= _LETTERS[letter]
    return found


# A phrase as the matcher wants it: per step the accepted words and how many words may be skipped before it.
_Steps = tuple[tuple[frozenset[str], int], ...]


def _steps(phrase: str) -> _Steps:
    steps: list[tuple[frozenset[str], int]] = []
    gap = 0
    for part in phrase.split():
        if part in {"~", "~~"}:
            gap = 3 if part == "~" else 7
            continue
        steps.append((frozenset(map(folded, part.split("|"))), gap))
        gap = 0
    return tuple(steps)


def _meets(words: Sequence[str], start: int, steps: _Steps) -> int:
    """Return the position after the phrase, or 0 where it does not stand at `start` (whose first word is met)."""
    at = start + 1
    count = len(words)
    for accepted, gap in steps[1:]:
        last = min(at + gap + 1, count)
        while at < last:
            word = words[at]
            if word in accepted:
                break
            if word == ".":
                return 0
            at += 1
        else:
            return 0
        at += 1
    return at


@dataclass(frozen=True, slots=True)
class _Row:
    """A phrase as it is looked for, and its place among all: the lower decides."""

    place: tuple[int, int]
    rule: PhraseRule
    steps: _Steps


@dataclass(frozen=True, slots=True)
class _Table:
    """The phrases that decide at one place, by their order; a phrase's bit stands for its number.

    marks: word -> the phrases that it begins, and those that it ends.
    """

    rows: tuple[_Row, ...]
    marks: dict[str, tuple[int, int]]


class PhraseIndex:
    """Finds the phrases of a rule table in a text."""

    def __init__(self, rules: Iterable[PhraseRule]) -> None:
        rows = [
            _Row((rule.rank, number), rule, _steps(phrase))
            for number, rule in enumerate(rules)
            for phrase in rule.phrases
        ]
        self._rows = sorted(rows, key=lambda row: row.place)
        self._tables: dict[tuple[int, int], _Table] = {}

    def _table(self, here: int, there: int) -> _Table:
        """Return the phrases that decide at both places, made when they are first asked for."""
        table = self._tables.get((here, there))
        if table is None:
            rows = tuple(row for row in self._rows if row.rule.where.value & here and row.rule.where.value & there)
            begins: dict[str, int] = {}
            ends: dict[str, int] = {}
            for number, row in enumerate(rows):
                for marks, words in ((begins, row.steps[0][0]), (ends, row.steps[-1][0])):
                    for word in words:
                        marks[word] = marks.get(word, 0) | 1 << number
            told = {word: (begins.get(word, 0), ends.get(word, 0)) for word in begins.keys() | ends}
            table = self._tables[here, there] = _Table(rows, told)
        return table

    def find(self, words: Sequence[str], where: Where, within: Where | None = None) -> PhraseHit | None:
        """Return the hit of the lowest place, the earliest of equals; None where no phrase decides at `where`.

        within: a place at which it must decide as well (a code's words, at its answer's status). Only phrases whose
        first and last word both stand in the text are looked at, the gravest first.
        """
        # `value` is a property, and takes longer.
        table = self._table(where._value_, (where if within is None else within)._value_)
        begun = ended = 0
        for begins, ends in filter(None, map(table.marks.get, words)):
            begun |= begins
            ended |= ends
        likely = begun & ended
        best: PhraseHit | None = None
        best_start = 0
        while likely:
            lowest = likely & -likely
            likely ^= lowest
            row = table.rows[lowest.bit_length() - 1]
            if best is not None and row.place != best.place:
                break
            firsts = row.steps[0][0]
            for start, word in enumerate(words):
                if word in firsts and (end := _meets(words, start, row.steps)):
                    if best is None or start < best_start:
                        best, best_start = PhraseHit(row.rule, " ".join(words[start:end]), row.place), start
                    break
        return best


def _rule(id_: str, reason: str, where: str, *phrases: str, rank: int | None = None, source: str = "") -> PhraseRule:
    return PhraseRule(
        id=f"words.{id_}",
        reason=reason,
        rank=_RANKS[REASONS[reason].name] if rank is None else rank,
        where=_where(where),
        phrases=phrases,
        source=source or "common wording of HTTP APIs",
    )


_RANKS: Final[Mapping[HealthName, int]] = MappingProxyType(
    {
        HealthName.INTERNAL_ERROR: 10,
        HealthName.RATE_LIMIT_EXCEEDED: 20,
        HealthName.UNAUTHORIZED: 40,
        HealthName.VENDOR_SERVER_ERROR: 60,
        HealthName.VENDOR_CLIENT_ERROR: 80,
        HealthName.HEALTHY: 90,
    }
)
_WRONG: Final = (
    "invalid|incorrect|malformed|unknown|unrecognized|rejected|bad|mismatch|inactive|disabled|deleted|"
    "unverified|corrupted|blacklisted"
)
_ORG: Final = (
    "account|organization|tenant|workspace|deployment|customer|company|subscription|container|team|instance|"
    "site|domain|project|shop|store|enterprise|client|application|app|group|edition|portal|license|plan"
)
_OFF: Final = "disabled|deactivated|suspended|inactive|blocked|banned|terminated|frozen|unavailable|delinquent|unpaid"

VAGUE_RANKS: Final = frozenset({56, 57})
"""Word rules of these ranks say no more than `forbidden` does; a spent rate limit in a header beats them."""
OURS_RANK: Final = 79
"""Word rules from this rank on speak of our own request; a weak code of another kind beats them."""

PHRASES: Final[tuple[PhraseRule, ...]] = (
    # Things that only look like credentials.
    _rule(
        "page_token",
        "page_token_expired",
        "sbunkfc",
        "pagetoken|nextpagetoken|cursor|skiptoken|deltatoken|synctoken|scrollid ~~ expired|invalid|stale|malformed|bad",
        "pagetoken|nextpagetoken|cursor|skiptoken|deltatoken|synctoken ~~ no longer|longer",
        "pagetoken|nextpagetoken|cursor|skiptoken|deltatoken|synctoken ~ not valid|found|recognized|exist",
        "invalid|expired|bad|malformed|stale|unknown ~ pagetoken|nextpagetoken|cursor|skiptoken|deltatoken|synctoken",
        rank=5,
        source="AIP-158; RFC 9110 section 15.5.1",
    ),
    _rule(
        "parser_token",
        "bad_request",
        "sbkc",
        "unexpected token|character|end|eof|identifier",
        "token ~~ position|line|column|json|offset",
        "invalid|unexpected input ~ token",
        "invalid|malformed|unparseable json|xml|yaml|csv|syntax",
        "json ~ parse|decode|malformed|invalid|syntax",
        "could not parse|not parse|parse error",
        "error parsing|parse ~ query|filter|expression|search|json|request|body",
        "not ~ parse ~ query|filter|expression|search|json|request|body",
        rank=5,
        source="RFC 8259",
    ),
    _rule(
        "other_token",
        "bad_request",
        "sbkc",
        "csrf|xsrf|verification|confirmation|device|upload|reset|push|registration|invitation|download token ~",
        "payment|card token ~",
        "upload|search|scan|scroll|import|export|query|job session ~",
        rank=6,
        source="common wording of HTTP APIs",
    ),
    _rule(
        "missing_or_hidden",
        "not_found",
        "bn",
        "not ~ exist|found ~ or ~~ permission|access|authorized|view|role",
        "not ~ exist|found or ~~ not|insufficient|lack ~ permission|access|rights|authorized",
        "permission|access|authorized ~ or ~~ not ~ exist|found",
        rank=7,
        source="servers that will not tell which of the two it is (RFC 9110 section 15.5.4)",
    ),
    _rule(
        "role_listed",
        "permission_missing",
        "sbufkc",
        "must|should|need|require ~~ one of ~~ role|permission|scope|privilege",
        rank=7,
    ),
    _rule(
        "accepted_values",
        "invalid_parameter",
        "sbkc",
        "must|should|expected ~ one of",
        "valid|allowed|accepted|permitted|possible|supported values",
        "not ~ filterable|sortable|searchable",
        "invalid|valid uuid|guid|integer|boolean",
        "not ~ number|integer|boolean|uuid|string|array",
        "body field|parameter|property",
        "not ~ filter|sort|group|order|search ~ by|on",
        "sort|partition|primary|foreign|export|idempotency|object|cache|record key ~",
        "ids|items|values|fields|columns|filters|records|rows|objects ~ per request|call",
        "offset ~~ limit|exceed|reach|large|maximum",
        "too many ~ ids|items|values|fields|columns|filters|parameters|params|records|rows|results|keywords|terms|"
        "entries|objects|elements|metrics|dimensions|characters",
        "not ~ valid ~ include|entity|filter|type|option|value|metric|column|property",
        "filter|filters|attribute|column|include|metric|dimension ~~ not|invalid|unknown|unsupported|cannot|must",
        "field|fields ~~ not ~ exist|supported|selectable|found|allowed",
        "invalid|unknown|unsupported|bad|malformed ~ filter|attribute|column|include|metric|dimension|expression|sort",
        "plan|subscription|license|role|permission|group id|ids|code|codes|name|names|slug ~~ invalid|not|malformed|"
        "require|missing|unknown|must",
        "password|credential|secret policy|policies|type|types|filter|field ~~ invalid|not|must|unknown|require",
        "plan|subscription|license|role|permission|scope|package|tier|trial ~~ not be blank|empty|null|nil",
        "payment detail|details|method|methods|type|id|intent|reference ~~ not|invalid|missing|require|unknown",
        "invalid|unknown|missing|malformed|bad ~ plan|subscription|license|role|permission|group id",
        "plan|subscription|license|role|group with id",
        rank=7,
    ),
    _rule(
        "size",
        "too_large",
        "sbo",
        "body|payload|entity|file|message|header|uri|url|content ~ size|length ~~ exceed|limit|maximum|large",
        "maximum|max ~ body|payload|entity|file|message|header|content size|length",
        "maximum|max ~~ per request",
        rank=7,
        source="RFC 9110 section 15.5.14",
    ),
    _rule(
        "clock",
        "clock",
        "sbufkc",
        "request|timestamp|signature ~ time|timestamp|date|expired|clock ~ skew|skewed|large|old|future|"
        "range|far|earlier",
        "time|clock|timestamp ~~ skew|skewed",
        "difference between ~~ time",
        "reasonable timeframe",
        "issued ~~ future",
        "iat|nbf ~~ future|values|early|past|skew",
        "signature ~ expired",
        "timestamp ~~ expired|window|old|stale|future|tolerance|acceptable|recent",
        "clock ~ synchronized|sync|wrong|drift",
        rank=8,
        source="AWS Signature Version 4, troubleshooting; RFC 5849 section 3.3",
    ),
    _rule(
        "wrong_client",
        "wrong_client",
        "sbufco",
        "useragent ~~ missing|invalid|require|string|must|header|forbidden|blocked|allowed",
        "missing|invalid|no|require ~ useragent",
        "must|require|use|only ~ https|ssl|tls",
        "http request ~ sent ~ https|ssl|tls",
        "speaking ~ http",
        "https|ssl|tls ~ require|only",
        "csrf|xsrf",
        "no ~ crumb",
        "referer|origin header|checking",
        "dpop nonce|proof",
        "invalid|unknown|unsupported|missing ~ api version",
        "api version ~ not|deprecated|unsupported|retired",
        "nonce ~~ higher|greater|larger|increasing|increased|low|small|used|reused|duplicate|stale",
        rank=9,
        source="RFC 9110 section 10.1.5; RFC 9449",
    ),
    _rule(
        "login_locked",
        "account_locked",
        "sbufkc",
        "too many ~ failed|login|password|authentication|invalid",
        "recurrent|repeated|consecutive ~ login|failed|invalid ~ failed|login|attempt|password",
        "account|user|login|username ~ locked",
        "captcha",
        "temporarily locked",
        rank=15,
    ),
    # Throttling.
    _rule(
        "quota_daily",
        "quota_daily",
        "sbuftvkco",
        "daily|day ~~ limit|quota|ratelimit|cap|threshold",
        "limit|quota|ratelimit|request|call ~~ per day",
        "quota|limit ~ day|daily",
        "limit|quota|request|downloaded|allowed ~~ today",
        rank=20,
    ),
    _rule(
        "concurrency",
        "concurrency",
        "sbuftvkco",
        "too many concurrent",
        "too many pending|running|open|active|queued job|jobs|task|tasks|scan|scans|report|reports|exports",
        "too many job|jobs|scan|scans|task|tasks|exports|reports ~ running|pending|queued|open|active",
        "too many open|running|active|pending ~ request|call|connection|session|query|job|export|operation|api",
        "concurrent ~~ limit|exceed|maximum|max|reach",
        "limit|maximum|max|exceed ~ concurrent",
        "duplicate export",
        "maximum|max ~~ sessions|connection ~~ reach|exceed",
        rank=21,
    ),
    _rule(
        "rate_limit",
        "rate_limit",
        "sbuftvkco",
        "ratelimit",
        "rate exceed",
        "rate ~ limit|exceed|throttle|high",
        "request rate ~ high|exceed|large",
        "throttle",
        "slow down",
        "slowdown",
        "too many|much ~ request|call|api|attempt|operation|http|action|actions|visit|visits|access|accesses",
        "request|call|query count ~ exceed",
        "number of ~ request|call|query|invocation ~~ exceed|reach",
        "excessive ~ request|call|query|usage|traffic|pageloads|load|access|polling|use|number",
        "too many query",
        "toomany ~ request|call|api|access|attempt",
        "exceed ~~ numero de request|access",
        "call frequency",
        "freq|frequency ~ limit|exceed",
        "request|call|access ~~ temporarily blocked|disabled|banned|suspended|restricted",
        "consumo indevido",
        "toomanyrequests",
        "request|call|query|invocation|api|usage|qps|traffic|transaction|connection limit",
        "limit ~ request|call|invocation|query|attempt ~~ exceed|reach|used",
        "once ~ per|in|every ~ second|minute|hour",
        "only one|1|two|2 ~~ per second|minute|hour|day",
        "frequently|frequency|frequent invoke|call|access|request",
        "limit of ~~ request|call|invocation|query|message",
        "exceed|reach|maximum|max|over ~~ request|call|invocation|query|api|attempt ~ per|allowed|limit|within",
        "exceed|reach ~~ number of times",
        "exceed|reach ~~ per second|minute|hour|month|period|week",
        "exceed|reach|maximum ~~ number of ~ request|call|invocation|query|attempt",
        "maximum|max ~~ request|call|invocation|query ~~ exceed|reach",
        "request|call|query|transaction per second|minute|hour|month|period",
        "qps|tps|rps|rpm|qpm",
        "exceed|reach ~~ request s|m|h|hr",
        "due to high volume",
        "high volume of ~ request|call|traffic",
        "abuse detection",
        "enhance your calm",
        "reduce|lower|decrease|limit ~ request rate|frequency|volume",
        "limit|budget|allowance|credit ~ exhausted",
        "apikey|key|token limit exceed|reach",
        "run out of ~ credit|call|request",
        "exceed|reach ~~ limit ~~ request|call|invocation|query",
        "prohibit|prohibited|barred|block|blocked ~~ request|call ~~ minute|hour|second",
        "out of ~ call|request|quota",
        "run|ran out of ~ searches|lookups|units|queries|query|messages|checks",
        "run over ~~ allocation|limit|quota",
        "exceed ~~ allocation",
        "request|call|traffic volume ~~ reach|exceed|limit",
        "exceed ~~ allowance|allotment",
        "exceed maximum|max ~ request|call|query|invocation",
        "hour|minute|day|daily|monthly|weekly|request|call cap|ceiling",
        "reach|exceed ~ ceiling",
        "throughput ~ exceed",
        "cost limit",
        "bandwidth limit|exceed",
        "request|call|query ~ limit ~~ per second|minute|hour",
        "spike arrest",
        "burst ~ exceed|reach|limit",
        "flood wait|control|limit",
        "complexity budget|limit|exceed",
        "field limit exceed",
        "request frequency|flood",
        "frequency|frequently ~ limit|high|exceed|access",
        "limit reach .",
        "exceed ~ rate|qps|ratelimit",
        "exceed|reach limit ~ request|call|query",
        "error code 1015",
        "not enough token",
        "token bucket",
        "too frequent|frequently|quickly|fast",
        "api|minute|hour|second|minutely|request|call ~ limit ~ exceed|reach|exhausted",
        "wait ~~ before ~ request|again|retry|retrying|trying|try|sending|making",
        "retry|again in|after ~ second|minute|hour",
        rank=22,
        source="RFC 6585 section 4",
    ),
    _rule(
        "threshold",
        "rate_limit",
        "tv",
        "threshold ~~ exceed|reach|violated",
        rank=25,
    ),
    _rule(
        "limit_bare",
        "rate_limit",
        "s",
        "limit exceed|reach",
        "exceed|reach the|your limit",
        "out of limit",
        rank=25,
    ),
    _rule(
        "rate_limit_missing",
        "rate_limit",
        "n",
        "too many request|call",
        "ratelimit exceed|reach",
        "throttle",
        rank=22,
        source="RFC 6585 section 4",
    ),
    _rule(
        "quota",
        "quota",
        "sbuftvkco",
        "quota ~~ exceed|reach|exhausted|limit|used|spent|consumed|depleted|full",
        "exceed|reach|exhausted|over|insufficient|no|out ~~ quota",
        "not enough|sufficient ~ quota",
        "quota error|violation|metric",
        "exceed|reach ~ daily|monthly|weekly|hour usage",
        "monthly|weekly|usage ~~ limit|quota|allowance",
        "limit|quota ~~ month",
        "usage cap",
        "consumed|spent all|your ~~ credit|quota|request|call|units|allowance",
        "used all|up ~~ request|call|api|credit|quota|units|searches|allowance",
        "exhausted ~~ credit|quota|limit|allowance|request|calls",
        "maximum credit exceed",
        "ran|run out of ~ quota|requests",
        "not enough|sufficient units|points",
        "insufficient units|points",
        rank=23,
    ),
    _rule("quota_code", "quota", "ct", "quota", "resource exhausted", rank=24, source="google.rpc.Code 8"),
    # Credentials.
    _rule(
        "signature",
        "signature_invalid",
        "sbufkc",
        "signature|hmac ~~ not ~ match|valid|verified|correct",
        "signature|hmac ~~ invalid|mismatch|incorrect|bad|failed|error",
        "invalid|bad|incorrect|mismatched|missing ~ signature|hmac",
        "sign|checksum ~ error|incorrect|invalid|mismatch|failed",
        "invalid|incorrect|bad|error sign|checksum",
        rank=40,
    ),
    _rule(
        "mfa",
        "mfa_required",
        "sbufkc",
        "two|multi|second|2 factor",
        "2fa|mfa|otp|totp ~",
        "one time password|passcode|code",
        rank=41,
    ),
    _rule(
        "token_expired",
        "token_expired",
        "sbufkc",
        "token|apikey|credential|session|jwt|key|certificate|secret|password|authorization|authentication|cookie|"
        "login|bearer|ticket ~~ expired",
        "expired ~ token|apikey|credential|session|key|secret|password|jwt|certificate|authorization|"
        "authentication|login",
        "agreement|consent|eua|grant ~~ expired",
        "token|session|credential ~ stale",
        "token ~ must|require|not ~ refreshed|renewed",
        "pat ~ expired|revoked|invalid",
        "reauthenticate|reauthorize ~",
        "password ~~ changed|change",
        "password ~ has|was|been|must|be ~ reset",
        "password reset ~ require",
        "session timeout",
        rank=42,
        source="RFC 6750 section 3.1",
    ),
    _rule(
        "expired_fault",
        "token_expired",
        "m",
        "token|apikey|session|jwt is|has|have|was ~ expired",
        "token|apikey|session|jwt expired",
        "expired token|apikey|session|jwt",
        rank=42,
        source="vendors that answer 500 to whatever a handler throws",
    ),
    _rule(
        "session",
        "token_expired",
        "sufc",
        "invalid|unknown|incorrect|bad|missing session",
        "session ~~ invalid|inactive|ended|over|terminated|closed|killed",
        "re login|authenticated",
        "session ~ not ~ valid|found|exist|exists|active",
        "no ~ valid|active session",
        rank=42,
    ),
    _rule(
        "token_revoked",
        "token_revoked",
        "sbufkc",
        "token|apikey|access|grant|consent|session|authorization|credential|permission|key|installation|app|application|"
        "integration|connection ~~ revoked",
        "revoked ~ token|access|authorization|consent|grant|key|apikey|permission",
        "not authorized|installed ~ application|app|integration",
        "app|application|integration ~ uninstalled|removed|deauthorized",
        "app|application|integration ~ not installed",
        "no longer ~ authorized|access|connected|valid",
        rank=43,
        source="RFC 6749 section 5.2",
    ),
    _rule(
        "consent",
        "consent_required",
        "sbufkc",
        "consent ~~ require|not|missing|admin|given|granted|declined",
        "not consented",
        "interaction require",
        "require ~ consent|approval",
        rank=44,
        source="OpenID Connect Core, section 3.1.2.6",
    ),
    _rule(
        "ip_not_allowed",
        "ip_not_allowed",
        "sbufkc",
        "ip|ipaddress|cidr ~~ not ~ allowed|allowlist|authorized|permitted|trusted|accepted|in",
        "ip|ipaddress ~~ blocked|restricted|denied|blacklisted|banned|forbidden|restriction|unauthorized|filtered",
        "not ~~ allowlist",
        "blocked|restricted|unauthorized|denied|disallowed|untrusted ~ ip",
        "allowlist ~~ not|require|add|block",
        "ip allowlist|restriction|restrictions|filtering",
        "network|location ~ policy|restriction ~ blocked|denied|not",
        rank=45,
    ),
    _rule(
        "ip_invalid",
        "ip_not_allowed",
        "suf",
        "invalid ~ ip|ipaddress",
        rank=45,
    ),
    _rule(
        "payment",
        "payment_required",
        "sufc",
        "payment|invoice|billing ~~ require|overdue|failed|due|disabled|issue|problem|declined|inactive|delinquent",
        "payment|invoice|billing ~~ not ~ made|received|paid|enabled|set|active|completed|configured|processed|current",
        rank=46,
        source="RFC 9110 section 15.5.3",
    ),
    # Under 400 and 422 an invoice may be a field.
    _rule(
        "payment_no_field",
        "payment_required",
        "b",
        "payment require",
        "payment|invoice|bill|billing ~ overdue|delinquent|unpaid|disabled|inactive|declined",
        "billing ~~ not ~ set|enabled|active|configured",
        rank=46,
        source="RFC 9110 section 15.5.3",
    ),
    _rule(
        "payment_fault",
        "payment_required",
        "v",
        "payment is|was required",
        "payment|subscription|billing ~~ overdue|delinquent",
        rank=46,
        source="RFC 9110 section 15.5.3",
    ),
    _rule(
        "nothing_left_to_pay_with",
        "payment_required",
        "sbufvc",
        "past due",
        "insufficient|no|zero|negative ~ credit|balance|funds",
        "not ~ enough|sufficient ~ credit|balance|funds",
        rank=46,
        source="RFC 9110 section 15.5.3",
    ),
    _rule(
        "unpaid",
        "payment_required",
        "sbufc",
        "outstanding ~ payment|balance|invoice|invoices|debt",
        "arrears|arrearage",
        "overdue ~ invoice|payment|bill|balance",
        "unpaid ~",
        "credit|balance|funds ~~ too low",
        rank=46,
        source="RFC 9110 section 15.5.3",
    ),
    _rule(
        "licence",
        "licence",
        "sbufkc",
        "available only ~~ pro|enterprise|premium|paid|business|plan|edition",
        "upgrade ~~ plan|subscription|account|license|tier|membership|package|edition|pro|premium|enterprise",
        "premium|enterprise|paid|pro|business ~ only|plan|feature|subscription|account|customer|customers|edition|tier|"
        "endpoint",
        "trial ~ expired|ended|over|period",
        "evaluation ~ expired|ended|exceed|finished",
        "not ~ licensed|entitled|subscription",
        "unlicensed",
        rank=47,
    ),
    _rule(
        "licence_lacking",
        "licence",
        "sufkc",
        "not ~~ plan|subscription|license|edition|package|tier|membership",
        "plan|subscription|license|edition|tier|trial|package|membership ~ not|expired|insufficient|ended|inactive|"
        "lapsed|over|invalid|upgrade|require|missing|disallows|restricted",
        "premium|enterprise|paid|pro|business ~ require",
        "require|insufficient|missing|invalid|no|upgrade ~~ subscription|plan|license|membership|premium|tier|edition",
        rank=47,
    ),
    # Under 400 and 422 a plan may be a field: there it must be said what about it is wrong.
    _rule(
        "licence_no_field",
        "licence",
        "bc",
        "not ~ available|included|supported|allowed|permitted|part|cover|covered|include|allow|support|enabled|have ~~ "
        "plan|subscription|license|edition|package|tier|membership",
        "plan|subscription|license|edition|tier|trial|package|membership ~ expired|ended|inactive|insufficient|lapsed|"
        "over|upgrade|disallows|restricted",
        "plan|subscription|license|edition|tier|package|membership ~ not ~ include|allow|support|permit|cover|have|"
        "active|valid|enough|sufficient",
        "no|without active|valid subscription|plan|license|membership",
        "plan|license|subscription is|was missing",
        "require|insufficient|no|missing ~ license|subscription|upgrade",
        "require|only ~~ plan|tier|edition|membership",
        rank=47,
    ),
    _rule(
        "licence_missing",
        "licence",
        "n",
        "upgrade ~~ plan|subscription|account|license|tier|membership|package|edition|pro|premium|enterprise",
        "not ~ available|included|supported|part ~~ plan|license|edition|package|tier|subscription",
        "require ~~ plan|license|premium|subscription",
        "not ~ licensed|entitled",
        rank=47,
    ),
    _rule(
        "licence_fault",
        "licence",
        "v",
        "not ~ licensed|entitled",
        "license ~ expired|invalid|missing",
        "no|missing|require ~ license",
        "trial ~ expired|ended",
        rank=47,
    ),
    _rule(
        "feature_disabled",
        "feature_disabled",
        "sbufnvkc",
        f"not ~ enabled|activated|provisioned|available ~ for|in|on|by ~ {_ORG}",
        f"{_ORG} ~~ not ~ enabled|activated|provisioned",
        f"enabled|activate ~~ api|access ~~ {_ORG}",
        "api ~ access ~ not|disabled",
        "api disabled",
        "api ~ disabled ~ by|for|in",
        "must ~ enabled ~ api access",
        rank=48,
    ),
    _rule(
        "method_missing",
        "not_found",
        "sbc",
        "method|endpoint|function|procedure|action|route ~~ not ~ exist|found|supported|implemented|recognized",
        rank=48,
    ),
    _rule(
        "feature_off",
        "feature_disabled",
        "sfuc",
        "not ~ enabled|activated",
        "must be enabled",
        "api|service|feature|product ~ disabled",
        "api|feature|product ~ not ~ enabled|available|activated|included|purchased|licensed|allowed|accessible|"
        "permitted|subscribed|active|offered ~ for|in|on|with|to|your|this ~ account|organization|plan|you|user|"
        "subscription|tenant",
        "api|feature ~ not",
        "service not ~ enabled|activated|allowed|subscribed|included|purchased|permitted|authorized|provisioned",
        "not been used in project",
        "activate|enabled ~ api|service|product|feature",
        "support to enabled",
        "opt in require",
        "not opted",
        "not have ~ feature",
        rank=49,
    ),
    _rule(
        "issuer",
        "token_invalid",
        "bufk",
        "issuer|audience ~ not ~ trusted|match|valid|accepted|recognized|known",
        "untrusted|invalid|unknown issuer|audience",
        rank=53,
    ),
    _rule(
        "signed_out",
        "token_expired",
        "buf",
        "no valid session",
        "session id is|was ~ unknown|invalid",
        "logged|signed out",
        "your|api access ~ expired",
        rank=42,
    ),
    _rule(
        "no_member",
        "permission_missing",
        "bufk",
        "not ~ member of ~ organization|workspace|team|tenant|account|project|company",
        rank=52,
    ),
    _rule(
        "not_bought",
        "licence",
        "bufk",
        "free|trial|basic account|plan|tier|users ~ not",
        "upgrade ~ access|use|unlock ~ endpoint|feature|api|data|resource|report",
        "not ~ purchased|bought",
        rank=47,
    ),
    _rule(
        "api_to_enable",
        "feature_disabled",
        "bufk",
        "enabled ~ api ~ in|under|from ~ settings|console|portal|dashboard|admin",
        rank=49,
    ),
    _rule(
        "instance_suspended",
        "account_disabled",
        "bufk",
        "integration ~ inactive|disabled|suspended|paused|deactivated",
        "instance|site|subdomain ~ suspended",
        rank=50,
    ),
    _rule(
        "terms",
        "consent_required",
        "bufk",
        "accept|accepted|agree ~~ terms|tos|agreement|conditions",
        rank=44,
    ),
    _rule(
        "unverified",
        "account_disabled",
        "bufk",
        "account|email ~ not ~ verified|confirmed",
        "must|require|please ~ verify|confirm ~ email|account|identity|phone",
        rank=50,
    ),
    _rule(
        "turned_off",
        "feature_disabled",
        "buf",
        "api|integration|access|feature|module ~ turned|switched off",
        rank=48,
    ),
    _rule(
        "disconnected",
        "token_revoked",
        "bufk",
        "access ~ removed|withdrawn|terminated",
        "grant|consent|authorization ~~ withdrawn|removed|cancelled|gone",
        "connection|integration|account|app|application ~ disconnected|deauthorized|unlinked",
        rank=43,
    ),
    _rule(
        "service_off",
        "feature_disabled",
        "b",
        "service|product|module|api not enabled|activated|provisioned|subscribed",
        rank=49,
    ),
    _rule(
        "account_disabled",
        "account_disabled",
        "sbufkc",
        f"account|organization|tenant|workspace|application|app|client|shop|store|company|customer|"
        f"subscription ~~ {_OFF}",
        "account|organization|tenant|workspace|company|customer restricted",
        "account|organization|tenant|workspace|company|customer has|was|been|is ~ restricted",
        f"{_OFF} ~ account|organization|tenant|workspace|application|app|client|shop|store|company|customer",
        "account|organization|tenant|workspace|customer|merchant ~~ not ~ active|enabled|exist|activated",
        f"merchant ~~ {_OFF}",
        "account|organization|tenant|customer ~~ closed|deleted|cancelled|canceled|archived",
        rank=50,
    ),
    _rule(
        "user_disabled",
        "account_disabled",
        "sufkc",
        f"user|username|member|profile|principal ~~ {_OFF}|deleted|archived|removed",
        "user|username|member ~~ not ~ active|enabled",
        "inactive|disabled|suspended|deactivated|deleted|blocked|banned ~ user",
        rank=50,
    ),
    _rule(
        "account_missing",
        "account_disabled",
        "n",
        "account|instance|tenant|workspace|organization|site|store|shop ~ inactive|suspended|disabled|deactivated|"
        "closed|cancelled|terminated|expired",
        "inactive|suspended|disabled|deactivated account",
        rank=50,
    ),
    _rule(
        "scope",
        "scope_missing",
        "sbufkc",
        "missing|insufficient|not|require|invalid|additional ~~ scope",
        "scope ~~ missing|insufficient|require",
        "scope not|granted",
        "scope ~~ not ~ granted|authorized|allowed|permitted|sufficient|enough|include|included|have|cover|assigned|"
        "permit|consented|approved|contain|satisfied|present",
        rank=51,
        source="RFC 6750 section 3.1",
    ),
    _rule(
        "permission_lacking",
        "permission_missing",
        "sbufkco",
        "permission ~ not right|sufficient|enough|granted|given",
        "no|insufficient|lacking permission",
        "not have ~ permission",
        "permission denied",
        rank=52,
    ),
    _rule(
        "permission",
        "permission_missing",
        "sbufkc",
        "not|missing|insufficient|require|no|inadequate|additional|incorrect ~~ permission|rights",
        "permission|rights ~~ denied|require|missing|violation|insufficient|error|not|failed|exception",
        "denied ~ permission",
        "not ~ permitted|entitled|privileged",
        "admin|owner ~ only|require|access|role|rights",
        "must|require ~ be|have|an|by ~ admin|owner|administrator",
        "not ~~ enough|sufficient ~ access|rights|authority",
        "insufficient ~ access|rights|authority|authorization",
        "apply ~ permission|access|authorization|auth|scope",
        rank=52,
    ),
    _rule(
        "role",
        "permission_missing",
        "sufkc",
        "not|missing|insufficient|require|must|no|inadequate|additional|incorrect|only ~~ role",
        "must|only ~~ permission|rights",
        "role ~~ denied|require|missing|violation|insufficient|error|not|failed|exception",
        "only ~ admin|owner|owners",
        rank=52,
    ),
    # Under 400 and 422 a role may be a field, and an admin one that is named in it.
    _rule(
        "role_no_field",
        "permission_missing",
        "bc",
        "must|require|not|insufficient|missing|incorrect|only ~ have|has|be|by|an|a|the|in|with|hold ~~ role",
        "insufficient|missing|incorrect|inadequate|require ~ role",
        "role ~ denied|require|missing|insufficient|not ~ allowed|authorized|permitted|access|sufficient|"
        "enough|read|view|see|list|use|perform|have",
        "role ~ denied|require|missing|insufficient",
        "only ~ admin|owner|owners ~ can|may|are|is|could|have",
        "only ~ by|for ~ admin|owner|owners",
        rank=52,
    ),
    _rule(
        "token_invalid",
        "token_invalid",
        "sbufkc",
        f"{_WRONG}|missing|expired ~ token|apikey|jwt|bearer",
        f"token|apikey|jwt|bearer ~~ {_WRONG}",
        "token|apikey|jwt|bearer ~~ not ~ valid|recognized|exist|exists|registered|correct|accepted|active|match|"
        "authorized|"
        "authenticated|"
        "verified|allowed|known|found",
        "token|apikey ~ missing|require|empty",
        "token|apikey ~ not supplied|provided|given|present|sent|specified|included",
        "token|apikey|credential ~~ different|another environment|account|tenant|region|organization|application|"
        "client|user",
        "no|not|missing|require ~ apikey|bearer|jwt",
        "no|missing|require|provide|supply ~ token",
        "could not ~ verify|validate|decode ~ token|jwt|apikey",
        "must use ~ apikey|token",
        "supply|provide|pass|include ~ apikey",
        "apikey|token must be ~ passed|provided|sent|supplied|included|present|specified",
        "apikey|token|key verification|check|validation failed|error",
        "error validating token",
        "invalid|incorrect|unknown|inactive integration|merchant|partner|private|secret|vendor key",
        rank=53,
        source="RFC 6750 section 3.1",
    ),
    _rule(
        "key_off",
        "account_disabled",
        "sbufc",
        "key ~ not active|enabled",
        "key ~ is|was|been ~ disabled|suspended|revoked|deleted|blocked|banned|terminated|restricted",
        rank=53,
    ),
    _rule(
        "key_fault",
        "token_invalid",
        "m",
        "invalid|incorrect|wrong|missing apikey|jwt",
        "apikey is|was ~ invalid|incorrect|missing|require|not ~ valid",
        rank=53,
        source="vendors that answer 500 to whatever a handler throws",
    ),
    _rule(
        "token_in_place_of_a_thing",
        "token_invalid",
        "n",
        "invalid|incorrect|wrong|unknown apikey|credential",
        "unknown|invalid|expired|revoked token",
        "apikey not found|exist|recognized",
        "no|not ~~ for ~ apikey|credential",
        "token|apikey|session ~ longer ~ valid|active",
        "please|must login",
        rank=53,
    ),
    _rule(
        "key_invalid",
        "token_invalid",
        "sufc",
        "invalid|incorrect|wrong|unknown|bad key",
        "key ~ not ~ exist|registered|recognized|known",
        "invalid|incorrect|wrong|unknown user|application|app|auth|session|security|activation|site key",
        "token|apikey|jwt error",
        "token|apikey|jwt is|was error",
        "key ~ invalid|incorrect",
        "key ~ not valid",
        "key ~ provided ~~ invalid|incorrect|not",
        "not ~ valid key",
        rank=53,
    ),
    _rule(
        "credentials",
        "credentials_invalid",
        "sbufkc",
        f"{_WRONG}|missing|no|not|require ~ credential|password|login|secret",
        f"credential|password|login|secret ~~ {_WRONG}|missing|failed|require|denied",
        "credential|password|login|secret|username ~~ not ~ valid|recognized|correct|accepted|match|"
        "verified|exist|found|be",
        "invalid|incorrect|unknown|bad username|clientid|passcode|authentication|authorization|auth",
        "clientid ~~ invalid|incorrect|unknown|not",
        "authorized error|failed",
        "failed login|authentication|authorization",
        "authenticated failed|error",
        "invalid|incorrect|unknown|inactive merchant ~ id|key|code|number|account|credential|password|.",
        "invalid|incorrect|wrong ~ username",
        "error authentication|authorization|auth|login",
        "missing|no|require|malformed|invalid|empty ~ authorization|authentication|auth header",
        "authorization|authentication|auth header ~~ missing|malformed|invalid|require|empty|not|must",
        "with|for ~ given|provided|supplied credential",
        "not|no ~~ matching ~ apikey|credential",
        "associated ~ token|apikey|credential ~~ not|longer|disabled|inactive",
        "certificate presented|provided|supplied ~ not|invalid|expired|untrusted",
        "error|failed ~ validating|verifying ~ token|apikey|jwt|credential",
        "not ~ validate|verify ~ user|credential|identity",
        "invalid|incorrect|bad account|user|client|api|customer authorization|authentication|auth",
        "authentication|authorization|auth|login ~ failed|error|require|denied|invalid|missing|rejected|challenge|"
        "incorrect|forbidden",
        "not|failed|could ~ authenticated|login",
        "not match ~ password|credential|records",
        "mot de passe|password ~~ invalid|incorrect|errone",
        "invalid appsecret|clientsecret",
        "not registered apikey|key",
        "sign in|information ~ incorrect|invalid",
        "user|username or password ~ error|invalid|incorrect",
        "security header ~ not|invalid|missing",
        "client certificate ~~ not|invalid|rejected|expired|untrusted",
        "invalid|unknown api user|account|client",
        "login first|again",
        "authentication credential",
        "unauthenticated",
        "not ~ log you in",
        "please|must|require|need ~ authenticated|login|reauthenticate|reauthorize|reconnect|relogin",
        "client authentication",
        rank=54,
        source="RFC 6749 section 5.2",
    ),
    _rule(
        "client_unknown",
        "client_invalid",
        "k",
        "unknown|invalid|incorrect client",
        "client ~ not ~ found|known|recognized|exist|registered",
        rank=54,
        source="RFC 6749 section 5.2",
    ),
    _rule(
        "grant_spent",
        "grant_invalid",
        "k",
        "invalid grant",
        "token|code ~ already|been ~ used|redeemed|consumed",
        rank=53,
        source="RFC 6749 section 5.2; RFC 9700 section 2.2.2",
    ),
    _rule(
        "no_token_given",
        "client_invalid",
        "kc",
        "failed|not ~ generate|issue|issued|obtain|get|retrieve|create ~ token",
        "code|token exchange ~ failed|invalid|rejected",
        rank=54,
        source="RFC 6749 section 5.2",
    ),
    _rule(
        "tenant_unknown",
        "tenant_unknown",
        "ukc",
        "tenant|subdomain|realm|instance|workspace|domain|organization ~ not|unknown|invalid ~",
        "unknown|invalid|no ~ tenant|subdomain|realm|workspace|domain|organization",
        rank=55,
    ),
    _rule(
        "unauthorized",
        "unauthorized",
        "sbukc",
        "unauthorized",
        "not ~ authorized",
        rank=56,
        source="RFC 9110 section 15.5.2",
    ),
    _rule(
        "access_denied",
        "permission_missing",
        "sbufkc",
        "access ~~ denied|forbidden|refused|restricted|prohibited|blocked|violation|disallowed",
        "denied ~ access",
        "access ~~ not granted",
        "no access",
        "not ~~ access ~ to|this|the|resource|permission|for|requested",
        "not ~ accessible",
        "not allowed ~ to|access|for ~ account|access|see|view|read|perform|use|resource|user|role|plan|organization",
        "not ~ access",
        "not ~ authorized",
        "forbidden",
        rank=57,
        source="RFC 9110 section 15.5.4",
    ),
    # The vendor's own faults.
    _rule(
        "maintenance",
        "maintenance",
        "sbvfc",
        "maintenance",
        "read only mode",
        "back soon|shortly|online",
        "scheduled downtime",
        "system upgrade",
        "being|currently ~ migrated|migrating|upgraded",
        "migration ~ progress|underway",
        rank=35,
    ),
    _rule(
        "serialization",
        "server_error",
        "sbv",
        "not serialize access",
        "serialization failed",
        rank=36,
        source="PostgreSQL, section 13.5",
    ),
    _rule(
        "maintenance_missing",
        "maintenance",
        "n",
        "under|undergoing|during|for maintenance",
        "maintenance ~ progress|mode",
        rank=35,
    ),
    _rule(
        "switched_off",
        "unavailable",
        "sbufn",
        "api|endpoint|site|website|platform|system|server ~ temporarily ~ disabled|unavailable|offline|closed|down|"
        "paused",
        "service ~ temporarily unavailable|offline|down",
        "authentication|authorization|identity|login|backend|upstream server|service|provider ~ unavailable|"
        "unreachable|down|offline",
        "authentication|authorization|identity|login|backend|upstream server|service|provider ~ not available|"
        "responding",
        "backend|upstream ~ not available|responding",
        "service ~ exceed|at capacity",
        rank=36,
    ),
    _rule(
        "overloaded",
        "overloaded",
        "sbvc",
        "overloaded",
        "server|system|service ~ busy|capacity",
        "high load|traffic|demand",
        "load issue|shedding",
        rank=60,
    ),
    _rule(
        "unavailable",
        "unavailable",
        "sbvkc",
        "service|server|temporarily|temporary|currently|backend|api|system ~ unavailable|unreachable|down|offline",
        "service|server|backend|api|system ~ not available|responding",
        "not currently responding|reachable",
        "server|host|service|backend ~~ not be reach|contacted",
        "temporarily ~ unavailable|down|disabled",
        "temporary|transient ~ failed|error|issue|problem|outage",
        "transient",
        "unavailable",
        rank=61,
    ),
    _rule(
        "server_error",
        "server_error",
        "sbvkc",
        "internal ~ error|failed|fault|exception|issue|problem",
        "internalerror",
        "server|system|backend|database|service|infrastructure|application error|failed|fault|exception|problem",
        "error ~ database|server|system|sql",
        "not ~ connect ~ database|server|backend",
        "database|backend|server ~ not reachable",
        "database connection ~ failed|error|lost|refused",
        "database access error",
        "backend ~ error|failed",
        "error reading|connecting|writing|querying ~ database",
        "fatal error",
        "server encountered",
        "node|replica|cluster|shard is|are ~ behind|unhealthy|lagging|syncing|resyncing",
        rank=62,
    ),
    _rule(
        "server_error_vague",
        "server_error",
        "svk",
        "unexpected ~ error|condition|exception|problem|failed|happened",
        "unknown ~ error|failed|exception",
        "something ~ wrong",
        "experiencing ~ problems|issues|difficulties|problem|outage|failed",
        "error ~ on our|server side|end",
        "unhandled|uncaught exception|error",
        "not return null for non nullable",
        "object reference not set",
        "error ~ occurred|occured .",
        "connection refused|pool|slots|aborted|closed|reset",
        "not ~ communicate|reach ~ database|server|backend|service",
        "null reference|pointer",
        "division|divide by zero",
        "undefined index|offset|property|method|function",
        "index out of range|bounds",
        "out of memory",
        "stack overflow",
        "call to ~ member function",
        "deadlock",
        "system|runtime|execution ~ error|exception",
        rank=63,
    ),
    _rule(
        "connections",
        "server_error",
        "svkc",
        "econnrefused|econnreset|etimedout|ehostunreach|enotfound|epipe",
        rank=63,
        source="errno.h, as runtimes name their errors",
    ),
    _rule(
        "vendor_timeout",
        "vendor_timeout",
        "sbvc",
        "timeout",
        "took too long",
        "too long to ~ complete|respond|process|execute",
        "deadline exceed",
        "not complete ~ in time",
        rank=64,
    ),
    _rule("gateway", "gateway", "sv", "gateway", "upstream", "origin ~ unreachable|error|down", rank=65),
    _rule(
        "try_later",
        "unavailable",
        "sk",
        "try|retry ~ again|request ~ later|shortly|moment",
        "please try|retry ~ later|again",
        rank=70,
    ),
    # Our own requests.
    _rule(
        "bad_query",
        "bad_query",
        "sbc",
        "not query field",
        "not exist on type",
        "unknown|invalid|undefined|unrecognized|nonexistent|nonexisting ~ field|column|attribute|argument|"
        "metric|metrics",
        "syntax error",
        "graphql ~ validation|parse|invalid",
        "variable ~ invalid|require|type",
        "query ~ invalid|malformed|syntax|complex|large",
        "invalid|bad|malformed ~ query|filter|expression",
        rank=80,
    ),
    _rule(
        "too_large",
        "too_large",
        "sbco",
        "too large|big|wide|long",
        "reduce ~ amount|size|range",
        "entity|payload|body|file|response|result|report ~ large|size|exceed",
        "size ~ limit|exceed",
        rank=81,
    ),
    _rule(
        "not_found",
        "not_found",
        "sbnc",
        "not ~ found|exist",
        "no such",
        "not find",
        "unknown|invalid ~ resource|object|endpoint|path|url|route|method",
        rank=82,
        source="RFC 9110 section 15.5.5",
    ),
    _rule(
        "unsupported",
        "unsupported",
        "sbnco",
        "not ~ support|supported|implemented|allowed",
        "unsupported|deprecated|retired|sunset",
        rank=83,
    ),
    _rule(
        "retired",
        "unsupported",
        "f",
        "version|endpoint|api|method ~ not|longer ~ supported",
        "version|endpoint|api|method ~ deprecated|retired|sunset|discontinued",
        rank=83,
    ),
    _rule(
        "busy_thing",
        "conflict",
        "sbf",
        "being|currently ~ updated|modified|edited|processed|used ~ another|other",
        "locked by another|other",
        rank=84,
    ),
    _rule(
        "conflict",
        "conflict",
        "sbco",
        "already ~ exists|exist|running|progress|processed|taken|used",
        "conflict|conflicts|conflicting",
        "duplicate",
        rank=84,
    ),
    _rule(
        "invalid_parameter",
        "invalid_parameter",
        "sbc",
        "invalid|missing|require|bad|incorrect|unacceptable|unknown|unrecognized ~ parameter|param|params|"
        "parameters|value|"
        "argument|input|request|format|date|id|type|range|data|body|property|attribute",
        "parameter|param|params|parameters|value|argument|input|field|date|id|request|body|property ~~ invalid|require|"
        "missing|must|not|bad|incorrect|malformed|cannot|too",
        "validation ~",
        "must be|not|have|contain",
        "cannot be",
        "bad request|input|value|data|parameter",
        "badrequest|badinput",
        "user input",
        "not acceptable",
        rank=85,
    ),
    _rule(
        "no_data",
        "no_data",
        "sn",
        "nothing found",
        "no ~ data|results|records|events|information|call|entries|items|activity|rows|matches|alerts|"
        "detections|findings "
        "~ found|available|exist|corresponding|matching|match|for|returned",
        "no ~ matching ~ data|results|records|events|entries|items",
        rank=79,
        source="common wording of APIs that answer an empty result with 404",
    ),
)
"""Every phrase rule. Ranks keep throttling before credentials, those before the vendor's faults, those before ours."""

INDEX: Final = PhraseIndex(PHRASES)
