"""The usual ways of handing out a long list in pages. Only the records of the page are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from simulator.records import Maker
from simulator.wire import Answer, Request, json_answer

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is handed out: `total` records made by `make`; url: absolute, of this list, without the query."""

    url: str
    total: int
    make: Maker
    size: int = 100


Pager = Callable[[Listing, Request], Answer]


class BadPageError(ValueError):
    """The page that was asked for cannot be: the vendor answers 400."""


def _number(request: Request, name: str, default: int, lowest: int = 0) -> int:
    raw = request.query.get(name, "")
    if not raw:
        return default
    if not raw.isdecimal() or int(raw) < lowest:
        raise BadPageError(f"{name} must be a number of at least {lowest}, not {raw!r}")
    return int(raw)


def _size(request: Request, name: str, listing: Listing) -> int:
    return min(_number(request, name, listing.size, 1), LARGEST_PAGE)


def _items(listing: Listing, start: int, size: int) -> list[Mapping[str, object]]:
    return [listing.make(i) for i in range(start, min(start + size, listing.total))]


def by_cursor(listing: Listing, request: Request) -> Answer:
    """`?cursor=c120&limit=100` → `{"data": […], "page": {"next": "c220" or null}}`."""
    size, cursor = _size(request, "limit", listing), request.query.get("cursor", "c0")
    if not cursor.startswith("c") or not cursor[1:].isdecimal():
        raise BadPageError(f"unknown cursor {cursor!r}")
    start = int(cursor[1:])
    following = f"c{start + size}" if start + size < listing.total else None
    return json_answer({"data": _items(listing, start, size), "page": {"next": following}})


def by_offset(listing: Listing, request: Request) -> Answer:
    """`?offset=200&limit=100` → `{"result": {"items": […], "total": 1234}}`."""
    size, start = _size(request, "limit", listing), _number(request, "offset", 0)
    return json_answer({"result": {"items": _items(listing, start, size), "total": listing.total}})


def by_page(listing: Listing, request: Request) -> Answer:
    """`?page=3&per_page=100` → `{"items": […], "has_more": true}`; pages count from 1."""
    size, page = _size(request, "per_page", listing), _number(request, "page", 1, 1)
    start = (page - 1) * size
    return json_answer({"items": _items(listing, start, size), "has_more": start + size < listing.total})


def by_next_url(listing: Listing, request: Request) -> Answer:
    """`?skip=100&top=100` → `{"value": […], "next": "http…" or null}`."""
    size, start = _size(request, "top", listing), _number(request, "skip", 0)
    following = (
        f"{listing.url}?{urlencode({'skip': start + size, 'top': size})}" if start + size < listing.total else None
    )
    return json_answer({"value": _items(listing, start, size), "next": following})


def by_link_header(listing: Listing, request: Request) -> Answer:
    """`?page=2&per_page=100` → a bare list, with `Link: <http…>; rel="next"` (RFC 8288)."""
    size, page = _size(request, "per_page", listing), _number(request, "page", 1, 1)
    start = (page - 1) * size
    headers: tuple[tuple[str, str], ...] = ()
    if start + size < listing.total:
        headers = (("Link", f'<{listing.url}?{urlencode({"page": page + 1, "per_page": size})}>; rel="next"'),)
    return json_answer(_items(listing, start, size), headers=headers)
