"""From a file to a Definition: YAML, JSON Schema, lints, then typed values. All findings at once, with remedies."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict

from vendors.definition import (
    Auth,
    AuthType,
    Batch,
    Bound,
    Condition,
    DataType,
    Definition,
    Each,
    ErrorRule,
    Incremental,
    Job,
    JobPoll,
    Limits,
    LimitScope,
    Pagination,
    PaginationType,
    Parent,
    Place,
    Rate,
    Records,
    RequestSpec,
    Response,
    ShapeKind,
    Target,
)
from vendors.errors import DefinitionError, Finding
from vendors.expressions import ACCOUNT_ROOTS, AUTH_ROOTS, JOB_ROOTS, REQUEST_ROOTS, Value, compile_value
from vendors.findings import Report, check_schema
from vendors.lints import lint
from vendors.lints_rules import statuses_of
from vendors.source import Source, Where, read_source
from vendors.timeformats import parse_duration
from vendors.wire import Action

Part = Mapping[str, object]

_DEFAULT_TOKENS: Final = {
    PaginationType.SCIM: Target(place=Place.QUERY, name="startIndex"),
    PaginationType.NEXT_URL: Target(place=Place.URL),
    PaginationType.LINK_HEADER: Target(place=Place.URL),
}


def load_definition(path: Path) -> Definition:
    """Read one definition. Raises DefinitionError with every fatal finding."""
    report = _checked(path)
    fatal = tuple(finding for finding in report.findings if finding.fatal)
    if fatal:
        raise DefinitionError(fatal)
    return _Builder(report.source).definition()


def check_definition(path: Path) -> tuple[Finding, ...]:
    """Return everything that can be said about a file, fatal or not, in the order of its lines. Never raises."""
    try:
        report = _checked(path)
    except DefinitionError as error:
        return error.findings
    if not any(finding.fatal for finding in report.findings):
        _Builder(report.source).definition()
    return report.findings


def _checked(path: Path) -> Report:
    report = Report(read_source(path))
    check_schema(report)
    lint(report, vendor_of_file=path.name.partition(".")[0])
    return report


class _Builder:
    """Turns plain data that has no fatal finding into a Definition. What each word means is in definition.py."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.data = source.data

    def definition(self) -> Definition:
        data = self.data
        return Definition(
            vendor=str(data["vendor"]),
            title=str(data.get("title") or data["vendor"]),
            base_url=_base_url(data["base_url"]),
            auth=self._auth(_mapping(data["auth"])),
            data_types={
                name: self._data_type(name, _mapping(part)) for name, part in _mapping(data["data_types"]).items()
            },
            version=str(data.get("version", "1")),
            category=str(data.get("category", "")),
            docs_url=str(data.get("docs_url", "")),
            credentials=_mapping(data.get("credentials")),
            settings=_mapping(data.get("settings")),
            check=self._request(_mapping(data["check"]), ACCOUNT_ROOTS) if "check" in data else None,
            limits=_limits(_mapping(data.get("limits"))),
            errors=self._errors(("errors",)),
            dialect=_text(data.get("dialect")),
            component=_text(data.get("component")),
            file=self.source.file,
            allowed_hosts=_texts(data.get("allowed_hosts")),
        )

    # ---- requests

    def _request(self, part: Part, roots: frozenset[str], *, shared: bool = True) -> RequestSpec:
        """Build a request. shared: with the headers and parameters that all requests of the vendor have."""
        body = {word: part[word] for word in ("json", "graphql", "form") if word in part}
        defaults = self.data if shared else {}
        return RequestSpec(
            path=compile_value(part["path"], roots=roots),
            method=str(part.get("method") or ("POST" if body else "GET")),
            query=_values({**_mapping(defaults.get("query")), **_mapping(part.get("query"))}, roots),
            headers=_values({**_mapping(defaults.get("headers")), **_mapping(part.get("headers"))}, roots),
            json=compile_value(body["json"], roots=roots) if "json" in body else None,
            graphql=compile_value(body["graphql"], roots=roots) if "graphql" in body else None,
            form=_values(_mapping(body["form"]), roots) if "form" in body else None,
            auth=part.get("auth", True) not in (False, "none"),
            timeout_s=_seconds(part.get("timeout")),
        )

    # ---- auth

    def _auth(self, part: Part) -> Auth:
        if "choose" in part:
            options = {name: self._auth(_mapping(way)) for name, way in _mapping(part["map"]).items()}
            return Auth(type=AuthType.CHOOSE, by=str(part["choose"]), options=options)
        kind = AuthType(str(part["type"]))
        if kind is AuthType.LOGIN:
            return self._login(part)
        target = Target(place=Place(str(part["in"])), name=str(part["name"])) if "in" in part else None
        if kind is AuthType.OAUTH2_AUTHORIZATION_CODE:
            return self._consent(part)
        is_oauth = kind in (AuthType.OAUTH2_CLIENT_CREDENTIALS, AuthType.OAUTH2_REFRESH)
        is_refresh = kind is AuthType.OAUTH2_REFRESH
        return Auth(
            type=kind,
            target=target,
            value=_account(part, "value"),
            token=_account(part, "token"),
            prefix=str(part.get("prefix", "Bearer")),
            username=_account(part, "username"),
            password=_account(part, "password"),
            token_url=_account(part, "token_url"),
            client_id=_account(part, "client_id", "${credentials.client_id}" if is_oauth else None),
            client_secret=_account(part, "client_secret", "${credentials.client_secret}" if is_oauth else None),
            client_auth=str(part.get("client_auth", "basic")),
            scopes=_texts(part.get("scopes")),
            extra=_values(_mapping(part.get("extra")), ACCOUNT_ROOTS),
            refresh_token=_account(part, "refresh_token", "${credentials.refresh_token}" if is_refresh else None),
            access_token_path=str(part.get("token_path", "access_token")),
            expires_in_path=str(part.get("expires_in_path", "expires_in")),
            **_refresh_words(part),
        )

    def _consent(self, part: Part) -> Auth:
        is_operators = "client_id" not in part
        return Auth(
            type=AuthType.OAUTH2_AUTHORIZATION_CODE,
            app=str(part.get("app", self.data["vendor"])) if is_operators else "",
            authorize_url=_account(part, "authorize_url", roots=AUTH_ROOTS),
            authorize_extra=_values(_mapping(part.get("authorize_extra")), AUTH_ROOTS),
            issuer=_account(part, "issuer"),
            is_issuer_sent=part.get("issuer_sent") is True,
            token_url=_account(part, "token_url", roots=AUTH_ROOTS),
            client_id=_account(part, "client_id", "${app.client_id}", roots=AUTH_ROOTS),
            client_secret=_account(
                part, "client_secret", "${app.client_secret?}" if is_operators else None, roots=AUTH_ROOTS
            ),
            client_auth=str(part.get("client_auth", "basic")),
            scopes=_texts(part.get("scopes")),
            scope_separator=str(part.get("scope_separator", " ")),
            extra=_values(_mapping(part.get("extra")), AUTH_ROOTS),
            prefix=str(part.get("prefix", "Bearer")),
            access_token_path=str(part.get("token_path", "access_token")),
            expires_in_path=str(part.get("expires_in_path", "expires_in")),
            **_refresh_words(part),
        )

    def _login(self, part: Part) -> Auth:
        name = str(part.get("name", "Authorization"))
        place = Place(str(part.get("in", "header")))
        prefix = "Bearer" if place is Place.HEADER and name.lower() == "authorization" else ""
        return Auth(
            type=AuthType.LOGIN,
            request=self._request({"auth": False, **_mapping(part["request"])}, ACCOUNT_ROOTS, shared=False),
            token_path=str(part["token_path"]),
            lifetime_s=_seconds(part.get("lifetime")),
            expires_path=_text(part.get("expires_path")),
            target=Target(place=place, name=name),
            prefix=str(part.get("prefix", prefix)),
        )

    # ---- data types

    def _data_type(self, name: str, part: Part) -> DataType:
        job = _mapping(part.get("job"))
        response = {**_mapping(part.get("response")), **_response_words(_mapping(job.get("download")))}
        incremental = _mapping(part.get("incremental"))
        return DataType(
            name=name,
            request=self._request(_mapping(part["request"]), REQUEST_ROOTS) if "request" in part else None,
            records=_records(_mapping(part.get("records"))),
            id=_texts(part.get("id")),
            pagination=_pagination(_mapping(part.get("pagination"))),
            incremental=_incremental(incremental) if incremental else None,
            parents=tuple(_parent(_mapping(item)) for item in _list(part.get("parents"))),
            each_of=tuple(_each(_mapping(item)) for item in _list(part.get("each_of"))),
            batch=_batch(_mapping(part["batch"])) if "batch" in part else None,
            job=self._job(job) if job else None,
            response=Response(**{word: str(value) for word, value in response.items()}),
            errors=self._errors(("data_types", name, "errors")),
            scopes=_texts(part.get("scopes")),
            check=self._request(_mapping(part["check"]), ACCOUNT_ROOTS) if "check" in part else None,
            component=_text(part.get("component")),
        )

    def _job(self, part: Part) -> Job:
        create, poll, download = (_mapping(part.get(word)) for word in ("create", "poll", "download"))
        return Job(
            create=self._request(create, REQUEST_ROOTS),
            job_id=str(create["job_id"]),
            poll=JobPoll(
                request=self._request(poll, JOB_ROOTS),
                every_s=_seconds(poll["every"]) or 0.0,
                give_up_after_s=_seconds(poll["give_up_after"]) or 0.0,
                status=str(poll["status"]),
                done=_texts(poll["done"]),
                running=_texts(poll["running"]),
                failed=_texts(poll.get("failed")),
                urls=_text(poll.get("urls")),
                parts=_text(poll.get("parts")),
                failed_parts=_text(poll.get("failed_parts")),
            ),
            download=self._request(download, JOB_ROOTS) if "path" in download else None,
            download_auth=download.get("auth", True) not in (False, "none"),
        )

    def _errors(self, where: Where) -> tuple[ErrorRule, ...]:
        rules: object = self.data
        for key in where:
            rules = _mapping(rules).get(str(key))
        return tuple(
            ErrorRule(
                statuses=statuses_of(rule),
                body=_condition(_mapping(rule["body"])) if "body" in rule else None,
                action=Action(str(rule["action"])),
                whole_status=rule.get("whole_status") is True,
                wait_header=_text(rule.get("wait_header")),
                wait_s=_seconds(rule.get("wait")),
                line=self.source.line_of((*where, index)),
            )
            for index, rule in enumerate(map(_mapping, _list(rules)))
        )


