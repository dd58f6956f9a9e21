"""Make every table. The comments on what columns mean are in models/tables.py."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_HOT = """autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05"""

_RECORD_PARTITIONS = 16


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    # One customer of ours.
    op.execute("""CREATE TABLE organization (
  organization_id uuid NOT NULL,
  name text NOT NULL,
  created_at timestamptz DEFAULT now() NOT NULL,
  deleted_at timestamptz,
  CONSTRAINT pk_organization PRIMARY KEY (organization_id),
  CONSTRAINT ck_organization_name_length CHECK (char_length(name) BETWEEN 1 AND 200)
)""")
    # One row per vendor in use.
    op.execute("""CREATE TABLE vendor_limit (
  vendor text NOT NULL,
  max_inflight integer,
  paused_until timestamptz,
  CONSTRAINT pk_vendor_limit PRIMARY KEY (vendor),
  CONSTRAINT ck_vendor_limit_vendor_shape CHECK (vendor ~ '^[A-Za-z0-9_.-]{1,64}$'),
  CONSTRAINT ck_vendor_limit_max_inflight_positive CHECK (max_inflight > 0)
) WITH (fillfactor = 50)""")
    # What a person reads and writes.
    op.execute("""CREATE TABLE connection (
  connection_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  state text NOT NULL,
  identifier text,
  options jsonb DEFAULT '{}' NOT NULL,
  created_at timestamptz DEFAULT now() NOT NULL,
  updated_at timestamptz DEFAULT now() NOT NULL,
  deleted_at timestamptz,
  CONSTRAINT pk_connection PRIMARY KEY (connection_id),
  CONSTRAINT ck_connection_state_known CHECK (state IN ('PENDING', 'ACTIVE', 'PAUSED', 'DELETED')),
  CONSTRAINT ck_connection_identifier_length CHECK (char_length(identifier) BETWEEN 1 AND 500),
  CONSTRAINT ck_connection_options_object CHECK (jsonb_typeof(options) = 'object'),
  CONSTRAINT ck_connection_deleted_at_when_deleted CHECK ((state = 'DELETED') = (deleted_at IS NOT NULL)),
  CONSTRAINT fk_connection_organization FOREIGN KEY(organization_id) REFERENCES organization (organization_id),
  CONSTRAINT fk_connection_vendor_limit FOREIGN KEY(vendor) REFERENCES vendor_limit (vendor)
)""")
    op.execute("CREATE INDEX ix_connection_deleted ON connection (deleted_at) WHERE deleted_at IS NOT NULL")
    op.execute("""CREATE INDEX ix_connection_identifier ON connection
  (identifier, connection_id) WHERE identifier IS NOT NULL""")
    op.execute("CREATE INDEX ix_connection_organization ON connection (organization_id, connection_id)")
    # When a connection runs next, and which run holds it.
    op.execute(f"""CREATE TABLE connection_sched (
  connection_id uuid NOT NULL,
  vendor text NOT NULL,
  enabled boolean NOT NULL,
  refresh_interval_secs integer NOT NULL,
  timeout_secs integer NOT NULL,
  slot_origin timestamptz NOT NULL,
  slot_at timestamptz NOT NULL,
  next_due_at timestamptz NOT NULL,
  hinted_at timestamptz,
  requested_trigger text,
  run_seq bigint DEFAULT 0 NOT NULL,
  active_seq bigint,
  cred_version integer DEFAULT 1 NOT NULL,
  crash_streak integer DEFAULT 0 NOT NULL,
  succeeded_seq bigint DEFAULT 0 NOT NULL,
  CONSTRAINT pk_connection_sched PRIMARY KEY (connection_id),
  CONSTRAINT ck_connection_sched_refresh_interval_secs_bounds CHECK (refresh_interval_secs BETWEEN 10 AND 31536000),
  CONSTRAINT ck_connection_sched_timeout_secs_bounds CHECK (timeout_secs BETWEEN 1 AND 86400),
  CONSTRAINT ck_connection_sched_active_seq_was_claimed CHECK (active_seq <= run_seq),
  CONSTRAINT ck_connection_sched_requested_trigger_known
    CHECK (requested_trigger IN ('SCHEDULED', 'MANUAL', 'CREDENTIALS', 'RECOVERY')),
  CONSTRAINT fk_connection_sched_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id)
) WITH (fillfactor = 80, {_HOT})""")
    op.execute("CREATE INDEX ix_connection_sched_due ON connection_sched (vendor, next_due_at) WHERE enabled")
    # Process trees and their leases.
    op.execute(f"""CREATE TABLE worker (
  worker_id uuid NOT NULL,
  host text NOT NULL,
  pid integer NOT NULL,
  started_at timestamptz DEFAULT now() NOT NULL,
  lease_until timestamptz NOT NULL,
  retired_at timestamptz,
  CONSTRAINT pk_worker PRIMARY KEY (worker_id)
) WITH (fillfactor = 50, {_HOT})""")
    # Runs that are on; the primary key is the backstop of one run per connection.
    op.execute(f"""CREATE TABLE run (
  connection_id uuid NOT NULL,
  run_seq bigint NOT NULL,
  worker_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  trigger text NOT NULL,
  scheduled_for timestamptz NOT NULL,
  skipped_slots integer NOT NULL,
  cred_version integer NOT NULL,
  started_at timestamptz NOT NULL,
  deadline_at timestamptz NOT NULL,
  CONSTRAINT pk_run PRIMARY KEY (connection_id),
  CONSTRAINT ck_run_trigger_known CHECK (trigger IN ('SCHEDULED', 'MANUAL', 'CREDENTIALS', 'RECOVERY')),
  CONSTRAINT ck_run_skipped_slots_not_negative CHECK (skipped_slots >= 0)
) WITH ({_HOT})""")
    op.execute("CREATE INDEX ix_run_vendor ON run (vendor)")
    op.execute("CREATE INDEX ix_run_worker ON run (worker_id, deadline_at)")
    # Ended runs. Days are made ahead by retention; what falls outside them goes to the default partition.
    op.execute("""CREATE TABLE run_history (
  connection_id uuid NOT NULL,
  run_seq bigint NOT NULL,
  finished_at timestamptz NOT NULL,
  state text NOT NULL,
  worker_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  trigger text NOT NULL,
  scheduled_for timestamptz NOT NULL,
  skipped_slots integer NOT NULL,
  cred_version integer NOT NULL,
  started_at timestamptz NOT NULL,
  deadline_at timestamptz NOT NULL,
  name text,
  reason text,
  rule text,
  sentence text,
  next_step text,
  retry_at timestamptz,
  classifier_version text,
  details jsonb,
  evidence jsonb,
  data_types jsonb,
  exchanges jsonb,
  requests integer DEFAULT 0 NOT NULL,
  records_new bigint DEFAULT 0 NOT NULL,
  records_changed bigint DEFAULT 0 NOT NULL,
  records_unchanged bigint DEFAULT 0 NOT NULL,
  records_skipped bigint DEFAULT 0 NOT NULL,
  late_result jsonb,
  CONSTRAINT pk_run_history PRIMARY KEY (connection_id, run_seq, finished_at),
  CONSTRAINT ck_run_history_state_ended CHECK (state IN ('SUCCEEDED', 'FAILED', 'INTERRUPTED', 'LOST', 'CANCELLED')),
  CONSTRAINT ck_run_history_verdict_when_finished CHECK ((name IS NULL) = (state IN ('INTERRUPTED', 'CANCELLED')))
) PARTITION BY RANGE (finished_at)""")
    op.execute("""CREATE INDEX ix_run_history_skipped ON run_history
  (finished_at) INCLUDE (skipped_slots) WHERE skipped_slots > 0""")
    op.execute("CREATE TABLE run_history_default PARTITION OF run_history DEFAULT")
    # The verdict of the last finished run, from the connection's beginning.
    op.execute(f"""CREATE TABLE health (
  connection_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  vendor text NOT NULL,
  connection_state text NOT NULL,
  name text,
  listed_as text GENERATED ALWAYS AS (COALESCE(name, 'NEVER_RUN'::text)) STORED NOT NULL,
  status text,
  owner text,
  reason text,
  rule text,
  sentence text,
  next_step text,
  retry_at timestamptz,
  classifier_version text,
  details jsonb,
  evidence jsonb,
  data_types jsonb,
  run_seq bigint DEFAULT 0 NOT NULL,
  cred_version integer,
  classified_at timestamptz,
  since timestamptz,
  changed_seq bigint DEFAULT 0 NOT NULL,
  previous_name text,
  previous_reason text,
  consecutive_failures integer DEFAULT 0 NOT NULL,
  first_failure_at timestamptz,
  last_failure_at timestamptz,
  first_success_at timestamptz,
  last_success_at timestamptz,
  CONSTRAINT pk_health PRIMARY KEY (connection_id),
  CONSTRAINT ck_health_name_known
    CHECK (name IN ('HEALTHY', 'EXECUTION_TIMEOUT', 'RATE_LIMIT_EXCEEDED', 'VENDOR_CLIENT_ERROR',
      'INTERNAL_ERROR', 'VENDOR_SERVER_ERROR', 'UNAUTHORIZED')),
  CONSTRAINT ck_health_owner_known CHECK (owner IN ('LEEN', 'VENDOR', 'CUSTOMER')),
  CONSTRAINT ck_health_whole_or_never_run
    CHECK (num_nulls(name, status, owner, reason, since) = CASE WHEN run_seq = 0 THEN 5 ELSE 0 END),
  CONSTRAINT ck_health_streak_when_unhealthy CHECK ((name = 'HEALTHY') = (consecutive_failures = 0)),
  CONSTRAINT fk_health_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id)
) WITH (fillfactor = 70, {_HOT})""")
    op.execute("CREATE INDEX ix_health_name ON health (listed_as, connection_state, connection_id)")
    op.execute("""CREATE INDEX ix_health_organization ON health
  (organization_id, listed_as, connection_state, connection_id)""")
    op.execute("CREATE INDEX ix_health_organization_reason ON health (organization_id, reason, connection_id)")
    op.execute("""CREATE INDEX ix_health_organization_vendor ON health
  (organization_id, vendor, listed_as, connection_state, connection_id)""")
    op.execute("CREATE INDEX ix_health_reason ON health (reason, connection_id)")
    op.execute("CREATE INDEX ix_health_vendor ON health (vendor, listed_as, connection_state, connection_id)")
    # One row per change of health.
    op.execute("""CREATE TABLE health_history (
  connection_id uuid NOT NULL,
  run_seq bigint NOT NULL,
  changed_at timestamptz NOT NULL,
  name text NOT NULL,
  status text NOT NULL,
  owner text NOT NULL,
  reason text NOT NULL,
  rule text,
  sentence text,
  previous_name text,
  previous_reason text,
  CONSTRAINT pk_health_history PRIMARY KEY (connection_id, run_seq)
)""")
    op.execute("CREATE INDEX ix_health_history_changed ON health_history (changed_at)")
    # The same changes, until they are delivered.
    op.execute(f"""CREATE TABLE event (
  connection_id uuid NOT NULL,
  run_seq bigint NOT NULL,
  event_id uuid DEFAULT gen_random_uuid() NOT NULL,
  organization_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  payload jsonb NOT NULL,
  attempts integer DEFAULT 0 NOT NULL,
  next_attempt_at timestamptz NOT NULL,
  delivered_at timestamptz,
  CONSTRAINT pk_event PRIMARY KEY (connection_id, run_seq)
) WITH ({_HOT})""")
    op.execute("CREATE INDEX ix_event_delivered ON event (delivered_at) WHERE delivered_at IS NOT NULL")
    op.execute("CREATE INDEX ix_event_pending ON event (next_attempt_at) WHERE delivered_at IS NULL")
    # Sealed by the vault.
    op.execute("""CREATE TABLE credential (
  connection_id uuid NOT NULL,
  kind text NOT NULL,
  key_id text NOT NULL,
  sealed bytea NOT NULL,
  updated_at timestamptz DEFAULT now() NOT NULL,
  CONSTRAINT pk_credential PRIMARY KEY (connection_id, kind),
  CONSTRAINT ck_credential_kind_known CHECK (kind IN ('credentials', 'token')),
  CONSTRAINT fk_credential_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id)
)""")
    op.execute("CREATE INDEX ix_credential_key ON credential (key_id, connection_id, kind)")
    # Where a data type's next run starts.
    op.execute("""CREATE TABLE cursor (
  connection_id uuid NOT NULL,
  data_type text NOT NULL,
  state jsonb,
  run_seq bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  last_pass_at timestamptz,
  last_pass_seq bigint,
  CONSTRAINT pk_cursor PRIMARY KEY (connection_id, data_type),
  CONSTRAINT fk_cursor_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id)
)""")
    # What was synced.
    op.execute("""CREATE TABLE record (
  connection_id uuid NOT NULL,
  data_type text NOT NULL,
  record_id text NOT NULL,
  digest bytea NOT NULL,
  first_seen_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  changed_seq bigint NOT NULL,
  gone_at timestamptz,
  last_seen_at timestamptz,
  payload jsonb NOT NULL,
  CONSTRAINT pk_record PRIMARY KEY (connection_id, data_type, record_id)
) PARTITION BY HASH (connection_id)""")
    for number in range(_RECORD_PARTITIONS):
        op.execute(
            f"CREATE TABLE record_{number:02} PARTITION OF record "
            f"FOR VALUES WITH (MODULUS {_RECORD_PARTITIONS}, REMAINDER {number})"
        )
    # What a pass has met so far.
    op.execute(f"""CREATE TABLE sighting (
  connection_id uuid NOT NULL,
  data_type text NOT NULL,
  run_seq bigint NOT NULL,
  page uuid DEFAULT gen_random_uuid() NOT NULL,
  covered boolean NOT NULL,
  hashes bigint[] NOT NULL,
  CONSTRAINT pk_sighting PRIMARY KEY (connection_id, data_type, run_seq, page)
) WITH ({_HOT})""")
    # The vendors' limits, over all workers.
    op.execute(f"""CREATE TABLE rate_limit (
  scope_key text NOT NULL,
  per_ms bigint NOT NULL,
  bucket bigint DEFAULT 0 NOT NULL,
  counts integer[] DEFAULT '{{}}' NOT NULL,
  paused_until timestamptz,
  CONSTRAINT pk_rate_limit PRIMARY KEY (scope_key, per_ms),
  CONSTRAINT ck_rate_limit_per_ms_not_negative CHECK (per_ms >= 0)
) WITH (fillfactor = 10, {_HOT})""")
    # Counters that only go up.
    op.execute(f"""CREATE TABLE tally (
  name text NOT NULL,
  shard integer NOT NULL,
  value bigint NOT NULL,
  CONSTRAINT pk_tally PRIMARY KEY (name, shard)
) WITH (fillfactor = 10, {_HOT})""")
    # What is due, and what lists show, follow the state that a person sets.
    op.execute("""CREATE FUNCTION follow_connection_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE connection_sched s
     SET enabled = (NEW.state = 'ACTIVE'),
         hinted_at = NULL,
         slot_at = CASE WHEN NEW.state = 'ACTIVE'
           THEN date_bin(make_interval(secs => s.refresh_interval_secs), now(), s.slot_origin)
                + make_interval(secs => s.refresh_interval_secs)
           ELSE s.slot_at END,
         next_due_at = CASE WHEN NEW.state = 'ACTIVE' THEN now() ELSE s.next_due_at END
   WHERE s.connection_id = NEW.connection_id;
  UPDATE health h SET connection_state = NEW.state WHERE h.connection_id = NEW.connection_id;
  RETURN NULL;
