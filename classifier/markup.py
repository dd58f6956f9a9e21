"""Reads error documents in XML and HTML: names, texts, titles. Linear in a bounded head; never expands entities."""

import re
from dataclasses import dataclass
from html import unescape
from itertools import islice
from typing import Final

_HEAD: Final = 8_192
_PAGE_HEAD: Final = 4_096
_ROOT: Final = re.compile(r"<([A-Za-z_][\w.\-]*:)?([A-Za-z_][\w.\-]*)((?:\s[^<>]{0,1000})?)/?>")
_LEAF: Final = re.compile(
    r"<(?:[A-Za-z_][\w.\-]{0,60}:)?([A-Za-z_][\w.\-]{0,60})(?:\s[^<>]{0,500})?>([^<>]{1,1000})(?=<)"
)
_NAME: Final = re.compile(r"<(?:[A-Za-z_][\w.\-]{0,60}:)?([A-Za-z_][\w.\-]{0,60})")
_MOST_LEAVES: Final = 24
_CDATA: Final = re.compile(r"<!\[CDATA\[|\]\]>")
_ATTRIBUTE: Final = re.compile(r"([A-Za-z_][\w.\-:]{0,60})\s{0,5}=\s{0,5}(?:\"([^\"<>]{0,300})\"|'([^'<>]{0,300})')")
_ERROR_ELEMENT: Final = re.compile(
    r"<(?:[a-z_][\w.\-]{0,30}:)?(?:err|error|status|fault|rpc-error|result|exception|[a-z]{3,30}(?:failure|exception|error))"
    r"(\s[^<>]{1,500})>",
    re.IGNORECASE,
)
_HTML: Final = re.compile(r"<(?:!doctype html|html[\s>]|head[\s>]|body[\s>])", re.IGNORECASE)
_ENVELOPE: Final = re.compile(r"\s*(?:<\?xml[^<>]{0,200}>\s*)?<(?:[A-Za-z_][\w.\-]*:)?envelope[\s>]", re.IGNORECASE)
_HEADING: Final = re.compile(r"<(title|h1|h2|h3)(?:\s[^<>]{0,500})?>([^<>]{1,300})<", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]{0,1000}>")
_SCRIPT: Final = re.compile(r"<(script|style)\b", re.IGNORECASE)
_LOGIN_MARK: Final = re.compile(
    r"type\s{0,3}=\s{0,3}[\"']?password|name\s{0,3}=\s{0,3}[\"']?SAML(?:Request|Response)|"
    r"\blocation(?:\.href)?\s{0,3}=\s{0,3}[\"'][^\"'<>]{0,80}\b(?:log|sign)-?(?:in|on)\b|"
    r"<title(?:\s[^<>]{0,200})?>[^<>]{0,80}\b(?:sign|log)[\s\-]?(?:in|on)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Xml:
    """An XML document: its root's local name and attributes (names in lower case), its leaves in order.

    inner: attributes of error elements inside; names: local names of the first 24 elements, in lower case; depth: how
    many elements begin before the first leaf.
    """

    root: str
    attributes: dict[str, str]
    leaves: tuple[tuple[str, str], ...]
    inner: tuple[tuple[str, str], ...]
    names: frozenset[str]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Html:
    """An HTML page's title and headings, some of its plain text, and whether it asks for a login."""

    headings: tuple[str, ...]
    text: str
    asks_login: bool


def is_html(text: str) -> bool:
    """Return whether a text's beginning is a web page."""
    return _HTML.search(text, 0, 1_024) is not None and _ENVELOPE.match(text) is None


_FRAGMENT: Final = re.compile(
    r"\s{0,20}<(?:div|form|h[1-4]|center|article|section|main|span|p|table|style|script|link|meta|img|font|header|"
    r"noscript|title)[\s>]",
    re.IGNORECASE,
)
_LONGEST_NOTICE: Final = 600
_IN_TROUBLE: Final = re.compile(
    r"\bwe(?: are|'re) (?:currently |presently )?(?:having|experiencing) (?:some |technical |server ){0,2}"
    r"(?:issues|difficulties|problems)\b",
    re.IGNORECASE,
)
"""What a short notice in place of data says that no document does."""
_SIGN_IN: Final = re.compile(r"<input\s[^<>]{0,200}type\s{0,3}=\s{0,3}[\"']?password", re.IGNORECASE)
_AWAY: Final = re.compile(
    r"<(?:title|h1|h2)(?:\s[^<>]{0,200})?>[^<>]{0,80}\b(?:be (?:right )?back|back (?:soon|shortly)|"
    r"(?:under(?:going)?|down for|scheduled) maintenance|maintenance (?:mode|in progress)|temporarily unavailable|"
    r"bad gateway)\b",
    re.IGNORECASE,
)


def is_page_fragment(text: str) -> bool:
    """Return whether a text is a piece of a web page that asks for a login, or says that its site is away.

    Other pieces may be data: documents have sections and tables too.
    """
    if _FRAGMENT.match(text) is None:
        return False
    asks = "<form" in text[:_HEAD].lower() and _SIGN_IN.search(text, 0, _HEAD) is not None
    if asks or _AWAY.search(text, 0, _PAGE_HEAD) is not None:
        return True
    return len(text) <= _LONGEST_NOTICE and _IN_TROUBLE.search(text) is not None


def read_xml(text: str) -> Xml | None:
    """Return what a document's first 8 KiB say, None where no element begins it."""
    head = text[:_HEAD]
    start = 0
    while True:
        start = head.find("<", start)
        if start < 0:
            return None
        if head[start + 1 : start + 2] not in {"?", "!"}:
            break
        start += 1
    found = _ROOT.match(head, start)
    if found is None:
        return None
    if "<![CDATA[" in head:
        head = _CDATA.sub("", head)
    attributes = {
        name.lower(): unescape(double or single) for name, double, single in _ATTRIBUTE.findall(found.group(3) or "")
    }
    found_leaves = dict.fromkeys(leaf.groups() for leaf in islice(_LEAF.finditer(head), _MOST_LEAVES))
    leaves = tuple((name, unescape(value.strip())) for name, value in found_leaves if not value.isspace())
    inner = tuple(
        (name.lower(), unescape(double or single))
        for element in (islice(_ERROR_ELEMENT.finditer(head), 3) if "=" in head[found.start(2) :] else ())
        for name, double, single in _ATTRIBUTE.findall(element.group(1))
    )
    names = [found.group(1) for found in islice(_NAME.finditer(head), _MOST_LEAVES)]
    depth = names.index(leaves[0][0]) if leaves and leaves[0][0] in names else 0
    return Xml(found.group(2), attributes, leaves, inner, frozenset(name.lower() for name in names), depth)


_MARK: Final = re.compile(
    r"<(/?)(?:[A-Za-z_][\w.\-]{0,60}:)?([A-Za-z_][\w.\-]{0,60})((?:\s[^<>]{0,1000})?)>|<[!?][^<>]{0,1000}>"
)
_MOST_MARKS: Final = 160


def read_tree(text: str) -> dict[str, object] | None:
    """Return an XML document as JSON would hold it: attributes and elements as members, repeated ones as lists.

    The content of its root; a SOAP envelope's is that of its body. None where it has more than 80 elements, does not
    end within 8 KiB or is no document.
    """
    if len(text) > _HEAD:
        return None
    if "<![CDATA[" in text:
        text = _CDATA.sub("", text)
    nodes: list[tuple[str, dict[str, object]]] = [("", {})]
    end = marks = 0
    for mark in _MARK.finditer(text):
        closes, name, attributes = mark.group(1, 2, 3)
        content = text[end : mark.start()].strip()
        end = mark.end()
        if content and len(nodes) > 1:
            nodes[-1][1]["text"] = unescape(content[:1_000])
        if name is None:
            continue
        marks += 1
        if marks > _MOST_MARKS:
            return None
        if not closes:
            nodes.append((name, _members(attributes)))
        if (closes and len(nodes) > 1 and nodes[-1][0] == name) or (not closes and attributes.endswith("/")):
            _close(nodes)
    return _content(nodes[0][1]) if len(nodes) == 1 else None


def _content(whole: dict[str, object]) -> dict[str, object] | None:
    """Return what a document's root holds; of a SOAP envelope its body; of leaves without a root these."""
    if len(whole) != 1:
        return whole if len(whole) <= 6 and all(isinstance(value, str) for value in whole.values()) else None
    ((root, inner),) = whole.items()
    body = inner.get("Body") if isinstance(inner, dict) and root.lower() == "envelope" else None
    if isinstance(body, dict):
        return body
    return inner if isinstance(inner, dict) and root.lower() != "envelope" else whole


def _members(attributes: str) -> dict[str, object]:
    if not attributes or attributes == "/":
        return {}
    return {
        name: unescape(double or single)
        for name, double, single in _ATTRIBUTE.findall(attributes)
        if not name.startswith(("xmlns", "xsi:", "xml:"))
    }


def _close(nodes: list[tuple[str, dict[str, object]]]) -> None:
    """Put the innermost element into the one around it."""
    name, members = nodes.pop()
    value: object = members.get("text", "") if members.keys() <= {"text"} else members
    outer = nodes[-1][1]
    if name not in outer:
        outer[name] = value
        return
    before = outer[name]
    if isinstance(before, list):
        before.append(value)
    else:
        outer[name] = [before, value]


def read_html(text: str, *, wants_text: bool = True) -> Html:
    """Return what a page's beginning says: its headings and words within 4 KiB, whether it asks for a login within 8.

    wants_text: False where its headings suffice, if it has any; whether it asks for a login is then not looked for.
    """
    head = text[:_PAGE_HEAD]
    headings = tuple(unescape(value.strip()) for _tag, value in _HEADING.findall(head)[:6] if value.strip())
    if headings and not wants_text:
        return Html(headings, "", asks_login=False)
    script = _SCRIPT.search(head)
    plain = " ".join(unescape(_TAG.sub(" ", head[: script.start()] if script is not None else head)).split())[:600]
    return Html(headings, plain, wants_text and _LOGIN_MARK.search(text, 0, _HEAD) is not None)
