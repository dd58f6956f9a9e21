"""What this door adds to the representations that all doors share: addresses, and ids by the wire's names."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from models.audit import AuditEntry
from models.connections import ConnectionView
from models.invites import Invite
from models.lists import ListedConnection
from models.records import RecordCount, RecordView
from models.representations import connection_document, health_document
from web.desk import Desk
from worker.authorization import link_of, listed_link
from worker.credentials import DataTypeReport, ProbeReport

ORGANIZATIONS: Final = "/v1/provisioning/organizations"


def address_of(desk: Desk, organization_id: UUID, connection_id: UUID, *rest: object) -> str:
    """Return the address of something of a connection: whole where the public URL is known, else its path."""
    below = "".join(f"/{part}" for part in rest)
    return f"{desk.settings.public_url or ''}{ORGANIZATIONS}/{organization_id}/connections/{connection_id}{below}"


def shown_connection(desk: Desk, view: ConnectionView, *, with_link: bool) -> dict[str, object]:
    """Return a connection. with_link: for whoever may send the customer to authorize it; it is as good as a key."""
    document = connection_document(view)
    document["oauth2_authorize_url"] = link_of(desk.station, view) if with_link else None
    document["health"] = shown_health(desk, view)
    return document


def shown_listed(desk: Desk, found: Sequence[ListedConnection], *, with_links: bool) -> list[dict[str, object]]:
    """Return the connections of a list, each as `shown_connection` shows it."""
    before = f"{desk.settings.public_url or ''}{ORGANIZATIONS}"
    for listed in found:
        document, health = listed.document, listed.health
        document["oauth2_authorize_url"] = listed_link(desk.station, listed) if with_links else None
        if health is not None:
            # As address_of has it; fifty times, a call costs more than what it does.
            health["evidence_url"] = (
                f"{before}/{document['organization_id']}/connections/{document['id']}/jobs/{health['run_seq']}"
            )
    return [listed.document for listed in found]


def shown_health(desk: Desk, view: ConnectionView) -> dict[str, object] | None:
    """Return a connection's health, None before its first finished run."""
    if view.health is None:
        return None
    document = health_document(view.health)
    document["evidence_url"] = address_of(desk, view.organization_id, view.connection_id, "jobs", view.health.run_seq)
    return document


def probe_document(report: ProbeReport) -> dict[str, object]:
    """Return what a live test found; the wire's two members first."""
    verdict = report.verdict
    return {
        "is_valid": report.is_valid,
        "message": report.message,
        "name": verdict.name,
        "status": verdict.status,
        "resolution_owner": verdict.resolution_owner,
        "reason": verdict.reason,
        "next_step": None if report.is_valid else verdict.next_step,
        "data_types": [_data_type_test(each) for each in report.data_types],
        "exchanges": list(report.exchanges),
    }


def _data_type_test(report: DataTypeReport) -> dict[str, object]:
    verdict = report.verdict
    return {
        "data_export_type": report.name,
        "is_valid": report.is_ok,
        "message": report.sentence,
        "endpoint": report.endpoint,
        "name": None if verdict is None else verdict.name,
        "reason": None if verdict is None else verdict.reason,
    }


def invite_document(invite: Invite) -> dict[str, object]:
    """Return an invitation, without its options, which the wire never echoes."""
    return {
        "id": invite.invite_id,
        "organization_id": invite.organization_id,
        "vendor": invite.vendor,
        "connection_id": invite.connection_id,
        "identifier": invite.identifier,
        "created_at": invite.created_at,
        "created_by": invite.created_by,
        "expires_at": invite.expires_at,
        "used_at": invite.used_at,
        "used_for": invite.used_for,
        "revoked_at": invite.revoked_at,
    }


def audit_document(entry: AuditEntry) -> dict[str, object]:
    """Return one change."""
    return {
        "id": entry.entry_id,
        "happened_at": entry.happened_at,
        "actor": entry.actor,
        "action": entry.action,
        "organization_id": entry.organization_id,
        "connection_id": entry.connection_id,
        "subject_id": entry.subject_id,
        "request_id": entry.request_id,
        "remote_address": entry.remote_address,
        "changes": entry.changes,
    }


def record_document(record: RecordView, data_type: str) -> dict[str, object]:
    """Return one record."""
    return {
        "record_id": record.record_id,
        "data_export_type": data_type,
        "first_seen_at": record.first_seen_at,
        "changed_at": record.changed_at,
        "run_seq": record.changed_seq,
        "last_seen_at": record.last_seen_at,
        "gone_at": record.gone_at,
        "payload": record.payload,
    }


def data_type_document(count: RecordCount) -> dict[str, object]:
    """Return how much of a data type is stored."""
    return {
        "data_export_type": count.data_type,
        "living": count.living,
        "gone": count.gone,
        "last_pass_at": count.last_pass_at,
    }


def form_schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a part of a vendor's schema as a form in a browser reads it: secrets carry `password: true`."""
    if schema is None:
        return None
    properties = {
        name: {**words, **({"password": True} if words.get("writeOnly") else {})}
        for name, words in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def layout_of(*parts: tuple[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return a layout for JSON Forms: one control below the other. parts: a prefix of the scope, and its schema."""
    elements = [
        {"type": "Control", "scope": f"#/{prefix}properties/{name}", "label": words.get("title", name)}
        for prefix, schema in parts
        for name, words in (schema or {}).get("properties", {}).items()
    ]
    return {"type": "VerticalLayout", "elements": elements}
