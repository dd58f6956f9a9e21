"""Connections, healths and runs as the JSON that every door speaks, and as words for people."""

from collections.abc import Mapping
from typing import Any

from models.api_keys import ApiKey
from models.authorizations import Lapsing, TokenOutlook
from models.connections import ConnectionView, Organization
from models.history import HealthChange, HealthView, RunView


def organization_document(organization: Organization) -> dict[str, object]:
    """Return an organization."""
    return {"id": organization.organization_id, "name": organization.name, "created_at": organization.created_at}


def key_document(key: ApiKey) -> dict[str, object]:
    """Return a key of the HTTP API, without its text."""
    return {
        "id": key.key_id,
        "organization_id": key.organization_id,
        "name": key.name,
        "scope": key.scope,
        "ending": key.ending,
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def connection_document(view: ConnectionView) -> dict[str, object]:
    """Return a connection with its health; `health` is null before the first finished run."""
    return {
        "id": view.connection_id,
        "organization_id": view.organization_id,
        "organization_name": view.organization_name,
        "vendor": view.vendor,
        "identifier": view.identifier,
        "state": view.state,
        "is_active": view.is_active,
        "refresh_interval_secs": view.refresh_interval_secs,
        "timeout_secs": view.timeout_secs,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
        "next_due_at": view.next_due_at,
        "running_run_seq": None if view.active_run is None else view.active_run.run_seq,
        "run_seq": view.run_seq,
        "health": None if view.health is None else health_document(view.health),
    }


def health_document(health: HealthView) -> dict[str, object]:
    """Return a health: the wire's five members, then ours. The wire knows no details of a healthy connection."""
    return {
        "name": health.name,
        "status": health.status,
        "description": health.description,
        "resolution_owner": health.owner,
        "details": [detail_document(each) for each in health.details] or None,
        "reason": health.reason,
        "rule": health.rule,
        "sentence": health.sentence,
        "next_step": health.next_step,
        "retry_at": health.retry_at,
        "since": health.since,
        "run_seq": health.run_seq,
        "consecutive_failures": health.consecutive_failures,
        "superseded": health.superseded,
        "last_success_at": health.last_success_at,
        "last_failure_at": health.last_failure_at,
    }


def detail_document(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data type that failed, the wire's two members first: jsonb orders them by length."""
    first = {"data_export_type": detail.get("data_export_type"), "endpoint": detail.get("endpoint")}
    return {**first, **detail}


def change_document(change: HealthChange) -> dict[str, object]:
    """Return one change of a connection's health."""
    return {
        "run_seq": change.run_seq,
        "changed_at": change.changed_at,
        "name": change.name,
        "status": change.status,
        "resolution_owner": change.owner,
        "reason": change.reason,
        "rule": change.rule,
        "sentence": change.sentence,
        "previous_name": change.previous_name,
        "previous_reason": change.previous_reason,
    }


def run_document(run: RunView, *, whole: bool = False) -> dict[str, object]:
    """Return a run. whole: with its evidence and exchanges."""
    document: dict[str, object] = {
        "connection_id": run.connection_id,
        "run_seq": run.run_seq,
        "state": run.state,
        "trigger": run.trigger,
        "scheduled_for": run.scheduled_for,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "deadline_at": run.deadline_at,
        "name": run.name,
        "reason": run.reason,
        "rule": run.rule,
        "sentence": run.sentence,
        "next_step": run.next_step,
        "retry_at": run.retry_at,
        "details": [detail_document(each) for each in run.details] or None,
        "requests": run.requests,
        "records": {
            "new": run.records_new,
            "changed": run.records_changed,
            "unchanged": run.records_unchanged,
            "skipped": run.records_skipped,
        },
        "skipped_slots": run.skipped_slots,
        "classifier_version": run.classifier_version,
    }
    if whole:
        document |= {
            "data_types": run.data_types,
            "evidence": run.evidence,
            "exchanges": run.exchanges,
            "late_result": run.late_result,
        }
    return document


def outlook_document(outlook: TokenOutlook | None) -> dict[str, object] | None:
    """Return when what a connection holds ends; None where it holds nothing that was granted to it."""
    if outlook is None:
        return None
    return {
        "obtained_at": outlook.obtained_at,
        "access_token_expires_at": outlook.access_token_expires_at,
        "refresh_token_expires_at": outlook.refresh_token_expires_at,
        "lapses_at": outlook.lapses_at,
    }


def lapsing_document(lapsing: Lapsing) -> dict[str, object]:
    """Return a connection whose access will end."""
    return {
        "id": lapsing.connection_id,
        "organization_id": lapsing.organization_id,
        "vendor": lapsing.vendor,
        "identifier": lapsing.identifier,
        "lapses_at": lapsing.lapses_at,
    }


def proof(evidence: Mapping[str, Any] | None) -> str:
    """Say in one line what a verdict rests on: `GET http://… -> 401`; an empty text where no exchange decided."""
    if not evidence:
        return ""
    call = f"{evidence.get('method', '')} {evidence.get('url', '')}".strip()
    if evidence.get("status") is not None:
        return f"{call} -> {evidence['status']}"
    links = evidence.get("exception") or [{}]
    return f"{call} -> {links[0].get('name') or 'no answer'}"
