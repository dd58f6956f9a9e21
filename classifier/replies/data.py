"""Whether a document plainly is data, so that nothing in it need be weighed."""

from collections.abc import Mapping
from itertools import islice
from typing import Final

from classifier.members import plain_name, words
from classifier.replies.names import Sort, is_head, sort_of
from classifier.replies.wrapping import LIFE, WELL


def is_data(document: Mapping[str, object]) -> bool:
    """Return whether a document plainly is data: a page of rows or one record, and nothing in it that blames.

    A call that somebody's product made is one, with an answer in it.
    """
    if "url" in document and isinstance(document.get("response"), dict):
        return True
    return _is_event(document) or _is_page_or_record(document)


def _is_event(document: Mapping[str, object]) -> bool:
    """Return whether a document tells who did what, from where: what came of it is no failure of the call."""
    names = {plain_name(name) for name in islice(document, 40)}
    return not (names.isdisjoint(_DEEDS) or names.isdisjoint(_DOERS))


_DEEDS: Final = words("action event eventtype eventname activity operation")
_DOERS: Final = words("ip ipaddress sourceip clientip user username useremail actor actorid principal")


def _is_page_or_record(document: Mapping[str, object]) -> bool:
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
            texts += is_head(name)
            others += 1
        else:
            others += sort is Sort.OTHER or sort is Sort.RECORD
    return rows > 0 or (others > 2 and not texts)


def _are_rows(value: list[object], sort: Sort) -> bool:
    """Return whether a list holds rows, rather than the parts of a batch's answer."""
    first = value[0]
    if not isinstance(first, dict) or ("file" in first and sort is Sort.ECHO):
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
