"""From page to page: what the next request carries, and when there is none. Knows nothing of what records mean.

Pages end where the vendor says so: no token, a has-more flag that is false, a total that is reached; else at an empty
page; at a short page only where the definition asks for that. A page that comes a second time, or a token that was used
before, is an error: such pages would never end, or would end with records missing.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from vendors.definition import Pagination, PaginationType, Place, Target
from vendors.errors import PaginationError
from vendors.paths import MISSING, Getter, compile_path
from vendors.requests_made import Draft
from vendors.wire import Answer

EMPTY_PAGES_FOLLOWED: Final = 10
"""Where each empty page brings yet another token: after so many in a row there is nothing more to come."""

SMALLEST_CUT: Final = 10
"""No vendor is known to cut pages below this size, whatever it was asked for."""

_TOKENS_REMEMBERED: Final = 16_384
_TARGETS: Final = {
    PaginationType.SCIM: Target(place=Place.QUERY, name="startIndex"),
    PaginationType.NEXT_URL: Target(place=Place.URL),
    PaginationType.LINK_HEADER: Target(place=Place.URL),
}
_COUNTERS: Final = frozenset({PaginationType.PAGE, PaginationType.OFFSET, PaginationType.SCIM})
_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+\s*(?:=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\",;]*))?)*)")
_LINK_PARAMETER: Final = re.compile(r";\s*([^\s=;,]+)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\",;]*)))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSeen:
    """What the pager needs to know of a page that was read.

    document: MISSING where the answer had no content; outer: the records as the vendor counts them, before any filter;
    last: the last of them; ids: of those that were kept.
    """

    answer: Answer
    document: object
    outer: int
    last: object
    ids: list[str]


@dataclass(slots=True)
class PageSizes:
    """What a data type's pages so far have shown of the vendor's own limit on page size. Shared by all its parts."""

    largest: int = 0
    honoured: bool = False

    def is_end(self, count: int, asked: int) -> bool:
        """Whether a page of `count` records, where `asked` were asked for, must be the last one.

        A vendor may silently cut the size, and then every page looks short. So a short page ends only where a larger
        one was seen before, or where it is too short to be cut.
        """
        if count >= asked:
            self.honoured, self.largest = True, max(self.largest, count)
            return False
        is_end = self.honoured or count < max(self.largest, SMALLEST_CUT)
        self.largest = max(self.largest, count)
        return is_end


class TokenMemory:
    """Remembers what was asked for. Bounded: the last tokens, and one older mark that catches longer circles."""

    def __init__(self, size: int = _TOKENS_REMEMBERED) -> None:
        self._size = size
        self._recent: dict[bytes, None] = {}
        self._mark = b""
        self._count, self._next_mark = 0, 1

    def has_seen(self, token: str) -> bool:
        """Say whether the token was seen before, and remember it."""
        digest = hashlib.blake2b(token.encode(), digest_size=8).digest()
        if digest in self._recent or digest == self._mark:
            return True
        self._recent[digest] = None
        if len(self._recent) > self._size:
            del self._recent[next(iter(self._recent))]
        self._count += 1
        if self._count == self._next_mark:  # Brent: a mark at each power of two meets any circle sooner or later
            self._mark, self._next_mark = digest, self._next_mark * 2
        return False


class Pager:
    """Walks the pages of one part. Alternately: `prepare` a draft, then `advance` with what came of it."""

    def __init__(
        self, spec: Pagination, *, endpoint: str, is_home: Callable[[str], bool], sizes: PageSizes | None = None
    ) -> None:
        self._spec, self._endpoint, self._is_home = spec, endpoint, is_home
        self._sizes = sizes if sizes is not None else PageSizes()
        self._target = spec.token or _TARGETS.get(spec.type)
        self._token_from = _token_reader(spec)
        self._more = None if spec.more is None else compile_path(spec.more)
        self._last = None if spec.last is None else compile_path(spec.last)
        self._total = _total_reader(spec)
        self._counter = max(spec.start, 1) if spec.type is PaginationType.SCIM else spec.start
        self._token: object = self._counter if spec.type in _COUNTERS and spec.first_sent else None
        self._url: str | None = None
        self._requested = ""
        self._memory = TokenMemory()
        self._received = 0
        self._known_total: int | None = None
        self._empty_pages = 0
        self._ids: list[str] = []
        self.is_certain = True
        """False where the end was not said, but taken for granted after many empty pages."""

    def prepare(self, draft: Draft) -> None:
        """Make a draft ask for the page that comes now."""
        if self._url is not None:
            draft.go_to(self._url)
        else:
            if self._spec.size is not None and self._spec.size_value is not None:
                draft.put(self._spec.size, self._spec.size_value)
            if self._token is not None and self._target is not None:
                draft.put(self._target, self._token)
            if self._is_by_url:
                self._requested = _identity(_url_and_query(draft.url)[0], draft.query)
                self._memory.has_seen(self._requested)

    def advance(self, page: PageSeen) -> bool:
        """Take note of a page and say whether another is to be asked for. Raises PaginationError."""
        self._refuse_repetition(page.ids)
        self._received += page.outer
        self._empty_pages = 0 if page.outer else self._empty_pages + 1
        if self._spec.type is PaginationType.NONE or page.document is MISSING:
            return False
        more = self._says_more(page.document)
        if more is False or (more is None and self._is_total_reached(page)):
            return False
        if self._spec.type in _COUNTERS:
            return self._count_on(page, more=more)
        if self._spec.type is PaginationType.LAST_RECORD:
            return self._follow_record(page, more=more)
        return self._follow_token(page, more=more)

    @property
    def _is_by_url(self) -> bool:
        return self._target is not None and self._target.place is Place.URL

    # ---- what all kinds share

    def _refuse_repetition(self, ids: list[str]) -> None:
        if ids and ids == self._ids:
            raise PaginationError(
                self._endpoint,
                f"a page of {len(ids)} records came twice in a row: what asks for the next one is not heeded",
            )
        self._ids = ids

    def _says_more(self, document: object) -> bool | None:
        if self._more is not None:
            return self._flag(self._more(document), self._spec.more or "")
        if self._last is not None:
            return not self._flag(self._last(document), self._spec.last or "")
        return None

    def _flag(self, value: object, path: str) -> bool:
        if value is MISSING:
            raise PaginationError(self._endpoint, f"the answer has no {path}, which says whether more pages follow")
        return value.strip().lower() not in ("", "false", "0", "no") if isinstance(value, str) else bool(value)

    def _is_total_reached(self, page: PageSeen) -> bool:
        if self._total is None:
            return False
        total = _whole_number(self._total(page.document))
        if total is None and self._known_total is None and page.outer and self._spec.total is not None:
            raise PaginationError(
                self._endpoint, f"the answer has no number at {self._spec.total}, the total to stop at"
            )
        self._known_total = self._known_total if total is None else total
        return self._known_total is not None and self._received >= self._known_total

    def _is_short_end(self, page: PageSeen) -> bool:
        spec = self._spec
        return (
            spec.stop == "short_page"
            and spec.size is not None
            and spec.size_value is not None
            and self._sizes.is_end(page.outer, spec.size_value)
        )

    def _ends_here(self, page: PageSeen, *, more: bool | None) -> bool:
        """Whether a page ends the part by its size alone. Where a flag says more, it is believed."""
        if more:
            return False
        return not page.outer or self._is_short_end(page)

    # ---- counters

    def _count_on(self, page: PageSeen, *, more: bool | None) -> bool:
        if self._ends_here(page, more=more):
            return False
        if self._spec.type is PaginationType.PAGE:
            if self._empty_pages > EMPTY_PAGES_FOLLOWED:
                raise PaginationError(
                    self._endpoint, f"{self._empty_pages} empty pages, each of which says more follow"
                )
            self._counter += 1
        elif page.outer:
            self._counter += page.outer  # not the size that was asked for: a vendor may silently send fewer
        else:
            raise PaginationError(self._endpoint, "an empty page says that more follow, but the offset cannot move on")
        self._token = self._counter
        return True

    # ---- tokens, URLs, records

    def _follow_token(self, page: PageSeen, *, more: bool | None) -> bool:
        token = self._token_from(page)
        if isinstance(token, dict):  # `next: {"href": …}`
            token = next((token[name] for name in ("href", "url") if name in token), MISSING)
        if _is_absent(token) or token == 0:  # a next page of number 0 would be the first one
            if more:
                where = self._spec.token_from or "the answer"
                raise PaginationError(self._endpoint, f"more pages follow, but {where} names none")
            return False
        if not isinstance(token, str | int | float):
            raise PaginationError(self._endpoint, f"{self._spec.token_from} is neither a text nor a number")
        if self._spec.token_param is not None:
            token = self._cut_out(str(token), self._spec.token_param)
        return self._go_on(token, page, more=more)

    def _follow_record(self, page: PageSeen, *, more: bool | None) -> bool:
        if not page.outer:
            if more:
                raise PaginationError(self._endpoint, "an empty page says that more follow, but has no last record")
            return False
        token = self._token_from(page)
        if _is_absent(token) or not isinstance(token, str | int | float):
            raise PaginationError(self._endpoint, f"the last record has no {self._spec.token_from} to go on from")
        return self._go_on(token, page, more=more)

    def _go_on(self, token: str | float, page: PageSeen, *, more: bool | None) -> bool:
        if page.outer and self._ends_here(page, more=more):
            return False
        name = str(token)
        if self._is_by_url:
            self._url = self._next_url(name, page.answer)
            former, self._requested = self._requested, _identity(*_url_and_query(self._url))
            name = self._requested
            if name == former and not page.outer:
                return False  # "the latest is here": an empty page that names itself is an end
        elif not page.outer and token == self._token:
            return False
        if not page.outer and not more and self._empty_pages > EMPTY_PAGES_FOLLOWED:
            self.is_certain = False
            return False
        if self._memory.has_seen(name):
            raise PaginationError(self._endpoint, "the vendor names a next page that was read before")
        self._token = token
        return True

    def _next_url(self, token: str, answer: Answer) -> str:
        try:
            url = urljoin(answer.url, token.strip())
        except ValueError:
            raise PaginationError(self._endpoint, "the next page's URL cannot be read") from None
        url = _kept_on_tls(url, answer.url)
        if not self._is_home(url):
            raise PaginationError(
                self._endpoint, "the next page's URL leads to another host, where nothing may be sent"
            )
        return url

    def _cut_out(self, url: str, name: str) -> str:
        for key, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
            if key == name and value:
                return value
        raise PaginationError(self._endpoint, f"the next page's URL has no parameter {name}")


def next_link(header: str) -> str | None:
    """Return the target of the first link with rel=next in a Link header (RFC 8288), or None. Never raises."""
    for link in _LINK.finditer(header):
        for parameter in _LINK_PARAMETER.finditer(link[2]):
            value = parameter[2] if parameter[2] is not None else (parameter[3] or "")
            if parameter[1].lower() == "rel" and "next" in value.lower().split():
                return link[1].strip()
    return None


def _token_reader(spec: Pagination) -> Callable[[PageSeen], object]:
    if spec.type is PaginationType.LAST_RECORD:
        get = compile_path(spec.token_from or "id")
        return lambda page: get(page.last)
    path = spec.token_from or ("header.link" if spec.type is PaginationType.LINK_HEADER else "")
    if not path:
        return lambda _: MISSING
    if path.lower().startswith("header."):
        name = path[len("header.") :].lower()
        if spec.type is PaginationType.LINK_HEADER or name == "link":
            return lambda page: next_link(page.answer.headers.get(name, "")) or MISSING
        return lambda page: page.answer.headers.get(name, MISSING)
    get = compile_path(path)
    return lambda page: get(page.document)


def _total_reader(spec: Pagination) -> Getter | None:
    if spec.total is not None:
        return compile_path(spec.total)
    return compile_path("totalResults") if spec.type is PaginationType.SCIM else None


def _is_absent(token: object) -> bool:
    return token is MISSING or token is None or token is False or (isinstance(token, str) and not token.strip())


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value.strip()[:18])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 0 else None


def _url_and_query(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path or "/", "", ""))
    return bare, parse_qsl(parts.query, keep_blank_values=True)


def _identity(url: str, query: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(query)}"


def _kept_on_tls(url: str, answered: str) -> str:
    """Behind a proxy that ends TLS, servers name themselves by http. The same host is asked by https all the same."""
    parts, home = urlsplit(url), urlsplit(answered)
    is_same_host = (parts.hostname or "").lower() == (home.hostname or "").lower()
    are_usual_ports = parts.port in (None, 80) and home.port in (None, 443)
    if (parts.scheme, home.scheme) == ("http", "https") and is_same_host and are_usual_ports:
        return urlunsplit(("https", home.netloc, parts.path, parts.query, parts.fragment))
    return url
