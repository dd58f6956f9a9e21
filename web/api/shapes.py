"""The forms of what goes in and out, for the schema.

What goes in is checked by them; what goes out is made of models/representations.py, and tests hold the two together.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, WithJsonSchema

from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from models.invites import EXPIRY_SECS, LONGEST_EXPIRY_SECS
from models.vocabulary import (
    LONGEST_INTERVAL_SECS,
    LONGEST_TIMEOUT_SECS,
    SHORTEST_INTERVAL_SECS,
    SHORTEST_TIMEOUT_SECS,
    ConnectionState,
    RunState,
    Scope,
    Trigger,
)

T = TypeVar("T")
_ID = "0197a3c2-7f1e-7c3a-9b52-1f6f2f6f9a10"
_ORGANIZATION = "0197a3c0-1b2c-7d3e-8f40-5a6b7c8d9e0f"
_TIME = "2026-01-31T12:00:00Z"
_REQUEST_ID = "5b1a3c1e-6a53-4f06-b0c6-6f4e9c4ac5a7"


def _whole(value: object) -> object:
    # In JSON, 900.0 is the same whole number as 900; text is not.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Below, this stands behind the bounds: before them, it would keep them out of the schema.
WHOLE: Final = BeforeValidator(_whole)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")


def _moment(value: object) -> object:
    # A bare number would be taken for seconds since 1970.
    if isinstance(value, str) and _MOMENT.match(value) is None:
        raise ValueError("should be a time with its offset from UTC, as in 2027-01-31T12:00:00Z")
    if not isinstance(value, str | None):
        raise ValueError("should be text, as in 2027-01-31T12:00:00Z")  # noqa: TRY004 - pydantic's way to refuse
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]


class Given(BaseModel):
    """What a client sends. Unknown members are refused: a misspelt one must not be without effect."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """What a client is shown. Members may be added."""


# --- errors -----------------------------------------------------------------------------------------------------------


class FaultShape(Shown):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = Field(None, description="Where in the body (RFC 6901).", examples=["/credentials/token"])
    parameter: str | None = Field(None, description="Which parameter.")


class ProblemShape(Shown):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(description="A sentence for people.", examples=["acme_idp refused the credentials: 401."])
    request_id: str = Field(description="Also in the header X-Request-Id.", examples=[_REQUEST_ID])
    errors: list[FaultShape] | None = None


# --- organizations ----------------------------------------------------------------------------------------------------


class NewOrganization(Given):
    """A customer to be."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200, examples=["Acme"])]


class OrganizationShape(Shown):
    """A customer of yours."""

    id: UUID = Field(examples=[_ORGANIZATION])
    name: str = Field(examples=["Acme"])
    created_at: datetime = Field(examples=[_TIME])


class PageShape(Shown, Generic[T]):
    """A part of a list."""

    items: list[T]
    count: int = Field(description="How many are in this part.")
    next_cursor: str | None = Field(description="Hand it in as `cursor` to get the next part; null at the end.")


class CountedPageShape(PageShape[T], Generic[T]):
    """A part of a list whose length is known."""

    total: int | None = Field(description="How many there are in all parts; null where it is not counted.")


# --- connections ------------------------------------------------------------------------------------------------------


class DetailShape(Shown):
    """A data type that failed."""

    data_export_type: str = Field(examples=["users"])
    endpoint: str | None = Field(examples=["GET /v1/users"])
    name: HealthName | None = None
    reason: str | None = None


