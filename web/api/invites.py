"""Invitations: a customer creates one connection, or mends one, without any key of yours."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from models import audit, connections, invites
from models.errors import InviteRefusedError
from models.invites import EXPIRY_SECS, Invite
from vendors.credentials_schema import input_schema
from web.api.answers import answer, empty, page
from web.api.authority import AtDesk, Writer, invited
from web.api.connections import known_vendor
from web.api.cursors import Cursor, Limit, cut, place_of, refused
from web.api.documents import form_schema, invite_document, layout_of
from web.api.repeats import Keep, Repeatable
from web.api.route import Route
from web.api.shapes import FormShape, InviteShape, NewInvite, NewInviteShape, PageShape, TokenGiven
from web.desk import Desk
from web.problems import not_found

router = APIRouter(prefix="/v1/provisioning/organizations/{organization_id}", tags=["invites"], route_class=Route)


@router.post("/connection-invite-tokens", summary="Create an invite token", response_model=NewInviteShape)
def create(organization_id: UUID, body: NewInvite, principal: Writer, desk: AtDesk, repeat: Repeatable) -> Response:
    """Create a token with which one connection is created (`vendor`, or any), or one is mended (`connection_id`).

    It is used once, and expires after `expiry_secs` (30 minutes where nothing is said). Only this answer holds it.
    """
    principal.check_organization(organization_id)
    vendor = None if body.vendor is None else known_vendor(desk, body.vendor)

    def make(keep: Keep) -> Response:
        with desk.database.transaction() as db:
            invite = invites.create_invite(
                db,
                organization_id=organization_id,
                created_by=principal.actor.name,
                vendor=vendor,
                connection_id=body.connection_id,
                identifier=body.identifier,
                options=body.options,
                expiry_secs=body.expiry_secs or EXPIRY_SECS,
            )
            document = {"token": invites.token_of(desk.keyring, invite), **invite_document(invite)}
            audit.write_entry(
                db,
                principal.actor,
                "invite.created",
                organization_id=organization_id,
                connection_id=body.connection_id,
                subject_id=invite.invite_id,
                changes={"vendor": vendor, "expires_at": invite.expires_at},
            )
            keep(db, HTTPStatus.OK, document, invite.invite_id)
        return answer(document)

    return repeat.once(principal, make)


@router.get("/connection-invite-tokens", summary="List invite tokens", response_model=PageShape[InviteShape])
def list_invites(
    organization_id: UUID, principal: Writer, desk: AtDesk, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List invitations, the oldest first, without their tokens."""
    principal.check_organization(organization_id)
    of = {"list": "invites", "organization": organization_id}
    after = uuid_of(cursor, of)
    with desk.database.connection() as db:
        if connections.get_organization(db, organization_id) is None:
            raise not_found("organization")
        found = invites.list_invites(db, organization_id, after=after, limit=limit + 1)
    shown, following = cut(found, limit, of, lambda each: each.invite_id)
    return answer(page([invite_document(each) for each in shown], next_cursor=following))


@router.delete("/connection-invite-tokens/{invite_id}", summary="Revoke an invite token", status_code=204)
def revoke(organization_id: UUID, invite_id: UUID, principal: Writer, desk: AtDesk) -> Response:
    """Let a token open nothing from now on."""
    principal.check_organization(organization_id)
    with desk.database.transaction() as db:
        if not invites.revoke_invite(db, organization_id, invite_id):
            raise not_found("invite token that is still open")
        audit.write_entry(db, principal.actor, "invite.revoked", organization_id=organization_id, subject_id=invite_id)
    return empty()


@router.post("/connection-invite-token/validate", summary="Validate an invite token", response_model=FormShape)
def validate(organization_id: UUID, body: TokenGiven, request: Request, desk: AtDesk) -> Response:
    """Return the form that a token is for. The token itself is all that is needed; it is not used up by this."""
    invite = invited(request, desk, body.token).invite
    if invite is None or invite.organization_id != organization_id:
        raise InviteRefusedError  # it opens nothing here
    return answer(_form(desk, invite))


def uuid_of(cursor: str | None, of: Mapping[str, object]) -> UUID | None:
    """Return the id that a cursor stands at, None for the beginning. Raises Problem."""
    if cursor is None:
        return None
    try:
        return UUID(str(place_of(cursor, of)))
    except ValueError:
        raise refused() from None


def _form(desk: Desk, invite: Invite) -> dict[str, object]:
    vendor = invite.vendor
    if invite.connection_id is not None:
        with desk.database.connection() as db:
            view = connections.get_connection(db, invite.connection_id)
        vendor = None if view is None else view.vendor
    form: dict[str, object] = dict.fromkeys(
        ("vendor", "vendorName", "logoUrl", "docsUrl", "credentialsType", "dataSchema", "uiSchema", "settingsSchema")
    )
    if vendor is not None:
        definition = desk.station.catalogue.get(vendor)
        schema: Any = input_schema(definition)["properties"]
        credentials = form_schema(schema.get("credentials"))
        settings = form_schema(schema.get("settings"))
        form |= {
            "vendor": definition.vendor,
            "vendorName": definition.title,
            "docsUrl": definition.docs_url or None,
            "credentialsType": "SECRETS" if credentials else "OAUTH2",
            "dataSchema": credentials,
            "uiSchema": layout_of(("", credentials)),
            "settingsSchema": _asked_of_the_customer(settings, invite),
        }
    return {
        **form,
        "organization_id": invite.organization_id,
        "connection_id": invite.connection_id,
        "identifier": invite.identifier,
        "expires_at": invite.expires_at,
    }


def _asked_of_the_customer(settings: dict[str, Any] | None, invite: Invite) -> dict[str, Any] | None:
    """Leave out what the invitation itself settles."""
    if settings is None:
        return None
    left = {name: words for name, words in settings["properties"].items() if name not in invite.options}
    required = [name for name in settings.get("required", []) if name in left]
    return {**settings, "properties": left, "required": required} if left else None
