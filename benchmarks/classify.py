"""What a judgement costs: microseconds a case beside `orjson.loads` of the same body, and the worst of hostile bodies.

    python benchmarks/classify.py            # speed and accuracy
    python benchmarks/classify.py --fast     # fewer repeats

CPU time of this process, the least of many short repeats, so that neighbours on the machine count little.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from classifier import Dialect, Exchange, classify, judge  # noqa: E402 - the path comes first
from classifier.cases import Case, read_case, score  # noqa: E402 - likewise
from vendors.dialect_files import load_dialects  # noqa: E402 - likewise

CORPUS: Final = ROOT / "tests" / "classifier" / "corpus"
NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
JSON: Final = {"content-type": "application/json"}
ROW: Final = {
    "id": 17,
    "message": "401 unauthorized, rate limit exceeded",
    "status": "open",
    "code": 403,
    "name": "x" * 20,
    "updated_at": "2026-01-01T00:00:00Z",
}


def least_us(call: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of one call in microseconds; each repeat makes enough calls to be measured."""
    start = time.process_time_ns()
    call()
    once_ns = max(time.process_time_ns() - start, 1_000)
    number = max(1, min(VARIANTS, int(400_000 / once_ns)))
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time_ns()
        for _ in range(number):
            call()
        best = min(best, (time.process_time_ns() - start) / number)
    return best / 1_000


