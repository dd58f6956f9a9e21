"""What a judgement costs: microseconds a case beside `orjson.loads` of the same body, and the worst of hostile bodies.

    python benchmarks/classify.py            # speed and accuracy
    python benchmarks/classify.py --fast     # fewer repeats

CPU time of this process, the least of several repeats, so that neighbours on the machine count little.
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
    number = max(1, int(400_000 / once_ns))
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
    for file in ("cases.jsonl", "own.jsonl"):
        for contested in (False, True):
            cases = [case for case in read_cases(file) if case.contested is contested]
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


def show_speed(repeats: int) -> None:
    """Print microseconds per case, per page of rows, and over hostile bodies."""
    spent: list[tuple[float, str]] = []
    ratios: list[float] = []
    for case in read_cases("cases.jsonl"):
        exchange = case.outcome.data_types[0].exchange if case.outcome.data_types else None
        if exchange is None or exchange.status is None:
            continue
        cost = judge_us(exchange, repeats)
        spent.append((cost, case.id))
        if exchange.body[:1] in {b"{", b"["}:
            try:
                orjson.loads(exchange.body)
            except orjson.JSONDecodeError:
                continue
            ratios.append(cost / parse_us(exchange.body, repeats))
    costs = sorted(cost for cost, _id in spent)
    print(
        f"corpus: median {statistics.median(costs):.1f} µs, p95 {costs[int(len(costs) * 0.95)]:.1f} µs, "
        f"most {max(spent)[0]:.1f} µs ({max(spent)[1]}); {statistics.median(ratios):.0f} x orjson"
    )
    for size in (500, 1_000, 2_000, 8_000, 60_000):
        body = rows_body(size)
        exchange = answer(body, 200)
        cost = judge_us(exchange, repeats)
        parse = parse_us(body, repeats)
        print(
            f"a page of rows, {len(body):6} bytes: {cost:8.1f} µs = {cost / parse:.2f} x orjson.loads ({parse:.1f} µs)"
        )
    filler = {"error": {"code": "rate_limited", "message": "Too many requests", "trace": "x" * 1_900}}
    exchange = answer(json.dumps(filler).encode(), 429)
    print(f"an error of 2 kB: {judge_us(exchange, repeats):.1f} µs")
    worst = sorted(hostile_costs(), reverse=True)
    for cost, name in worst[:5]:
        print(f"hostile: {cost:8.1f} µs {name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="fewer repeats")
    given = parser.parse_args()
    show_accuracy()
    show_speed(3 if given.fast else 9)


if __name__ == "__main__":
    main()
