"""From a file to a definition: what each word becomes, and what is said of ordinary mistakes."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vendors.definition import (
    AuthType,
    Bound,
    Definition,
    LimitScope,
    PaginationType,
    Place,
    Rate,
    RequestSpec,
    ShapeKind,
    Target,
)
from vendors.errors import DefinitionError, Finding
from vendors.expressions import OMIT
from vendors.findings import SCHEMA
from vendors.loader import check_definition, load_definition
from vendors.source import LARGEST_BYTES, read_source
from vendors.wire import Action

GOOD = """\
vendor: demo
credentials: {properties: {token: {secret: true}}, required: [token]}
settings: {properties: {region: {enum: [eu, us], default: eu}}}
base_url: {choose: settings.region, map: {eu: https://eu.demo.example, us: https://us.demo.example}}
auth: {type: bearer, token: '${credentials.token}'}
check: {path: /me}
data_types:
  users:
    request: {path: /users}
    records: {path: data}
    id: id
"""


DEFINITIONS = Path(__file__).parent / "definitions"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            "request:",
            "reqest:",
            [
                "schema: 9: data_types.users.reqest: `reqest` is not a word of this part. Did you mean `request`?",
            ],
            id="a misspelt word",
        ),
        pytest.param(
            "type: bearer",
            "type: bearr",
            [
                (
                    "schema: 5: auth.type: `bearr` is not allowed here. Did you mean `bearer`? Allowed: none, "
                    "api_key, bearer, basic, oauth2_client_credentials, oauth2_refresh, oauth2_authorization_code, "
                    "login."
                ),
            ],
            id="a misspelt value",
        ),
        pytest.param(
            "data_types:",
            "streams:",
            [
                "schema: 7: streams: `streams` is not a word of this part. Write `data_types`.",
            ],
            id="a word of another format",
        ),
        pytest.param(
            "check: {path: /me}",
            "check: /me",
            [
                (
                    "schema: 6: check: should be a mapping, but is text (`/me`). Write a mapping such as `{path: "
                    "/users, query: {state: active}}`."
                ),
            ],
            id="text where a mapping belongs",
        ),
        pytest.param(
            "vendor: demo",
            "vendor: demo\nversion: 2",
            [
                (
                    "schema: 2: version: should be text, but is the number 2. Put it in quotation marks, as in "
                    '`version: "2"`.'
                ),
            ],
            id="a number where text belongs",
        ),
        pytest.param(
            "    records: {path: data}",
            "    records:",
            [
                "schema: 10: data_types.users.records: is empty. Write a mapping such as `{path: result.items}`.",
            ],
            id="a word without its value",
        ),
        pytest.param(
            "    id: id\n",
            "",
            [
                (
                    "schema: 8: data_types.users: `id` is missing. Add `id`. Write what identifies a record, as "
                    "in `id: id`, or a list: `id: [parent.site.id, id]`."
                ),
            ],
            id="no id",
        ),
        pytest.param(
            "vendor: demo",
            "vendor: Demo",
            [
                (
                    "schema: 1: vendor: `Demo` does not have the right form. Write lower case letters, digits and "
                    "_, as in `vendor: lantern_watch`."
                ),
            ],
            id="a name that nobody can write",
        ),
        pytest.param(
            "vendor: demo",
            "vendor: dmeo",
            [
                (
                    "vendor-file-name: 1: vendor: is dmeo, but the file is named demo.yaml. Give both the same "
                    "name: definitions are found by it."
                ),
            ],
            id="another name than the file has",
        ),
        pytest.param(
            "${credentials.token}",
            "${credentials.tokne}",
            [
                (
                    "unknown-field: 5: auth.token: ${credentials.tokne} is not among the credentials. Add it "
                    "under `credentials: properties:`. Did you mean `token`?"
                ),
            ],
            id="a credential that is not asked for",
        ),
        pytest.param(
            "${credentials.token}",
            "${credential.token}",
            [
                (
                    "expression: 5: auth.token: in `${credential.token}`, character 3: 'credential' is not known "
                    "here (did you mean 'credentials'?); known: credentials, now, settings. The language is "
                    "${root.name}, ??, | and six functions; see docs/definitions.md."
                ),
            ],
            id="a root that is not known",
        ),
        pytest.param(
            "${credentials.token}",
            "{{ config[''api_key''] }}",
            [
                (
                    "expression: 5: auth.token: in `{{ config['api_key'] }}`, character 1: {{ … }} is not spoken "
                    "here; write ${settings.name}. The language is ${root.name}, ??, | and six functions; see "
                    "docs/definitions.md."
                ),
            ],
            id="a template of another language",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, query: {a: '${settings.region | upper}'}}",
            [
                (
                    "expression: 9: data_types.users.request.query.a: in `${settings.region | upper}`, character "
                    "21: 'upper' is not a function; the functions are date, shift, join, lower, base64, json. The "
                    "language is ${root.name}, ??, | and six functions; see docs/definitions.md."
                ),
            ],
            id="a function that does not exist",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, query: {since: '${window.start}'}}",
            [
                (
                    "unknown-part: 9: data_types.users.request.query: ${window.start} is not known here. Add "
                    "`incremental` with its field, and use ${window.start} and ${window.end}."
                ),
            ],
            id="a window without incremental",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users?state=active}",
            [
                (
                    "path-with-query: 9: data_types.users.request.path: `/users?state=active` holds query "
                    "parameters. Write them under `query`, so that they are encoded."
                ),
            ],
            id="a query inside the path",
        ),
        pytest.param(
            "{path: /users}",
            "{path: users}",
            [
                (
                    "path-without-slash: 9: data_types.users.request.path: `users` does not start with a slash. "
                    "Write `/users`."
                ),
            ],
            id="a path without a slash",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next, in: cursor}}\n",
            [
                (
                    "schema: 12: data_types.users.pagination.token.in: `cursor` does not have the right form. "
                    "Write where in the request it goes: `query.page_token`, `header.X-Next`, `json.page.after`, "
                    "`form.cursor` or `url`."
                ),
            ],
            id="a place without a part",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, query: {page: 1}}\n    pagination: {type: page, start: 1, token: {in: query.page}}",
            [
                (
                    "place-taken: 10: data_types.users.pagination.token: query.page already holds 1 in the "
                    "request. Take `page` out of `query`."
                ),
            ],
            id="a place that is taken",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next, in: json.after}}\n",
            [
                (
                    "place-without-body: 12: data_types.users.pagination.token: json.after is in a JSON body, but "
                    "the request is a GET without one. Write `method: POST`, or `query.NAME`."
                ),
            ],
            id="a body place without a body",
        ),
        pytest.param(
            "",
            "limits: {rate: [{limit: 60, per: 60s}]}\n",
            [
                (
                    "schema: 12: limits.rate[0].per: `60s` does not have the right form. Write an ISO 8601 "
                    "duration: `PT15S` is 15 seconds, `PT5M` 5 minutes, `P30D` 30 days."
                ),
            ],
            id="a duration of another kind",
        ),
        pytest.param(
            "",
            "limits: {rate: [{limit: 0, per: PT1M}]}\n",
            [
                "schema: 12: limits.rate[0].limit: `0` is out of range. Write at least 1.",
            ],
            id="a limit of nothing",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, formats: [iso], start: {in: query.updated_after}}\n",
            [
                (
                    "unknown-format: 12: data_types.users.incremental.formats: `iso` is not one of iso8601, "
                    "iso8601_ms, date, epoch_s, epoch_ms, rfc1123 and no pattern such as '%Y-%m-%d %H:%M:%S'. "
                    "Write one of those names, or a pattern in quotation marks."
                ),
            ],
            id="a time format that does not exist",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, query: {since: '${window.start}'}}\n    incremental: {field: updated_at}",
            [
                (
                    "first-run-without-start: 10: data_types.users.incremental: needs ${window.start}, but does "
                    "not say where the first run starts. Add `default_start: -P90D` (or `oldest`), or write "
                    "${window.start?} to leave it out then."
                ),
            ],
            id="a first run that cannot be asked for",
        ),
        pytest.param(
            "",
            "  posts:\n    parents: [{data_type: user, key: id, as: user}]\n    request: {path: "
            "'/users/${parent.user.id}/posts'}\n    id: id\n",
            [
                (
                    "unknown-parent: 13: data_types.posts.parents[0].data_type: there is no data type `user`. "
                    "Known: users, posts. Did you mean `users`?"
                ),
            ],
            id="a parent that does not exist",
        ),
        pytest.param(
            "",
            "  posts:\n    parents: [{data_type: users, key: id, as: user}]\n    request: {path: /posts}\n    id: id\n",
            [
                (
                    "part-without-place: 13: data_types.posts.parents[0]: is read once for each of users, but the "
                    "request is always the same. Use `${parent.user.id}` in the request."
                ),
            ],
            id="a parent that changes nothing",
        ),
        pytest.param(
            "",
            "  posts:\n    parents: [{data_type: users, key: id, as: user}]\n    request: {path: "
            "'/u/${parent.user.slug}'}\n    id: id\n",
            [
                (
                    "parent-field-not-kept: 14: data_types.posts.request.path: ${parent.user.slug}: 'slug' is not "
                    "kept of the parent. Add `fields: [slug]` to that parent."
                ),
            ],
            id="a member that is not kept of a parent",
        ),
        pytest.param(
            "    records: {path: data}\n    id: id\n",
            "    parents: [{data_type: posts, key: id, as: post}]\n    id: id\n  posts:\n    parents: "
            "[{data_type: users, key: id, as: user}]\n    request: {path: '/u/${parent.user.id}'}\n    id: id\n",
            [
                "parent-cycle: 8: data_types.users: is, over posts, a parent of itself. Take one of the parents out.",
                (
                    "part-without-place: 10: data_types.users.parents[0]: is read once for each of posts, but the "
                    "request is always the same. Use `${parent.post.id}` in the request."
                ),
                "parent-cycle: 12: data_types.posts: is, over users, a parent of itself. Take one of the parents out.",
            ],
            id="a circle of parents",
        ),
        pytest.param(
            "{token: {secret: true}}",
            "{token: {}}",
            [
                (
                    "secret-not-marked: 2: credentials.properties.token: `token` sounds like a secret, but is not "
                    "marked. Write `secret: true` (or `secret: false`, if everybody may see it)."
                ),
            ],
            id="a secret that is not marked",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}",
            "region: {enum: [eu, us], default: eu, secret: true}",
            [
                (
                    "secret-in-settings: 3: settings.properties.region: is a secret among the settings, which are "
                    "shown to everybody who may see the connection. Move it to credentials."
                ),
                (
                    "secret-with-default: 3: settings.properties.region.default: is a secret with a default: all "
                    "connections would share it, in plain sight. Take the default out."
                ),
            ],
            id="a secret among the settings",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, headers: {X-T: '${credentials.token}'}}",
            [
                (
                    "secret-outside-auth: 9: data_types.users.request.headers: sends ${credentials.token} outside "
                    "`auth`, where it is not kept from redirects. Send it by `auth`."
                ),
            ],
            id="a secret outside auth",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, headers: {Authorization: x}}",
            [
                (
                    "auth-by-hand: 9: data_types.users.request.headers: sets Authorization by hand. Describe it "
                    "under `auth`: bearer, basic or api_key."
                ),
            ],
            id="authorization by hand",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}",
            "region: {enum: [eu, us], default: eu, pattern: '[a-z]+'}",
            [
                (
                    "pattern-not-anchored: 3: settings.properties.region.pattern: matches anywhere in the value, "
                    "so anything may stand around it. Write `^[a-z]+$`."
                ),
            ],
            id="a pattern that is not anchored",
        ),
        pytest.param(
            "default: eu",
            "default: asia",
            [
                (
                    "default-not-allowed: 3: settings.properties.region.default: has the default 'asia', which is "
                    "not among its enum. Add it to the enum, or take another."
                ),
            ],
            id="a default that is not allowed",
        ),
        pytest.param(
            "https://eu.demo",
            "http://eu.demo",
            [
                (
                    "plain-http: 4: base_url: `http://eu.demo.example` sends credentials unencrypted. Write "
                    "https:// (http:// is for 127.0.0.1 alone)."
                ),
            ],
            id="credentials over plain http",
        ),
        pytest.param(
            "{path: /users}",
            "{path: https://other.example/users}",
            [
                (
                    "other-host: 9: data_types.users.request.path: goes to other.example, another host than "
                    "base_url, where no credentials may go. Add `allowed_hosts: [eu.demo.example, "
                    "us.demo.example, other.example]`, or write `auth: none`."
                ),
            ],
            id="credentials for another host",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, method: GET, json: {a: 1}}",
            [
                (
                    "body-on-get: 9: data_types.users.request: sends a body (json) with GET, which servers and "
                    "proxies drop. Write `method: POST`, or move it to `query`."
                ),
            ],
            id="a body on a GET",
        ),
        pytest.param(
            "{path: /users}",
            "{path: /users, form: {}, json: {a: 1}}",
            [
                (
                    "two-bodies: 9: data_types.users.request: has json and form, but a request has one body. Keep "
                    "one of them."
                ),
            ],
            id="two bodies",
        ),
        pytest.param(
            "{path: data}",
            "{path: data, shape: nested}",
            [
                "shape-words: 10: data_types.users.records: has the shape nested, but no `inner`. Add `inner: path`.",
            ],
            id="a shape without its words",
        ),
        pytest.param(
            "{path: data}",
            "{path: 'data['}",
            [
                (
                    "broken-path: 10: data_types.users.records.path: `data[` is neither a dotted path nor a "
                    "jmespath expression. Write names with dots between them (`result.items`), `*` for every item "
                    "of a list."
                ),
            ],
            id="a path that nobody can follow",
        ),
        pytest.param(
            "check: {path: /me}",
            "check: {path: /me, auth: none}",
            [
                (
                    "check-without-auth: 6: check: sends no credentials, so it says nothing about them. Take a "
                    "request that needs them."
                ),
            ],
            id="a check that checks nothing",
        ),
        pytest.param(
            "check: {path: /me}\n",
            "",
            [
                (
                    "(warning) no-check: 1: (the file): has no `check`, so credentials are tested by reading a "
                    "data type. Add the cheapest request that needs the credentials: `check: {path: /me}`."
                ),
            ],
            id="no check",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}",
            "region: {enum: [eu, us], default: eu}, tenant: {}",
            [
                (
                    "(warning) unused-field: 3: settings.properties.tenant: is asked of the customer, but no "
                    "${settings.tenant} uses it. Use it, or do not ask."
                ),
            ],
            id="a field that nobody uses",
        ),
        pytest.param(
            "    request: {path: /users}\n",
            "    job:\n      create: {path: /jobs, json: {}, job_id: id}\n      poll: {path: /jobs, every: "
            "PT1S, give_up_after: PT1H, status: s, done: [A], running: [A, B]}\n",
            [
                (
                    "job-without-download: 9: data_types.users.job: neither says where the poll lists URLs nor "
                    "has a download with a path. Add `urls: files.*.href` to poll, or `download: {path: "
                    "'/exports/${job.id}/file'}`."
                ),
                (
                    "job-id-unused: 11: data_types.users.job.poll: does not name the job that it asks for. Write "
                    "`path: '/exports/${job.id}'`."
                ),
                (
                    "job-words-overlap: 11: data_types.users.job.poll.running: A is both done and running. Keep "
                    "it in one of them."
                ),
            ],
            id="a job that is never downloaded",
        ),
        pytest.param(
            "    request: {path: /users}\n",
            "",
            [
                (
                    "no-request: 8: data_types.users: has neither a request nor a job. Write one of them: "
                    "`request: {path: /users}`."
                ),
            ],
            id="neither request nor job",
        ),
        pytest.param(
            "check: {path: /me}",
            "check: {path: /me}\ncheck: {path: /you}",
            [
                "duplicate-key: 7: check: `check` stands twice (first in line 6). Keep one of the two.",
            ],
            id="a key that stands twice",
        ),
        pytest.param(
            "    id: id",
            "	id: id",
            [
                (
                    "yaml: 11: (the file): is not YAML: found character '\\t' that cannot start any token. Indent "
                    "with blanks, not with tabs."
                ),
            ],
            id="a tab",
        ),
        pytest.param(
            "'${credentials.token}'",
            "${credentials.token}",
            [
                (
                    "yaml: 5: (the file): is not YAML: expected ',' or '}', but got '{'. Inside { } and [ ] put "
                    "text with ${…} or a comma in quotation marks, and close the bracket."
                ),
            ],
            id="an expression without quotation marks",
        ),
        pytest.param(
            "check: {path: /me}",
            "check: {<<: {path: /me}}",
            [
                "yaml: 6: check: merge keys (<<) are not YAML 1.2. Use an alias for a whole value.",
            ],
            id="a merge key",
        ),
        pytest.param(
            "check: {path: /me}",
            "check: !!python/name:os.system {path: /me}",
            [
                (
                    "yaml: 6: check: has the tag tag:yaml.org,2002:python/name:os.system, which is not read. "
                    "Write it as plain text in quotation marks."
                ),
            ],
            id="a tag",
        ),
        pytest.param(
            "check: {path: /me}",
            "chek: {path: /me}\nerrors: [{status: [401], action: skip_part, whole_status: true}]\nlimits: "
            "{scop: vendor}",
            [
                "schema: 6: chek: `chek` is not a word of this part. Did you mean `check`?",
                (
                    "401-skipped: 7: errors[0]: 401 is passed over (skip_part): dead credentials would look like "
                    "an empty vendor. Take 401 out; where a vendor means something else by it, a dialect says so."
                ),
                "schema: 8: limits.scop: `scop` is not a word of this part. Did you mean `scope`?",
            ],
            id="several mistakes at once",
        ),
        pytest.param(
            "auth: {type: bearer, token: '${credentials.token}'}",
            "auth: {type: oauth2_authorization_code, authorize_url: http://id.demo.example/o, token_url: /t, "
            "client_secret: '${credentials.token}', authorize_extra: {state: x}, extra: {code: y}}",
            [
                (
                    "oauth-parameter: 5: auth.authorize_extra.state: sets `state`, which the protocol fills in. "
                    "Take it out; scopes stand under `scopes`."
                ),
                (
                    "plain-http: 5: auth.authorize_url: `http://id.demo.example/o` sends credentials unencrypted. "
                    "Write https:// (http:// is for 127.0.0.1 alone)."
                ),
                (
                    "oauth-client: 5: auth.client_secret: has a client_secret of its own for the application of the "
                    "operator. Take it out, or write client_id too: `client_id: '${credentials.client_id}'`."
                ),
                (
                    "oauth-parameter: 5: auth.extra.code: sets `code`, which the protocol fills in. Take it out; "
                    "scopes stand under `scopes`."
                ),
            ],
            id="a consent page in the clear, and words that are ours to say",
        ),
        pytest.param(
            "auth: {type: bearer, token: '${credentials.token}'}",
            "auth: {type: oauth2_authorization_code, authorize_url: /o, token_url: /t, app: x, "
            "client_id: '${credentials.token}', extra: {who: '${app.id}'}}",
            [
                (
                    "oauth-client: 5: auth.app: names an application of the operator beside a client_id. Keep one of "
                    "the two."
                ),
                (
                    "unknown-part: 5: auth.extra: ${app.id} is not known here. Write ${app.client_id} or "
                    "${app.client_secret}."
                ),
            ],
            id="an application that is half the operator's, half the customer's",
        ),
        pytest.param(
            "auth: {type: bearer, token: '${credentials.token}'}",
            "auth: {type: oauth2_authorization_code, authorize_url: /o, token_url: /t, issuer_sent: true, "
            "extra: {x: '${credentials.token}'}}",
            [
                (
                    "oauth-issuer: 5: auth.issuer_sent: says that answers name their issuer, but not which it is. "
                    "Add `issuer: https://…`, as the server's metadata have it."
                ),
            ],
            id="an issuer that is sent and not named",
        ),
        pytest.param(
            "auth: {type: bearer, token: '${credentials.token}'}",
            "auth: {type: oauth2_authorization_code, authorize_url: /o, token_url: /t, "
            "extra: {x: '${credentials.token}'}, issuer: {choose: settings.region, "
            "map: {eu: https://id.demo.example/eu, us: http://id.demo.example/us}}}",
            [
                (
                    "oauth-issuer: 5: auth.issuer: `http://id.demo.example/us` does not begin with https:// (http:// "
                    "is for 127.0.0.1 alone). Copy `issuer` from the server's metadata "
                    "(/.well-known/openid-configuration or oauth-authorization-server), as in "
                    "`issuer: https://id.vendor.example/realms/one`."
                ),
            ],
            id="an issuer that is chosen, and one of them is none",
        ),
        pytest.param(
            "auth: {type: bearer, token: '${credentials.token}'}",
            "auth: {type: bearer, token: '${app.client_secret} ${credentials.token}'}",
            [
                (
                    "expression: 5: auth.token: in `${app.client_secret} ${credentials.token}`, character 3: 'app' is "
                    "not known here; known: credentials, now, settings. The language is ${root.name}, ??, | and six "
                    "functions; see docs/definitions.md."
                ),
            ],
            id="the operator's application where no consent is",
        ),
        pytest.param(
            "    request: {path: /users}",
            "    check: {path: '/users/${parent.x.id}', auth: none}\n    request: {path: /users}",
            [
                (
                    "check-without-auth: 9: data_types.users.check: sends no credentials, so it says nothing about "
                    "them. Take a request that needs them."
                ),
                (
                    "expression: 9: data_types.users.check.path: in `/users/${parent.x.id}`, character 10: 'parent' "
                    "is not known here; known: credentials, now, settings. The language is ${root.name}, ??, | and six "
                    "functions; see docs/definitions.md."
                ),
            ],
            id="a check of a data type that no account could make",
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy(tmp_path: Path, old: str, new: str, told: list[str]) -> None:
    """old: what is replaced in a good definition ("": nothing, new is put at its end)."""
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD.replace(old, new) if old else GOOD + new)
    found = check_definition(file)
    assert [
        f"{'' if finding.fatal else '(warning) '}{finding.code}: {finding.line}: "
        f"{finding.path}: {finding.problem}. {finding.remedy}"
        for finding in found
    ] == told
    if any(finding.fatal for finding in found):
        with pytest.raises(DefinitionError) as caught:
            load_definition(file)
        assert caught.value.findings == tuple(finding for finding in found if finding.fatal)
    else:
        load_definition(file)


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        pytest.param("http://id.demo.example/one", "does not begin with https://", id="in the clear"),
        pytest.param("id.demo.example", "does not begin with https://", id="a bare host"),
        pytest.param("${credentials.token}", "does not begin with https://", id="all of it from elsewhere"),
        pytest.param("https://", "is not a whole URL", id="no host"),
        pytest.param("https://[id", "is not a whole URL", id="half an address"),
        pytest.param("https://id.demo.example:99999", "is not a whole URL", id="no port"),
        pytest.param("https://id.demo.example/a b", "a character that no URL has", id="a blank"),
        pytest.param("https://id.demo.example/?realm=one", "a query or a fragment", id="a query"),
        pytest.param("https://id.demo.example/#one", "a query or a fragment", id="a fragment"),
        pytest.param("https://me@id.demo.example/", "a user name", id="a user"),
        pytest.param("https://id.demo.example/${credentials.token}", None, id="a part of it from elsewhere"),
        pytest.param("https://id.demo.example:8443/realms/one/", None, id="a whole one"),
        pytest.param("http://127.0.0.1:8080/realms/one", None, id="on this machine"),
    ],
)
def test_an_issuer_that_no_server_can_have_is_refused(tmp_path: Path, issuer: str, problem: str | None) -> None:
    file = tmp_path / "demo.yaml"
    way = "{type: oauth2_authorization_code, authorize_url: /o, token_url: /t, issuer: '%s', extra: {x: '%s'}}"
    used = "${credentials.token}"
    file.write_text(GOOD.replace("{type: bearer, token: '${credentials.token}'}", way % (issuer, used)))
    found = check_definition(file)

    if problem is None:
        assert found == ()
        load_definition(file)
        return
    (finding,) = found
    assert (finding.code, finding.line, finding.path, finding.fatal) == ("oauth-issuer", 5, "auth.issuer", True)
    assert finding.problem.startswith(f"`{issuer}` ")
    assert problem in finding.problem
    assert "Copy `issuer` from the server's metadata" in finding.remedy


def test_a_finding_reads_as_file_line_path_problem_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD.replace("request:", "reqest:"))
    (finding,) = check_definition(file)
    assert str(finding) == (
        f"{file}:9: data_types.users.reqest: `reqest` is not a word of this part. Did you mean `request`?"
    )


@pytest.fixture(scope="module")
def everything() -> Definition:
    return load_definition(DEFINITIONS / "everything.yaml")


def test_the_published_schema_is_json_schema_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_every_word_of_the_schema_is_used_by_the_definition_that_uses_everything() -> None:
    """So a word that is added to the schema is added to the tests, and to what reads it."""
    used = _keys_of(read_source(DEFINITIONS / "everything.yaml").data)
    assert _words_of(SCHEMA) - used == {
        "additionalProperties",
        "propertyNames",
    }  # the schema's own, beside `properties`


def test_every_word_of_the_schema_is_described_or_points_to_a_description() -> None:
    for name, part in SCHEMA["$defs"].items():
        described = (
            "description" in part
            or name.startswith("auth_")
            or name in ("name", "fields", "statuses", "bound", "job_request")
        )
        assert described, name
    for name, part in SCHEMA["properties"].items():
        assert "description" in part or "$ref" in part, name


@pytest.mark.parametrize("name", ["lanternwatch", "harborgrid", "quarrylog", "everything"])
def test_an_example_loads_without_findings(name: str) -> None:
    file = DEFINITIONS / f"{name}.yaml"
    assert check_definition(file) == ()
    assert load_definition(file).vendor == name


def test_the_account_part_is_read(everything: Definition) -> None:
    assert (everything.title, everything.version, everything.category) == ("Every word", "7", "testing")
    assert (everything.docs_url, everything.dialect) == ("https://everything.example/docs", "okta")
    assert everything.allowed_hosts == ("*.everything.example",)
    assert (
        everything.base_url.resolve({"settings": {"tenant": "a.everything.example"}})
        == "https://a.everything.example/api"
    )
    assert everything.file.endswith("everything.yaml")
    assert everything.limits.scope is LimitScope.VENDOR
    assert (everything.limits.concurrency, everything.limits.rates) == (3, (Rate(limit=10, per_s=1.0),))
    assert (everything.limits.remaining_header, everything.limits.reset_header) == ("X-Left", "X-Reset")


def test_requests_get_what_all_requests_of_the_vendor_have(everything: Definition) -> None:
    assert everything.check is not None
    assert (everything.check.method, everything.check.timeout_s, everything.check.auth) == ("HEAD", 5.0, True)
    members = _request(everything, "members")
    assert set(members.query) == {"version", "name"}
    assert set(members.headers) == {"Accept", "X-Depth"}
    login = everything.auth.options["login"].request
    assert login is not None
    assert (login.query, login.headers, login.auth) == ({}, {}, False)


@pytest.mark.parametrize(
    ("name", "method"),
    [("orgs", "GET"), ("table", "POST"), ("report", "POST"), ("groups", "GET")],
)
def test_a_body_makes_a_request_a_post(everything: Definition, name: str, method: str) -> None:
    assert _request(everything, name).method == method


def test_each_way_to_authenticate_is_read(everything: Definition) -> None:
    auth = everything.auth
    assert (auth.type, auth.by) == (AuthType.CHOOSE, "settings.way")
    ways = auth.options
    assert ways["none"].type is AuthType.NONE
    assert ways["key"].target == Target(place=Place.HEADER, name="X-Key")
    assert ways["query"].target == Target(place=Place.QUERY, name="key")
    assert ways["bearer"].prefix == "Token"
    assert ways["basic"].password is not None
    assert ways["basic"].password.resolve({}) == ""
    client = ways["cc"]
    assert (client.client_auth, client.scopes, client.prefix) == ("json", ("a", "b"), "MAC")
    assert (client.access_token_path, client.expires_in_path) == ("data.token", "data.seconds")
    refresh = ways["refresh"]
    assert (refresh.access_token_path, refresh.expires_in_path, refresh.refresh_token_path) == ("t", "e", "r")
    assert refresh.refresh_token is not None
    assert (refresh.refresh_expires_in_path, refresh.refresh_lifetime_s) == ("re", 604_800.0)
    login = ways["login"]
    assert (login.target, login.prefix) == (Target(place=Place.HEADER, name="Authorization"), "Bearer")
    assert (login.token_path, login.lifetime_s, login.expires_path) == ("header.X-Token", 1200.0, None)
    by_query = ways["login_query"]
    assert (by_query.target, by_query.prefix) == (Target(place=Place.QUERY, name="session"), "S:")
    assert (by_query.expires_path, by_query.lifetime_s) == ("until", None)


def test_consent_is_read_with_the_operators_application_or_the_customers(everything: Definition) -> None:
    consent, own = everything.auth.options["consent"], everything.auth.options["own"]
    scope = {"credentials": {"client_id": "theirs", "client_secret": "s1"}, "app": {"client_id": "ours"}}
    read = []
    for way in (consent, own):
        assert way.type is AuthType.OAUTH2_AUTHORIZATION_CODE
        assert way.client_id is not None
        assert way.client_secret is not None
        read.append((way.app, way.client_id.resolve(scope), way.client_secret.resolve(scope), way.client_auth))
    assert read == [("shared", "ours", OMIT, "basic"), ("", "theirs", "s1", "form")]
    assert (consent.scopes, consent.scope_separator, own.scope_separator) == (("a", "b"), ",", " ")
    assert {name: value.resolve(scope) for name, value in consent.authorize_extra.items()} == {
        "prompt": "consent",
        "hint": "ours",
    }
    assert (consent.refresh_expires_in_path, consent.refresh_lifetime_s) == ("refresh_token_expires_in", 7_776_000.0)
    assert consent.issuer is not None
    assert consent.issuer.resolve(scope) == "https://login.everything.example/realms/one"
    assert (consent.is_issuer_sent, own.issuer, own.is_issuer_sent) == (True, None, False)
    assert (own.access_token_path, own.expires_in_path, own.refresh_token_path) == ("t", "e", "r")
    assert (own.refresh_expires_in_path, own.refresh_lifetime_s, own.prefix) == ("re", None, "MAC")


def test_a_data_type_has_a_check_of_its_own_or_none(everything: Definition) -> None:
    check = everything.data_types["orgs"].check
    assert check is not None
    assert (set(check.query), set(check.headers)) == ({"version", "size"}, {"Accept", "X-Depth"})
    assert everything.data_types["members"].check is None


def test_oauth_takes_its_credentials_by_their_usual_names() -> None:
    auth = load_definition(DEFINITIONS / "harborgrid.yaml").auth
    assert auth.client_id is not None
    assert auth.client_secret is not None
    assert (auth.client_id.raw, auth.client_secret.raw) == ("${credentials.client_id}", "${credentials.client_secret}")


def test_error_rules_are_read(everything: Definition) -> None:
    one_of, whole, wait, inside = everything.errors
    assert one_of.body is not None
    assert (one_of.body.one_of, one_of.action) == (("A", "B"), Action.SKIP_PART)
    assert (whole.statuses, whole.whole_status, whole.action) == (frozenset({404}), True, Action.EMPTY)
    assert (wait.wait_s, wait.wait_header, wait.action) == (30.0, "X-Wait", Action.RATE_LIMITED)
    assert inside.body is not None
    assert inside.body.exists is True
    assert everything.data_types["orgs"].errors[0].action is Action.REAUTHENTICATE


def test_pages_are_read(everything: Definition) -> None:
    pages = {name: part.pagination for name, part in everything.data_types.items()}
    assert (pages["orgs"].type, pages["orgs"].start, pages["orgs"].first_sent) == (PaginationType.PAGE, 1, False)
    assert (pages["orgs"].token, pages["orgs"].total) == (Target(place=Place.QUERY, name="page"), "meta.total")
    assert (pages["orgs"].size_value, pages["orgs"].size) == (10, Target(place=Place.QUERY, name="size"))
    assert (pages["members"].token_from, pages["members"].token_param, pages["members"].more) == (
        "links.next",
        "after",
        "meta.more",
    )
    assert (pages["details"].token, pages["details"].last) == (Target(place=Place.URL), "meta.last")
    assert (pages["table"].token, pages["table"].stop) == (
        Target(place=Place.JSON, name="variables.after"),
        "short_page",
    )
    assert (pages["report"].type, pages["report"].token) == (
        PaginationType.LAST_RECORD,
        Target(place=Place.FORM, name="after"),
    )
    assert pages["linked"].token == Target(place=Place.URL)
    assert pages["newest"].type is PaginationType.NONE


def test_scim_needs_no_words(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD + "    pagination: {type: scim}\n")
    pages = load_definition(file).data_types["users"].pagination
    assert (pages.token, pages.total, pages.start) == (Target(place=Place.QUERY, name="startIndex"), "totalResults", 1)
    assert (pages.size, pages.size_value) == (None, None)


def test_records_are_read(everything: Definition) -> None:
    records = {name: part.records for name, part in everything.data_types.items()}
    assert (records["orgs"].path, records["orgs"].optional) == ("data.*.org", True)
    assert [(test.path, test.eq, test.contains) for test in records["orgs"].filter] == [
        ("kind", "org", None),
        ("name", None, "a"),
    ]
    assert (records["members"].shape, records["members"].key_as) == (ShapeKind.OBJECT_VALUES, "name")
    assert (records["details"].shape, records["details"].value_as) == (ShapeKind.SCALARS, "detail")
    assert (records["table"].shape, records["table"].columns, records["table"].rows) == (
        ShapeKind.COLUMNS_ROWS,
        "columns",
        "rows",
    )
    assert (records["groups"].shape, records["groups"].inner, records["groups"].keep) == (
        ShapeKind.NESTED,
        "items",
        ("id",),
    )
    assert records["newest"].shape is ShapeKind.SINGLE


def test_changes_are_read(everything: Definition) -> None:
    changes = everything.data_types["groups"].incremental
    assert changes is not None
    assert (changes.field, changes.formats, changes.order) == ("updated", ("%Y-%m-%d", "epoch_s"), "asc")
    assert changes.start == Bound(target=Target(place=Place.QUERY, name="from"), format="date")
    assert changes.end == Bound(target=Target(place=Place.HEADER, name="X-To"), format="epoch_ms")
    assert (changes.window_s, changes.lookback_s) == (604_800.0, 3600.0)
    assert (changes.default_start, changes.oldest, changes.filter) == ("2020-01-01", "-P5Y", "server")
    newest = everything.data_types["newest"].incremental
    assert newest is not None
    assert (newest.filter, newest.order, newest.start) == ("client", "desc", None)


def test_parts_are_read(everything: Definition) -> None:
    members, details = everything.data_types["members"], everything.data_types["details"]
    (parent,) = members.parents
    assert (parent.data_type, parent.key, parent.alias) == ("orgs", "id", "org")
    assert (parent.fields, parent.only_changed) == (("name", "slug.text"), True)
    assert [each.alias for each in members.each_of] == ["region", "kind"]
    assert members.each_of[1].values.resolve({}) == ["a", "b"]
    assert members.id == ("parent.org.id", "each.region", "name")
    assert details.batch is not None
    assert (details.batch.size, details.batch.separator) == (50, ";")
    assert (details.batch.parent.data_type, details.batch.parent.only_changed) == ("orgs", True)


def test_jobs_are_read(everything: Definition) -> None:
    export, xml = everything.data_types["export"], everything.data_types["xml_export"]
    assert export.job is not None
    assert (export.job.job_id, export.job.create.timeout_s) == ("id", 9.0)
    poll = export.job.poll
    assert (poll.every_s, poll.give_up_after_s, poll.status) == (2.0, 60.0, "state")
    assert (poll.done, poll.running, poll.failed) == (("DONE",), ("WAIT",), ("DEAD",))
    assert (poll.parts, poll.failed_parts, poll.urls) == ("parts", "lost", None)
    assert export.job.download is not None
    assert (export.job.download_auth, export.job.download.auth) == (False, False)
    assert (export.response.format, export.response.compression, export.response.csv_delimiter) == ("csv", "zip", ";")
    assert xml.job is not None
    assert (xml.job.download, xml.job.download_auth, xml.job.poll.urls) == (None, True, "u")
    assert (xml.response.format, xml.response.xml_record) == ("xml", "row")
    assert everything.data_types["linked"].response.csv_delimiter == "\t"


def test_the_way_out_is_read(everything: Definition) -> None:
    coded = everything.data_types["coded"]
    assert (coded.component, coded.request, coded.id) == ("our.module:Class", None, ())


ALIAS_BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "1: (the file): is empty or not a mapping. Start with `vendor: name`.", id="empty"),
        pytest.param("- a", "1: (the file): is empty or not a mapping. Start with `vendor: name`.", id="a list"),
        pytest.param("a: 1\nb: \udcff", "2: (the file): is not UTF-8. Save the file as UTF-8.", id="not UTF-8"),
        pytest.param(
            "a" * (LARGEST_BYTES + 1), "is larger than 256 KiB. Split it, or move its data elsewhere.", id="large"
        ),
        pytest.param(
            "a: " + "[" * 60 + "]" * 60, "deeper than 40 levels. Flatten it, or check the aliases.", id="deep"
        ),
        pytest.param("a: &a [*a]", "deeper than 40 levels. Flatten it, or check the aliases.", id="an alias of itself"),
        pytest.param(ALIAS_BOMB, "has more than 10000 values, aliases counted. Use fewer aliases.", id="an alias bomb"),
        pytest.param("a: 1\n---\nb: 1", "Write one definition per file, without ---.", id="two documents"),
        pytest.param("a: *b", "Give the anchor (&name) before its alias (*name).", id="an alias of nothing"),
        pytest.param(
            "[" * 200_000, "deeper than 40 levels. Flatten it, or check the aliases.", id="brackets without end"
        ),
        pytest.param("a: [" + "1, " * 80_000, "aliases counted. Use fewer aliases.", id="a list without end"),
    ],
)
def test_a_file_that_is_no_definition_at_all_is_told_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "demo.yaml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    (finding,) = check_definition(file)
    assert str(finding).endswith(told)
    with pytest.raises(DefinitionError):
        load_definition(file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (absent,) = check_definition(tmp_path / "demo.yaml")
    (folder,) = check_definition(tmp_path)
    assert absent.problem == "cannot be read: No such file or directory"
    assert folder.problem == "cannot be read: Is a directory"


def test_yaml_is_read_as_version_1_2(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text("\ufeffa: [yes, on, 010, 0x1F, 1_000, 2024-10-15, 1.5, .inf, true, ~, '1']", encoding="utf-8")
    assert read_source(file).data["a"] == ["yes", "on", 10, 31, 1000, "2024-10-15", 1.5, float("inf"), True, None, "1"]


def test_an_anchor_may_be_given_anew(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text("a: &x 1\nb: &x 2\nc: *x")
    assert read_source(file).data == {"a": 1, "b": 2, "c": 2}


def test_definition_errors_survive_pickling(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_definition(tmp_path / "nothing.yaml")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (str(again), again.findings) == (str(caught.value), caught.value.findings)
    assert isinstance(replace(caught.value.findings[0], line=2), Finding)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 600)
    | st.text(max_size=6)
    | st.sampled_from(["${settings.x}", "${", "query.a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EVERYTHING = read_source(DEFINITIONS / "everything.yaml").data


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_definition_with_anything_in_any_place_is_loaded_or_told(tmp_path: Path, data: st.DataObject) -> None:
    changed = json.loads(json.dumps(EVERYTHING))
    place = data.draw(st.sampled_from(_places(changed)))
    held = changed
    for key in place[:-1]:
        held = held[key]
    held[place[-1]] = data.draw(JSON)
    file = tmp_path / "everything.yaml"
    file.write_text(json.dumps(changed))
    found = check_definition(file)
    assert all(finding.line == 1 and finding.remedy for finding in found)


@given(text=st.text(alphabet="ab:-{}[]&*'\"|>!#%@,? \n\t", max_size=40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_told_to_be_no_definition(tmp_path: Path, text: str) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(text)
    assert check_definition(file)


def _request(definition: Definition, name: str) -> RequestSpec:
    request = definition.data_types[name].request
    assert request is not None
    return request


def _words_of(schema: object) -> set[str]:
    """The names of all properties that the schema knows."""
    if isinstance(schema, list):
        return set[str]().union(*(_words_of(item) for item in schema))
    if not isinstance(schema, Mapping):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), Mapping) else set()
    return own.union(*(_words_of(item) for item in schema.values()))


def _keys_of(data: object) -> set[str]:
    if isinstance(data, list):
        return set[str]().union(*(_keys_of(item) for item in data))
    return set(data).union(*(_keys_of(item) for item in data.values())) if isinstance(data, Mapping) else set()


def _places(data: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(data, dict):
        return [found for key, item in data.items() for found in ((*place, key), *_places(item, (*place, key)))]
    if isinstance(data, list):
        return [
            found for index, item in enumerate(data) for found in ((*place, index), *_places(item, (*place, index)))
        ]
    return []
