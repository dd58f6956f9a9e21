"""A vendor's definition as the connector reads it: frozen, typed, expressions compiled. `vendors.loader` makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vendors.expressions import Value
from vendors.wire import Action

JsonSchema = Mapping[str, object]


class Place(StrEnum):
    """Where in a request a value goes."""

    QUERY = "query"
    HEADER = "header"
    JSON = "json"
    FORM = "form"
    PATH = "path"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`query.page_token`, `header.X-Next`, `json.page.after`, `form.cursor`, `url` (the whole next URL)."""

    place: Place
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A test of one member of a body (or of a record): exactly one of eq, one_of, contains, exists is not None."""

    path: str
    eq: object = None
    one_of: tuple[object, ...] | None = None
    contains: str | None = None
    exists: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """An answer that matches status AND body gets the action. whole_status: the author said: no body test is needed.

    wait_header: a header that says how long (seconds, or a date); wait_s: a fixed wait.
    """

    statuses: frozenset[int]
    body: Condition | None = None
    action: Action
    whole_status: bool = False
    wait_header: str | None = None
    wait_s: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """A request as written. path: below the base URL, or a whole URL. At most one of json, graphql, form."""

    path: Value
    method: str = "GET"
    query: Mapping[str, Value] = field(default_factory=dict)
    headers: Mapping[str, Value] = field(default_factory=dict)
    json: Value | None = None
    graphql: Value | None = None
    form: Mapping[str, Value] | None = None
    auth: bool = True
    timeout_s: float | None = None


class AuthType(StrEnum):
    """How requests prove who they are."""

    NONE = "none"
    API_KEY = "api_key"
    BEARER = "bearer"
    BASIC = "basic"
    OAUTH2_CLIENT_CREDENTIALS = "oauth2_client_credentials"
    OAUTH2_REFRESH = "oauth2_refresh"
    OAUTH2_AUTHORIZATION_CODE = "oauth2_authorization_code"
    LOGIN = "login"
    CHOOSE = "choose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """One way to authenticate; which fields count depends on type.

    api_key: target, value; bearer: token, prefix (`Bearer`); basic: username, password;
    oauth2_*: token_url, client_id, client_secret, client_auth (basic | form | json), scopes, extra, refresh_token,
    access_token_path, expires_in_path, refresh_token_path, refresh_expires_in_path (jmespath into the token answer);
    refresh_lifetime_s: how long a refresh token lives, where the vendor documents it and no answer says so;
    oauth2_authorization_code: authorize_url and its further parameters authorize_extra, scopes joined by
    scope_separator, app: the name under which the operator's settings have the application (client_id and
    client_secret are then `${app.…}`), empty where the customer brings one; issuer: who answers by the name that it
    gives itself (RFC 9207), is_issuer_sent: whether every answer says so;
    login: request, token_path, lifetime_s or expires_path, then token is sent by `target` with `prefix`;
    choose: by (the settings or credentials path), options by its value.
    """

    type: AuthType
    target: Target | None = None
    value: Value | None = None
    token: Value | None = None
    prefix: str = "Bearer"
    username: Value | None = None
    password: Value | None = None
    token_url: Value | None = None
    client_id: Value | None = None
    client_secret: Value | None = None
    client_auth: str = "basic"
    scopes: tuple[str, ...] = ()
    extra: Mapping[str, Value] = field(default_factory=dict)
    refresh_token: Value | None = None
    access_token_path: str = "access_token"  # noqa: S105 - a path, no secret
    expires_in_path: str = "expires_in"
    refresh_token_path: str = "refresh_token"  # noqa: S105 - a path, no secret
    refresh_expires_in_path: str = "refresh_token_expires_in"
    refresh_lifetime_s: float | None = None
    authorize_url: Value | None = None
    authorize_extra: Mapping[str, Value] = field(default_factory=dict)
    scope_separator: str = " "
    app: str = ""
    issuer: Value | None = None
    is_issuer_sent: bool = False
    request: RequestSpec | None = None
    token_path: str = ""
    lifetime_s: float | None = None
    expires_path: str | None = None
    by: str = ""
    options: Mapping[str, "Auth"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `limit` requests in `per_s` seconds."""

    limit: int
    per_s: float


class LimitScope(StrEnum):
    """Whom a vendor counts: each connection's account, or all our calls together."""

    CONNECTION = "connection"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the vendor allows, over all workers. concurrency: runs at a time within the scope."""

    scope: LimitScope = LimitScope.CONNECTION
    concurrency: int | None = None
    rates: tuple[Rate, ...] = ()
    remaining_header: str | None = None
    reset_header: str | None = None


class ShapeKind(StrEnum):
    """How what stands at the record path becomes records."""

    LIST = "list"
    OBJECT_VALUES = "object_values"
    SCALARS = "scalars"
    COLUMNS_ROWS = "columns_rows"
    NESTED = "nested"
    SINGLE = "single"


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Where the records are. path: dotted, `*` walks a list, empty is the whole body.

    object_values: key_as names the member that takes the key; scalars: each becomes {value_as: scalar};
    columns_rows: columns and rows are paths; nested: path leads to outer objects, `inner` to their list,
    `keep` names outer members that each record gets; single: the object is one record.
    optional: a missing path means no records (else it is an error).
    """

    path: str = ""
    shape: ShapeKind = ShapeKind.LIST
    key_as: str = "key"
    value_as: str = "value"
    columns: str = ""
    rows: str = ""
    inner: str = ""
    keep: tuple[str, ...] = ()
    filter: tuple[Condition, ...] = ()
    optional: bool = False


