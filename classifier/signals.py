"""What an answer's codes, words and headers say, asked once each: the findings that the stages of a judgement weigh."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from classifier.codes import BY_CODE, CodeRule, squashed
from classifier.folding import words_of, words_of_code
from classifier.members import MOST_CODES, MOST_TEXTS
from classifier.phrases import INDEX, PhraseHit, Where, where_of_status
from classifier.reading import Reading
from classifier.reasons import REASONS
from classifier.vocabulary import HealthName, Phase

_LONGEST_SPELLED: Final = 32
"""A text this short may be a listed code in words: `Invalid key` is `invalid_key`."""
_MOST_WORDS: Final = 80
"""Words of all texts together: what is to be said of an error is said by then, and a hostile answer costs no more."""

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
_DENIED_MAY: Final = frozenset({"clock", "wrong_client"})
"""Reasons of ours that a code may give to a 401, 402 or 403."""


@dataclass(frozen=True, slots=True)
class CodeHit:
    """A code rule that was met, and the code that met it."""

    rule: CodeRule
    code: str


class _Unasked(Enum):
    """The place of a finding that was not asked for yet: None is an answer too."""

    YET = "yet"


_YET: Final = _Unasked.YET
_PLACE: Final[Mapping[str, int]] = MappingProxyType(
    {rule.id: place for place, rule in enumerate(dict.fromkeys(BY_CODE.values()))}
)


def where_of(reading: Reading) -> Where:
    """Return where an answer's words were met."""
    status = reading.status
    if status < 300:
        return Where.BODY
    if (reading.exchange.status or 0) < 300 and status not in _EXACT:
        # It stands in the body of a success, so it is the vendor's own number: what the words say there counts too.
        return _MISSING_INSIDE if status in {404, 410} else _FAULT_INSIDE if status >= 500 else _BAD_INSIDE
    where = where_of_status(status)
    if status == 500 and not _is_uncaught(reading):  # what gateways answer, they say of themselves
        return _FAULT_AND_MEANT
    return _OF_A_TOKEN.get(where, where) if reading.exchange.phase is Phase.TOKEN else where


def _is_uncaught(reading: Reading) -> bool:
    """Return whether an answer repeats its status' own phrase, as frameworks write it for what nobody caught.

    What is said beside it then is an exception's text, and not what the vendor means to say.
    """
    return any(squashed(said) in _INTERNAL for said in (*reading.codes[:4], *reading.texts[:4]))


_INTERNAL: Final = frozenset({squashed("Internal Server Error"), squashed("Internal Error")})
_EXACT: Final = frozenset({401, 402, 403, 429})
_FAULT_AND_MEANT: Final = Where.FAULT | Where.MEANT
_MAY_BE_SPELLED: Final[Mapping[Where, int]] = MappingProxyType({Where.BAD: 1, Where.PLAIN: 1, _FAULT_AND_MEANT: 3})
"""Where a status says so little that a sentence which is a listed code in words says more: beside how many others."""
# Made once: to join flags takes longer than all the rest here.
_MISSING_INSIDE: Final = Where.MISSING | Where.BODY
_FAULT_INSIDE: Final = Where.FAULT | Where.BODY
_BAD_INSIDE: Final = Where.BAD | Where.BODY
_OF_A_TOKEN: Final[Mapping[Where, Where]] = MappingProxyType(
    {Where.BAD: Where.BAD | Where.TOKEN, Where.MISSING: Where.MISSING | Where.TOKEN}
)


def may_decide(reason: str, status: int) -> bool:
    """Return whether a code with this meaning may overrule an answer's status."""
    name = REASONS[reason].name
    if status < 300 or name is HealthName.RATE_LIMIT_EXCEEDED:
        return True
    if status >= 500:
        return name in {HealthName.VENDOR_SERVER_ERROR, HealthName.UNAUTHORIZED}
    if status in {401, 402, 403}:
        return name is HealthName.UNAUTHORIZED or reason in _DENIED_MAY
    if status in {404, 410}:
        return name is not HealthName.VENDOR_SERVER_ERROR
    return status != 429


