"""What a definition must not do although its form is right: the twelve traps, and what would surface at run time.

Each lint has a code. The traps are those counted in 518 public definitions (docs/definitions.md names them one by one);
what can be seen only when a vendor answers (a token seen twice, a missing has-more flag) is the connector's to refuse.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vendors.errors import ExpressionError
from vendors.expressions import (
    ACCOUNT_ROOTS,
    AUTH_ROOTS,
    JOB_ROOTS,
    REQUEST_ROOTS,
    compile_value,
    expression_problems,
    nearest,
)
from vendors.findings import Report
from vendors.hosts import authority_references, is_loopback
from vendors.lints_consent import APP_MEMBERS, CONSENT, lint_consent
from vendors.lints_reading import lint_incremental, lint_pagination, lint_records
from vendors.lints_rules import lint_errors, lint_limits_on_time
from vendors.paths import compile_path
from vendors.requests_made import host_is_allowed
from vendors.source import Where

Part = Mapping[str, object]

_SECRET_WORDS: Final = re.compile(
    r"(^|_)(secret|password|passwd|token|api_?key|private_key|access_key|secret_key)($|_)"
)
_BODIES: Final = ("json", "graphql", "form")
_DEEPEST: Final = 8
_DIALECTS: Final = Path(__file__).parent / "dialects"
_PATHS: Final[tuple[Where, ...]] = (
    *(("records", word) for word in ("path", "columns", "rows", "inner")),
    ("records", "keep", "*"),
    ("records", "filter", "*", "path"),
    ("id",),
    ("id", "*"),
    ("pagination", "token", "from"),
    *(("pagination", word) for word in ("more", "last", "total")),
    ("incremental", "field"),
    ("parents", "*", "key"),
    ("parents", "*", "fields", "*"),
    ("batch", "key"),
    ("job", "create", "job_id"),
    ("job", "poll", "status"),
    ("job", "poll", "urls"),
    ("job", "poll", "parts"),
    ("job", "poll", "failed_parts"),
    ("errors", "*", "body", "path"),
)
_AUTH_PATHS: Final = (
    "token_path",
    "expires_in_path",
    "refresh_token_path",
    "refresh_expires_in_path",
    "expires_path",
)
_AUTH_VALUES: Final = (
    "value",
    "token",
    "username",
    "password",
    "token_url",
    "client_id",
    "client_secret",
    "refresh_token",
    "extra",
    "authorize_url",
    "authorize_extra",
    "issuer",
)
_OAUTH_DEFAULTS: Final = {
    "oauth2_client_credentials": ("client_id", "client_secret"),
    "oauth2_refresh": ("client_id", "client_secret", "refresh_token"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A request in the file. data_type: None for the check and logins."""

    where: Where
    request: Part
    roots: frozenset[str]
    data_type: str | None = None


def lint(report: Report, *, vendor_of_file: str | None) -> None:
    """Report what is wrong beyond the form. Parts that do not fit the schema are left alone: they were reported.

    vendor_of_file: the name that the file's name promises, or None where it promises none.
    """
    linter = _Linter(report)
    if vendor_of_file is not None and linter.data.get("vendor") != vendor_of_file and report.is_sound(("vendor",)):
        problem = f"is {linter.data.get('vendor')}, but the file is named {vendor_of_file}.yaml"
        report.add(("vendor",), "vendor-file-name", problem, "Give both the same name: definitions are found by it")
    linter.lint_fields()
    for where, way in linter.auth_ways():
        lint_consent(report, where, way)
    linter.lint_values()
    linter.lint_hosts()
    linter.lint_other_hosts()
    linter.lint_requests()
    linter.lint_paths()
    linter.lint_check()
    linter.lint_dialect()
    lint_errors(report, ("errors",))
    linter.lint_data_types()
    linter.lint_unused_fields()


