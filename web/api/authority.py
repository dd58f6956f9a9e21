"""Who asks, and what they may do. A key's organization is all that it can see: the rest is not there for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader

from models import api_keys, invites
from models.api_keys import ApiKey
from models.audit import Actor
from models.invites import Invite
from models.limits import used
from models.vocabulary import Scope
from vendors.definition import Limits, LimitScope, Rate
from web.desk import Desk, quota_headers
from web.problems import Problem, not_found, request_id_of
from worker.wire.budget import Budget
from worker.wire.errors import RateLimitedLocallyError
from worker.wire.limiter import Limiter

KEY_HEADER: Final = APIKeyHeader(
    name="X-API-KEY", auto_error=False, description="A key of the account or of one organization."
)
INVITE_HEADER: Final = APIKeyHeader(
    name="X-CONNECTION-INVITE-TOKEN", auto_error=False, description="An invite token, in the place of a key."
)
_RANKS: Final = tuple(Scope)
_MINUTE_S: Final = 60.0
_KEY_WANTED: Final = "Send an API key in the header X-API-KEY."
_KEY_REFUSED: Final = "This API key opens nothing: it is unknown, expired or revoked."


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. organization_id None: the whole account; invite: where an invite token is all that they have."""

    actor: Actor
    organization_id: UUID | None
    scope: Scope
    key_id: UUID | None = None
    invite: Invite | None = None

    @property
    def may_write(self) -> bool:
        """Whether they may change anything."""
        return self.scope is not Scope.READ

    def check_organization(self, organization_id: UUID) -> None:
        """Raise a 404 for an organization that is not theirs, as for one that is not there."""
        if self.organization_id not in (None, organization_id):
            raise not_found("organization")


async def desk_of(request: Request) -> Desk:
    """Return this process's tools. Async, as all that waits for nothing: what is not takes a thread's time."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(desk_of)]


async def _principal(request: Request, desk: Desk, text: str | None, needed: Scope) -> Principal:
    if not text:
        raise Problem(HTTPStatus.UNAUTHORIZED, _KEY_WANTED)
    key = desk.known_keys.get(text)
    if key is None:
        key = await run_in_threadpool(_looked_up, desk, text)
    principal = Principal(
        actor=actor_of(request, f"key:{key.key_id}"),
        organization_id=key.organization_id,
        scope=key.scope,
        key_id=key.key_id,
    )
    if desk.station.purse.spend(_scope_key(principal)) is None:  # else it was counted, without asking the database
        per_minute = key.requests_per_minute or desk.settings.http_requests_per_minute
        await run_in_threadpool(_count, request, desk, principal, per_minute)
    else:
        request.scope["quota"] = desk.quotas.headers_of(_scope_key(principal))
    if _RANKS.index(key.scope) < _RANKS.index(needed):
        raise Problem(HTTPStatus.FORBIDDEN, f"This needs a key of scope {needed}; this one's is {key.scope}.")
    return principal


def _looked_up(desk: Desk, text: str) -> ApiKey:
    with desk.database.connection() as db:
        key = api_keys.find_key(db, text)
    if key is None:
        raise Problem(HTTPStatus.UNAUTHORIZED, _KEY_REFUSED)
    desk.known_keys.put(text, key)
    return key


def _scope_key(principal: Principal) -> str:
    return f"api/{principal.actor.name}"


def actor_of(request: Request, name: str) -> Actor:
    """Return who makes a change, and by which request. name: as models/audit.py says."""
    request.scope["actor"] = name
    remote = request.client.host if request.client is not None else None
    return Actor(name=name, request_id=request_id_of(request), remote_address=remote)


def _count(request: Request, desk: Desk, principal: Principal, per_minute: int) -> None:
    rate, scope_key = Rate(limit=per_minute, per_s=_MINUTE_S), _scope_key(principal)
    limits = Limits(rates=(rate,), scope=LimitScope.CONNECTION)
    limiter = Limiter(desk.station.shared_limits, scope_key, limits, purse=desk.station.purse, longest_wait_s=0.0)
    try:
        limiter.take(Budget(_MINUTE_S), _never)
    except RateLimitedLocallyError as error:
        after_s = max(1, round(error.wait_s + 0.5))
        request.scope["quota"] = quota_headers(per_minute=per_minute, left=0, after_s=after_s)
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"This key may send {per_minute} requests a minute; send the next one in {after_s} s.",
            headers={"retry-after": str(after_s)},
        ) from error
    with desk.database.connection() as db:
        desk.quotas.put(
            scope_key, per_minute=per_minute, left=per_minute - used(db, scope_key, (per_minute, _MINUTE_S))
        )
    request.scope["quota"] = desk.quotas.headers_of(scope_key)


def _never(_seconds: float) -> None:
    raise AssertionError("a limiter that may not wait does not sleep")


def _with_key(needed: Scope) -> Callable[..., Awaitable[Principal]]:
    async def principal(
        request: Request, desk: AtDesk, key: Annotated[str | None, Security(KEY_HEADER)] = None
    ) -> Principal:
        return await _principal(request, desk, key, needed)

    return principal


async def _with_key_or_invite(
    request: Request,
    desk: AtDesk,
    key: Annotated[str | None, Security(KEY_HEADER)] = None,
    token: Annotated[str | None, Security(INVITE_HEADER)] = None,
) -> Principal:
    if key or not token:
        return await _principal(request, desk, key, Scope.WRITE)
    return await run_in_threadpool(invited, request, desk, token)


def invited(request: Request, desk: Desk, token: str) -> Principal:
    """Return who holds an invite token, and count their request. Raises InviteRefusedError, Problem (429)."""
    with desk.database.connection() as db:
        invite = invites.open_invite(db, desk.keyring, token)
    principal = Principal(
        actor=actor_of(request, f"invite:{invite.invite_id}"),
        organization_id=invite.organization_id,
        scope=Scope.WRITE,
        invite=invite,
    )
    _count(request, desk, principal, desk.settings.http_requests_per_minute)
    return principal


Reader = Annotated[Principal, Depends(_with_key(Scope.READ))]
Writer = Annotated[Principal, Depends(_with_key(Scope.WRITE))]
Admin = Annotated[Principal, Depends(_with_key(Scope.ADMIN))]
WriterOrInvited = Annotated[Principal, Depends(_with_key_or_invite)]
