"""The simulated vendors: how each asks who is calling, and what it hands out. None of them exists."""

import base64
import binascii
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from simulator import pages, records
from simulator.accounts import Account
from simulator.pages import BadPageError, Listing, Pager
from simulator.records import Maker
from simulator.wire import Answer, Request, json_answer

QUOTA_WINDOW_S = 60.0


class ControlError(ValueError):
    """A control request that cannot be carried out, and what is possible instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """One list that a vendor hands out. scope: what a token must be allowed to read it, empty for nothing."""

    path: str
    total: int
    make: Maker
    pager: Pager
    scope: str = ""


class Vendor:
    """A vendor whose customers hold a bearer token `<prefix>_<account>_<generation>`.

    The token of generation n is good until the account is given generation n + 1. Accounts come into being when they
    are first heard of. Every method is called under the world's lock but `answer`'s page making.
    """

    def __init__(self, name: str, prefix: str, title: str, *collections: Collection) -> None:
        self.name, self.prefix, self.title = name, prefix, title
        self.collections: Mapping[str, Collection] = {each.path: each for each in collections}
        self.accounts: dict[str, Account] = {}
        self.actions: dict[str, Callable[[Account, Mapping[str, Any], float], None]] = {
            "credentials": lambda *_: None,
            "expire_token": self._expire,
            "grant": self._grant,
            "revoke": self._revoke,
            "disable": self._disable,
            "enable": self._enable,
            "spend_quota": self._spend_quota,
            "records": self._records,
        }

    def account(self, name: str) -> Account:
        """Return the account of that name, making it on first sight."""
        if name not in self.accounts:
            scopes = {each.scope for each in self.collections.values() if each.scope}
            self.accounts[name] = Account(name=name, scopes=scopes)
        return self.accounts[name]

    def token(self, account: Account) -> str:
        """Return the token that is good now."""
        return f"{self.prefix}_{account.name}_{account.generation}"

    def credentials(self, account: Account) -> dict[str, str]:
        """Return what a customer copies out of this vendor's console now."""
        return {"token": self.token(account)}

    def caller(self, request: Request) -> tuple[str | None, int]:
        """Return the account's name and the generation of the secret that the request shows; (None, 0) for nobody."""
        return self.read_token(request.bearer)

    def read_token(self, token: str) -> tuple[str | None, int]:
        """Take a token apart."""
        prefix, _, rest = token.partition("_")
        name, _, generation = rest.rpartition("_")
        if prefix != self.prefix or not name or not generation.isdecimal():
            return None, 0
        return name, int(generation)

    def control(self, action: str, account_name: str, body: Mapping[str, Any], now_s: float) -> dict[str, object]:
        """Do something in the vendor's console; return the account's state with the credentials good from now on."""
        if action not in self.actions:
            raise ControlError(f"{self.name} has no action {action!r}; known: {', '.join(sorted(self.actions))}")
        account = self.account(account_name)
        self.actions[action](account, body, now_s)
        return {**account.state(), "credentials": self.credentials(account)}

    def answer(self, request: Request, path: str, base_url: str, now_s: float) -> Answer:
        """Answer a request. path: below the vendor's own root; base_url: absolute, of that root."""
        refusal = self.refuse(request, now_s)
        if refusal is not None:
            return refusal
        name, _ = self.caller(request)
        account = self.account(name or "nobody")
        quota = self._count(account, now_s)
        if account.quota_used > account.quota:
            error = {"error": {"code": "quota_spent", "message": "You have used up your request quota."}}
            wait_s = max(1, round(account.quota_resets_at_s - now_s + 0.5))
            return json_answer(error, status=429, headers=(*quota, ("Retry-After", str(wait_s))))
        found = self.serve(request, path, base_url, account, now_s)
        return replace(found, headers=(*found.headers, *quota))

    def refuse(self, request: Request, _now_s: float) -> Answer | None:
        """Return a 401 unless the request shows a secret that is good now."""
        name, generation = self.caller(request)
        if name is None:
            return _unauthorized("invalid_request", "A bearer token is required.")
        account = self.account(name)
        if not account.enabled:
            return _unauthorized("invalid_token", "The account was disabled by an administrator.")
        if generation < account.generation:
            return _unauthorized("invalid_token", "The access token expired.")
        if generation > account.generation:
            return _unauthorized("invalid_token", "The access token is unknown.")
        return None

    def serve(self, request: Request, path: str, base_url: str, account: Account, _now_s: float) -> Answer:
        """Answer a caller who is known: `/me`, a page of a collection, or 404."""
        if path == "/me":
            return json_answer({"account": account.name, "vendor": self.title})
        collection = self.collections.get(path)
        if collection is None:
            return json_answer({"error": {"code": "not_found", "message": f"No resource at {path}."}}, status=404)
        if collection.scope and collection.scope not in account.scopes:
            return _forbidden(collection.scope)
        total = account.totals.get(path.strip("/"), collection.total)
        listing = Listing(url=f"{base_url}{path}", total=total, make=collection.make)
        try:
            return collection.pager(listing, request)
        except BadPageError as error:
            return json_answer({"error": {"code": "validation_failed", "message": str(error)}}, status=400)

    def _count(self, account: Account, now_s: float) -> tuple[tuple[str, str], ...]:
        if now_s >= account.quota_resets_at_s:
            account.quota_used, account.quota_resets_at_s = 0, now_s + QUOTA_WINDOW_S
        account.quota_used += 1
        left = max(0, account.quota - account.quota_used)
        resets_in_s = max(0, round(account.quota_resets_at_s - now_s + 0.5))
        return (
            ("X-RateLimit-Limit", str(account.quota)),
            ("X-RateLimit-Remaining", str(left)),
            ("X-RateLimit-Reset", str(resets_in_s)),
        )

    def _expire(self, account: Account, _body: Mapping[str, Any], _now_s: float) -> None:
        account.generation += 1

    def _grant(self, account: Account, body: Mapping[str, Any], _now_s: float) -> None:
        account.scopes |= self._scopes(body)

    def _revoke(self, account: Account, body: Mapping[str, Any], _now_s: float) -> None:
        account.scopes -= self._scopes(body)

    def _scopes(self, body: Mapping[str, Any]) -> set[str]:
        known = {each.scope for each in self.collections.values() if each.scope}
        asked = set(body.get("scopes", known))
        if unknown := sorted(asked - known):
            raise ControlError(f"{self.name} has no scope {unknown[0]!r}; known: {', '.join(sorted(known)) or 'none'}")
        return asked

    def _disable(self, account: Account, _body: Mapping[str, Any], _now_s: float) -> None:
        account.enabled = False

    def _enable(self, account: Account, _body: Mapping[str, Any], _now_s: float) -> None:
        account.enabled = True

    def _spend_quota(self, account: Account, body: Mapping[str, Any], now_s: float) -> None:
        for_s = body.get("for_s", QUOTA_WINDOW_S)
        if not isinstance(for_s, int | float) or for_s <= 0:
            raise ControlError(f"for_s must be a positive number of seconds, not {for_s!r}")
        account.quota_used, account.quota_resets_at_s = account.quota, now_s + for_s

    def _records(self, account: Account, body: Mapping[str, Any], _now_s: float) -> None:
        known = {path.strip("/") for path in self.collections}
        for name, total in body.items():
            if name not in known or not isinstance(total, int) or not 0 <= total <= 10_000_000:
                raise ControlError(f"give a number of records for each of: {', '.join(sorted(known))}")
            account.totals[name] = total


