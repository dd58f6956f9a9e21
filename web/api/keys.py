"""Keys of this API. Their text is shown once; kept is only a digest."""

from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from models import api_keys, audit
from models.api_keys import ApiKey
from models.representations import key_document
from web.api.answers import answer, empty, page
from web.api.authority import Admin, AtDesk, Principal, Reader
from web.api.cursors import Cursor, Limit, cut
from web.api.invites import uuid_of
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import KeyShape, NewKey, NewKeyShape, PageShape
from web.desk import Desk
from web.problems import Fault, not_found, unacceptable

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=Route)
own = APIRouter(tags=["keys"], route_class=Route)


@router.post("", summary="Create a key", status_code=201, response_model=NewKeyShape)
def create(body: NewKey, principal: Admin, desk: AtDesk, repeat: Repeatable) -> Response:
    """Create a key. Only this answer holds its text. A key of one organization makes keys of that organization."""
    organization_id = body.organization_id or principal.organization_id
    if organization_id is not None:
        principal.check_organization(organization_id)
    expires_at = _expiry(body.expires_at)

    def make(keep: Keep) -> Response:
        with desk.database.transaction() as db:
            key, text = api_keys.create_key(
                db,
                name=body.name,
                scope=body.scope,
                organization_id=organization_id,
                created_by=principal.actor.name,
                expires_at=expires_at,
                requests_per_minute=body.requests_per_minute,
            )
            document = {"key": text, **key_document(key)}
            audit.write_entry(
                db,
                principal.actor,
                "key.created",
                organization_id=organization_id,
                subject_id=key.key_id,
                changes={"name": key.name, "scope": key.scope, "expires_at": key.expires_at},
            )
            keep(db, HTTPStatus.CREATED, document, key.key_id)
        return answer(document, status=HTTPStatus.CREATED, headers={"location": f"/v1/keys/{key.key_id}"})

    return repeat.once(principal, make)


@router.get("", summary="List keys", response_model=PageShape[KeyShape])
def list_keys(principal: Admin, desk: AtDesk, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List keys, the oldest first, those that open nothing any more too."""
    of = {"list": "keys", "organization": principal.organization_id}
    after = uuid_of(cursor, of)
    with desk.database.connection() as db:
        found = api_keys.list_keys(db, organization_id=principal.organization_id, after=after, limit=limit + 1)
    shown, following = cut(found, limit, of, lambda each: each.key_id)
    return answer(page([key_document(each) for each in shown], next_cursor=following))


@router.get("/{key_id}", summary="Get a key", response_model=KeyShape)
def get(key_id: UUID, principal: Admin, desk: AtDesk) -> Response:
    """Return one key, without its text."""
    return answer(key_document(_key_of(principal, desk, key_id)))


@router.delete("/{key_id}", summary="Revoke a key", status_code=204)
def revoke(key_id: UUID, principal: Admin, desk: AtDesk) -> Response:
    """Let a key open nothing from now on. It stays in the list."""
    key = _key_of(principal, desk, key_id)
    with desk.database.transaction() as db:
        if api_keys.revoke_key(db, key_id):
            audit.write_entry(
                db,
                principal.actor,
                "key.revoked",
                organization_id=key.organization_id,
                subject_id=key_id,
                changes={"name": key.name},
            )
    desk.known_keys.forget()
    return empty()


@own.get("/v1/key", summary="Get the key that asks", response_model=KeyShape)
def get_current(principal: Reader, desk: AtDesk) -> Response:
    """Return the key that this request came with: its organization, its scope, its end."""
    with desk.database.connection() as db:
        found = None if principal.key_id is None else api_keys.get_key(db, principal.key_id)
    if found is None:
        raise not_found("key")
    return answer(key_document(found))


def _key_of(principal: Principal, desk: Desk, key_id: UUID) -> ApiKey:
    with desk.database.connection() as db:
        key = api_keys.get_key(db, key_id)
    if key is None or principal.organization_id not in (None, key.organization_id):
        raise not_found("key")
    return key


def _expiry(given: datetime | None) -> datetime | None:
    if given is None:
        return None
    if given <= datetime.now(UTC):
        raise unacceptable("expires_at lies in the past.", Fault(detail="lies in the past", pointer="/expires_at"))
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise unacceptable("expires_at is beyond the years that can be told.") from None
