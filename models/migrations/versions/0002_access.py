"""Make the tables of the HTTP door: keys, invitations, authorizations, repeated requests, and who changed what."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    # A key of the HTTP API; of the key itself only its digest is kept.
    op.execute("""CREATE TABLE api_key (
  key_id uuid NOT NULL,
  organization_id uuid,
  name text NOT NULL,
  scope text NOT NULL,
  digest bytea NOT NULL,
  ending text NOT NULL,
  requests_per_minute integer,
  created_at timestamptz DEFAULT now() NOT NULL,
  created_by text NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  CONSTRAINT pk_api_key PRIMARY KEY (key_id),
  CONSTRAINT fk_api_key_organization FOREIGN KEY(organization_id) REFERENCES organization (organization_id),
  CONSTRAINT ck_api_key_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
  CONSTRAINT ck_api_key_scope_known CHECK (scope IN ('read', 'write', 'admin')),
  CONSTRAINT ck_api_key_requests_per_minute_positive CHECK (requests_per_minute > 0)
)""")
    op.execute("CREATE UNIQUE INDEX ix_api_key_digest ON api_key (digest)")
    op.execute("CREATE INDEX ix_api_key_organization ON api_key (organization_id, key_id)")
    # A token that lets a customer create or mend one connection.
    op.execute("""CREATE TABLE invite (
  invite_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  vendor text,
  connection_id uuid,
  identifier text,
  options jsonb DEFAULT '{}' NOT NULL,
  created_at timestamptz DEFAULT now() NOT NULL,
  created_by text NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  used_for uuid,
  revoked_at timestamptz,
  CONSTRAINT pk_invite PRIMARY KEY (invite_id),
  CONSTRAINT fk_invite_organization FOREIGN KEY(organization_id) REFERENCES organization (organization_id),
  CONSTRAINT fk_invite_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id),
  CONSTRAINT ck_invite_identifier_length CHECK (char_length(identifier) BETWEEN 1 AND 500),
  CONSTRAINT ck_invite_options_object CHECK (jsonb_typeof(options) = 'object'),
  CONSTRAINT ck_invite_used_for_something CHECK ((used_at IS NULL) = (used_for IS NULL))
)""")
    op.execute("CREATE INDEX ix_invite_organization ON invite (organization_id, invite_id)")
    op.execute("CREATE INDEX ix_invite_expires ON invite (expires_at)")
    # A customer on the way to a vendor's consent page and back.
    op.execute("""CREATE TABLE authorization_attempt (
  attempt_id uuid NOT NULL,
  connection_id uuid NOT NULL,
  state_digest bytea NOT NULL,
  key_id text NOT NULL,
  sealed bytea NOT NULL,
  success_url text,
  error_url text,
  created_at timestamptz DEFAULT now() NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  CONSTRAINT pk_authorization_attempt PRIMARY KEY (attempt_id),
  CONSTRAINT fk_authorization_attempt_connection FOREIGN KEY(connection_id) REFERENCES connection (connection_id)
)""")
    op.execute("CREATE UNIQUE INDEX ix_authorization_attempt_state ON authorization_attempt (state_digest)")
    op.execute("CREATE INDEX ix_authorization_attempt_connection ON authorization_attempt (connection_id, attempt_id)")
    op.execute("CREATE INDEX ix_authorization_attempt_expires ON authorization_attempt (expires_at)")
    # A request that may be sent twice, and its answer.
    op.execute("""CREATE TABLE repeatable_request (
  actor text NOT NULL,
  idempotency_key text NOT NULL,
  fingerprint bytea NOT NULL,
  created_at timestamptz DEFAULT now() NOT NULL,
  finished_at timestamptz,
  subject_id uuid,
  status integer,
  key_id text,
  sealed bytea,
  CONSTRAINT pk_repeatable_request PRIMARY KEY (actor, idempotency_key),
  CONSTRAINT ck_repeatable_request_key_length CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
  CONSTRAINT ck_repeatable_request_answer_when_finished CHECK ((status IS NULL) = (finished_at IS NULL))
)""")
    op.execute("CREATE INDEX ix_repeatable_request_created ON repeatable_request (created_at)")
    # Who changed what, append-only.
    op.execute("""CREATE TABLE audit_entry (
  entry_id uuid NOT NULL,
  happened_at timestamptz DEFAULT now() NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  organization_id uuid,
  connection_id uuid,
  subject_id uuid,
  request_id text,
  remote_address text,
  changes jsonb DEFAULT '{}' NOT NULL,
  CONSTRAINT pk_audit_entry PRIMARY KEY (entry_id),
  CONSTRAINT ck_audit_entry_changes_object CHECK (jsonb_typeof(changes) = 'object')
)""")
    op.execute("CREATE INDEX ix_audit_entry_organization ON audit_entry (organization_id, entry_id)")
    op.execute("CREATE INDEX ix_audit_entry_connection ON audit_entry (connection_id, entry_id)")
    op.execute("CREATE INDEX ix_audit_entry_happened ON audit_entry (happened_at)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    for table in ("audit_entry", "repeatable_request", "authorization_attempt", "invite", "api_key"):
        op.execute(f"DROP TABLE {table}")
