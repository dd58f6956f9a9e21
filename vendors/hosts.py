"""Which references of a URL as a definition writes it (`https://${settings.tenant}/v2`) decide where calls go."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_REFERENCE: Final = re.compile(r"\$\{\s*(?P<path>[A-Za-z_][\w.-]*)[^}]*\}")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReference:
    """One reference in a URL's authority. suffix: literal text of the host right after it; is_port: after a colon."""

    path: str
    suffix: str
    is_port: bool


@lru_cache(maxsize=4096)  # asked at every run, of what definitions say
def authority_references(text: str) -> tuple[HostReference, ...]:
    """Return the references in the authority of a URL: of the whole text, where it starts with a reference."""
    scheme = re.match(r"https?://", text)
    if scheme is None and not text.startswith("${"):
        return ()
    start = scheme.end() if scheme else 0
    marked = _REFERENCE.sub(lambda found: "\0" * len(found[0]), text)  # a slash inside ${…} ends no authority
    end = re.compile(r"[/?#]").search(marked, start)
    authority = text[start : end.start() if end else len(text)]
    found = []
    for match in _REFERENCE.finditer(authority):
        suffix = re.split(r"[:$]", authority[match.end() :], maxsplit=1)[0]
        is_port = authority[: match.start()].endswith(":")
        found.append(HostReference(path=match["path"], suffix=suffix, is_port=is_port))
    return tuple(found)


def is_loopback(text: str) -> bool:
    """Whether a URL as written names this machine itself, whatever its port."""
    return re.match(r"https?://(127\.0\.0\.1|localhost|\[::1\])(?=[:/]|$)", text) is not None


def clean_host(typed: str) -> str | None:
    """Return a host or label as it goes into a URL, in lower case, or None where it is not one.

    A scheme, a path and a dot at the end, which people paste along, are cut off; a user, a port, blanks and everything
    else that a host cannot hold are refused.
    """
    text = re.sub(r"^[a-z][a-z0-9+.-]*://", "", typed.strip().lower())
    text = re.split(r"[/?#]", text, maxsplit=1)[0].rstrip(".")
    return text if len(text) <= 253 and _HOST.fullmatch(text) else None
