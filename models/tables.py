"""The tables, as the single truth that migrations are compared with. Statements are in the modules beside.

organization ─< connection ── connection_sched   when it runs next, and which run holds it (hot, narrow)
                     │     ── health             the verdict of its last finished run
                     │     ─< credential         sealed by the vault
                     │     ─< cursor             per data type: where the next run starts
                     ├─< run                     at most one, while it is RUNNING
                     ├─< run_history             ended runs, one partition a day
                     ├─< health_history          one row per change of health
                     ├─< event                   the same changes, until they are delivered
                     ├─> health_count, …_total   how many there are of each, and …_change: what is not yet in them
                     ├─< record                  what was synced, in hash partitions
                     └─< sighting                what a pass has seen so far, until the pass ends
vendor_limit ─< connection        worker ─< run        rate_limit, tally
organization ─< api_key, invite   connection ─< authorization_attempt   repeatable_request, audit_entry

The tables that hold a row per run or per record carry no foreign keys: the statements that write them have just read,
locked, the row that they would point to. Nor is a word checked again where it is a copy of one that was: the server
reads every check anew at every statement, and those of four tables were a sixth of what a run's books cost.
"""

from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TEXT, TIMESTAMP, UUID

from classifier.vocabulary import HealthName, ResolutionOwner
from models.vocabulary import (
    LONGEST_INTERVAL_SECS,
    LONGEST_TIMEOUT_SECS,
    NEVER_RUN,
    SHORTEST_INTERVAL_SECS,
    SHORTEST_TIMEOUT_SECS,
    ConnectionState,
    RunState,
    Scope,
    Trigger,
)

RECORD_PARTITIONS: Final = 16
metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Rows here are rewritten every few minutes and every dead one lies in the way of the next claim, so vacuum comes after
# one per cent of changes instead of twenty, and does not pause.
_HOT: Final = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "200",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.05",
}


def _time() -> TIMESTAMP:
    return TIMESTAMP(timezone=True)


def _words(column: str, words: type[StrEnum], *besides: str) -> str:
    listed = ", ".join(f"'{word}'" for word in (*words, *besides))
    return f"{column} IN ({listed})"


def _table(
    name: str, *parts: sa.schema.SchemaItem, settings: dict[str, str] | None = None, partition_by: str | None = None
) -> sa.Table:
    options: dict[str, Any] = {}
    if settings:
        options["postgresql_with"] = settings
    if partition_by:
        options["postgresql_partition_by"] = partition_by
    return sa.Table(name, metadata, *parts, **options)