class _Linter:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.data = report.source.data
        self.fields = {
            kind: _mapping(_mapping(self.data.get(kind)).get("properties")) for kind in sorted(ACCOUNT_ROOTS)
        }
        self.used: set[str] = set()
        self.data_types = {
            name: part for name, part in _mapping(self.data.get("data_types")).items() if isinstance(part, Mapping)
        }

    # ---- fields

    def lint_fields(self) -> None:
        for kind, fields in self.fields.items():
            if not self.report.is_sound((kind,)):
                continue
            required = _mapping(self.data.get(kind)).get("required", [])
            for index, name in enumerate(required if isinstance(required, list) else []):
                if name not in fields:
                    problem = f"`{name}` is required, but is not among the properties"
                    self.report.add(
                        (kind, "required", index), "unknown-field", problem, f"Add it{_hint(str(name), fields)}"
                    )
            for name, field in fields.items():
                self._lint_field((kind, "properties", name), kind, name, _mapping(field))

    def _lint_field(self, where: Where, kind: str, name: str, field: Part) -> None:
        secret = field.get("secret")
        if kind == "settings" and secret is True:
            problem = "is a secret among the settings, which are shown to everybody who may see the connection"
            self.report.add(where, "secret-in-settings", problem, "Move it to credentials")
        if kind == "credentials" and secret is None and _SECRET_WORDS.search(name):
            problem = f"`{name}` sounds like a secret, but is not marked"
            remedy = "Write `secret: true` (or `secret: false`, if everybody may see it)"
            self.report.add(where, "secret-not-marked", problem, remedy)
        if secret is True and "default" in field:
            problem = "is a secret with a default: all connections would share it, in plain sight"
            self.report.add((*where, "default"), "secret-with-default", problem, "Take the default out")
        self._lint_pattern(where, field)
        allowed, default = field.get("enum"), field.get("default")
        if isinstance(allowed, list) and default is not None and default not in allowed:
            problem = f"has the default {default!r}, which is not among its enum"
            self.report.add((*where, "default"), "default-not-allowed", problem, "Add it to the enum, or take another")

    def _lint_pattern(self, where: Where, field: Part) -> None:
        pattern = field.get("pattern")
        if not isinstance(pattern, str):
            return
        try:
            re.compile(pattern)
        except re.error as error:
            self.report.add((*where, "pattern"), "broken-pattern", f"is no regular expression: {error}", "Mend it")
            return
        if not (pattern.startswith("^") and pattern.endswith("$")):
            problem = "matches anywhere in the value, so anything may stand around it"
            self.report.add((*where, "pattern"), "pattern-not-anchored", problem, f"Write `^{pattern.strip('^$')}$`")

    def lint_unused_fields(self) -> None:
        if "component" in self.data or not all(
            self.report.is_sound((part,)) for part in ("auth", "data_types", "base_url")
        ):
            return
        for kind, fields in self.fields.items():
            for name in fields:
                if f"{kind}.{name}" not in self.used:
                    problem = f"is asked of the customer, but no ${{{kind}.{name}}} uses it"
                    self.report.add(
                        (kind, "properties", name), "unused-field", problem, "Use it, or do not ask", fatal=False
                    )

    # ---- expressions

    def lint_values(self) -> None:
        for where, raw, roots, data_type in self._values():
            if not self.report.is_sound(where):
                continue
            problems = expression_problems(raw, roots=roots)
            for problem in problems:
                self._expression(where, problem)
            if not problems:
                for reference in sorted(compile_value(raw, roots=roots).references):
                    self._reference(where, reference, data_type)

    def _values(self) -> Iterator[tuple[Where, object, frozenset[str], str | None]]:
        for word in ("base_url", "headers", "query"):
            yield (word,), self.data.get(word), ACCOUNT_ROOTS, None
        if isinstance(by := _mapping(self.data.get("auth")).get("choose"), str):
            yield ("auth", "choose"), f"${{{by}}}", ACCOUNT_ROOTS, None
        yield from self._auth_values()
        for request in self._places():
            for word in ("path", "query", "headers", *_BODIES):
                if word in request.request:
                    yield (*request.where, word), request.request[word], request.roots, request.data_type
        for name, part in self.data_types.items():
            for index, each in enumerate(_list(part.get("each_of"))):
                yield (
                    ("data_types", name, "each_of", index, "values"),
                    _mapping(each).get("values"),
                    ACCOUNT_ROOTS,
                    name,
                )

    def _auth_values(self) -> Iterator[tuple[Where, object, frozenset[str], None]]:
        for where, way in self.auth_ways():
            roots = AUTH_ROOTS if way.get("type") == CONSENT else ACCOUNT_ROOTS
            for word in _AUTH_VALUES:
                if word in way:
                    yield (*where, word), way[word], roots, None
            for word in _OAUTH_DEFAULTS.get(str(way.get("type")), ()):
                if word not in way:
                    yield where, f"${{credentials.{word}}}", ACCOUNT_ROOTS, None

    def auth_ways(self) -> Iterator[tuple[Where, Part]]:
        """Yield each way to authenticate, with where it stands."""
        auth = _mapping(self.data.get("auth"))
        if "choose" not in auth:
            yield ("auth",), auth
            return
        for name, way in _mapping(auth.get("map")).items():
            yield ("auth", "map", name), _mapping(way)

    def _places(self) -> Iterator[Place]:
        for where, way in self.auth_ways():
            if isinstance(way.get("request"), Mapping):
                yield Place(where=(*where, "request"), request=_mapping(way["request"]), roots=ACCOUNT_ROOTS)
        if isinstance(self.data.get("check"), Mapping):
            yield Place(where=("check",), request=_mapping(self.data["check"]), roots=ACCOUNT_ROOTS)
        for name, part in self.data_types.items():
            requests: dict[Where, tuple[object, frozenset[str]]] = {
                ("request",): (part.get("request"), REQUEST_ROOTS),
                ("check",): (part.get("check"), ACCOUNT_ROOTS),
            }
            for step, request in _mapping(part.get("job")).items():
                requests["job", step] = request, REQUEST_ROOTS if step == "create" else JOB_ROOTS
            for words, (request, roots) in requests.items():
                if isinstance(request, Mapping) and "path" in request:
                    yield Place(where=("data_types", name, *words), request=request, roots=roots, data_type=name)

    def _expression(self, where: Where, problem: ExpressionError) -> None:
        place = f"in `{problem.text}`, character {problem.position + 1}: " if problem.text else ""
        remedy = "The language is ${root.name}, ??, | and six functions; see docs/definitions.md"
        self.report.add((*where, *problem.where), "expression", f"{place}{problem.problem}", remedy)

    def _reference(self, where: Where, reference: str, data_type: str | None) -> None:
        root, _, rest = reference.partition(".")
        self.used.add(".".join(reference.split(".")[:2]))
        if root in self.fields:
            name = rest.split(".")[0]
            if name not in self.fields[root]:
                problem = f"${{{reference}}} is not among the {root}"
                remedy = f"Add it under `{root}: properties:`{_hint(name, self.fields[root])}"
                self.report.add(where, "unknown-field", problem, remedy)
        elif root == "app":
            if rest not in APP_MEMBERS:
                remedy = f"Write ${{app.client_id}} or ${{app.client_secret}}{_hint(rest, APP_MEMBERS)}"
                self.report.add(where, "unknown-part", f"${{{reference}}} is not known here", remedy)
        elif data_type is not None:
            self._part_reference(where, root, rest, self.data_types[data_type])

    def _part_reference(self, where: Where, root: str, rest: str, part: Part) -> None:
        alias, _, member = rest.partition(".")
        if root == "parent":
            self._parent_reference(where, alias, member, part)
            return
        names = [str(_mapping(item).get("as")) for item in _list(part.get("each_of"))]
        poll = _mapping(_mapping(part.get("job")).get("poll"))
        known, remedy = {
            "each": (rest in names, f"Add `each_of: [{{as: {alias}, values: […]}}]`{_hint(alias, names)}"),
            "batch": (
                "batch" in part and rest in ("ids", "list"),
                "Add `batch: {data_type: …, key: id, size: 100}`, use ${batch.ids}",
            ),
            "window": (
                "incremental" in part and rest in ("start", "end"),
                "Add `incremental` with its field, and use ${window.start} and ${window.end}",
            ),
            "job": (
                rest == "id" or (rest == "part" and "parts" in poll),
                "Use ${job.id}, or ${job.part} with poll.parts",
            ),
        }.get(root, (True, ""))
        if not known:
            self.report.add(where, "unknown-part", f"${{{root}.{rest}}} is not known here", remedy)

    def _parent_reference(self, where: Where, alias: str, member: str, part: Part) -> None:
        parents = self._ancestors(part)
        if alias not in parents:
            problem = f"${{parent.{alias}.{member}}}: no parent is called {alias!r} here"
            remedy = f"Add `parents: [{{data_type: …, key: …, as: {alias}}}]`{_hint(alias, parents)}"
            self.report.add(where, "unknown-parent", problem, remedy)
        elif not any(_is_kept(member, parent) for parent in parents[alias]):
            problem = f"${{parent.{alias}.{member}}}: {member!r} is not kept of the parent"
            self.report.add(where, "parent-field-not-kept", problem, f"Add `fields: [{member}]` to that parent")

    # ---- hosts (trap 12)

    def lint_hosts(self) -> None:
        base = self.data.get("base_url")
        texts = _texts(base) if self.report.is_sound(("base_url",)) else []
        for text in texts:
            self._lint_host(("base_url",), text)
            if not re.match(r"https?://|\$\{", text):
                self.report.add(
                    ("base_url",), "base-url-not-whole", f"`{text}` has no scheme", "Start it with https://"
                )
        for where, way in self.auth_ways():
            for word in ("token_url", "authorize_url"):
                for text in _texts(way.get(word)):
                    if "://" in text.split("?")[0] or text.startswith("${"):
                        self._lint_host((*where, word), text)
        for place in self._places():
            for text in _texts(place.request.get("path")):
                if "://" in text.split("?")[0] or re.match(r"\$\{\s*(settings|credentials)\.", text):
                    self._lint_host((*place.where, "path"), text)

    def lint_other_hosts(self) -> None:
        """Report requests whose credentials the connector would refuse to send."""
        base = {_host_of(text) for text in _texts(self.data.get("base_url"))}
        allowed = tuple(str(host) for host in _list(self.data.get("allowed_hosts")))
        for place in self._places():
            if place.where[0] == "auth" or place.request.get("auth") in (False, "none"):
                continue
            for text in _texts(place.request.get("path")):
                host = _host_of(text)
                if host is not None and host not in base and "$" not in host and not host_is_allowed(host, allowed):
                    problem = f"goes to {host}, another host than base_url, where no credentials may go"
                    hosts = ", ".join([*sorted(filter(None, base)), host])
                    remedy = f"Add `allowed_hosts: [{hosts}]`, or write `auth: none`"
                    self.report.add((*place.where, "path"), "other-host", problem, remedy)
        if allowed:
            for host in sorted(filter(None, base)):
                if "$" not in host and not host_is_allowed(host, allowed):
                    problem = f"leave out {host}, the host of base_url"
                    self.report.add(("allowed_hosts",), "other-host", problem, f"Add {host}")

    def _lint_host(self, where: Where, text: str) -> None:
        if text.startswith("http://") and not is_loopback(text):
            problem = f"`{text}` sends credentials unencrypted"
            self.report.add(where, "plain-http", problem, "Write https:// (http:// is for 127.0.0.1 alone)")
        for reference in authority_references(text):
            root, _, name = reference.path.partition(".")
            if root == "credentials":
                problem = f"the host holds ${{{reference.path}}}, and hosts are logged and resolved in plain sight"
                self.report.add(where, "secret-in-host", problem, "Move it to settings")
                continue
            field = _mapping(self.fields.get(root, {}).get(name))
            if (
                reference.is_port
                or "enum" in field
                or self._is_fenced(field, reference.suffix)
                or "allowed_hosts" in self.data
            ):
                continue
            problem = f"the host comes from ${{{reference.path}}}, so that credentials can be sent anywhere"
            remedy = (
                f"Give `{name}` a `suffix: .vendor.example` or an `enum`, write the fixed part after it "
                f"(`https://${{{reference.path}}}.vendor.example`), or list `allowed_hosts`"
            )
            self.report.add(where, "host-typed-by-customer", problem, remedy)

    def _is_fenced(self, field: Part, literal_suffix: str) -> bool:
        """Whether the host ends in a fixed name of at least two labels, after a dot."""
        suffix = f"{field.get('suffix', '')}{literal_suffix}"
        return re.fullmatch(r"\.[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", suffix) is not None

    # ---- paths into answers

    def lint_paths(self) -> None:
        """Report paths that nobody can follow, before a vendor's answer does."""
        found = list(_parts_at(self.data, ("errors", "*", "body", "path"), ()))
        for name, part in self.data_types.items():
            found.extend(pair for keys in _PATHS for pair in _parts_at(part, keys, ("data_types", name)))
        for where, way in self.auth_ways():
            found.extend(((*where, word), way[word]) for word in _AUTH_PATHS if word in way)
        for where, path in found:
            if not isinstance(path, str) or path.lower().startswith("header."):
                continue
            try:
                compile_path(path)
            except ValueError:
                problem = f"`{path}` is neither a dotted path nor a jmespath expression"
                remedy = "Write names with dots between them (`result.items`), `*` for every item of a list"
                self.report.add(where, "broken-path", problem, remedy)

    # ---- requests

    def lint_requests(self) -> None:
        for word in ("headers", "query"):
            self._lint_secrets((word,), self.data.get(word))
        for place in self._places():
            is_login = place.where[0] == "auth"
            if not self.report.is_sound(place.where):
                continue
            self._lint_request(place)
            for word in ("query", "headers", *_BODIES):
                if not is_login:
                    self._lint_secrets((*place.where, word), place.request.get(word))

    def _lint_request(self, place: Place) -> None:
        request, where = place.request, place.where
        bodies = [word for word in _BODIES if word in request]
        if len(bodies) > 1:
            problem = f"has {' and '.join(bodies)}, but a request has one body"
            self.report.add(where, "two-bodies", problem, "Keep one of them")
        if bodies and request.get("method") in ("GET", "HEAD"):
            problem = f"sends a body ({bodies[0]}) with {request['method']}, which servers and proxies drop"
            self.report.add(where, "body-on-get", problem, "Write `method: POST`, or move it to `query`")
        for text in _texts(request.get("path")):
            self._lint_path((*where, "path"), text)
        lint_limits_on_time(self.report, where, request)

    def _lint_path(self, where: Where, text: str) -> None:
        outside = re.sub(r"\$\{[^}]*\}", "x", text)
        if "?" in outside or "#" in outside:
            problem = f"`{text}` holds query parameters"
            self.report.add(where, "path-with-query", problem, "Write them under `query`, so that they are encoded")
        if not text.startswith(("/", "https://", "http://", "${")):
            self.report.add(where, "path-without-slash", f"`{text}` does not start with a slash", f"Write `/{text}`")

    def _lint_secrets(self, where: Where, raw: object) -> None:
        if raw is None or not self.report.is_sound(where) or expression_problems(raw, roots=JOB_ROOTS):
            return
        for reference in sorted(compile_value(raw, roots=JOB_ROOTS).references):
            root, _, name = reference.partition(".")
            if root == "credentials" and _mapping(self.fields[root].get(name)).get("secret") is True:
                problem = f"sends ${{{reference}}} outside `auth`, where it is not kept from redirects"
                self.report.add(where, "secret-outside-auth", problem, "Send it by `auth`")
        if where[-1] == "headers" and any(name.lower() == "authorization" for name in _mapping(raw)):
            problem = "sets Authorization by hand"
            self.report.add(where, "auth-by-hand", problem, "Describe it under `auth`: bearer, basic or api_key")

    def lint_check(self) -> None:
        if "check" not in self.data and "component" not in self.data and self.report.is_sound(()):
            problem = "has no `check`, so credentials are tested by reading a data type"
            remedy = "Add the cheapest request that needs the credentials: `check: {path: /me}`"
            self.report.add((), "no-check", problem, remedy, fatal=False)
        checks: dict[Where, object] = {
            ("data_types", name, "check"): part.get("check") for name, part in self.data_types.items()
        }
        for where, check in {("check",): self.data.get("check"), **checks}.items():
            if _mapping(check).get("auth") in (False, "none"):
                problem = "sends no credentials, so it says nothing about them"
                self.report.add(where, "check-without-auth", problem, "Take a request that needs them")

    def lint_dialect(self) -> None:
        known = sorted(path.stem for path in _DIALECTS.glob("*.yaml"))
        dialect = self.data.get("dialect")
        if isinstance(dialect, str) and known and dialect not in known:
            remedy = f"Known: {', '.join(known)}{_hint(dialect, known)}"
            self.report.add(("dialect",), "unknown-dialect", f"there is no dialect `{dialect}`", remedy, fatal=False)

    # ---- data types

    def lint_data_types(self) -> None:
        for name, part in self.data_types.items():
            where: Where = ("data_types", name)
            self._lint_parts(where, name, part)
            self._lint_source(where, part)
            if self.report.is_sound((*where, "records")):
                lint_records(self.report, where, part)
            request = self._whole_request(part)
            if self.report.is_sound((*where, "pagination")):
                lint_pagination(self.report, where, part, request)
            if self.report.is_sound((*where, "incremental")):
                lint_incremental(self.report, where, part, request)
            lint_errors(self.report, (*where, "errors"))
        self._lint_cycles()

    def _whole_request(self, part: Part) -> Part:
        """Return the request (or the one that creates the job) with what all requests have."""
        request = _mapping(part.get("request") or _mapping(part.get("job")).get("create"))
        merged = {
            word: {**_mapping(self.data.get(word)), **_mapping(request.get(word))} for word in ("headers", "query")
        }
        return {**request, **merged}

    def _lint_source(self, where: Where, part: Part) -> None:
        job = _mapping(part.get("job"))
        if "component" in part or "component" in self.data:
            return
        if ("request" in part) == ("job" in part) and self.report.is_sound(where):
            problem = "has both a request and a job" if "job" in part else "has neither a request nor a job"
            self.report.add(where, "no-request", problem, "Write one of them: `request: {path: /users}`")
        if job and self.report.is_sound((*where, "job")):
            self._lint_job((*where, "job"), job)
            if "pagination" in part:
                problem = "pages a job, whose download comes whole"
                self.report.add((*where, "pagination"), "job-with-pages", problem, "Take pagination out")
        response = _mapping(part.get("response"))
        if response.get("format") == "xml" and "xml_record" not in response:
            remedy = "Add `xml_record: HOST`, the tag of a record's element"
            self.report.add(
                (*where, "response"), "xml-without-record", "does not say which element is a record", remedy
            )

    def _lint_job(self, where: Where, job: Part) -> None:
        poll, download = _mapping(job.get("poll")), _mapping(job.get("download"))
        seen: dict[str, str] = {}
        for word in ("done", "running", "failed"):
            for state in _list(poll.get(word)):
                if seen.setdefault(str(state), word) != word:
                    problem = f"{state} is both {seen[str(state)]} and {word}"
                    self.report.add((*where, "poll", word), "job-words-overlap", problem, "Keep it in one of them")
        if "parts" in poll and "job.part" not in _references(download.get("path")):
            problem = "lists parts, but the download does not name the part"
            remedy = "Write `download: {path: '/exports/${job.id}/parts/${job.part}'}`"
            self.report.add(where, "job-without-download", problem, remedy)
        if "urls" not in poll and "path" not in download:
            problem = "neither says where the poll lists URLs nor has a download with a path"
            remedy = "Add `urls: files.*.href` to poll, or `download: {path: '/exports/${job.id}/file'}`"
            self.report.add(where, "job-without-download", problem, remedy)
        if "job.id" not in _references([poll.get(word) for word in ("path", "query", *_BODIES)]):
            problem = "does not name the job that it asks for"
            self.report.add((*where, "poll"), "job-id-unused", problem, "Write `path: '/exports/${job.id}'`")

    def _lint_parts(self, where: Where, name: str, part: Part) -> None:
        requests = (part.get("request"), *_mapping(part.get("job")).values())
        used = frozenset().union(*(_references(request) for request in requests))
        self._lint_aliases(where, part)
        for index, parent in enumerate(_list(part.get("parents"))):
            self._lint_parent((*where, "parents", index), name, _mapping(parent))
            alias = _mapping(parent).get("as")
            if not any(reference.startswith(f"parent.{alias}.") for reference in used):
                problem = (
                    f"is read once for each of {_mapping(parent).get('data_type')}, but the request is always the same"
                )
                remedy = f"Use `${{parent.{alias}.{_mapping(parent).get('key')}}}` in the request"
                self._part_unused((*where, "parents", index), problem, remedy, part)
        for index, each in enumerate(_list(part.get("each_of"))):
            alias = _mapping(each).get("as")
            if f"each.{alias}" not in used:
                problem = f"is read once for each {alias}, but the request is always the same"
                self._part_unused((*where, "each_of", index), problem, f"Use `${{each.{alias}}}` in the request", part)
        batch = part.get("batch")
        if isinstance(batch, Mapping):
            self._lint_parent((*where, "batch"), name, batch)
            if not used & {"batch.ids", "batch.list"}:
                problem = "reads ids in batches, but the request names none"
                self._part_unused((*where, "batch"), problem, "Use `${batch.ids}` (joined) or `${batch.list}`", part)

    def _part_unused(self, where: Where, problem: str, remedy: str, part: Part) -> None:
        if self.report.is_sound(where) and "component" not in part:
            self.report.add(where, "part-without-place", problem, remedy)

    def _lint_parent(self, where: Where, name: str, parent: Part) -> None:
        other = parent.get("data_type")
        if not self.report.is_sound(where):
            return
        if other == name:
            self.report.add(where, "parent-cycle", "is its own parent", "Name another data type")
        elif other not in self.data_types:
            remedy = f"Known: {', '.join(self.data_types)}{_hint(str(other), self.data_types)}"
            self.report.add((*where, "data_type"), "unknown-parent", f"there is no data type `{other}`", remedy)

    def _lint_aliases(self, where: Where, part: Part) -> None:
        for word in ("parents", "each_of"):
            names = [_mapping(item).get("as") for item in _list(part.get(word))]
            for index, alias in enumerate(names):
                if alias in names[:index]:
                    problem = f"`as: {alias}` stands twice"
                    self.report.add((*where, word, index), "alias-twice", problem, "Give each its own name")
        known: dict[str, set[str]] = {
            "parent": set(self._ancestors(part)),
            "each": {str(_mapping(item).get("as")) for item in _list(part.get("each_of"))},
        }
        for member in _list(part.get("id")) or [part.get("id")]:
            root, _, rest = str(member).partition(".")
            if root in known and rest and rest.split(".")[0] not in known[root]:
                problem = f"`{member}`: there is no {root} called {rest.split('.')[0]!r} here"
                remedy = f"Known: {', '.join(sorted(known[root])) or 'none'}"
                self.report.add((*where, "id"), "unknown-parent", problem, remedy)

    def _ancestors(self, part: Part, depth: int = 0) -> dict[str, list[Part]]:
        """Return the parents of a data type, theirs, and so on, by the aliases under which records know them."""
        found: dict[str, list[Part]] = {}
        for parent in map(_mapping, _list(part.get("parents"))):
            found.setdefault(str(parent.get("as")), []).append(parent)
            above = self.data_types.get(str(parent.get("data_type")))
            if above is not None and depth < _DEEPEST:
                for alias, held in self._ancestors(above, depth + 1).items():
                    found.setdefault(alias, []).extend(held)
        return found

    def _lint_cycles(self) -> None:
        over = {name: _parents_of(part) & set(self.data_types) for name, part in self.data_types.items()}
        for name, direct in over.items():
            reached, frontier = set[str](), direct - {name}
            while frontier:
                reached |= frontier
                frontier = set[str]().union(*(over[item] for item in frontier)) - reached
            if name in reached:
                problem = f"is, over {', '.join(sorted(reached - {name}))}, a parent of itself"
                self.report.add(("data_types", name), "parent-cycle", problem, "Take one of the parents out")


