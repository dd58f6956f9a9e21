"""Errors that stand alone under a success status: every member is an error's own, so no data can be meant.

As problem details (RFC 9457), SCIM errors (RFC 7644 section 3.12) and what frameworks write: a phrase of HTTP, a code
or a status above 399 beside a sentence, and nothing else but what says where and when.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from itertools import islice
from typing import Final

from classifier.codes import BY_CODE, squashed
from classifier.members import plain_name, words
from classifier.replies.wrapping import LIFE, is_empty, is_fine

_OF_AN_ERROR: Final = words(
    "status statuscode code type name error errors title detail details message msg description errordescription "
    "errormessage errormsg instance path timestamp traceid requestid correlationid debugid links documentationurl "
    "moreinfo helpurl docs service id canberetried detailederrorcode remediation hint context meta method url "
    "errorcode subcode invalidparams reason retryafter source level"
)
_SENTENCES: Final = words(
    "message msg detail details description error errordescription errormessage errormsg reason title"
)
_CODED: Final = words("code type name error errorcode reason status")
_PHRASED: Final = words("status title error name reason code type")
_OF_A_RECORD: Final = words("title name type")
"""What stands beside a description in whatever has one."""
_NUMBERED: Final = words("status statuscode code")
_PHRASES: Final = frozenset(
    {status.phrase.lower().replace(" ", "").replace("-", "") for status in HTTPStatus if status >= 400}
    | {"permissiondenied", "validationerror", "validationfailed", "accessdenied", "invalidrequest"}
)
_MADE_OF_WORDS: Final = re.compile(r"[a-z][A-Z]|[A-Za-z][_.-][A-Za-z]")
_ENDS_AS_ERROR: Final = re.compile(r"(?:[a-z](?:Error|Exception|Fault)|[A-Z]_ERROR|[a-z]_error|[A-Z]_EXCEPTION)\Z")
_SCIM_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_OF_FIELDS: Final = words("nonfielderrors invalidfields fieldvalidationerrors resourcevalidationerrors")
_MOST_MEMBERS: Final = 10
_LONGEST_CODE: Final = 80
_LEAST_TRACE: Final = 9
"""Digits of a number that may be a trace's."""


def is_error_alone(document: Mapping[str, object]) -> bool:
    """Return whether a document is an error and nothing else."""
    if not 0 < len(document) <= _MOST_MEMBERS:
        return False
    members = {plain_name(name): value for name, value in document.items() if not is_empty(value)}
    schemas = members.get("schemas")
    if isinstance(schemas, list) and _SCIM_ERROR in schemas[:3]:
        return True
    if not _OF_FIELDS.isdisjoint(members):
        return all(name in _OF_FIELDS or name.endswith(_REFERENCES) or name in _OF_AN_ERROR for name in members)
    if not members.keys() <= _OF_AN_ERROR or any(map(_has_rows, members.values())) or _is_a_things(members):
        return False
    told = [name for name, value in members.items() if name in _SENTENCES and isinstance(value, str) and " " in value]
    if any(is_fine(str(members[name])) for name in told):
        return False
    return any(_tells_of_failure(name, value, told) for name, value in members.items())


_REFERENCES: Final = ("reference", "id", "type", "resultcode")


def _is_a_things(members: Mapping[str, object]) -> bool:
    """Return whether an id counts things, or a status is one of a thing's life: an error's id is that of a trace."""
    status = members.get("status")
    counted = str(members.get("id", ""))
    return (counted.isdecimal() and len(counted) < _LEAST_TRACE) or (isinstance(status, str) and status.lower() in LIFE)


def _has_rows(value: object) -> bool:
    """Return whether a list holds what no error has beside it: links and parameters have names, rows have ids."""
    if not isinstance(value, list):
        return False
    return any(isinstance(entry, dict) and not {"id", "uuid"}.isdisjoint(entry) for entry in islice(value, 3))


def _tells_of_failure(name: str, value: object, told: list[str]) -> bool:
    """Return whether a member tells that the call failed, where another one says why."""
    others = [other for other in told if other != name]
    if not others:
        return False
    if isinstance(value, int) and not isinstance(value, bool):
        return name in _NUMBERED and 400 <= value < 600
    if not isinstance(value, str) or len(value) > _LONGEST_CODE:
        return False
    is_described = name in _OF_A_RECORD and others == ["description"]
    if name in _PHRASED and not is_described and "".join(filter(str.isalnum, value.lower())) in _PHRASES:
        return True
    return name in _CODED and " " not in value and _is_code_of_error(value)


def _is_code_of_error(code: str) -> bool:
    """Return whether a code ends as an error's does, or is a listed one that is made of more than one word."""
    if _ENDS_AS_ERROR.search(code) is not None:
        return True
    return _MADE_OF_WORDS.search(code) is not None and squashed(code) in BY_CODE