# ---- parts that need nothing of the rest


def _base_url(raw: object) -> Value:
    """Compile the base URL without a slash at its end: paths start with one."""
    if isinstance(raw, str):
        return compile_value(raw.rstrip("/"), roots=ACCOUNT_ROOTS)
    options = {key: str(text).rstrip("/") for key, text in _mapping(_mapping(raw).get("map")).items()}
    return compile_value({**_mapping(raw), "map": options}, roots=ACCOUNT_ROOTS)


def _limits(part: Part) -> Limits:
    concurrency = part.get("concurrency")
    rates = (_mapping(item) for item in _list(part.get("rate")))
    return Limits(
        scope=LimitScope(str(part.get("scope", LimitScope.CONNECTION))),
        concurrency=concurrency if isinstance(concurrency, int) else None,
        rates=tuple(Rate(limit=_whole(item["limit"]), per_s=_seconds(item["per"]) or 1.0) for item in rates),
        remaining_header=_text(part.get("remaining_header")),
        reset_header=_text(part.get("reset_header")),
    )


def _records(part: Part) -> Records:
    return Records(
        path=str(part.get("path", "")),
        shape=ShapeKind(str(part.get("shape", ShapeKind.LIST))),
        key_as=str(part.get("key_as", "key")),
        value_as=str(part.get("value_as", "value")),
        columns=str(part.get("columns", "")),
        rows=str(part.get("rows", "")),
        inner=str(part.get("inner", "")),
        keep=_texts(part.get("keep")),
        filter=tuple(_condition(_mapping(item)) for item in _list(part.get("filter"))),
        optional=part.get("optional") is True,
    )