class ClientCredentialsVendor(Vendor):
    """Client id and secret buy an access token at `/oauth/token` (RFC 6749, section 4.4).

    client_id: the account's name; client_secret: `<prefix>_<account>_<generation>`.
    """

    lifetime_s = 60.0

    def credentials(self, account: Account) -> dict[str, str]:
        """Return client id and secret."""
        return {"client_id": account.name, "client_secret": self.token(account)}

    def caller(self, request: Request) -> tuple[str | None, int]:
        """Return whom the access token was given to."""
        prefix, _, rest = request.bearer.partition("-")
        name, _, number = rest.rpartition("-")
        return (name, int(number)) if prefix == "at" and name and number.isdecimal() else (None, 0)

    def refuse(self, request: Request, now_s: float) -> Answer | None:
        """Return a 401 unless the access token was given out here and has not expired."""
        name, _ = self.caller(request)
        if name is None:
            return _unauthorized("invalid_request", "A bearer token is required.")
        expires_at_s = self.account(name).tokens.get(request.bearer)
        if expires_at_s is None:
            return _unauthorized("invalid_token", "The access token is unknown.")
        return _unauthorized("invalid_token", "The access token expired.") if now_s >= expires_at_s else None

    def answer(self, request: Request, path: str, base_url: str, now_s: float) -> Answer:
        """Answer at the token endpoint, or like any vendor."""
        if path == "/oauth/token":
            return self.token_answer(request, now_s)
        return super().answer(request, path, base_url, now_s)

    def token_answer(self, request: Request, now_s: float) -> Answer:
        """Sell an access token for a good client secret, in a basic header or in the form."""
        if request.form().get("grant_type") != "client_credentials":
            return _token_error("unsupported_grant_type", "Only client_credentials is supported.")
        client_id, secret = _client_of(request)
        name, generation = self.read_token(secret)
        account = self.account(client_id) if client_id and client_id == name else None
        if account is None or generation != account.generation or not account.enabled:
            return _token_error("invalid_client", "Client authentication failed.", status=401)
        return json_answer(self.issue(account, now_s))

    def issue(self, account: Account, now_s: float) -> dict[str, object]:
        """Make an access token and forget those that expired."""
        account.tokens_made += 1
        token = f"at-{account.name}-{account.tokens_made}"
        account.tokens = {each: until_s for each, until_s in account.tokens.items() if until_s > now_s}
        account.tokens[token] = now_s + self.lifetime_s
        return {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime_s)}


