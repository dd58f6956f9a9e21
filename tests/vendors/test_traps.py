"""The traps that public definitions fall into, by their numbers in docs/definitions.md: refused, or told."""

import ast
import re
from pathlib import Path

import pytest

from vendors.errors import DefinitionError
from vendors.loader import check_definition, load_definition
from vendors.source import read_source

DOCUMENTED = re.findall(
    r"^```yaml\n(.*?)^```",
    (Path(__file__).parents[2] / "docs" / "definitions.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
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


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            "",
            "errors: [{status: [403], body: {path: code, eq: GONE, contains: X}, action: skip_part}]\n",
            [
                (
                    "condition-tests: 12: errors[0].body: has eq and contains. Write exactly one of eq, in, "
                    "contains, exists."
                ),
            ],
            id="1 a rule with two tests, of which either might have been meant",
        ),
        pytest.param(
            "",
            "errors: [{http_codes: [403], predicate: x, action: skip_part}]\n",
            [
                "schema: 12: errors[0].http_codes: `http_codes` is not a word of this part. Write `status`.",
                "schema: 12: errors[0].predicate: `predicate` is not a word of this part. Write `body`.",
            ],
            id="1 a rule in the words of a format that says or",
        ),
        pytest.param(
            "",
            "errors: [{status: [403, 404], action: empty}]\n",
            [
                (
                    "whole-status-ignored: 12: errors[0]: passes over every 403, 404, whatever the reason "
                    "(empty). Add what tells this case apart: `body: {path: error.code, eq: …}`; or write "
                    "`whole_status: true` if every such answer is meant."
                ),
            ],
            id="2 a whole status passed over",
        ),
        pytest.param(
            "",
            "errors: [{status: [401], body: {path: code, eq: X}, action: skip_part}]\n",
            [
                (
                    "401-skipped: 12: errors[0]: 401 is passed over (skip_part): dead credentials would look like "
                    "an empty vendor. Take 401 out; where a vendor means something else by it, a dialect says so."
                ),
            ],
            id="2 a 401 passed over, even by its body",
        ),
        pytest.param(
            "",
            "errors: [{status: [500], whole_status: true, action: empty}]\n",
            [
                (
                    "server-error-skipped: 12: errors[0]: passes over answers that only say `later` (empty). Take "
                    "429 and 5xx out: they are tried again by themselves."
                ),
            ],
            id="2 a 5xx passed over on purpose",
        ),
        pytest.param(
            "",
            "errors: [{status: [500], action: success}]\n",
            [
                (
                    "error-as-success: 12: errors[0].action: `success` would call an error a success, and the "
                    "cursor would move past what was not read. Write skip_part or empty, with a body that tells "
                    "this case apart; what was skipped is counted and shown."
                ),
            ],
            id="3 an error called success",
        ),
        pytest.param(
            "",
            "errors: [{status: [200], action: fail}]\n",
            [
                (
                    "success-without-body: 12: errors[0]: is for a success status and has no `body`: every good "
                    "answer would match. Add what marks the error: `body: {path: ok, eq: false}`."
                ),
            ],
            id="3 a success status called an error, whatever its body",
        ),
        pytest.param(
            "",
            "errors:\n  - {status: [403, 404], action: retry}\n  - {status: [404], body: {path: code, eq: "
            "GONE}, action: empty}\n",
            [
                (
                    "rule-never-reached: 14: errors[1]: is never reached: a rule above takes every answer of that "
                    "status. Put it above that rule; the first that matches decides."
                ),
            ],
            id="4 a rule that an earlier one hides",
        ),
        pytest.param(
            "",
            "errors: [{status: [500, 502], action: retry, wait_header: retry-after}]\n",
            [
                "(warning) rule-repeats-default: 12: errors[0]: only says what happens anyway. Take it out.",
            ],
            id="4 a rule that says what happens anyway",
        ),
        pytest.param(
            "",
            "    pagination: {type: page, start: 1}\n",
            [
                (
                    "counter-without-place: 12: data_types.users.pagination: the page number has no place in the "
                    "request: the first page would come again and again. Say where it goes: `token: {in: query.page}`."
                ),
            ],
            id="5 a page number that is never sent",
        ),
        pytest.param(
            "",
            "    pagination: {type: offset, size: {value: 100, in: query.limit}}\n",
            [
                (
                    "counter-without-place: 12: data_types.users.pagination: the offset has no place in the "
                    "request: the first page would come again and again. Say where it goes: `token: {in: query.page}`."
                ),
            ],
            id="5 an offset that is never sent",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next}}\n",
            [
                (
                    "counter-without-place: 12: data_types.users.pagination: the token has no place in the "
                    "request: the first page would come again and again. Say where it goes: `token: {from: …, in: "
                    "query.page_token}`."
                ),
            ],
            id="5 a token that is never sent",
        ),
        pytest.param(
            "",
            "    pagination: {type: offset, token: {in: query.offset}, size: {value: 100}}\n",
            [
                (
                    "size-without-place: 12: data_types.users.pagination.size: the vendor is never told the page "
                    "size 100. Say where it goes: `size: {value: 100, in: query.limit}`, or take size out."
                ),
            ],
            id="5 a size that is never sent",
        ),
        pytest.param(
            "",
            "    pagination: {type: offset, token: {in: query.offset}, size: {value: 100, in: query.offset}}\n",
            [
                (
                    "counter-and-size-share-a-place: 12: data_types.users.pagination.size: the offset and the "
                    "page size share query.offset: the size would be sent as the page. Give each its own."
                ),
            ],
            id="5 a size sent as the offset",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: headers.next, in: query.c}}\n",
            [
                (
                    "token-from-wrong-place: 12: data_types.users.pagination.token.from: `headers.next` looks for "
                    "headers inside the answer's body. Write the path inside the body (`page.next`), or "
                    "`header.NAME` for a header."
                ),
            ],
            id="6 a token sought in headers inside the body",
        ),
        pytest.param(
            "",
            "    pagination: {type: next_url, token: {from: next, in: query.page}}\n",
            [
                (
                    "token-from-wrong-place: 12: data_types.users.pagination.token.in: sends a whole URL in "
                    "query.page. Take `in` out, or write `type: cursor` with `param`."
                ),
            ],
            id="6 a whole URL sent as a token",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: links.next_url, in: query.after}}\n",
            [
                (
                    "(warning) token-may-be-a-url: 12: data_types.users.pagination.token.from: `links.next_url` "
                    "sounds like a whole URL, but would be sent as query.after. Write `type: next_url`, or "
                    "`param: NAME` to cut the token out of the URL."
                ),
            ],
            id="6 what sounds like a URL sent as a token",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: header.Link, in: query.after}}\n",
            [
                (
                    "token-from-wrong-place: 12: data_types.users.pagination.token.from: takes the whole Link "
                    "header as a token. Write `type: link_header`."
                ),
            ],
            id="6 a whole Link header as a token",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {in: query.after}}\n",
            [
                (
                    "token-from-wrong-place: 12: data_types.users.pagination: does not say where the next token "
                    "is. Say where it is: `token: {from: page.next, …}` (a path into the answer, or header.NAME)."
                ),
            ],
            id="6 a token from nowhere",
        ),
        pytest.param(
            "",
            "    pagination: {type: page, start: 1, token: {in: query.page}, stop: short_page}\n",
            [
                (
                    "short-page-without-size: 12: data_types.users.pagination.stop: takes a short page for the "
                    "end without having told the vendor a size. Add `size: {value: 100, in: query.limit}`, or "
                    "take `stop` out: an empty page ends by itself."
                ),
            ],
            id="7 a short page without a size that was sent",
        ),
        pytest.param(
            "",
            "    pagination: {type: page, token: {in: query.page}}\n",
            [
                (
                    "page-start-unsaid: 12: data_types.users.pagination: does not say whether the vendor counts "
                    "pages from 0 or from 1. Write `start: 1` or `start: 0`: the wrong one reads a page twice, or "
                    "leaves one out."
                ),
            ],
            id="7 a page number of which the first is not said",
        ),
        pytest.param(
            "",
            "    pagination: {type: page, start: 0, first_sent: false, token: {in: query.page}}\n",
            [
                (
                    "first-page-twice: 12: data_types.users.pagination.first_sent: leaves the first page's number "
                    "out and then goes on with 1: a vendor that counts from 1 sends it twice. Leave `first_sent` "
                    "out, or write `start: 1` if the first page is 1."
                ),
            ],
            id="7 a first page that may come twice",
        ),
        pytest.param(
            "    records: {path: data}\n",
            "    records: {path: groups.*.items}\n    pagination: {type: offset, token: {in: query.o}, size: "
            "{value: 5, in: query.l}, stop: short_page}\n",
            [
                (
                    "offset-of-flattened: 11: data_types.users.pagination: counts records that were flattened out "
                    "of groups, but the vendor's offset counts groups. For `groups.*.items` write `{path: groups, "
                    "shape: nested, inner: items}`: groups are counted then."
                ),
                (
                    "short-page-of-flattened: 11: data_types.users.pagination.stop: compares the page size with "
                    "records that were flattened out of groups. Take `stop` out: an empty page ends by itself."
                ),
            ],
            id="7 sizes compared with flattened records",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next, in: query.c}, more: hasNext == false}\n",
            [
                (
                    "more-flag-compared: 12: data_types.users.pagination.more: `hasNext == false` is a "
                    "comparison. Write the flag's path alone (`more: page.has_more`); `last` is for flags that "
                    "are true at the end."
                ),
            ],
            id="8 a has-more flag that is compared",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next, in: query.c}, more: meta.isLast}\n",
            [
                (
                    "more-flag-inverted: 12: data_types.users.pagination.more: `meta.isLast` sounds like a flag "
                    "that is true on the last page: as `more` it ends after the first. Write `last: meta.isLast`."
                ),
            ],
            id="8 a last-page flag as has-more flag",
        ),
        pytest.param(
            "",
            "    pagination: {type: cursor, token: {from: next, in: query.c}, more: meta.more, last: meta.last}\n",
            [
                (
                    "more-flag-twice: 12: data_types.users.pagination: has both `more` and `last`. Keep the one "
                    "that the vendor sends."
                ),
            ],
            id="8 two flags",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at}\n",
            [
                (
                    "cursor-in-name-only: 12: data_types.users.incremental: keeps a cursor on updated_at, but "
                    "never tells the vendor: everything is read every time. Say how the start reaches the vendor: "
                    "`start: {in: query.updated_after}`, or ${window.start} in a value; where it cannot, write "
                    "`filter: client`."
                ),
            ],
            id="9 a cursor that is neither sent nor filtered by",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, start: {in: query.updated_after}, window: P30D, "
            "default_start: -P90D}\n",
            [
                (
                    "window-without-end: 12: data_types.users.incremental.window: asks window by window, but "
                    "never says where a window ends: each reads everything after its start. Say how the end "
                    "reaches the vendor: `end: {in: query.updated_before}` or ${window.end}; or take window out."
                ),
            ],
            id="9 a window whose end is never sent",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, start: {in: query.from}, end: {in: query.to}, window: P30D}\n",
            [
                (
                    "first-run-without-start: 12: data_types.users.incremental: asks window by window, but does "
                    "not say where the first run starts. Add `default_start: -P90D` (or `oldest`), or write "
                    "${window.start?} to leave it out then."
                ),
            ],
            id="9 windows without a first one",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, start: {in: query.created_after}}\n",
            [
                (
                    "cursor-on-another-clock: 12: data_types.users.incremental: keeps its cursor on `updated_at`, "
                    "but asks by a time of another kind (created_after). Use the same time for both: an old "
                    "record that changed is on the one clock alone, and lost."
                ),
            ],
            id="10 a cursor on one clock and a filter on another",
        ),
        pytest.param(
            "    request: {path: /users}\n",
            "    request: {path: /users, query: {q: 'createdAt ge ${window.start | date(\"date\")}'}}\n    "
            "incremental: {field: meta.lastModified, default_start: -P1D}\n",
            [
                (
                    "cursor-on-another-clock: 10: data_types.users.incremental: keeps its cursor on "
                    "`meta.lastModified`, but asks by a time of another kind (q createdAt ge). Use the same time "
                    "for both: an old record that changed is on the one clock alone, and lost."
                ),
            ],
            id="10 another clock inside a query language",
        ),
        pytest.param(
            "",
            "    incremental: {field: created_at, start: {in: query.created_after}}\n",
            [
                (
                    "(warning) cursor-on-creation: 12: data_types.users.incremental: keeps its cursor on "
                    "`created_at`: later changes of a record are never seen. Use the time of the last change; or "
                    "say `immutable: true`, or a `lookback` in which changes are seen."
                ),
            ],
            id="10 a cursor that never sees changes",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, filter: client, order: desc}\n",
            [
                (
                    "client-stop-without-order: 12: data_types.users.incremental.order: stops at the first old "
                    "record, but the request asks for no order. Ask for it in the request (`query: {sort: …}`), "
                    "or write `order_is_default: true` if the vendor documents it."
                ),
            ],
            id="11 a stop at the first old record without an order",
        ),
        pytest.param(
            "",
            "    incremental: {field: updated_at, start: {in: query.updated_after}, order: asc}\n",
            [
                (
                    "order-not-asked-for: 12: data_types.users.incremental.order: counts on records in order "
                    "(asc), but the request asks for none. Ask for it in the request (`query: {sort: …}`), or "
                    "write `order_is_default: true` if the vendor documents it."
                ),
            ],
            id="11 an order that nobody asked for",
        ),
        pytest.param(
            "",
            "errors: [{status: [429], action: rate_limited, wait: PT2H}]\n",
            [
                (
                    "wait-too-long: 12: errors[0].wait: PT2H holds a worker for longer than 300 s. Leave the wait "
                    "out: rate_limited ends the run, and the next one starts when the vendor allows it."
                ),
            ],
            id="12 a wait that holds a worker",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}}}\nbase_url: {choose: settings.region, map: {eu: "
            "https://eu.demo.example, us: https://us.demo.example}}\n",
            "region: {}}}\nbase_url: https://${settings.region}/v1\n",
            [
                (
                    "host-typed-by-customer: 4: base_url: the host comes from ${settings.region}, so that "
                    "credentials can be sent anywhere. Give `region` a `suffix: .vendor.example` or an `enum`, "
                    "write the fixed part after it (`https://${settings.region}.vendor.example`), or list "
                    "`allowed_hosts`."
                ),
            ],
            id="12 a host typed by the customer",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}}}\nbase_url: {choose: settings.region, map: {eu: "
            "https://eu.demo.example, us: https://us.demo.example}}\n",
            "region: {}}}\nbase_url: ${settings.region}\n",
            [
                (
                    "host-typed-by-customer: 4: base_url: the host comes from ${settings.region}, so that "
                    "credentials can be sent anywhere. Give `region` a `suffix: .vendor.example` or an `enum`, "
                    "write the fixed part after it (`https://${settings.region}.vendor.example`), or list "
                    "`allowed_hosts`."
                ),
            ],
            id="12 a whole URL typed by the customer",
        ),
        pytest.param(
            "region: {enum: [eu, us], default: eu}}}\nbase_url: {choose: settings.region, map: {eu: "
            "https://eu.demo.example, us: https://us.demo.example}}\n",
            "region: {}}}\nbase_url: https://${settings.region}.com\n",
            [
                (
                    "host-typed-by-customer: 4: base_url: the host comes from ${settings.region}, so that "
                    "credentials can be sent anywhere. Give `region` a `suffix: .vendor.example` or an `enum`, "
                    "write the fixed part after it (`https://${settings.region}.vendor.example`), or list "
                    "`allowed_hosts`."
                ),
            ],
            id="12 a suffix that anybody can register under",
        ),
    ],
)
def test_a_trap_is_refused_or_told(tmp_path: Path, old: str, new: str, told: list[str]) -> None:
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


