"""Whether an answer that is nothing but wrapping says in words that the call failed.

Only words on credentials, throttling and the vendor's own faults count: a sentence may be about anything else.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

from classifier.folding import words_of, words_of_code
from classifier.members import plain_name, role_of, words
from classifier.phrases import INDEX, VAGUE_RANKS, Where
from classifier.reasons import REASONS
from classifier.replies.wrapping import (
    BAD_WORDS,
    CLAIMS,
    COMPLAINING,
    GRANTS,
    MAY_BE_ANYTHING,
    NO_TEXT_ENDS,
    NUMBER_FLAGS,
    TELLING,
    Top,
    is_empty,
    is_wrapping,
    texts_in,
)
from classifier.vocabulary import HealthName

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spaced(code: str) -> str:
    """Return a code as the words that it is made of."""
    return _CAMEL.sub(" ", code).replace("_", " ").replace("-", " ").replace(".", " ")


_ABOUT_THE_CALL: Final = frozenset(
    {HealthName.UNAUTHORIZED, HealthName.RATE_LIMIT_EXCEEDED, HealthName.VENDOR_SERVER_ERROR}
)
_RESULT_CODES: Final = NUMBER_FLAGS - {"code", "status"}
_LONGEST_COMPLAINT: Final = 300


@lru_cache(maxsize=1024)
def complains_of(text: str) -> bool:
    """Return whether a sentence, or a code's words, speak of credentials, throttling or the vendor's own fault."""
    if len(text) > _LONGEST_COMPLAINT:
        return False
    hit = INDEX.find(words_of(text if " " in text else spaced(text)), Where.BODY)
    return hit is not None and REASONS[hit.rule.reason].name in _ABOUT_THE_CALL


def complains_exactly(text: str) -> bool:
    """Return whether a sentence complains in exact words: `forbidden` may be a title, `invalid session` is none."""
    if len(text) > _LONGEST_COMPLAINT:
        return False
    hit = INDEX.find(words_of(text), Where.BODY)
    return hit is not None and REASONS[hit.rule.reason].name in _ABOUT_THE_CALL and hit.rule.rank not in VAGUE_RANKS


@lru_cache(maxsize=1024)
def complains_of_code(code: str) -> bool:
    """Return whether a code's words do: as `complains_of`, with what only codes say (`no-access`)."""
    hit = INDEX.find(words_of_code(code), Where.CODE)
    return hit is not None and REASONS[hit.rule.reason].name in _ABOUT_THE_CALL


def complains(top: Top, *, claims: bool = True) -> bool:
    """Return whether an answer without data, that is nothing but wrapping, says in words that the call failed.

    Only words on credentials, throttling and the vendor's own faults count. claims: ask besides for a member that tells
    how the call went (a code, a status), so that a record with a sentence is not taken for one.
    """
    if top.has_data or top.is_record or top.says_ok:
        return False
    claimed = not claims
    for name, value in top.members.items():
        if is_empty(value) and not isinstance(value, int):
            continue
        if _claims_failure(name, value):
            claimed = True
        elif claims and not is_empty(value) and not is_wrapping(name):
            return False
    if not claimed:
        return False
    if any(isinstance(top.members.get(name), list) and _has_rows(top.members[name]) for name in _MAY_HOLD_ROWS):
        return False
    is_coded = any(name in _RESULT_CODES and not is_empty(value) for name, value in top.members.items())
    return any(
        complains_of(text)
        for name, value in top.members.items()
        if name in COMPLAINING or name.endswith(NO_TEXT_ENDS) or (is_coded and name == "description")
        for text in texts_in(value)
    )


_GRADES: Final = ("level", "loglevel", "severity")
"""How grave a line of a log is, which is no end of a call."""
_MAY_HOLD_ROWS: Final = ("messages", "message")


def _is_of_a_reply(name: str) -> bool:
    plain = plain_name(name)
    return is_wrapping(plain) and plain not in {"id", "name", "title"}


def _has_rows(value: object) -> bool:
    """Return whether a list holds objects with members that no reply has."""
    return isinstance(value, list) and any(
        isinstance(part, dict) and not all(map(_is_of_a_reply, part)) for part in value[:5]
    )


def _claims_failure(name: str, value: object) -> bool:
    """Return whether a member tells how the call went, or could."""
    if name in CLAIMS or name.endswith(("code", "status")) or (name in GRANTS and value is False):
        return True
    if name in {"message", "messages"} and isinstance(value, list):
        return any(
            isinstance(part, dict)
            and any(plain_name(key).startswith("error") for key in part)
            and all(map(_is_of_a_reply, part))
            for part in value
        )
    if name in {"type", "objecttype"} and value in range(400, 600):
        return True
    return isinstance(value, str) and value.lower() in BAD_WORDS and name not in _GRADES


LONGEST_SENTENCE: Final = 240
"""Characters of a sentence that is the whole of a body and may tell of a failure."""
_REPLY_ENDS: Final = ("status", "result", "response", "return")
_BESIDE: Final = words("documentationurl docs helpurl moreinfo requestid traceid correlationid")


def only_sentence(document: Mapping[str, object]) -> str | None:
    """Return the sentence of a body that is nothing but one short sentence (`{"message": "Unauthorized"}`)."""
    members = [(name, value) for name, value in islice(document.items(), 4) if plain_name(name) not in _BESIDE]
    if len(members) != 1 or len(document) > 3:
        return None
    ((name, value),) = members
    plain = plain_name(name)
    if isinstance(value, dict) and plain.endswith(_REPLY_ENDS):
        return only_sentence(value)
    telling = (role_of(name) in TELLING and plain not in MAY_BE_ANYTHING) or plain.endswith(_REPLY_ENDS)
    if telling and isinstance(value, str) and len(value) <= LONGEST_SENTENCE:
        return value if " " in value else spaced(value)
    return None