class HealthShape(Shown):
    """The verdict of a connection's last finished run."""

    name: HealthName
    status: HealthStatus
    description: str = Field(examples=["Connection is unauthorized"])
    resolution_owner: ResolutionOwner = Field(description="Who must act; LEEN is whoever runs this service.")
    details: list[DetailShape] | None = Field(description="Which data types failed; null when healthy.")
    reason: str = Field(description="Finer than the name, and stable.", examples=["token_expired"])
    rule: str | None = None
    sentence: str | None = Field(None, description="What happened, with the evidence in it.")
    next_step: str | None = Field(None, description="What the owner should do.")
    retry_at: datetime | None = Field(None, description="When the vendor said that it may be asked again.")
    since: datetime = Field(description="Since when the name has been what it is.")
    run_seq: int = Field(description="The run that this is of.")
    consecutive_failures: int
    superseded: bool = Field(description="The credentials were replaced since: a run with the new ones follows.")
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    evidence_url: str = Field(description="The run, with the exchange that decided.")


class ConnectionShape(Shown):
    """One organization's account at one vendor."""

    id: UUID = Field(examples=[_ID])
    organization_id: UUID = Field(examples=[_ORGANIZATION])
    organization_name: str = Field(examples=["Acme"])
    vendor: str = Field(examples=["okta"])
    identifier: str | None = Field(description="A name of your own.", examples=["customer-4711"])
    state: ConnectionState
    is_active: bool
    refresh_interval_secs: int = Field(examples=[14400])
    timeout_secs: int = Field(examples=[3600])
    created_at: datetime = Field(examples=[_TIME])
    updated_at: datetime = Field(examples=[_TIME])
    oauth2_authorize_url: str | None = Field(
        None, description="Where to send the customer to authorize a PENDING connection."
    )
    next_due_at: datetime = Field(description="When it runs next.")
    running_run_seq: int | None = Field(description="The run that is on; null: none.")
    run_seq: int = Field(description="How many runs were begun so far.")
    health: HealthShape | None = Field(description="Null before the first finished run.")