def test_a_good_definition_has_nothing_to_be_told(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD)
    assert check_definition(file) == ()


@pytest.mark.parametrize(
    "added",
    [
        pytest.param(
            "errors: [{status: [403], body: {path: code, eq: GONE}, action: skip_part}]\n", id="a rule with a body"
        ),
        pytest.param("errors: [{status: [404], whole_status: true, action: empty}]\n", id="a whole status, said"),
        pytest.param(
            "errors: [{status: [200], body: {path: ok, eq: false}, action: fail}]\n", id="an error inside a 200"
        ),
        pytest.param("    pagination: {type: page, start: 1, token: {in: query.page}}\n", id="pages from 1"),
        pytest.param(
            "    pagination: {type: offset, token: {in: query.o}, size: {value: 9, in: query.l}, stop: short_page}\n",
            id="a short page, with a size that is sent",
        ),
        pytest.param(
            "    pagination: {type: cursor, token: {from: header.X-Next, in: query.c}}\n", id="a token in a header"
        ),
        pytest.param(
            "    pagination: {type: cursor, token: {from: links.next, param: c, in: query.c}}\n",
            id="a token cut out of a URL",
        ),
        pytest.param(
            "    pagination: {type: next_url, token: {from: next}, last: end_of_stream}\n", id="a last-page flag"
        ),
        pytest.param("    pagination: {type: scim}\n", id="SCIM, which needs no words"),
        pytest.param("    incremental: {field: updated_at, filter: client}\n", id="filtered here, said"),
        pytest.param(
            "    incremental: {field: updated_at, filter: client, order: desc, order_is_default: true}\n",
            id="newest first, documented",
        ),
        pytest.param(
            "    incremental: {field: created_at, immutable: true, start: {in: query.created_after}}\n",
            id="records that never change",
        ),
        pytest.param(
            "    incremental: {field: created_at, start: {in: query.updated_after}}\n",
            id="a creation time, asked by change",
        ),
    ],
)
def test_the_way_out_of_a_trap_is_open(tmp_path: Path, added: str) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD + added)
    assert check_definition(file) == ()