def _condition(part: Part) -> Condition:
    exists = part.get("exists")
    return Condition(
        path=str(part["path"]),
        eq=part.get("eq"),
        one_of=tuple(_list(part["in"])) if "in" in part else None,
        contains=_text(part.get("contains")),
        exists=exists if isinstance(exists, bool) else None,
    )


def _pagination(part: Part) -> Pagination:
    if not part:
        return Pagination()
    kind = PaginationType(str(part["type"]))
    token, size = _mapping(part.get("token")), _mapping(part.get("size"))
    start = part.get("start", 1 if kind is PaginationType.SCIM else 0)
    return Pagination(
        type=kind,
        token=_target(token.get("in")) or _DEFAULT_TOKENS.get(kind),
        token_from=_text(token.get("from")),
        token_param=_text(token.get("param")),
        size_value=_whole(size["value"]) if size else None,
        size=_target(size.get("in")),
        more=_text(part.get("more")),
        last=_text(part.get("last")),
        total=_text(part.get("total")) or ("totalResults" if kind is PaginationType.SCIM else None),
        stop=str(part.get("stop", "empty")),
        start=_whole(start),
        first_sent=part.get("first_sent") is not False,
    )


def _incremental(part: Part) -> Incremental:
    formats = part.get("formats", "iso8601")
    return Incremental(
        field=str(part["field"]),
        formats=_texts(formats),
        order=_text(part.get("order")),
        start=_bound(_mapping(part.get("start"))),
        end=_bound(_mapping(part.get("end"))),
        window_s=_seconds(part.get("window")),
        lookback_s=_seconds(part.get("lookback")) or 0.0,
        default_start=_text(part.get("default_start")),
        oldest=_text(part.get("oldest")),
        filter=str(part.get("filter", "server")),
    )