Credentials = Annotated[
    dict[str, Any],
    Field(
        max_length=200,
        description="As the vendor's schema says (`GET /v1/connectors/{vendor}`).",
        examples=[{"api_token": "…"}],
    ),
]
Options = Annotated[
    dict[str, Any],
    Field(
        max_length=200, description="The vendor's settings, as its schema says.", examples=[{"domain": "acme.okta.com"}]
    ),
]
Identifier = Annotated[StrictStr, Field(min_length=1, max_length=500)]
Interval = Annotated[StrictInt, Field(ge=SHORTEST_INTERVAL_SECS, le=LONGEST_INTERVAL_SECS), WHOLE]
Timeout = Annotated[StrictInt, Field(ge=SHORTEST_TIMEOUT_SECS, le=LONGEST_TIMEOUT_SECS), WHOLE]
Expiry = Annotated[StrictInt, Field(ge=1, le=LONGEST_EXPIRY_SECS), WHOLE]
PerMinute = Annotated[StrictInt, Field(ge=1, le=1_000_000), WHOLE]
# Any other state is taken, too, where it is what the connection's is: who sends back what was read changes nothing.
StateToBe = Annotated[ConnectionState, WithJsonSchema({"type": "string", "enum": ["ACTIVE", "PAUSED"]})]
Vendor = Annotated[StrictStr, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$", examples=["okta"])]


class NewConnection(Given):
    """A connection to be. Its credentials are tried at the vendor first; refused ones are not stored."""

    vendor: Vendor
    credentials: Credentials | None = Field(None, description="Not for vendors that the customer authorizes by OAuth.")
    identifier: Identifier | None = None
    options: Options | None = None
    refresh_interval_secs: Interval = 14_400
    timeout_secs: Timeout = 3_600


class ConnectionChange(Given):
    """What is to be changed. What is left out, or null, stays; only `identifier` may be set to null."""

    credentials: Credentials | None = None
    identifier: Identifier | None = Field(None, description="null takes it away; left out, it stays.")
    state: StateToBe | None = Field(None, description="ACTIVE or PAUSED.")
    options: Options | None = Field(None, description="Laid over those that are there; null takes one away.")
    refresh_interval_secs: Interval | None = None
    timeout_secs: Timeout | None = None


class DataTypeTestShape(Shown):
    """What the live test of one data type found."""

    data_export_type: str
    is_valid: bool | None = Field(description="Null: it could not be told.")
    message: str
    endpoint: str | None
    name: HealthName | None
    reason: str | None


class TestShape(Shown):
    """What a live test of credentials found."""

    __test__ = False  # no class of tests

    is_valid: bool
    message: str = Field(examples=["The vendor took the credentials."])
    name: HealthName
    status: HealthStatus
    resolution_owner: ResolutionOwner
    reason: str
    next_step: str | None = None
    data_types: list[DataTypeTestShape] = Field(description="Those whose definition has a check of their own.")
    exchanges: list[dict[str, Any]] = Field(description="The calls that were made, without secrets.")


class CountsShape(Shown):
    """How many connections there are of each health, without deleted ones."""

    total: int
    by_health: dict[str, int] = Field(examples=[{"HEALTHY": 95, "UNAUTHORIZED": 3, "NEVER_RUN": 2}])
    by_status: dict[str, int]
    by_resolution_owner: dict[str, int] = Field(description="Of the unhealthy ones: who must act.")
    never_run: int


# --- runs and healths -------------------------------------------------------------------------------------------------


class RecordCountsShape(Shown):
    """What a run stored."""

    new: int
    changed: int
    unchanged: int
    skipped: int


class JobShape(Shown):
    """One run of a connection."""

    connection_id: UUID
    run_seq: int = Field(ge=1, examples=[17])
    state: RunState
    trigger: Trigger
    scheduled_for: datetime
    started_at: datetime
    finished_at: datetime | None
    deadline_at: datetime
    name: HealthName | None = Field(description="Null while it runs, and where it was stopped.")
    reason: str | None
    rule: str | None
    sentence: str | None
    next_step: str | None
    retry_at: datetime | None
    details: list[DetailShape] | None
    requests: int
    records: RecordCountsShape
    skipped_slots: int
    classifier_version: str | None


class WholeJobShape(JobShape):
    """One run with its exchanges and the evidence of its verdict, without secrets."""

    data_types: list[dict[str, Any]]
    evidence: dict[str, Any] | None
    exchanges: list[dict[str, Any]]
    late_result: dict[str, Any] | None


class SyncShape(Shown):
    """The run that was asked for. Asking again before it begins asks for the same one."""

    connection_id: UUID
    run_seq: int = Field(ge=1)
    job_url: str


class HealthAnswerShape(Shown):
    """A connection's health, and when it is looked at again."""

    connection_id: UUID
    health: HealthShape | None
    next_due_at: datetime
    running_run_seq: int | None


class ChangeShape(Shown):
    """One change of a connection's health."""

    run_seq: int
    changed_at: datetime
    name: HealthName
    status: HealthStatus
    resolution_owner: ResolutionOwner
    reason: str
    rule: str | None
    sentence: str | None
    previous_name: HealthName | None
    previous_reason: str | None


class AskedRuleShape(Shown):
    """A rule that was asked on the way to a verdict."""

    stage: str
    rule: str
    saw: str
    fired: bool


class ExplanationShape(Shown):
    """What a health rests on. All but connection_id and health are left out before the first finished run."""

    connection_id: UUID
    health: HealthShape | None
    evidence: dict[str, Any] | None = None
    rule: str | None = None
    rules_asked: list[AskedRuleShape] | None = None
    data_types: list[dict[str, Any]] | None = None
    precedence: list[HealthName] | None = None
    resolution_owner: ResolutionOwner | None = None
    next_step: str | None = None
    retry_at: datetime | None = None


class RecordShape(Shown):
    """One record as the vendor had it."""

    record_id: str
    data_export_type: str
    first_seen_at: datetime
    changed_at: datetime
    run_seq: int = Field(description="The run that brought or last changed it.")
    last_seen_at: datetime | None
    gone_at: datetime | None = Field(description="When the vendor no longer had it.")
    payload: Any


class DataTypeShape(Shown):
    """How much of a data type is stored."""

    data_export_type: str
    living: int
    gone: int
    last_pass_at: datetime | None = Field(description="When it was last read to its end.")


# --- connectors -------------------------------------------------------------------------------------------------------


class ConnectorShape(Shown):
    """A vendor that can be connected."""

    vendor: str
    vendor_name: str
    logo_url: str | None
    category: str
    auth: str
    docs_url: str | None
    data_export_types: list[str]


class WholeConnectorShape(ConnectorShape):
    """A vendor with what its connection needs."""

    json_schema: dict[str, Any] = Field(
        alias="schema", description="JSON Schema 2020-12 of `credentials` and `settings`; the latter go into `options`."
    )


# --- invites ----------------------------------------------------------------------------------------------------------


class NewInvite(Given):
    """An invitation: to create one connection (of a vendor, or of any), or to mend one."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "properties": {"vendor": {"type": "string"}, "connection_id": {"type": "string"}},
                "required": ["vendor", "connection_id"],
            }
        }
    )

    vendor: Vendor | None = None
    connection_id: UUID | None = None
    identifier: Identifier | None = Field(None, description="Of the connection that is created.")
    options: Options | None = Field(None, description="Of the connection that is created; they beat what is typed in.")
    expiry_secs: Expiry | None = EXPIRY_SECS


class InviteShape(Shown):
    """An invitation."""

    id: UUID
    organization_id: UUID
    vendor: str | None
    connection_id: UUID | None
    identifier: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None
    used_for: UUID | None
    revoked_at: datetime | None


class NewInviteShape(InviteShape):
    """An invitation with its token, which is shown once."""

    token: str


class TokenGiven(Given):
    """A token to be validated."""

    token: Annotated[StrictStr, Field(min_length=1, max_length=4000)]


class FormShape(Shown):
    """The form that a vendor's connection needs: what to ask a customer for."""

    vendor: str | None = Field(description="Null: the customer chooses one.")
    vendorName: str | None  # noqa: N815 - the wire's word
    logoUrl: str | None  # noqa: N815 - the wire's word
    docsUrl: str | None  # noqa: N815 - the wire's word
    credentialsType: Literal["SECRETS", "OAUTH2"] | None  # noqa: N815 - the wire's word
    dataSchema: dict[str, Any] | None = Field(description="JSON Schema; secrets carry `password: true`.")  # noqa: N815 - the wire's word
    uiSchema: dict[str, Any] | None = Field(description="A layout for JSON Forms.")  # noqa: N815 - the wire's word
    settingsSchema: dict[str, Any] | None  # noqa: N815 - beside the wire's words
    organization_id: UUID
    connection_id: UUID | None
    identifier: str | None
    expires_at: datetime


# --- keys and the audit -----------------------------------------------------------------------------------------------


class NewKey(Given):
    """A key to be."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200, examples=["dashboard"])]
    scope: Scope
    organization_id: UUID | None = Field(None, description="Null: the whole account.")
    expires_at: Moment | None = Field(None, description="With an offset (RFC 3339). Null: it does not expire.")
    requests_per_minute: PerMinute | None = None


class KeyShape(Shown):
    """A key, without its text."""

    id: UUID
    organization_id: UUID | None
    name: str
    scope: Scope
    ending: str
    requests_per_minute: int | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyShape(KeyShape):
    """A key with its text, which is shown once."""

    key: str


class AuditShape(Shown):
    """One change: who, when, what."""

    id: UUID
    happened_at: datetime
    actor: str = Field(examples=["key:0197a3c2-7f1e-7c3a-9b52-1f6f2f6f9a10"])
    action: str = Field(examples=["credentials.replaced"])
    organization_id: UUID | None
    connection_id: UUID | None
    subject_id: UUID | None
    request_id: str | None
    remote_address: str | None
    changes: dict[str, Any]