def test_status_and_body_of_a_rule_are_both_asked_for(tmp_path: Path) -> None:
    """Trap 1: elsewhere they are alternatives, and every 403 would be passed over."""
    file = tmp_path / "demo.yaml"
    file.write_text(GOOD + "errors: [{status: [403], body: {path: code, eq: GONE}, action: skip_part}]\n")
    (rule,) = load_definition(file).errors
    assert (rule.statuses, rule.whole_status, rule.line) == (frozenset({403}), False, 12)
    assert rule.body is not None
    assert (rule.body.path, rule.body.eq) == ("code", "GONE")


def test_every_finding_is_in_the_documentation() -> None:
    root = Path(__file__).parents[2]
    written = (root / "docs" / "definitions.md").read_text()
    named = set[str]()
    for file in [*(root / "vendors").glob("lints*.py"), root / "vendors" / "findings.py"]:
        code = ast.parse(file.read_text())
        calls = (node for node in ast.walk(code) if isinstance(node, ast.Call) and len(node.args) > 1)
        for call in calls:
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr == "add"
                and isinstance(call.args[1], ast.Constant)
            ):
                named.add(str(call.args[1].value))
    assert len(named) > 60
    assert sorted(name for name in named if f"`{name}`" not in written) == []


@pytest.mark.parametrize("block", DOCUMENTED, ids=lambda block: block.splitlines()[0][:40])
def test_the_documentation_shows_yaml_that_can_be_read(tmp_path: Path, block: str) -> None:
    file = tmp_path / "lanternwatch.yaml"
    file.write_text(block)
    if block.startswith("vendor:"):
        assert check_definition(file) == ()
    elif not block.startswith(("base_url:", "records:")):  # those show several ways to write one key
        assert read_source(file).data
