"""Whether an XML document with a success status tells of a failure, by its root, its attributes and its first leaves.

Rows lie deeper and are not read. What this leaves open is weighed as a tree (`weighing`).
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from classifier.markup import Xml
from classifier.members import plain_name, words
from classifier.replies.complaints import complains_of, complains_of_code
from classifier.replies.wrapping import BAD_WORDS, BLAMED, NO_WRAPPERS, WELL, says_success

XML_CODES: Final = frozenset(
    {"code", "errorcode", "faultcode", "subcode", "value", "exceptioncode", "errno", "type", "status"}
    | {"responsecode", "statuscode", "httpstatus"}
)
XML_TEXTS: Final = words(
    "message msg err line text reason description detail title error faultstring errormessage errordescription "
    "exceptiontext statusmessage returnmsg string"
)
XML_TEXT_ENDS: Final = ("msg", "message", "error", "failure")
_XML_FLAGS: Final = words("status success result returncode responsecode ok")
_XML_FAILURES: Final = frozenset(
    {
        "error",
        "errors",
        "errorresponse",
        "fault",
        "exceptionreport",
        "serviceexceptionreport",
        "exception",
        "errordocument",
    }
)
XML_WRAPPERS: Final = words("response result xml reply api rsp")
_XML_BAD: Final = BAD_WORDS | {"false", "no", "n", "fault"}
_XML_ENDS: Final = words(
    "ack highestseverity issuccessful issuccesfull issuccess success succeeded errcount errorcount"
)
"""Leaves that tell in a word how the call ended, and stand among the first."""


def xml_fails(xml: Xml) -> bool:
    """Return whether a document tells of a failure; False leaves the matter open."""
    root = xml.root.lower()
    if root in _XML_FAILURES or (root == "rpc-reply" and "rpc-error" in xml.names):
        return True
    if root in {"envelope", "methodresponse"} and "fault" in xml.names:
        return True
    if _epp_fails(xml) or _cxml_fails(xml) or _attributes_fail(xml.attributes) or _is_not_valid(xml):
        return True
    if root in NO_WRAPPERS or root.removesuffix("s") in NO_WRAPPERS:
        return False
    if not xml.leaves:
        return any(name == "code" and complains_of_code(value) for name, value in xml.inner)
    return (root == "envelope" and _is_refused_in_number(xml)) or _leaves_fail(xml, root)


def _epp_fails(xml: Xml) -> bool:
    """Return whether a registry's answer tells of an error: RFC 5730 section 3, codes from 2000 on."""
    return xml.root.lower() == "epp" and any(
        name == "code" and value.isdecimal() and int(value) >= 2_000 for name, value in xml.inner
    )


def _cxml_fails(xml: Xml) -> bool:
    """Return whether a cXML response has a status of an error (cXML User's Guide, Status: HTTP's numbers)."""
    return xml.root.lower() == "cxml" and any(
        name == "code" and len(value) == 3 and value[0] in "45" for name, value in xml.inner
    )


def _is_not_valid(xml: Xml) -> bool:
    """Return whether a root says that what was sent is not valid, and a leaf complains (`<Request valid="0">`)."""
    is_told = xml.attributes.get("valid", "").lower() in {"0", "false"} and len(xml.leaves) <= 3
    return is_told and any(complains_of(value) for _name, value in xml.leaves)


def _is_refused_in_number(xml: Xml) -> bool:
    """Return whether a SOAP body holds an error's status of HTTP (`<ResponseCode>401</ResponseCode>`)."""
    return any(
        plain_name(name) in {"responsecode", "statuscode", "httpstatus"}
        and len(value) == 3
        and value.isdecimal()
        and value[0] in "45"
        for name, value in xml.leaves[:4]
    )


def _leaves_fail(xml: Xml, root: str) -> bool:
    """Return whether a document's first leaves, near its root, tell of a failure; those of rows lie deeper."""
    leaves = [(plain_name(name), value.lower()) for name, value in xml.leaves[:8]]
    name, value = leaves[0]
    near = 4 if root == "envelope" else 2 if name in _XML_ENDS or root.endswith("response") else 1
    is_told = any(
        other in XML_TEXTS or other.startswith(("err", "statusde")) or other.endswith(XML_TEXT_ENDS)
        for other, _value in leaves[1:5]
    )
    if name in _XML_FLAGS and value in _XML_BAD:
        return is_told and xml.depth <= near
    for name, value in leaves[:3]:
        if name in _XML_ENDS and (value in _XML_BAD or (name.endswith("count") and value.strip("0").isdecimal())):
            return xml.depth <= max(near, 2) and (is_told or "errors" in xml.names)
    return _errors_lead(xml, root, leaves)


def _errors_lead(xml: Xml, root: str, leaves: list[tuple[str, str]]) -> bool:
    """Return whether a short document begins with what only an error has, or is one that complains."""
    name, value = leaves[0]
    if len(xml.leaves) == 1 == xml.depth and name in _XML_ERROR_ALONE and not says_success(value):
        return root in XML_WRAPPERS
    if len(xml.leaves) <= 8 and (name in _XML_ERRORS or (name in _XML_ERROR_CODES and value.strip("0"))):
        return name in _XML_ERRORS or (len(leaves) > 1 and leaves[1][0] in _XML_ERRORS)
    if root in {"response", "result"} and "errors" in xml.names and "error" in xml.names:
        return name in XML_CODES | XML_TEXTS
    if any(other in _XML_FLAGS and said in WELL for other, said in leaves[:3]):
        return False
    if len(xml.leaves) <= 6 and _is_numbered_and_told(leaves):
        return True
    is_error = len(xml.leaves) <= 3 and any(name.endswith("error") and complains_of(value) for name, value in leaves)
    return is_error or (len(xml.leaves) <= 6 and xml.depth <= 1 and _reply_complains(leaves))


def _is_numbered_and_told(leaves: list[tuple[str, str]]) -> bool:
    """Return whether a response's number of three digits stands before its message, and that says what was wrong."""
    return any(
        name.endswith("responsecode")
        and value.isdecimal()
        and len(value) == 3
        and value[0] != "2"
        and other == f"{name.removesuffix('code')}message"
        and (BLAMED.search(said[:300]) is not None or complains_of(said))
        for (name, value), (other, said) in pairwise(leaves[:4])
    )


_XML_ERROR_ALONE: Final = words("error err fault errormessage errormsg")
_XML_ERRORS: Final = words("errmsg errormsg errormessage errortext")
_XML_ERROR_CODES: Final = words("errcode errorcode errorno errno")


def _attributes_fail(attributes: Mapping[str, str]) -> bool:
    """Return whether a root's attributes tell of a failure: `status="fail"`, `status="400"`, `errorCode="551"`."""
    said = {plain_name(name): value.strip().lower() for name, value in attributes.items()}
    status = said.get("status", "")
    if status in BAD_WORDS or said.get("stat", "") in BAD_WORDS:
        return True
    if len(status) == 3 and status.isdecimal() and status[0] in "45" and "statustext" in said:
        return True
    return bool(said.get("errorcode", "").strip("0")) and bool(said.get("errordescr") or said.get("errormessage"))


def _reply_complains(leaves: list[tuple[str, str]]) -> bool:
    """Return whether a short reply is a number and a sentence that complains (`<code>110</code><detail>…</detail>`)."""
    code, text = leaves[-2:] if len(leaves) > 1 else (("", ""), ("", ""))
    return (
        code[0] in {"code", "errorcode", "resultcode", "returncode"}
        and code[1].lstrip("-").isdecimal()
        and text[0] in {"detail", "message", "msg", "description", "text"}
        and complains_of(text[1])
    )