def rows_body(size: int) -> bytes:
    """Return a page of rows of about this many bytes."""
    count = max(1, size // (len(json.dumps(ROW)) + 2))
    return json.dumps({"data": [ROW] * count, "next": None}).encode()


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield bodies that are made to be slow to read, at most 64 KiB each."""
    made: dict[str, bytes] = {
        "deep lists": b"[" * 65_536,
        "deep objects": b'{"a":' * 10_000,
        "one huge message": json.dumps({"errors": [{"message": "token " * 10_000}]}).encode(),
        "many errors": json.dumps(
            {"errors": [{"message": "not a permission", "code": str(n)} for n in range(1_500)]}
        ).encode(),
        "many error members": json.dumps({f"error_{n}": "invalid token" for n in range(3_000)}).encode(),
        "huge key": b'{"' + b"a" * 60_000 + b'":1}',
        "backslashes": b'{"error":"' + b"\\" * 60_000,
        "quotes": b'"' * 65_536,
        "no encoding at all": bytes(range(256)) * 256,
        "half a tag": b"<html><title>" + b"<" * 60_000,
        "many tags": b"<html>" + b"<a b='c'>" * 7_000,
        "attributes without an end": b"<a " + b"x='" * 20_000,
        "many elements": b"<Error>" + b"<Code>x</Code>" * 4_500,
        "CDATA without an end": b"<a>" + b"<![CDATA[" * 6_000,
        "entities": b"<a>" + b"&#38;" * 13_000 + b"</a>",
        "form bait": b"error=x" + b"&a" * 30_000,
        "words that begin phrases": b"limit " * 10_900,
        "words that nearly meet": json.dumps(
            {"message": "not permission " * 60, "error": ["token " * 160] * 12}
        ).encode(),
        "camel case": json.dumps({"code": "aB" * 80, "type": "bA" * 80}).encode(),
        "JSON lines": b'{"a":1}\n' * 8_000,
        "rows, then an error": json.dumps({"data": [ROW] * 400}).encode()[:-1] + b',"errors":[{"message":"x"}]}',
        "blanks": b" " * 65_536,
        "elements without an end": b"<" + b"<a x='1'>" * 7_000,
        "a small tree": b"<r>" + b"<e a='1'>" * 70 + b"</e>" * 70 + b"</r>",
        "names never met": json.dumps({f"errorStatusText{n}Code": {"msg": "x"} for n in range(2_000)}).encode(),
        "names that nearly are": json.dumps({"errerrerr" * 4 + str(n): "x" for n in range(30)}).encode(),
        "another script": json.dumps({"code": 7, "message": "权限不足 токен " * 4_000}, ensure_ascii=False).encode(),
        "accents": json.dumps({"code": 7, "message": "ação não é " * 4_000}, ensure_ascii=False).encode(),
        "words with dots": b"a." * 32_000,
        "a form without an end": b"a=" + b"&a=" * 20_000,
        "texts that complain, no two alike": json.dumps(
            {f"error{n}": f"invalid token {n} of the session expired" for n in range(60)}
        ).encode(),
        "elements that complain": b"<response>"
        + b"".join(b"<error%d>invalid token rate limit %d</error%d>" % (n, n, n) for n in range(70))
        + b"</response>",
        "a form that complains": b"&".join(b"error%d=invalid token rate limit %d" % (n, n) for n in range(40)),
        "lines that complain": b"\n".join(b"error%d: invalid token rate limit %d" % (n, n) for n in range(24)),
        "errors in errors": json.dumps({"error": {"error": [{"errors": {"error": "denied"}}] * 400}}).encode(),
        "headings of a piece of a page": b"<div>" + b"<h1 class=x>we will be " * 2_900,
        "inputs of a piece of a page": b"<form>" + b"<input type='text' " * 3_400,
        "links": json.dumps({"message": "https://x " * 6_000, "error": ["see https://" + "y" * 400] * 12}).encode(),
        "parts that fail": json.dumps(
            {"responses": [{"status": 403, "body": {"error": {"code": "x", "message": "denied"}}}] * 600}
        ).encode(),
    }
    yield from ((name, body[:65_536]) for name, body in made.items())


def answer(body: bytes, status: int, headers: Mapping[str, str] = JSON) -> Exchange:
    """Return an exchange with this body."""
    return Exchange(method="GET", url="https://api.example.com/v1/items", status=status, headers=headers, body=body)


def read_cases(file: str) -> list[Case]:
    """Return the cases of a corpus file."""
    return [read_case(json.loads(line)) for line in (CORPUS / file).read_text(encoding="utf-8").splitlines()]


def show_accuracy() -> None:
    """Print accuracy by name and owner, with dialects, without, and with each vendor's own dialect held out."""
    dialects = load_dialects()
    none: Mapping[str, Dialect] = {}
    print(f"{'corpus':34}{'cases':>7}{'name':>9}{'owner':>9}{'blamed':>8}{'passed':>8}{'false alarms':>14}")
    for file in sorted(path.name for path in CORPUS.glob("*.jsonl")):
        for contested in (False, True):
            cases = [case for case in read_cases(file) if case.contested is contested]
            if not cases:
                continue
            for label, given in (("with dialects", dialects), ("without", none)):
                result = score((case, classify(case.outcome, given.get(case.vendor))) for case in cases)
                name = f"{file}{' contested' if contested else ''} {label}"
                print(
                    f"{name:34}{result.total:7}{result.accuracy:9.2%}{result.owner_accuracy:9.2%}"
                    f"{result.customer_blamed:8}{result.failures_passed:8}{result.successes_failed:14}"
                )
    folds: list[float] = []
    settled = [case for case in read_cases("cases.jsonl") if not case.contested]
    vendors = sorted({case.vendor for case in settled})
    for fold in range(5):
        held_out = set(vendors[fold::5])
        known = {vendor: dialect for vendor, dialect in dialects.items() if vendor not in held_out}
        cases = [case for case in settled if case.vendor in held_out]
        folds.append(score((case, classify(case.outcome, known.get(case.vendor))) for case in cases).accuracy)
    print(
        "five folds by vendor, dialects of the held-out vendors taken away:", " ".join(f"{fold:.2%}" for fold in folds)
    )


def hostile_costs() -> Iterator[tuple[float, str]]:
    """Yield what each hostile body costs in microseconds, under several statuses and content types."""
    kinds = ("application/json", "text/html", "application/x-www-form-urlencoded")
    for (name, body), status, kind in itertools.product(hostile_bodies(), (200, 400, 500), kinds):
        yield judge_us(answer(body, status, {"content-type": kind}), 3), f"{name}, {status}, {kind}"


def judge_us(exchange: Exchange, repeats: int) -> float:
    """Return what one judgement costs in microseconds."""
    return least_us(lambda: judge(exchange, observed_at=NOW), repeats)


def parse_us(body: bytes, repeats: int) -> float:
    """Return what `orjson.loads` costs in microseconds."""
    return least_us(lambda: orjson.loads(body), repeats)


VARIANTS: Final = 40
"""So many bodies of a kind, alike in shape and different in words."""
STACK: Final = "   at Acme.Api.Controllers.ItemsController.Get(String id) in /src/Api/ItemsController.cs:line 42\n"


def usual_bodies(number: int) -> dict[str, tuple[int, str, bytes]]:
    """Return answers of about 2 kB as vendors send them: name -> status, content type, body.

    number: makes texts, codes and ids differ from those of other numbers, so that nothing kept of one helps the next.
    """
    rows = [{"id": f"{number}-{row}", "name": f"device {row}", "state": "error", "msg": "denied"} for row in range(28)]
    fields = [
        {"field": f"field_{row}", "code": "invalid", "message": f"is not in list {number}{row}"} for row in range(22)
    ]
    limits = [
        {"message": f"Rate limit {number} exceeded for {row}", "path": ["a"], "extensions": {"code": "RATE_LIMITED"}}
        for row in range(16)
    ]
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "metadata": {f"k{row}": f"{number} {'v' * 20}" for row in range(46)},
    }
    documents: dict[str, tuple[int, object]] = {
        "rows": (200, {"data": rows, "next": None}),
        "rows and how the call went": (200, {"meta": {"code": 200, "total": number}, "results": rows, "error": None}),
        "one record": (200, {"id": number, "name": "x", "attributes": {f"k{n}": f"value {n}" for n in range(90)}}),
        "GraphQL, throttled": (200, {"errors": limits, "data": None}),
        "wrong fields": (422, {"message": f"Validation {number} failed", "errors": fields}),
        "a long trace": (
            429,
            {"error": {"code": "rate_limited", "message": f"Too many {number}", "trace": "x" * 1_900}},
        ),
        "a long sentence": (400, {"error": {"code": "E17", "message": f"The value of field {number} is odd. " * 56}}),
        "a stack": (500, {"status": 500, "error": "Internal Server Error", "trace": f"{number}\n{STACK * 19}"}),
        "problem details": (403, {"title": "Forbidden", "detail": f"No scope {number} " + "and so on " * 180}),
        "google.rpc": (403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "details": [info]}}),
    }
    bodies = {
        name: (status, "application/json", json.dumps(document).encode())
        for name, (status, document) in documents.items()
    }
    detail = "".join(f"<Detail>{number} text {row}</Detail>" for row in range(55))
    bodies["XML"] = (
        403,
        "application/xml",
        f"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No {number}</Message>{detail}</Error>".encode(),
    )
    page = f"<html><head><title>502 Bad Gateway</title></head><body>{number}{'<p>The server answered badly.</p>' * 57}"
    bodies["a page of a gateway"] = (502, "text/html", page.encode())
    return bodies