organization = _table(
    "organization",
    sa.Column("organization_id", UUID(), primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("deleted_at", _time()),
    sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name_length"),
)

# One row per vendor that is in use. max_inflight NULL: any number of runs at a time.
vendor_limit = _table(
    "vendor_limit",
    sa.Column("vendor", TEXT, primary_key=True),
    sa.Column("max_inflight", sa.Integer),
    sa.Column("paused_until", _time()),
    sa.CheckConstraint("vendor ~ '^[A-Za-z0-9_.-]{1,64}$'", name="vendor_shape"),
    sa.CheckConstraint("max_inflight > 0", name="max_inflight_positive"),
    settings={"fillfactor": "50"},
)

# Cold: what a person reads and writes.
connection = _table(
    "connection",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("organization_id", UUID(), sa.ForeignKey("organization.organization_id"), nullable=False),
    sa.Column("vendor", TEXT, sa.ForeignKey("vendor_limit.vendor"), nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("identifier", TEXT),
    sa.Column("options", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("deleted_at", _time()),
    sa.CheckConstraint(_words("state", ConnectionState), name="state_known"),
    sa.CheckConstraint("char_length(identifier) BETWEEN 1 AND 500", name="identifier_length"),
    sa.CheckConstraint("jsonb_typeof(options) = 'object'", name="options_object"),
    sa.CheckConstraint("(state = 'DELETED') = (deleted_at IS NOT NULL)", name="deleted_at_when_deleted"),
    sa.Index("ix_connection_identifier", "identifier", "connection_id", postgresql_where="identifier IS NOT NULL"),
    sa.Index("ix_connection_organization", "organization_id", "connection_id"),
    sa.Index("ix_connection_deleted", "deleted_at", postgresql_where="deleted_at IS NOT NULL"),
)

# Hot and narrow: no JSON, no secrets. enabled follows connection.state by a trigger below.
# next_due_at: when it is to run next. slot_at: the next slot of its grid that no run has answered for yet; the grid is
# slot_origin + n * refresh_interval_secs. They differ while a retry, a vendor's wait or a trigger is on.
# requested_trigger: why the next run is wanted at once; NULL where only the grid wants it.
# run_seq: the fencing token, one more at each claim, never reused. active_seq: the run that holds the row; NULL: idle.
# succeeded_seq: the last run that read everything to its end.
connection_sched = _table(
    "connection_sched",
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id"), primary_key=True),
    sa.Column("vendor", TEXT, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("refresh_interval_secs", sa.Integer, nullable=False),
    sa.Column("timeout_secs", sa.Integer, nullable=False),
    sa.Column("slot_origin", _time(), nullable=False),
    sa.Column("slot_at", _time(), nullable=False),
    sa.Column("next_due_at", _time(), nullable=False),
    sa.Column("hinted_at", _time()),
    sa.Column("requested_trigger", TEXT),
    sa.Column("run_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("active_seq", sa.BigInteger),
    sa.Column("cred_version", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("crash_streak", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("succeeded_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint(
        f"refresh_interval_secs BETWEEN {SHORTEST_INTERVAL_SECS} AND {LONGEST_INTERVAL_SECS}",
        name="refresh_interval_secs_bounds",
    ),
    sa.CheckConstraint(
        f"timeout_secs BETWEEN {SHORTEST_TIMEOUT_SECS} AND {LONGEST_TIMEOUT_SECS}", name="timeout_secs_bounds"
    ),
    sa.CheckConstraint("active_seq <= run_seq", name="active_seq_was_claimed"),
    sa.CheckConstraint(_words("requested_trigger", Trigger), name="requested_trigger_known"),
    # active_seq is left out on purpose: with it, ending a run would write to this index; without it, the end of a
    # regular run is a heap-only update, and what a claim skips on its way are the runs in flight at most.
    sa.Index("ix_connection_sched_due", "vendor", "next_due_at", postgresql_where="enabled"),
    settings={"fillfactor": "80", **_HOT},
)

# A worker process tree. A new id at each start, never reused.
worker = _table(
    "worker",
    sa.Column("worker_id", UUID(), primary_key=True),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("lease_until", _time(), nullable=False),
    sa.Column("retired_at", _time()),
    settings={"fillfactor": "50", **_HOT},
)

# RUNNING runs only, so it stays small. Its primary key is the backstop of "one run per connection at a time".
run = _table(
    "run",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("worker_id", UUID(), nullable=False),
    sa.Column("organization_id", UUID(), nullable=False),
    sa.Column("vendor", TEXT, nullable=False),
    sa.Column("trigger", TEXT, nullable=False),
    sa.Column("scheduled_for", _time(), nullable=False),
    sa.Column("skipped_slots", sa.Integer, nullable=False),
    sa.Column("cred_version", sa.Integer, nullable=False),
    sa.Column("started_at", _time(), nullable=False),
    sa.Column("deadline_at", _time(), nullable=False),
    sa.CheckConstraint(_words("trigger", Trigger), name="trigger_known"),
    sa.CheckConstraint("skipped_slots >= 0", name="skipped_slots_not_negative"),
    sa.Index("ix_run_worker", "worker_id", "deadline_at"),
    sa.Index("ix_run_vendor", "vendor"),
    settings=_HOT,
)

_ENDED: Final = [state for state in RunState if state is not RunState.RUNNING]

run_history = _table(
    "run_history",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("run_seq", sa.BigInteger, primary_key=True),
    sa.Column("finished_at", _time(), primary_key=True),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("worker_id", UUID(), nullable=False),
    sa.Column("organization_id", UUID(), nullable=False),
    sa.Column("vendor", TEXT, nullable=False),
    sa.Column("trigger", TEXT, nullable=False),
    sa.Column("scheduled_for", _time(), nullable=False),
    sa.Column("skipped_slots", sa.Integer, nullable=False),
    sa.Column("cred_version", sa.Integer, nullable=False),
    sa.Column("started_at", _time(), nullable=False),
    sa.Column("deadline_at", _time(), nullable=False),
    # NULL where the run ended without a verdict (INTERRUPTED, CANCELLED); reason then says why it was stopped.
    sa.Column("name", TEXT),
    sa.Column("reason", TEXT),
    sa.Column("rule", TEXT),
    sa.Column("sentence", TEXT),
    sa.Column("next_step", TEXT),
    sa.Column("retry_at", _time()),
    sa.Column("classifier_version", TEXT),
    sa.Column("details", JSONB),
    sa.Column("evidence", JSONB),
    sa.Column("data_types", JSONB),
    sa.Column("exchanges", JSONB),
    sa.Column("requests", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("records_new", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("records_changed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("records_unchanged", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("records_skipped", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # What a superseded worker wanted to record after the run had been ended by somebody else.
    sa.Column("late_result", JSONB),
    sa.CheckConstraint(
        "state IN (" + ", ".join(f"'{state}'" for state in _ENDED) + ")",
        name="state_ended",
    ),
    sa.CheckConstraint("(name IS NULL) = (state IN ('INTERRUPTED', 'CANCELLED'))", name="verdict_when_finished"),
    sa.Index(
        "ix_run_history_skipped",
        "finished_at",
        postgresql_include=["skipped_slots"],
        postgresql_where="skipped_slots > 0",
    ),
    partition_by="RANGE (finished_at)",
)

# One row per connection from its beginning; name is NULL until a run has finished. organization_id, vendor and
# connection_state are copies (the last one follows by a trigger below), so that every list has one index to walk.
health = _table(
    "health",
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id"), primary_key=True),
    sa.Column("organization_id", UUID(), nullable=False),
    sa.Column("vendor", TEXT, nullable=False),
    sa.Column("connection_state", TEXT, nullable=False),
    sa.Column("name", TEXT),
    sa.Column("listed_as", TEXT, sa.Computed(f"COALESCE(name, '{NEVER_RUN}'::text)", persisted=True), nullable=False),
    sa.Column("status", TEXT),
    sa.Column("owner", TEXT),
    sa.Column("reason", TEXT),
    sa.Column("rule", TEXT),
    sa.Column("sentence", TEXT),
    sa.Column("next_step", TEXT),
    sa.Column("retry_at", _time()),
    sa.Column("classifier_version", TEXT),
    sa.Column("details", JSONB),
    sa.Column("evidence", JSONB),
    sa.Column("data_types", JSONB),
    # The run that this verdict is of; 0 before the first. It never goes down.
    sa.Column("run_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("cred_version", sa.Integer),
    sa.Column("classified_at", _time()),
    # since when the name has been what it is; changed_seq: the run that last changed name, reason or owner.
    sa.Column("since", _time()),
    sa.Column("changed_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("previous_name", TEXT),
    sa.Column("previous_reason", TEXT),
    sa.Column("consecutive_failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    # first_…: of the present streak, or of the last one; last_…: ever.
    sa.Column("first_failure_at", _time()),
    sa.Column("last_failure_at", _time()),
    sa.Column("first_success_at", _time()),
    sa.Column("last_success_at", _time()),
    sa.CheckConstraint(_words("name", HealthName), name="name_known"),
    sa.CheckConstraint(_words("owner", ResolutionOwner), name="owner_known"),
    sa.CheckConstraint(
        "num_nulls(name, status, owner, reason, since) = CASE WHEN run_seq = 0 THEN 5 ELSE 0 END",
        name="whole_or_never_run",
    ),
    sa.CheckConstraint("(name = 'HEALTHY') = (consecutive_failures = 0)", name="streak_when_unhealthy"),
    sa.Index("ix_health_name", "listed_as", "connection_state", "connection_id"),
    sa.Index("ix_health_organization", "organization_id", "listed_as", "connection_state", "connection_id"),
    sa.Index("ix_health_vendor", "vendor", "listed_as", "connection_state", "connection_id"),
    sa.Index(
        "ix_health_organization_vendor", "organization_id", "vendor", "listed_as", "connection_state", "connection_id"
    ),
    # The same in the order of `since`, which changes with the name alone.
    sa.Index("ix_health_name_since", "listed_as", "connection_state", "since", "connection_id"),
    sa.Index(
        "ix_health_organization_since", "organization_id", "listed_as", "connection_state", "since", "connection_id"
    ),
    sa.Index("ix_health_vendor_since", "vendor", "listed_as", "connection_state", "since", "connection_id"),
    sa.Index(
        "ix_health_organization_vendor_since",
        "organization_id",
        "vendor",
        "listed_as",
        "connection_state",
        "since",
        "connection_id",
    ),
    sa.Index(
        "ix_health_reason", "reason", "listed_as", "connection_state", "connection_id", postgresql_include=["vendor"]
    ),
    sa.Index(
        "ix_health_organization_reason",
        "organization_id",
        "reason",
        "listed_as",
        "connection_state",
        "connection_id",
        postgresql_include=["vendor"],
    ),
    sa.Index("ix_health_vendor_reason", "vendor", "reason", "listed_as", "connection_state", "connection_id"),
    sa.Index(
        "ix_health_organization_vendor_reason",
        "organization_id",
        "vendor",
        "reason",
        "listed_as",
        "connection_state",
        "connection_id",
    ),
    settings={"fillfactor": "70", **_HOT},
)

# How many connections there are of each kind (models/counts.py): by organization, over all, and what is not yet in
# either. reason: '' before the first finished run.
health_count = _table(
    "health_count",
    sa.Column("organization_id", UUID(), primary_key=True),
    sa.Column("vendor", TEXT, primary_key=True),
    sa.Column("listed_as", TEXT, primary_key=True),
    sa.Column("connection_state", TEXT, primary_key=True),
    sa.Column("reason", TEXT, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Index("ix_health_count_empty", "organization_id", postgresql_where="n = 0"),
    settings={"fillfactor": "70", **_HOT},
)

health_count_total = _table(
    "health_count_total",
    sa.Column("vendor", TEXT, primary_key=True),
    sa.Column("listed_as", TEXT, primary_key=True),
    sa.Column("connection_state", TEXT, primary_key=True),
    sa.Column("reason", TEXT, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    settings={"fillfactor": "50", **_HOT},
)

health_count_change = _table(
    "health_count_change",
    sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("organization_id", UUID(), nullable=False),
    sa.Column("vendor", TEXT, nullable=False),
    sa.Column("listed_as", TEXT, nullable=False),
    sa.Column("connection_state", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("n", sa.SmallInteger, nullable=False),
    sa.Index("ix_health_count_change_organization", "organization_id"),
    settings=_HOT,
)

health_history = _table(
    "health_history",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("run_seq", sa.BigInteger, primary_key=True),
    sa.Column("changed_at", _time(), nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("rule", TEXT),
    sa.Column("sentence", TEXT),
    sa.Column("previous_name", TEXT),
    sa.Column("previous_reason", TEXT),
    sa.Index("ix_health_history_changed", "changed_at"),
)

# The outbox. Delivered in the order of run_seq within a connection; delivered_at NULL: still to be delivered.
event_table = _table(
    "event",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("run_seq", sa.BigInteger, primary_key=True),
    sa.Column("event_id", UUID(), nullable=False, server_default=sa.func.gen_random_uuid()),
    sa.Column("organization_id", UUID(), nullable=False),
    sa.Column("created_at", _time(), nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("next_attempt_at", _time(), nullable=False),
    sa.Column("delivered_at", _time()),
    sa.Index("ix_event_pending", "next_attempt_at", postgresql_where="delivered_at IS NULL"),
    sa.Index("ix_event_delivered", "delivered_at", postgresql_where="delivered_at IS NOT NULL"),
    settings=_HOT,
)

# sealed: AES-256-GCM, bound to connection, kind and key id; its layout is in models/vault.py. Of a token, in clear:
# expires_at: when the access token ends, refresh_expires_at: what renews it; lapses_at: when nothing but a person's
# consent will help. NULL: not told, or never.
credential = _table(
    "credential",
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id"), primary_key=True),
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("key_id", TEXT, nullable=False),
    sa.Column("sealed", BYTEA, nullable=False),
    sa.Column("updated_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _time()),
    sa.Column("refresh_expires_at", _time()),
    sa.Column("lapses_at", _time()),
    sa.CheckConstraint("kind IN ('credentials', 'token')", name="kind_known"),
    sa.Index("ix_credential_key", "key_id", "connection_id", "kind"),
    sa.Index("ix_credential_lapses", "lapses_at", "connection_id", postgresql_where="lapses_at IS NOT NULL"),
)

# Where a data type's next run starts (state), and its last complete pass: when it ended, and in which run.
cursor = _table(
    "cursor",
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id"), primary_key=True),
    sa.Column("data_type", TEXT, primary_key=True),
    sa.Column("state", JSONB),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("updated_at", _time(), nullable=False),
    sa.Column("last_pass_at", _time()),
    sa.Column("last_pass_seq", sa.BigInteger),
    sa.Column("pass_digest", BYTEA),
    sa.Column("pass_digest_seq", sa.BigInteger),
)

# gone_at NULL: the record lives. last_seen_at is set when it goes; a living record was last seen by the last complete
# pass (cursor.last_pass_at), or when it changed, whichever is later.
record = _table(
    "record",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("data_type", TEXT, primary_key=True),
    sa.Column("record_id", TEXT, primary_key=True),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("first_seen_at", _time(), nullable=False),
    sa.Column("changed_at", _time(), nullable=False),
    sa.Column("changed_seq", sa.BigInteger, nullable=False),
    sa.Column("gone_at", _time()),
    sa.Column("last_seen_at", _time()),
    sa.Column("payload", JSONB, nullable=False),
    partition_by="HASH (connection_id)",
)

# The ids that a pass has met, as 64-bit hashes, one row a page. covered: a cursor was stored with this page or a later
# one, so a run that resumes will not read it again. Rows go when the pass ends.
sighting = _table(
    "sighting",
    sa.Column("connection_id", UUID(), primary_key=True),
    sa.Column("data_type", TEXT, primary_key=True),
    sa.Column("run_seq", sa.BigInteger, primary_key=True),
    sa.Column("page", UUID(), primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("covered", sa.Boolean, nullable=False),
    sa.Column("hashes", ARRAY(sa.BigInteger), nullable=False),
    settings=_HOT,
)

# Requests, counted in buckets of a fiftieth of the period, newest first; bucket: number of the newest one since 1970.
# per_ms 0: the row of a pause.
rate_limit = _table(
    "rate_limit",
    sa.Column("scope_key", TEXT, primary_key=True),
    sa.Column("per_ms", sa.BigInteger, primary_key=True),
    sa.Column("bucket", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("counts", ARRAY(sa.Integer), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("paused_until", _time()),
    sa.CheckConstraint("per_ms >= 0", name="per_ms_not_negative"),
    settings={"fillfactor": "10", **_HOT},
)

# Counters that only go up. shard: spreads the writers.
tally = _table(
    "tally",
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    settings={"fillfactor": "10", **_HOT},
)

# A key of the HTTP API, of the whole account (organization_id NULL) or of one organization. digest: SHA-256 of the key,
# which is random enough to need no salt; ending: its last characters, for people to tell keys apart.
api_key = _table(
    "api_key",
    sa.Column("key_id", UUID(), primary_key=True),
    sa.Column("organization_id", UUID(), sa.ForeignKey("organization.organization_id")),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("scope", TEXT, nullable=False),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("ending", TEXT, nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("expires_at", _time()),
    sa.Column("revoked_at", _time()),
    sa.Column("last_used_at", _time()),
    sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name_length"),
    sa.CheckConstraint(_words("scope", Scope), name="scope_known"),
    sa.CheckConstraint("requests_per_minute > 0", name="requests_per_minute_positive"),
    sa.Index("ix_api_key_digest", "digest", unique=True),
    sa.Index("ix_api_key_organization", "organization_id", "key_id"),
)

# What an invite token stands for: one connection to be created (of one vendor, or of any where vendor is NULL), or the
# credentials of one connection to be replaced. used_for: the connection that it made or mended.
invite = _table(
    "invite",
    sa.Column("invite_id", UUID(), primary_key=True),
    sa.Column("organization_id", UUID(), sa.ForeignKey("organization.organization_id"), nullable=False),
    sa.Column("vendor", TEXT),
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id")),
    sa.Column("identifier", TEXT),
    sa.Column("options", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("expires_at", _time(), nullable=False),
    sa.Column("used_at", _time()),
    sa.Column("used_for", UUID()),
    sa.Column("revoked_at", _time()),
    sa.CheckConstraint("char_length(identifier) BETWEEN 1 AND 500", name="identifier_length"),
    sa.CheckConstraint("jsonb_typeof(options) = 'object'", name="options_object"),
    sa.CheckConstraint("(used_at IS NULL) = (used_for IS NULL)", name="used_for_something"),
    sa.Index("ix_invite_organization", "organization_id", "invite_id"),
    sa.Index("ix_invite_expires", "expires_at"),
)

# A customer on the way to a vendor's consent page and back. sealed: the PKCE verifier, by the vault; success_url and
# error_url: where the customer is sent afterwards.
authorization_attempt = _table(
    "authorization_attempt",
    sa.Column("attempt_id", UUID(), primary_key=True),
    sa.Column("connection_id", UUID(), sa.ForeignKey("connection.connection_id"), nullable=False),
    sa.Column("state_digest", BYTEA, nullable=False),
    sa.Column("key_id", TEXT, nullable=False),
    sa.Column("sealed", BYTEA, nullable=False),
    sa.Column("success_url", TEXT),
    sa.Column("error_url", TEXT),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _time(), nullable=False),
    sa.Column("used_at", _time()),
    sa.Index("ix_authorization_attempt_state", "state_digest", unique=True),
    sa.Index("ix_authorization_attempt_connection", "connection_id", "attempt_id"),
    sa.Index("ix_authorization_attempt_expires", "expires_at"),
)

# A request that may be sent twice. actor: whose key it came with; fingerprint: SHA-256 of method, path and body;
# subject_id: what it made, stored with the thing itself; sealed: the answer's body, by the vault. finished_at NULL: the
# first one is still on.
repeatable_request = _table(
    "repeatable_request",
    sa.Column("actor", TEXT, primary_key=True),
    sa.Column("idempotency_key", TEXT, primary_key=True),
    sa.Column("fingerprint", BYTEA, nullable=False),
    sa.Column("created_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("finished_at", _time()),
    sa.Column("subject_id", UUID()),
    sa.Column("status", sa.Integer),
    sa.Column("key_id", TEXT),
    sa.Column("sealed", BYTEA),
    sa.CheckConstraint("char_length(idempotency_key) BETWEEN 1 AND 255", name="key_length"),
    sa.CheckConstraint("(status IS NULL) = (finished_at IS NULL)", name="answer_when_finished"),
    sa.Index("ix_repeatable_request_created", "created_at"),
)

# Who changed what; append-only. actor: `key:<id>`, `invite:<id>`, or `command`; changes: without any secret.
audit_entry = _table(
    "audit_entry",
    sa.Column("entry_id", UUID(), primary_key=True),
    sa.Column("happened_at", _time(), nullable=False, server_default=sa.func.now()),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("organization_id", UUID()),
    sa.Column("connection_id", UUID()),
    sa.Column("subject_id", UUID()),
    sa.Column("request_id", TEXT),
    sa.Column("remote_address", TEXT),
    sa.Column("changes", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.CheckConstraint("jsonb_typeof(changes) = 'object'", name="changes_object"),
    sa.Index("ix_audit_entry_organization", "organization_id", "entry_id"),
    sa.Index("ix_audit_entry_connection", "connection_id", "entry_id"),
    sa.Index("ix_audit_entry_happened", "happened_at"),
)

FOLLOW_STATE: Final = """
CREATE FUNCTION follow_connection_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE health h SET connection_state = NEW.state WHERE h.connection_id = NEW.connection_id;
  UPDATE connection_sched s
     SET enabled = (NEW.state = 'ACTIVE'),
         hinted_at = NULL,
         slot_at = CASE WHEN NEW.state = 'ACTIVE'
           THEN date_bin(make_interval(secs => s.refresh_interval_secs), now(), s.slot_origin)
                + make_interval(secs => s.refresh_interval_secs)
           ELSE s.slot_at END,
         next_due_at = CASE WHEN NEW.state = 'ACTIVE' THEN now() ELSE s.next_due_at END
   WHERE s.connection_id = NEW.connection_id;
  RETURN NULL;
END $$
"""
"""What is due follows what a person set, by whatever statement it was set. Slots of a pause are not owed: slot_at moves
past them, and the connection runs once, at once. The health first, as the end of a run takes its rows."""

FOLLOW_STATE_TRIGGER: Final = """
CREATE TRIGGER connection_state_followed AFTER UPDATE OF state ON connection
FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION follow_connection_state()
"""


TELL_OF_CHANGE: Final = """
CREATE FUNCTION tell_of_health_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO health_history (connection_id, run_seq, changed_at, name, status, owner, reason, rule, sentence,
                              previous_name, previous_reason)
  VALUES (NEW.connection_id, NEW.run_seq, now(), NEW.name, NEW.status, NEW.owner, NEW.reason, NEW.rule, NEW.sentence,
          NEW.previous_name, NEW.previous_reason);
  INSERT INTO event (connection_id, run_seq, organization_id, created_at, next_attempt_at, payload)
  VALUES (NEW.connection_id, NEW.run_seq, NEW.organization_id, now(), now(), jsonb_build_object(
    'type', 'connection.health_changed', 'connection_id', NEW.connection_id, 'organization_id', NEW.organization_id,
    'vendor', NEW.vendor, 'run_seq', NEW.run_seq, 'name', NEW.name, 'status', NEW.status,
    'resolution_owner', NEW.owner, 'reason', NEW.reason, 'sentence', NEW.sentence, 'next_step', NEW.next_step,
    'retry_at', NEW.retry_at, 'previous_name', NEW.previous_name, 'previous_reason', NEW.previous_reason,
    'since', NEW.since, 'changed_at', now()));
  RETURN NULL;
END $$
"""
"""No statement can change a health without its history and its event. Inside the statement that ends a run, the same
two inserts would have to be made ready at each run, for the few that change anything."""

TELL_OF_CHANGE_TRIGGER: Final = """
CREATE TRIGGER health_change_told AFTER UPDATE OF changed_seq ON health
FOR EACH ROW WHEN (OLD.changed_seq < NEW.changed_seq) EXECUTE FUNCTION tell_of_health_change()
"""

COUNT_HEALTH: Final = """
CREATE FUNCTION count_health() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO health_count_change (organization_id, vendor, listed_as, connection_state, reason, n)
    VALUES (OLD.organization_id, OLD.vendor, OLD.listed_as, OLD.connection_state, COALESCE(OLD.reason, ''), -1);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO health_count_change (organization_id, vendor, listed_as, connection_state, reason, n)
    VALUES (NEW.organization_id, NEW.vendor, NEW.listed_as, NEW.connection_state, COALESCE(NEW.reason, ''), 1);
  END IF;
  RETURN NULL;
END $$
"""
"""No statement can change what is counted without the count."""

COUNT_HEALTH_TRIGGERS: Final = (
    """
CREATE TRIGGER health_counted AFTER INSERT OR DELETE ON health
FOR EACH ROW EXECUTE FUNCTION count_health()
""",
    """
CREATE TRIGGER health_recounted AFTER UPDATE ON health
FOR EACH ROW WHEN ((OLD.name, OLD.reason, OLD.connection_state, OLD.organization_id, OLD.vendor)
                   IS DISTINCT FROM (NEW.name, NEW.reason, NEW.connection_state, NEW.organization_id, NEW.vendor))
EXECUTE FUNCTION count_health()
""",
)

COUNT_SKIPPED: Final = """
CREATE FUNCTION count_skipped_slots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tally AS t (name, shard, value) VALUES ('skipped_slots', pg_backend_pid() % 16, NEW.skipped_slots)
  ON CONFLICT (name, shard) DO UPDATE SET value = t.value + excluded.value;
  RETURN NULL;
END $$
"""

COUNT_SKIPPED_TRIGGER: Final = """
CREATE TRIGGER run_skipped_slots_counted AFTER INSERT ON run
FOR EACH ROW WHEN (NEW.skipped_slots > 0) EXECUTE FUNCTION count_skipped_slots()
"""


def _partitions(table: str, count: int) -> list[str]:
    return [
        f"CREATE TABLE {table}_{number:02} PARTITION OF {table} FOR VALUES WITH (MODULUS {count}, REMAINDER {number})"
        for number in range(count)
    ]


BEYOND_TABLES: Final = (
    *_partitions("record", RECORD_PARTITIONS),
    "CREATE TABLE run_history_default PARTITION OF run_history DEFAULT",
    FOLLOW_STATE,
    FOLLOW_STATE_TRIGGER,
    TELL_OF_CHANGE,
    TELL_OF_CHANGE_TRIGGER,
    COUNT_HEALTH,
    *COUNT_HEALTH_TRIGGERS,
    COUNT_SKIPPED,
    COUNT_SKIPPED_TRIGGER,
)
"""What the schema holds besides plain tables, in the order in which it is made."""

for _statement in BEYOND_TABLES:
    event.listen(metadata, "after_create", sa.DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]  # SQLAlchemy's gap
