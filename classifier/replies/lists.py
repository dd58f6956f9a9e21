"""Lists that are no rows: an error alone, in place of rows or of a page, or messages of a grave kind."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from classifier.members import Collector, Said, plain_name, words
from classifier.replies.complaints import complains_of
from classifier.replies.names import ABOUT_THE_CALL, TELLING_SORTS, Sort, sort_of
from classifier.replies.weighing import Weighing
from classifier.replies.wrapping import BAD_WORDS, BLAMED, is_empty


def error_alone(entries: list[object]) -> Said | None:
    """Return what a list of one entry says that is an error and nothing else (`[{"errorCode": …, "message": …}]`)."""
    if len(entries) != 1 or not isinstance(entries[0], dict):
        return None
    entry = entries[0]
    if "jsonrpc" in entry and entry.get("error"):
        entry = {name: value for name, value in entry.items() if name != "id"}
    if not all(is_empty(value) or _is_of_an_error(name, value) for name, value in islice(entry.items(), 20)):
        return None
    is_named_so = any(sort_of(name) in _NAMED_AFTER_ERRORS for name in islice(entry, 10))
    weighing = Weighing()
    weighing.walk(entry, 1, in_fault=is_named_so)
    if is_named_so:
        has_sentence = any(" " in text for text in weighing.said.texts)
        return weighing.said if has_sentence or weighing.complaints else None
    # A code and a sentence may be a row of codes: so both must complain, and a number does not.
    is_told = weighing.complaints > 1 and weighing.texts > 0 and not weighing.hard_proofs
    is_ended = weighing.proofs > 0 and weighing.fails and (weighing.complaints > 0 or weighing.hard_proofs > 0)
    return weighing.said if (is_told or is_ended) and len(entry) == 2 else None


def _is_of_an_error(name: str, value: object) -> bool:
    sort = sort_of(name)
    if sort is Sort.ECHO:
        return isinstance(value, str) and plain_name(name) not in _WHEN
    if isinstance(value, (dict, list)):
        return sort is Sort.FAULT
    return sort in ABOUT_THE_CALL


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
    if plain_name(name) == "message" and isinstance(entries, list) and len(entries) == 1:
        told = _keyed_message(entries[0])
        if told is not None:
            return told
    if plain_name(name) not in _MESSAGES or not isinstance(entries, list) or not 1 <= len(entries) <= 3:
        return None
    said = Said()
    collector = Collector(said)
    for entry in entries:
        if not isinstance(entry, dict) or not _is_grave(entry):
            return None
        collector.into(entry)
    return said if said.texts else None


def _keyed_message(entry: object) -> Said | None:
    """Return what the only message says that has a number, a key and a value, where it tells what was wrong."""
    if not isinstance(entry, dict) or not 2 <= len(entry) <= 4 or not entry.keys() <= _OF_A_KEYED:
        return None
    texts = [value for name, value in entry.items() if name in {"key", "value"} and isinstance(value, str)]
    if len(texts) != 2 or not any(BLAMED.search(text[:300]) is not None or complains_of(text) for text in texts):
        return None
    return Said(codes=[str(entry["id"])[:40]] if "id" in entry else [], texts=texts)


_OF_A_KEYED: Final = words("id key value lang")


def _is_grave(entry: Mapping[str, object]) -> bool:
    kinds = 0
    for name, value in islice(entry.items(), 12):
        plain = plain_name(name)
        if plain in _KINDS:
            if not isinstance(value, str) or value.lower() not in _GRAVE:
                return False
            kinds += 1
        elif not is_empty(value):
            is_of_it = sort_of(name) in TELLING_SORTS or plain in {"code", "source"}
            if not is_of_it or not isinstance(value, (str, int)):
                return False
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


_CODED_ERROR: Final = re.compile(r"ERR(?:OR)?_[A-Z0-9_]{3,60}\Z")


def complaint_of(entries: list[object]) -> list[str] | None:
    """Return the sentences of a list that is an error and nothing else.

    `["error", 10100, "apikey: invalid"]`, `["ERROR_APP_TOKEN_PARAMETERS_MISSING", "missing parameter app_token"]`.
    """
    if not 2 <= len(entries) <= 4 or not isinstance(entries[0], str):
        return None
    if any(isinstance(entry, (dict, list)) for entry in entries):
        return None
    if _CODED_ERROR.match(entries[0]) is not None:
        return [entry for entry in entries if isinstance(entry, str)]
    if entries[0].lower() not in BAD_WORDS:
        return None
    if not any(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries):
        return None
    return [entry for entry in entries[1:] if isinstance(entry, str) and entry] or None