def usual_costs(repeats: int) -> dict[str, tuple[int, float, float | None]]:
    """Return what usual bodies cost: name -> bytes, microseconds, microseconds of `orjson.loads` (None: no JSON)."""
    variants = [usual_bodies(number) for number in range(VARIANTS)]
    costs: dict[str, tuple[int, float, float | None]] = {}
    for name in variants[0]:
        exchanges = [answer(body, status, {"content-type": kind}) for status, kind, body in map(_of(name), variants)]
        kept = itertools.cycle(exchanges)
        cost = least_us(lambda kept=kept: judge(next(kept), observed_at=NOW), repeats)  # type: ignore[misc]
        body = exchanges[0].body
        costs[name] = len(body), cost, parse_us(body, repeats) if body[:1] == b"{" else None
    return costs


def _of(name: str) -> Callable[[Mapping[str, tuple[int, str, bytes]]], tuple[int, str, bytes]]:
    return lambda bodies: bodies[name]


def show_speed(repeats: int) -> None:
    """Print microseconds per usual body of 2 kB, per case, per page of rows, and over hostile bodies."""
    usual = usual_costs(repeats)
    print(f"{'usual bodies':34}{'bytes':>7}{'µs':>9}{'x orjson':>10}")
    for name, (size, cost, parse) in usual.items():
        print(f"{name:34}{size:7}{cost:9.1f}" + (f"{cost / parse:10.1f}" if parse else f"{'-':>10}"))
    costs = [cost for _size, cost, _parse in usual.values()]
    print(f"{'their median':34}{'':7}{statistics.median(costs):9.1f}\n{'their most':34}{'':7}{max(costs):9.1f}")
    spent: list[tuple[float, str]] = []
    for case in read_cases("cases.jsonl"):
        exchange = case.outcome.data_types[0].exchange if case.outcome.data_types else None
        if exchange is not None and exchange.status is not None:
            spent.append((judge_us(exchange, min(repeats, 5)), case.id))
    told = sorted(cost for cost, _id in spent)
    print(
        f"the corpus: median {statistics.median(told):.1f} µs, p95 {told[int(len(told) * 0.95)]:.1f} µs, "
        f"most {max(spent)[0]:.1f} µs ({max(spent)[1]})"
    )
    for size in (500, 2_000, 8_000, 60_000):
        body = rows_body(size)
        cost = judge_us(answer(body, 200), repeats)
        parse = parse_us(body, repeats)
        print(f"a page of rows, {len(body):6} bytes: {cost:8.1f} µs = {cost / parse:.2f} x orjson ({parse:.1f} µs)")
    worst = sorted(hostile_costs(), reverse=True)
    for cost, name in worst[:5]:
        print(f"hostile: {cost:8.1f} µs {name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="fewer repeats")
    given = parser.parse_args()
    show_accuracy()
    show_speed(5 if given.fast else 60)


if __name__ == "__main__":
    main()
