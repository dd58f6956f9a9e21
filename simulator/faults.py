"""Faults that any vendor can be given: what they match, for how long, and what is answered instead."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from simulator.wire import Answer, Delivery, Request, html_answer, json_answer


class FaultKind(StrEnum):
    """What goes wrong. The answers have the shapes that vendors and the boxes before them give."""

    UNAVAILABLE = "unavailable"
    CLOSED = "closed"
    RESET = "reset"
    TRUNCATED = "truncated"
    HANG = "hang"
    DRIP = "drip"
    SLOW = "slow"
    QUOTA = "quota"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    ODD_SHAPE = "odd_shape"
    BROKEN_JSON = "broken_json"
    OUTAGE_PAGE = "outage_page"
    STATUS = "status"


class FaultError(ValueError):
    """A fault that cannot be set, and what is possible instead."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault in force.

    vendor: name, or `*`; account: None is every one; path: a part of the path (`/alerts`), empty is any;
    after: so many matching requests pass first; times: how often it strikes (None: until it is cleared);
    every: only each n-th match; until_s: vendors' time at which it ends by itself;
    wait_s: Retry-After, the delay of SLOW, or the gap of DRIP; status, body, headers: of STATUS.
    """

    id: int
    vendor: str
    kind: FaultKind
    account: str | None = None
    path: str = ""
    after: int = 0
    times: int | None = None
    every: int = 1
    until_s: float | None = None
    wait_s: float | None = None
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    matched: int = 0
    struck: int = 0

    def state(self) -> dict[str, object]:
        """Return what the control interface shows of it."""
        return {
            "id": self.id,
            "vendor": self.vendor,
            "kind": self.kind,
            "account": self.account,
            "path": self.path,
            "matched": self.matched,
            "struck": self.struck,
            "until_s": self.until_s,
        }

    def strikes(self, vendor: str, account: str | None, request: Request, now_s: float) -> bool:
        """Say whether this request fails, and count it. The caller holds the lock."""
        if self.vendor not in ("*", vendor) or (self.account is not None and self.account != account):
            return False
        if self.path not in request.path or (self.until_s is not None and now_s >= self.until_s):
            return False
        self.matched += 1
        if self.matched <= self.after or (self.matched - self.after - 1) % self.every:
            return False
        if self.times is not None and self.struck >= self.times:
            return False
        self.struck += 1
        return True

    def answer(self) -> Answer:
        """Return what stands in for the vendor's answer (SLOW: an answer to be replaced by the real one, delayed)."""
        if self.kind is FaultKind.STATUS:
            fallback = () if "Content-Type" in self.headers else (("Content-Type", "application/json"),)
            return Answer(status=self.status, headers=(*fallback, *self.headers.items()), body=self.body.encode())
        answer = ANSWERS[self.kind]
        if self.kind is FaultKind.DRIP and self.wait_s is not None:
            return replace(answer, gap_s=self.wait_s)
        if self.kind is FaultKind.SLOW:
            return replace(answer, delay_s=1.0 if self.wait_s is None else self.wait_s)
        if self.kind in (FaultKind.QUOTA, FaultKind.UNAVAILABLE) and self.wait_s is not None:
            return replace(answer, headers=(*answer.headers, ("Retry-After", f"{self.wait_s:.0f}")))
        return answer


ANSWERS: Mapping[FaultKind, Answer] = {
    FaultKind.UNAVAILABLE: html_answer(
        "503 Service Unavailable", "We are down for maintenance and will be back shortly.", status=503
    ),
    FaultKind.CLOSED: Answer(delivery=Delivery.CLOSED),
    FaultKind.RESET: Answer(delivery=Delivery.RESET),
    FaultKind.TRUNCATED: replace(json_answer({"data": ["x" * 2000]}), delivery=Delivery.TRUNCATED),
    FaultKind.HANG: Answer(delivery=Delivery.HANG),
    FaultKind.DRIP: replace(json_answer({}), body=b" ", delivery=Delivery.DRIP),
    FaultKind.SLOW: Answer(),
    FaultKind.QUOTA: json_answer(
        {"error": {"code": "too_many_requests", "message": "Request limit reached."}}, status=429
    ),
    FaultKind.UNAUTHORIZED: json_answer(
        {"error": "invalid_token", "error_description": "The access token is invalid or was revoked."},
        status=401,
        headers=(("WWW-Authenticate", 'Bearer error="invalid_token"'),),
    ),
    FaultKind.FORBIDDEN: json_answer(
        {"error": "insufficient_scope", "error_description": "The token lacks a scope that this resource needs."},
        status=403,
        headers=(("WWW-Authenticate", 'Bearer error="insufficient_scope"'),),
    ),
    FaultKind.GONE: json_answer(
        {"error": {"code": "endpoint_retired", "message": "This version of the API was retired. Use /v3."}}, status=410
    ),
    FaultKind.NOT_FOUND: json_answer({"error": {"code": "not_found", "message": "No such resource."}}, status=404),
    FaultKind.BAD_REQUEST: json_answer(
        {"error": {"code": "validation_failed", "message": "Unknown query parameter.", "field": "limit"}}, status=400
    ),
    FaultKind.ODD_SHAPE: json_answer({"schema": 2, "payload": {"rows": [["id", "name"], ["1", "one"]]}}),
    FaultKind.BROKEN_JSON: Answer(headers=(("Content-Type", "application/json"),), body=b'{"data": [{"id": "1", "na'),
    FaultKind.OUTAGE_PAGE: html_answer("Scheduled maintenance", "Our engineers are working on it.", status=200),
}
"""What each kind answers; STATUS alone is made of what was asked for."""


def read_fault(number: int, document: Mapping[str, Any], vendors: tuple[str, ...], now_s: float) -> Fault:
    """Return the fault that a control request describes. Raises FaultError with what is wrong and what is possible."""
    known = {
        "vendor",
        "kind",
        "account",
        "path",
        "after",
        "times",
        "every",
        "for_s",
        "wait_s",
        "status",
        "body",
        "headers",
    }
    if unknown := sorted(set(document) - known):
        raise FaultError(f"unknown member {unknown[0]!r}; known: {', '.join(sorted(known))}")
    vendor, kind = document.get("vendor", "*"), document.get("kind")
    if vendor != "*" and vendor not in vendors:
        raise FaultError(f"no vendor named {vendor!r}; known: *, {', '.join(vendors)}")
    if kind not in tuple(FaultKind):
        raise FaultError(f"no fault of kind {kind!r}; known: {', '.join(FaultKind)}")
    for name in ("after", "times", "every", "for_s", "wait_s", "status"):
        if (value := document.get(name)) is not None and (not isinstance(value, int | float) or value < 0):
            raise FaultError(f"{name} must be a number that is not negative, not {value!r}")
    for_s = document.get("for_s")
    return Fault(
        id=number,
        vendor=vendor,
        kind=FaultKind(kind),
        account=document.get("account"),
        path=str(document.get("path", "")),
        after=int(document.get("after", 0)),
        times=None if document.get("times") is None else int(document["times"]),
        every=max(1, int(document.get("every", 1))),
        until_s=None if for_s is None else now_s + float(for_s),
        wait_s=None if document.get("wait_s") is None else float(document["wait_s"]),
        status=int(document.get("status", 500)),
        body=str(document.get("body", "")),
        headers=dict(document.get("headers") or {}),
    )