class RefreshVendor(ClientCredentialsVendor):
    """A refresh token buys an access token and a new refresh token, once (RFC 9700, section 4.14.2).

    A refresh token that is shown a second time ends the whole grant: nothing works until the customer authorizes again.
    """

    lifetime_s = 30.0

    def __init__(self, name: str, prefix: str, title: str, *collections: Collection) -> None:
        super().__init__(name, prefix, title, *collections)
        self.actions["reauthorize"] = self._reauthorize
        self.actions["withdraw"] = self._withdraw

    def credentials(self, account: Account) -> dict[str, str]:
        """Return what an authorization gave: the refresh token that is good now, and the client's own id and secret."""
        refresh = f"rt_{account.name}_{account.generation}_{account.refresh}"
        return {"client_id": "connection-health", "client_secret": f"{self.prefix}_app_1", "refresh_token": refresh}

    def token_answer(self, request: Request, now_s: float) -> Answer:
        """Take the refresh token and give out the next pair."""
        form = request.form()
        if form.get("grant_type") != "refresh_token":
            return _token_error("unsupported_grant_type", "Only refresh_token is supported.")
        if _client_of(request) != ("connection-health", f"{self.prefix}_app_1"):
            return _token_error("invalid_client", "Client authentication failed.", status=401)
        parts = form.get("refresh_token", "").split("_")
        if len(parts) != 4 or parts[0] != "rt" or not (parts[2].isdecimal() and parts[3].isdecimal()):
            return _token_error("invalid_grant", "The refresh token is invalid.")
        account, shown = self.account(parts[1]), (int(parts[2]), int(parts[3]))
        if account.revoked or shown[0] != account.generation or not account.enabled:
            return _token_error("invalid_grant", "The refresh token was revoked.")
        if shown[1] != account.refresh:
            account.revoked, account.tokens = True, {}
            return _token_error("invalid_grant", "The refresh token was used before; the grant was ended.")
        account.refresh += 1
        return json_answer({**self.issue(account, now_s), "refresh_token": self.credentials(account)["refresh_token"]})

    def _reauthorize(self, account: Account, _body: Mapping[str, Any], _now_s: float) -> None:
        account.generation, account.refresh, account.revoked, account.tokens = account.generation + 1, 1, False, {}

    def _withdraw(self, account: Account, _body: Mapping[str, Any], _now_s: float) -> None:
        account.revoked, account.tokens = True, {}