END $$""")
    op.execute("""CREATE TRIGGER connection_state_followed AFTER UPDATE OF state ON connection
FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION follow_connection_state()""")
    # No health changes without its history and its event.
    op.execute("""CREATE FUNCTION tell_of_health_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$""")
    op.execute("""CREATE TRIGGER health_change_told AFTER UPDATE OF changed_seq ON health
FOR EACH ROW WHEN (OLD.changed_seq < NEW.changed_seq) EXECUTE FUNCTION tell_of_health_change()""")
    # No slot is skipped uncounted.
    op.execute("""CREATE FUNCTION count_skipped_slots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tally AS t (name, shard, value) VALUES ('skipped_slots', pg_backend_pid() % 16, NEW.skipped_slots)
  ON CONFLICT (name, shard) DO UPDATE SET value = t.value + excluded.value;
  RETURN NULL;
END $$""")
    op.execute("""CREATE TRIGGER run_skipped_slots_counted AFTER INSERT ON run
FOR EACH ROW WHEN (NEW.skipped_slots > 0) EXECUTE FUNCTION count_skipped_slots()""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    for table in (
        "tally",
        "rate_limit",
        "sighting",
        "record",
        "cursor",
        "credential",
        "event",
        "health_history",
        "health",
        "run_history",
        "run",
        "worker",
        "connection_sched",
        "connection",
        "vendor_limit",
        "organization",
    ):
        op.execute(f"DROP TABLE {table}")
    for function in ("follow_connection_state", "tell_of_health_change", "count_skipped_slots"):
        op.execute(f"DROP FUNCTION {function}()")