def _key(code: str) -> str:
    """Return what a code is listed under; of a dotted one (`Throttling.User`, `Client.AuthFailure`) its listed part."""
    key = squashed(code)
    if key in BY_CODE or "." not in code:
        return key
    parts = (squashed(part) for part in code.split(".", 4)[:4])
    return next((part for part in parts if len(part) > 8 and part in BY_CODE and not BY_CODE[part].weak), key)


def listed_in_words(text: str) -> CodeRule | None:
    """Return the rule of the listed code on credentials that a short text is, in words; None where it is none."""
    rule = BY_CODE.get(squashed(text)) if len(text) <= _LONGEST_SPELLED else None
    if rule is None or rule.weak or REASONS[rule.reason].name is not HealthName.UNAUTHORIZED:
        return None
    return rule


class Signals:
    """An answer's findings. Each is looked for when it is first asked for, and kept."""

    __slots__ = ("_code_words", "_keys", "_strong", "_weak", "_without", "_words", "reading", "where")

    def __init__(self, reading: Reading, without: frozenset[str] = frozenset()) -> None:
        """without: ids of rules on codes that do not hold here."""
        self.reading = reading
        self._without = without
        self.where = where_of(reading)
        self._keys = [(_key(code), code) for code in reading.codes[:MOST_CODES]]
        if len(reading.texts) <= _MAY_BE_SPELLED.get(self.where, 0):
            self._keys.extend((squashed(text), text) for text in reading.texts if listed_in_words(text) is not None)
        self._strong: CodeHit | _Unasked | None = _YET
        self._weak: CodeHit | _Unasked | None = _YET
        self._code_words: PhraseHit | _Unasked | None = _YET
        self._words: PhraseHit | _Unasked | None = _YET

    def _listed(self, *, weak: bool) -> CodeHit | None:
        best: CodeHit | None = None
        best_place = (99, 0)
        status = self.reading.status
        for key, code in self._keys:
            rule = BY_CODE.get(key)
            if rule is None or rule.weak is not weak or not may_decide(rule.reason, status):
                continue
            if rule.id in self._without:
                continue
            place = (_ORDER[REASONS[rule.reason].name], _PLACE[rule.id])
            if place < best_place:
                best, best_place = CodeHit(rule, code), place
        return best

    @property
    def strong_code(self) -> CodeHit | None:
        """The listed code that decides: throttling before credentials, those before the rest."""
        if self._strong is _YET:
            self._strong = self._listed(weak=False)
        return self._strong

    @property
    def weak_code(self) -> CodeHit | None:
        """The listed code that says no more than a status."""
        if self._weak is _YET:
            self._weak = self._listed(weak=True)
        return self._weak

    @property
    def code_words(self) -> PhraseHit | None:
        """What codes that are not listed say, read as words."""
        if self._code_words is _YET:
            self._code_words = self._read_codes()
        return self._code_words

    def _read_codes(self) -> PhraseHit | None:
        best: PhraseHit | None = None
        status = self.reading.status
        for key, code in self._keys:
            listed = BY_CODE.get(key)
            if key.isdecimal() or (listed is not None and listed.id not in self._without):
                continue
            hit = INDEX.find(words_of_code(code), Where.CODE, self.where)
            if hit is None or not may_decide(hit.rule.reason, status):
                continue
            if best is None or hit.place < best.place:
                best = hit
        return best

    @property
    def words(self) -> PhraseHit | None:
        """What the sentences say."""
        if self._words is _YET:
            self._words = self._read_texts()
        return self._words

    def _read_texts(self) -> PhraseHit | None:
        best: PhraseHit | None = None
        left = _MOST_WORDS
        for text in self.reading.texts[:MOST_TEXTS]:
            words = words_of(text)[:left]
            left -= len(words)
            hit = INDEX.find(words, self.where)
            if hit is not None and (best is None or hit.place < best.place):
                best, self.reading.telling = hit, text
            if left <= 0:
                break
        return best


def nothing_remaining(headers: Mapping[str, str]) -> str | None:
    """Return the name of the header that says that a rate limit is spent, None where none does."""
    for name, value in headers.items():
        if "remaining" in name and ("limit" in name or "quota" in name):
            if value.split(",", 1)[0].split(";", 1)[0].strip() in {"0", "0.0"}:
                return name
        elif name == "ratelimit" and (";r=0;" in f"{value};" or "remaining=0" in value.replace(" ", "")):
            return name
    return None