class ExportVendor(Vendor):
    """Hands out an audit log by asynchronous export only: create, ask until ready, download JSON lines under gzip."""

    polls = 2

    def serve(self, request: Request, path: str, base_url: str, account: Account, now_s: float) -> Answer:
        """Answer at `/exports`, `/exports/{id}`, or like any vendor."""
        if path == "/exports" and request.method == "POST":
            return self._create(request, account)
        if path.startswith("/exports/"):
            return self._poll(path.removeprefix("/exports/"), base_url, account)
        return super().serve(request, path, base_url, account, now_s)

    def answer(self, request: Request, path: str, base_url: str, now_s: float) -> Answer:
        """Answer a download without a token: its address is the secret."""
        if path.startswith("/files/"):
            return self._download(path.removeprefix("/files/").removesuffix(".jsonl.gz"))
        return super().answer(request, path, base_url, now_s)

    def _create(self, request: Request, account: Account) -> Answer:
        try:
            kind = request.json().get("kind")
        except ValueError as error:
            return json_answer({"error": {"code": "validation_failed", "message": str(error)}}, status=400)
        if f"/{kind}" not in self.collections:
            return json_answer(
                {"error": {"code": "validation_failed", "message": f"unknown kind {kind!r}"}}, status=400
            )
        number = len(account.exports) + 1
        account.exports[f"x-{account.name}-{kind}-{number}"] = 0
        return json_answer({"export": {"id": f"x-{account.name}-{kind}-{number}", "state": "QUEUED"}}, status=202)

    def _poll(self, export: str, base_url: str, account: Account) -> Answer:
        if export not in account.exports:
            return json_answer({"error": {"code": "not_found", "message": "No such export."}}, status=404)
        account.exports[export] += 1
        if account.exports[export] <= self.polls:
            return json_answer({"id": export, "state": "WORKING", "files": []})
        return json_answer({"id": export, "state": "READY", "files": [{"href": f"{base_url}/files/{export}.jsonl.gz"}]})

    def _download(self, export: str) -> Answer:
        parts = export.rsplit("-", 2)
        collection = self.collections.get(f"/{parts[1]}") if len(parts) == 3 else None
        account = self.accounts.get(parts[0].removeprefix("x-"))
        if collection is None or account is None or export not in account.exports:
            return json_answer({"error": {"code": "not_found", "message": "No such file."}}, status=404)
        total = account.totals.get(parts[1], collection.total)
        return Answer(headers=(("Content-Type", "application/gzip"),), body=_export_file(collection.make, total))


class PlainVendor(Vendor):
    """A vendor for benchmarks: any token, any number of records, answers made once and kept as bytes."""

    def answer(self, request: Request, path: str, _base_url: str, _now_s: float) -> Answer:
        """Answer `/items?records=1000&page_size=100&wait_ms=0&cursor=0`; anything else is 404."""
        if path == "/me":
            return json_answer({"account": "any", "vendor": self.title})
        try:
            asked = {name: int(request.query.get(name, usual)) for name, usual in PLAIN_DEFAULTS.items()}
        except ValueError:
            return json_answer({"error": "records, page_size, wait_ms and cursor are numbers"}, status=400)
        if path != "/items" or min(asked.values()) < 0 or not 0 < asked["page_size"] <= 100_000:
            return json_answer({"error": "only /items, with numbers that are not negative"}, status=404)
        body = plain_body(asked["records"], asked["page_size"], asked["cursor"])
        return Answer(headers=(("Content-Type", "application/json"),), body=body, delay_s=asked["wait_ms"] / 1000)

    def caller(self, request: Request) -> tuple[str | None, int]:
        """Return the token itself: each is an account."""
        return request.bearer or None, 1


PLAIN_DEFAULTS: Mapping[str, int] = {"records": 1, "page_size": 100, "wait_ms": 0, "cursor": 0}


