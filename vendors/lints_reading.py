"""Lints of how records are read: pages, places in the request, and what changed since. Traps 5 to 11."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vendors.expressions import JOB_ROOTS, compile_value, expression_problems
from vendors.findings import Report
from vendors.lints_rules import lint_condition
from vendors.source import Where
from vendors.timeformats import format_problem

Part = Mapping[str, object]

_COUNTERS: Final = ("page", "offset")
_TAKES_FROM: Final = ("cursor", "next_url", "last_record")
_INVERTED: Final = re.compile(
    r"(^|[._])(is_?)?(last|last_?page|done|end_?of_?stream|finished|complete|completed|final)$", re.IGNORECASE
)
_URL_LIKE: Final = re.compile(
    r"(^|[._])(next_?(page_?)?(url|uri|link|href)|nextlink|href|links?\.next|url)$", re.IGNORECASE
)
_ASKS_FOR_ORDER: Final = re.compile(r"sort|order|direction", re.IGNORECASE)
_CREATED: Final = re.compile(r"creat|insert|first|opened|submitted", re.IGNORECASE)
_UPDATED: Final = re.compile(r"updat|modif|chang|last_?seen|last_?activ", re.IGNORECASE)


def lint_records(report: Report, where: Where, part: Part) -> None:
    """Report shapes that lack their words, and tests that test nothing."""
    records = _mapping(part.get("records"))
    shape = records.get("shape", "list")
    needs = {"columns_rows": ("columns", "rows"), "nested": ("inner",)}.get(str(shape), ())
    for word in needs:
        if word not in records:
            problem = f"has the shape {shape}, but no `{word}`"
            report.add((*where, "records"), "shape-words", problem, f"Add `{word}: path`")
    belongs = {"key_as": "object_values", "value_as": "scalars", "columns": "columns_rows", "rows": "columns_rows"}
    for word, owner in {**belongs, "inner": "nested", "keep": "nested"}.items():
        if word in records and shape != owner:
            problem = f"`{word}` belongs to the shape {owner}, but the shape is {shape}"
            report.add((*where, "records", word), "shape-words", problem, f"Write `shape: {owner}`, or take it out")
    for index, condition in enumerate(_list(records.get("filter"))):
        lint_condition(report, (*where, "records", "filter", index), _mapping(condition))


def lint_pagination(report: Report, where: Where, part: Part, request: Part) -> None:
    """Report counters without a place, tokens from the wrong place, stops that come too early or never."""
    if "pagination" not in part:
        return
    pages = _mapping(part["pagination"])
    place = (*where, "pagination")
    token, size = _mapping(pages.get("token")), _mapping(pages.get("size"))
    kind = str(pages.get("type"))
    _lint_places(report, place, kind, token, size)
    _lint_token(report, place, kind, token)
    _lint_start(report, place, kind, pages)
    _lint_flags(report, place, kind, pages)
    _lint_stop(report, place, part, pages, size)
    named = {word: _mapping(pages.get(word)).get("in") for word in ("token", "size")}
    dates = {word: _mapping(_mapping(part.get("incremental")).get(word)).get("in") for word in ("start", "end")}
    _lint_taken(report, where, {**named, **dates}, request)


def _lint_places(report: Report, where: Where, kind: str, token: Part, size: Part) -> None:
    counts = {"page": "page number", "offset": "offset", "cursor": "token", "last_record": "last record's member"}
    if kind in counts and "in" not in token:
        problem = f"the {counts[kind]} has no place in the request: the first page would come again and again"
        written = "in: query.page" if kind in _COUNTERS else "from: …, in: query.page_token"
        report.add(where, "counter-without-place", problem, f"Say where it goes: `token: {{{written}}}`")
    if "value" in size and "in" not in size:
        problem = f"the vendor is never told the page size {size['value']}"
        remedy = "Say where it goes: `size: {value: 100, in: query.limit}`, or take size out"
        report.add((*where, "size"), "size-without-place", problem, remedy)
    if "in" in token and token.get("in") == size.get("in"):
        problem = (
            f"the {counts.get(kind, 'token')} and the page size share {token['in']}: the size would be sent as the page"
        )
        report.add((*where, "size"), "counter-and-size-share-a-place", problem, "Give each its own")


def _lint_token(report: Report, where: Where, kind: str, token: Part) -> None:
    source, target = token.get("from"), token.get("in")
    place = (*where, "token")
    if kind in _TAKES_FROM and source is None:
        remedy = "Say where it is: `token: {from: page.next, …}` (a path into the answer, or header.NAME)"
        report.add(where, "token-from-wrong-place", "does not say where the next token is", remedy)
    if kind in ("page", "offset", "scim", "link_header", "none") and source is not None:
        problem = f"takes a token from {source}, but {kind} needs none"
        report.add(place, "token-from-wrong-place", problem, "Take `from` out, or write `type: cursor`")
    if isinstance(source, str):
        if re.match(r"(headers|response|body|\$)[.\[]", source):
            problem = f"`{source}` looks for {source.split('.')[0]} inside the answer's body"
            remedy = "Write the path inside the body (`page.next`), or `header.NAME` for a header"
            report.add((*place, "from"), "token-from-wrong-place", problem, remedy)
        elif source.lower() == "header.link":
            problem = "takes the whole Link header as a token"
            report.add((*place, "from"), "token-from-wrong-place", problem, "Write `type: link_header`")
        elif kind == "cursor" and target != "url" and "param" not in token and _URL_LIKE.search(source):
            problem = f"`{source}` sounds like a whole URL, but would be sent as {target}"
            remedy = "Write `type: next_url`, or `param: NAME` to cut the token out of the URL"
            report.add((*place, "from"), "token-may-be-a-url", problem, remedy, fatal=False)
    if kind in ("next_url", "link_header") and target not in (None, "url"):
        problem = f"sends a whole URL in {target}"
        report.add(
            (*place, "in"), "token-from-wrong-place", problem, "Take `in` out, or write `type: cursor` with `param`"
        )
    if kind not in ("next_url", "cursor") and target == "url":
        problem = f"{kind} has no URL to go to"
        report.add((*place, "in"), "counter-without-place", problem, "Say where it goes: `in: query.page`")


def _lint_start(report: Report, where: Where, kind: str, pages: Part) -> None:
    if kind == "page" and "start" not in pages:
        problem = "does not say whether the vendor counts pages from 0 or from 1"
        remedy = "Write `start: 1` or `start: 0`: the wrong one reads a page twice, or leaves one out"
        report.add(where, "page-start-unsaid", problem, remedy)
    if kind == "page" and pages.get("first_sent") is False and pages.get("start") == 0:
        problem = (
            "leaves the first page's number out and then goes on with 1: a vendor that counts from 1 sends it twice"
        )
        remedy = "Leave `first_sent` out, or write `start: 1` if the first page is 1"
        report.add((*where, "first_sent"), "first-page-twice", problem, remedy)


def _lint_flags(report: Report, where: Where, kind: str, pages: Part) -> None:
    more, last = pages.get("more"), pages.get("last")
    if more is not None and last is not None:
        report.add(where, "more-flag-twice", "has both `more` and `last`", "Keep the one that the vendor sends")
    for word, flag in (("more", more), ("last", last)):
        if not isinstance(flag, str):
            continue
        if re.search(r"[=!<>]|\$\{|\bnot\b", flag):
            problem = f"`{flag}` is a comparison"
            remedy = (
                f"Write the flag's path alone (`{word}: page.has_more`); `last` is for flags that are true at the end"
            )
            report.add((*where, word), "more-flag-compared", problem, remedy)
    if isinstance(more, str) and _INVERTED.search(more):
        problem = f"`{more}` sounds like a flag that is true on the last page: as `more` it ends after the first"
        report.add((*where, "more"), "more-flag-inverted", problem, f"Write `last: {more}`")
    if "total" in pages and kind not in (*_COUNTERS, "scim"):
        problem = f"stops at a total, but {kind} does not count"
        report.add((*where, "total"), "total-without-counter", problem, "Take `total` out")


def _lint_stop(report: Report, where: Where, part: Part, pages: Part, size: Part) -> None:
    flattens = "*" in str(_mapping(part.get("records")).get("path", ""))
    is_short = pages.get("stop") == "short_page"
    if is_short and not ("value" in size and "in" in size):
        problem = "takes a short page for the end without having told the vendor a size"
        remedy = "Add `size: {value: 100, in: query.limit}`, or take `stop` out: an empty page ends by itself"
        report.add((*where, "stop"), "short-page-without-size", problem, remedy)
    if is_short and flattens:
        problem = "compares the page size with records that were flattened out of groups"
        report.add(
            (*where, "stop"), "short-page-of-flattened", problem, "Take `stop` out: an empty page ends by itself"
        )
    if pages.get("type") in ("offset", "scim") and flattens:
        problem = "counts records that were flattened out of groups, but the vendor's offset counts groups"
        remedy = "For `groups.*.items` write `{path: groups, shape: nested, inner: items}`: groups are counted then"
        report.add(where, "offset-of-flattened", problem, remedy)


def _lint_taken(report: Report, where: Where, places: Mapping[str, object], request: Part) -> None:
    """Report two things in one place, and places in a body that the request does not have."""
    seen: dict[str, str] = {}
    for word, place in places.items():
        part = "incremental" if word in ("start", "end") else "pagination"
        if not isinstance(place, str):
            continue
        if place in seen and {word, seen[place]} != {"token", "size"}:
            problem = f"{word} and {seen[place]} share {place}"
            report.add((*where, part, word), "place-taken", problem, "Give each its own")
        seen.setdefault(place, word)
        kind, _, name = place.partition(".")
        holder = {"query": "query", "header": "headers", "form": "form"}.get(kind, "")
        if holder and name.lower() in (str(key).lower() for key in _mapping(request.get(holder))):
            problem = f"{place} already holds {_mapping(request.get(holder)).get(name)!r} in the request"
            report.add((*where, part, word), "place-taken", problem, f"Take `{name}` out of `{holder}`")
        if (
            kind == "json"
            and "json" not in request
            and "graphql" not in request
            and request.get("method", "GET") == "GET"
        ):
            problem = f"{place} is in a JSON body, but the request is a GET without one"
            report.add((*where, part, word), "place-without-body", problem, "Write `method: POST`, or `query.NAME`")
        if kind == "form" and "form" not in request:
            problem = f"{place} is in a form, but the request has none"
            report.add(
                (*where, part, word), "place-without-body", problem, "Add `form: {}` to the request, or `query.NAME`"
            )


def lint_incremental(report: Report, where: Where, part: Part, request: Part) -> None:
    """Report cursors in name only, cursors on another clock, and orders that nobody asked for."""
    if "incremental" not in part:
        return
    changes, place = _mapping(part["incremental"]), (*where, "incremental")
    _lint_formats(report, place, changes)
    bounds = _references(request)
    by_client = changes.get("filter") == "client"
    if "start" not in changes and "window.start" not in bounds and not by_client:
        problem = f"keeps a cursor on {changes.get('field')}, but never tells the vendor: everything is read every time"
        remedy = (
            "Say how the start reaches the vendor: `start: {in: query.updated_after}`, or ${window.start} in a value; "
            "where it cannot, write `filter: client`"
        )
        report.add(place, "cursor-in-name-only", problem, remedy)
    if "window" in changes and "end" not in changes and "window.end" not in bounds:
        problem = "asks window by window, but never says where a window ends: each reads everything after its start"
        remedy = (
            "Say how the end reaches the vendor: `end: {in: query.updated_before}` or ${window.end}; or take window out"
        )
        report.add((*place, "window"), "window-without-end", problem, remedy)
    if "default_start" not in changes and "oldest" not in changes:
        needs = "asks window by window" if "window" in changes else "needs ${window.start}"
        if "window" in changes or "window.start" in _needed(request):
            problem = f"{needs}, but does not say where the first run starts"
            remedy = "Add `default_start: -P90D` (or `oldest`), or write ${window.start?} to leave it out then"
            report.add(place, "first-run-without-start", problem, remedy)
    _lint_clock(report, place, changes, request)
    _lint_order(report, place, changes, request, by_client=by_client)


def _lint_formats(report: Report, where: Where, changes: Part) -> None:
    formats = changes.get("formats", "iso8601")
    listed = formats if isinstance(formats, list) else [formats]
    places: list[tuple[Where, object]] = [((*where, "formats"), item) for item in listed]
    bounds = {word: _mapping(changes.get(word)).get("format") for word in ("start", "end")}
    places.extend(((*where, word, "format"), fmt) for word, fmt in bounds.items() if fmt is not None)
    for place, fmt in places:
        if problem := format_problem(str(fmt)):
            remedy = "Write one of those names, or a pattern in quotation marks"
            report.add(place, "unknown-format", f"`{fmt}` {problem}", remedy)


def _lint_clock(report: Report, where: Where, changes: Part, request: Part) -> None:
    field = _clock(str(changes.get("field")).rpartition(".")[2])
    asked = [str(_mapping(changes.get("start")).get("in", "")).partition(".")[2]]
    asked.extend(f"{name} {text}" for name, text in _around_window_start(request))
    clocks = {_clock(words): words.strip() for words in asked}
    if field == "updated" and "created" in clocks:
        problem = (
            f"keeps its cursor on `{changes.get('field')}`, but asks by a time of another kind ({clocks['created']})"
        )
        remedy = "Use the same time for both: an old record that changed is on the one clock alone, and lost"
        report.add(where, "cursor-on-another-clock", problem, remedy)
    sees_changes = "updated" in clocks or "lookback" in changes or changes.get("immutable") is True
    if field == "created" and not sees_changes:
        problem = f"keeps its cursor on `{changes.get('field')}`: later changes of a record are never seen"
        remedy = "Use the time of the last change; or say `immutable: true`, or a `lookback` in which changes are seen"
        report.add(where, "cursor-on-creation", problem, remedy, fatal=False)


def _lint_order(report: Report, where: Where, changes: Part, request: Part, *, by_client: bool) -> None:
    order = changes.get("order")
    if order is None:
        return
    if changes.get("order_is_default") is True or any(_ASKS_FOR_ORDER.search(text) for text in _words(request)):
        return
    remedy = (
        "Ask for it in the request (`query: {sort: …}`), or write `order_is_default: true` if the vendor documents it"
    )
    if by_client and order == "desc":
        problem = "stops at the first old record, but the request asks for no order"
        report.add((*where, "order"), "client-stop-without-order", problem, remedy)
    else:
        problem = f"counts on records in order ({order}), but the request asks for none"
        report.add((*where, "order"), "order-not-asked-for", problem, remedy)


def _clock(words: str) -> str | None:
    created, updated = _CREATED.search(words) is not None, _UPDATED.search(words) is not None
    if created == updated:
        return None
    return "created" if created else "updated"


def _around_window_start(raw: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the text before each ${window.start…} of a request."""
    if isinstance(raw, Mapping):
        for key, item in raw.items():
            yield from _around_window_start(item, str(key))
    elif isinstance(raw, list):
        for item in raw:
            yield from _around_window_start(item, name)
    elif isinstance(raw, str):
        for match in re.finditer(r"\$\{\s*window\.start", raw):
            words = re.findall(r"[\w.]+", raw[: match.start()])
            yield name, " ".join(words[-3:])


def _words(raw: object) -> Iterator[str]:
    if isinstance(raw, Mapping):
        for key, item in raw.items():
            yield str(key)
            yield from _words(item)
    elif isinstance(raw, list):
        for item in raw:
            yield from _words(item)
    elif isinstance(raw, str):
        yield raw


def _references(raw: object) -> frozenset[str]:
    if expression_problems(raw, roots=JOB_ROOTS):
        return frozenset()
    return compile_value(raw, roots=JOB_ROOTS).references


def _needed(raw: object) -> frozenset[str]:
    if expression_problems(raw, roots=JOB_ROOTS):
        return frozenset()
    return compile_value(raw, roots=JOB_ROOTS).needed


def _mapping(value: object) -> Part:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