def _parts_at(raw: object, keys: Where, where: Where) -> Iterator[tuple[Where, object]]:
    """Yield what stands at keys below a part, `*` for every item of a list."""
    if not keys:
        yield where, raw
    elif keys[0] == "*":
        for index, item in enumerate(_list(raw)):
            yield from _parts_at(item, keys[1:], (*where, index))
    elif isinstance(raw, Mapping) and keys[0] in raw:
        yield from _parts_at(raw[keys[0]], keys[1:], (*where, keys[0]))


def _parents_of(part: Part) -> set[str]:
    listed = [*_list(part.get("parents")), part.get("batch")]
    return {str(item.get("data_type")) for item in listed if isinstance(item, Mapping)}


def _is_kept(member: str, parent: Part) -> bool:
    kept = [str(parent.get("key")), *(str(item) for item in _list(parent.get("fields")))]
    return any(member == name or member.startswith(f"{name}.") for name in kept)


def _references(raw: object) -> frozenset[str]:
    """Return the references in a part, or none where it cannot be read (that was reported)."""
    if raw is None or expression_problems(raw, roots=JOB_ROOTS):
        return frozenset()
    return compile_value(raw, roots=JOB_ROOTS).references


def _texts(raw: object) -> list[str]:
    """Return the text, or the texts that a choice may come to."""
    if isinstance(raw, str):
        return [raw]
    options = _mapping(raw)
    found = [*_mapping(options.get("map")).values(), options.get("default")]
    return [text for item in found if item is not None for text in _texts(item)]


def _host_of(url: str) -> str | None:
    """Return the host of a URL as written (it may hold references), or None for a path."""
    found = re.match(r"https?://([^/?#:]+(?:\{[^}]*\}[^/?#:]*)*)", url)
    return found[1].lower() if found else None


def _hint(word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f". Did you mean `{near}`?" if near is not None else ""


def _mapping(value: object) -> Part:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