@lru_cache(maxsize=1024)
def plain_body(total: int, size: int, start: int) -> bytes:
    """Return one page of the plain vendor: about 150 bytes a record."""
    items = [records.alert(i) for i in range(start, min(start + size, total))]
    following = start + size if start + size < total else None
    return json.dumps({"items": items, "next": following}, separators=(",", ":")).encode()


@lru_cache(maxsize=16)
def _export_file(make: Maker, total: int) -> bytes:
    lines = b"".join(json.dumps(make(i), separators=(",", ":")).encode() + b"\n" for i in range(total))
    return gzip.compress(lines, mtime=0)


def _unauthorized(error: str, description: str) -> Answer:
    challenge = f'Bearer realm="api", error="{error}", error_description="{description}"'
    document = {"error": error, "error_description": description}
    return json_answer(document, status=401, headers=(("WWW-Authenticate", challenge),))


def _forbidden(scope: str) -> Answer:
    description = f"This resource needs the scope {scope}."
    challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
    document = {"error": "insufficient_scope", "error_description": description}
    return json_answer(document, status=403, headers=(("WWW-Authenticate", challenge),))


def _token_error(error: str, description: str, *, status: int = 400) -> Answer:
    return json_answer(
        {"error": error, "error_description": description}, status=status, headers=(("Cache-Control", "no-store"),)
    )


def _client_of(request: Request) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        form = request.form()
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client_id, secret


def all_vendors() -> Sequence[Vendor]:
    """Return new vendors in their first state."""
    return (
        Vendor(
            "acme_idp",
            "acme",
            "Acme Identity",
            Collection(path="/users", total=1240, make=records.user, pager=pages.by_cursor),
            Collection(path="/groups", total=60, make=records.group, pager=pages.by_cursor),
        ),
        Vendor(
            "granite_edr",
            "granite",
            "Granite Endpoint",
            Collection(path="/devices", total=300, make=records.device, pager=pages.by_offset),
            Collection(path="/alerts", total=850, make=records.alert, pager=pages.by_offset),
        ),
        Vendor(
            "pebble_tickets",
            "pebble",
            "Pebble Tickets",
            Collection(path="/tickets", total=420, make=records.ticket, pager=pages.by_page),
        ),
        Vendor(
            "cedar_cloud",
            "cedar",
            "Cedar Cloud Posture",
            Collection(path="/assets", total=500, make=records.asset, pager=pages.by_next_url, scope="assets.read"),
            Collection(
                path="/findings", total=900, make=records.finding, pager=pages.by_next_url, scope="findings.read"
            ),
        ),
        Vendor(
            "glacier_logs",
            "glacier",
            "Glacier Logs",
            Collection(path="/events", total=600, make=records.event, pager=pages.by_cursor),
        ),
        Vendor(
            "quartz_scanner",
            "quartz",
            "Quartz Scanner",
            Collection(path="/v2/findings", total=700, make=records.finding, pager=pages.by_cursor),
            Collection(path="/v2/assets", total=250, make=records.asset, pager=pages.by_cursor),
        ),
        Vendor(
            "origami_hr",
            "origami",
            "Origami People",
            Collection(path="/employees", total=180, make=records.employee, pager=pages.by_cursor),
        ),
        Vendor(
            "steady_assets",
            "steady",
            "Steady Assets",
            Collection(path="/assets", total=5000, make=records.asset, pager=pages.by_link_header),
        ),
        ClientCredentialsVendor(
            "harbor_crm",
            "harbor",
            "Harbor CRM",
            Collection(path="/contacts", total=640, make=records.contact, pager=pages.by_page),
        ),
        RefreshVendor(
            "tidal_mail",
            "tidal",
            "Tidal Mail",
            Collection(path="/mailboxes", total=220, make=records.mailbox, pager=pages.by_cursor),
        ),
        ExportVendor(
            "quarry_audit",
            "quarry",
            "Quarry Audit",
            Collection(path="/audit", total=2000, make=records.event, pager=pages.by_cursor),
        ),
        PlainVendor("plain", "plain", "Plain"),
    )