def _bound(part: Part) -> Bound | None:
    return Bound(target=_target(part.get("in")), format=str(part.get("format", "iso8601"))) if part else None


def _parent(part: Part) -> Parent:
    return Parent(
        data_type=str(part["data_type"]),
        key=str(part["key"]),
        alias=str(part.get("as", part["data_type"])),
        fields=_texts(part.get("fields")),
        only_changed=part.get("only_changed") is True,
    )


def _each(part: Part) -> Each:
    return Each(alias=str(part["as"]), values=compile_value(part["values"], roots=ACCOUNT_ROOTS))


def _batch(part: Part) -> Batch:
    return Batch(parent=_parent(part), size=_whole(part["size"]), separator=str(part.get("separator", ",")))


def _response_words(download: Part) -> Part:
    return {
        word: download[word] for word in ("format", "compression", "xml_record", "csv_delimiter") if word in download
    }


def _target(place: object) -> Target | None:
    """Read `query.page_token`; the name may hold dots and brackets."""
    if not isinstance(place, str):
        return None
    kind, _, name = place.partition(".")
    return Target(place=Place(kind), name=name)


def _account(
    part: Part, word: str, default: str | None = None, *, roots: frozenset[str] = ACCOUNT_ROOTS
) -> Value | None:
    raw = part.get(word, default)
    return None if raw is None else compile_value(raw, roots=roots)


class _RefreshWords(TypedDict):
    refresh_token_path: str
    refresh_expires_in_path: str
    refresh_lifetime_s: float | None


def _refresh_words(part: Part) -> _RefreshWords:
    return _RefreshWords(
        refresh_token_path=str(part.get("refresh_token_path", "refresh_token")),
        refresh_expires_in_path=str(part.get("refresh_expires_in_path", "refresh_token_expires_in")),
        refresh_lifetime_s=_seconds(part.get("refresh_lifetime")),
    )


def _values(part: Part, roots: frozenset[str]) -> dict[str, Value]:
    return {name: compile_value(raw, roots=roots) for name, raw in part.items()}


def _seconds(duration: object) -> float | None:
    return parse_duration(duration).total_seconds() if isinstance(duration, str) else None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    items: Iterable[object] = value if isinstance(value, list) else [value]
    return tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


def _mapping(value: object) -> Part:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