class PaginationType(StrEnum):
    """How the next page is asked for."""

    NONE = "none"
    PAGE = "page"
    OFFSET = "offset"
    CURSOR = "cursor"
    NEXT_URL = "next_url"
    LINK_HEADER = "link_header"
    SCIM = "scim"
    LAST_RECORD = "last_record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pagination:
    """token: where the counter, token or URL goes; token_from: where it comes from (path, or `header.X-Next`).

    token_param: cut this query parameter out of a URL found at token_from; size_value, size: page size and its place;
    more: path of a has-more flag; last: path of a flag that is true on the last page; total: path of the total;
    stop: `empty` or `short_page`;
    start: first page number or offset; first_sent: whether the first page's number is sent.
    """

    type: PaginationType = PaginationType.NONE
    token: Target | None = None
    token_from: str | None = None
    token_param: str | None = None
    size_value: int | None = None
    size: Target | None = None
    more: str | None = None
    last: str | None = None
    total: str | None = None
    stop: str = "empty"
    start: int = 0
    first_sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where and in which format one end of an interval is sent."""

    target: Target | None
    format: str = "iso8601"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental:
    """How only what changed is read. formats: accepted in records, tried in order; durations in seconds.

    filter: `server` (start is sent) or `client` (what is older than the start is dropped; order desc: reading ends).
    """

    field: str
    formats: tuple[str, ...] = ("iso8601",)
    order: str | None = None
    start: Bound | None = None
    end: Bound | None = None
    window_s: float | None = None
    lookback_s: float = 0.0
    default_start: str | None = None
    oldest: str | None = None
    filter: str = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Read this data type once for each record of another. fields: further members of the parent to be used or kept."""

    data_type: str
    key: str
    alias: str
    fields: tuple[str, ...] = ()
    only_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """Read once for each value of a list. values: constants, or an expression that yields a list (a setting)."""

    alias: str
    values: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Read details for ids of a parent, `size` at a time, joined by `separator` in the expression `${batch.ids}`."""

    parent: Parent
    size: int
    separator: str = ","


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPoll:
    """Ask how an asynchronous export is doing. urls: path of the download URLs in the poll answer (or None).

    parts: path of a list of part names in the poll answer; the download is asked for once for each, as `${job.part}`;
    failed_parts: path of a list that names parts which were lost: they are a hole, not an end.
    """

    request: RequestSpec
    every_s: float
    give_up_after_s: float
    status: str
    done: tuple[str, ...]
    running: tuple[str, ...]
    failed: tuple[str, ...] = ()
    urls: str | None = None
    parts: str | None = None
    failed_parts: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An asynchronous export: create, poll by id, download. download: request, or None where the poll gave URLs."""

    create: RequestSpec
    job_id: str
    poll: JobPoll
    download: RequestSpec | None = None
    download_auth: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """format: json | jsonl | csv | xml; compression: none | gzip | zip (of the content, beside Content-Encoding).

    xml_record: tag of a record element; csv_delimiter: one character.
    """

    format: str = "json"
    compression: str = "none"
    xml_record: str = ""
    csv_delimiter: str = ","


@dataclass(frozen=True, slots=True, kw_only=True)
class DataType:
    """One kind of record that the vendor exports. id: one path, or several that make the id together.

    check: the cheapest request that needs the right to it; None where nothing less than reading it would tell.
    """

    name: str
    request: RequestSpec | None
    records: Records
    id: tuple[str, ...]
    pagination: Pagination = field(default_factory=Pagination)
    incremental: Incremental | None = None
    parents: tuple[Parent, ...] = ()
    each_of: tuple[Each, ...] = ()
    batch: Batch | None = None
    job: Job | None = None
    response: Response = field(default_factory=Response)
    errors: tuple[ErrorRule, ...] = ()
    scopes: tuple[str, ...] = ()
    check: RequestSpec | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One vendor. credentials, settings: JSON Schema objects with our keys `secret`, `prefix`, `suffix`."""

    vendor: str
    title: str
    base_url: Value
    auth: Auth
    data_types: Mapping[str, DataType]
    version: str = "1"
    category: str = ""
    docs_url: str = ""
    credentials: JsonSchema = field(default_factory=dict)
    settings: JsonSchema = field(default_factory=dict)
    check: RequestSpec | None = None
    limits: Limits = field(default_factory=Limits)
    errors: tuple[ErrorRule, ...] = ()
    dialect: str | None = None
    component: str | None = None
    file: str = ""
    allowed_hosts: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The file's name without its folder."""
        return self.file.replace("\\", "/").rpartition("/")[2]
