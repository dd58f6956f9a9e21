"""Recorded answers in, verdicts out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cli import output
from cli.exits import Exit

Bare = Callable[..., Result]


def case(number: int, status: int, label: str | None = None, **more: object) -> str:
    outcome = {
        "method": "GET", "url": "https://api.vendor.example/users", "status": status, "headers": {}, "body": "",
        "exception": None,
    }  # fmt: skip
    return json.dumps({"id": f"c{number}", "vendor": "x", "phase": "data", "outcome": outcome, "label": label, **more})


CASES = [case(1, 200, "HEALTHY"), case(2, 401, "UNAUTHORIZED"), case(3, 503, "VENDOR_CLIENT_ERROR"), case(4, 404)]


@pytest.mark.parametrize("place", ["a file", "standard input", "standard input by its sign"])
def test_one_line_each_in_order(bare: Bare, tmp_path: Path, place: str) -> None:
    text = "\n".join([*CASES, ""])
    (tmp_path / "cases.jsonl").write_text(text)
    words = {"a file": [str(tmp_path / "cases.jsonl")], "standard input": [], "standard input by its sign": ["-"]}
    result = bare("classify", *words[place], stdin=None if place == "a file" else text)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["id"], line["name"]) for line in lines] == [
        ("c1", "HEALTHY"),
        ("c2", "UNAUTHORIZED"),
        ("c3", "VENDOR_SERVER_ERROR"),
        ("c4", "VENDOR_CLIENT_ERROR"),
    ]
    assert set(lines[0]) == {
        "id", "name", "status", "resolution_owner", "reason", "rule", "description", "retry_at",
    }  # fmt: skip


def test_a_line_that_cannot_be_read_keeps_its_place_and_is_told_by_number(bare: Bare) -> None:
    text = "\n".join([CASES[0], "{", "", '{"id": "c9"}', CASES[1]])
    result = bare("classify", stdin=text)
    assert result.exit_code == Exit.USAGE
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["c1", None, None, "c2"]
    assert [line["error"].split(":")[0] for line in lines if line["id"] is None] == ["line 2", "line 4"]
    assert "2 of 4 lines could not be read" in result.stderr


def test_many_unreadable_lines_are_not_told_one_by_one(bare: Bare) -> None:
    result = bare("classify", stdin="{\n" * 500)
    assert len(result.stdout.splitlines()) == 500
    assert len(result.stderr.splitlines()) < 20


def test_the_score_counts_by_label_and_leaves_out_what_has_none(bare: Bare) -> None:
    document = json.loads(bare("classify", "--score", "--json", stdin="\n".join(CASES)).stdout)
    assert (document["total"], document["right_by_name"]) == (3, 2)
    assert document["by_label"]["VENDOR_CLIENT_ERROR"] == {"total": 1, "right": 0}
    assert document["confusion"][-1] == {"label": "VENDOR_CLIENT_ERROR", "given": "VENDOR_SERVER_ERROR", "count": 1}
    assert document["wrong"] == ["c3"]
    text = bare("classify", "--score", stdin="\n".join(CASES)).stdout
    assert "all\t3\t2\t66.7%" in text


def test_the_score_shows_who_was_taken_for_whom_and_the_worst_first(bare: Bare) -> None:
    document = json.loads(bare("classify", "--score", "--json", stdin="\n".join(CASES)).stdout)
    assert document["by_owner"]["CUSTOMER"]["right"] == document["by_owner"]["CUSTOMER"]["total"]
    assert document["mistakes"] == [
        {
            "id": "c3",
            "label": "VENDOR_CLIENT_ERROR",
            "given": "VENDOR_SERVER_ERROR",
            "reason": document["mistakes"][0]["reason"],
            "rule": document["mistakes"][0]["rule"],
            "gravity": "wrong_owner",
        }
    ]
    lines = bare("classify", "--score", stdin="\n".join(CASES)).stdout.splitlines()
    head = next(line for line in lines if line.startswith("LABEL\t"))
    row = next(line for line in lines[lines.index(head) :] if line.startswith("VENDOR_CLIENT_ERROR\t"))
    assert dict(zip(head.split("\t"), row.split("\t"), strict=True))["SERVER"] == "1"
    assert any(line.startswith("c3\tVENDOR_CLIENT_ERROR\tVENDOR_SERVER_ERROR\t") for line in lines)


@pytest.mark.parametrize(("asked", "code"), [("66", Exit.OK), ("67", Exit.NOT_PASSED)])
def test_a_score_may_be_too_low(bare: Bare, asked: str, code: Exit) -> None:
    result = bare("classify", "--score", "--fail-under", asked, stdin="\n".join(CASES))
    assert (result.exit_code, "is less than" in result.stderr or "less than the" in result.stderr) == (code, bool(code))


@pytest.mark.parametrize("option", [["--fail-under", "90"], ["--held-out"], ["--least-sure", "3"]])
def test_what_belongs_to_a_score_is_refused_without_one(bare: Bare, option: list[str]) -> None:
    result = bare("classify", *option, stdin=CASES[0])
    assert (result.exit_code, "goes with --score" in result.stderr) == (Exit.USAGE, True)


def test_an_explanation_at_a_terminal_is_a_page_for_a_person(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    text = bare("classify", "--explain", stdin=CASES[1]).stdout
    for word in ("verdict", "must act", "why", "next step", "STAGE", "=>"):
        assert word in text
    assert len(text.splitlines()) <= 24


def answered(number: int, vendor: str, status: int, label: str, body: str, **headers: str) -> str:
    outcome = {
        "method": "GET", "url": "https://api.vendor.example/users", "status": status, "headers": headers, "body": body,
        "exception": None,
    }  # fmt: skip
    return json.dumps({"id": f"a{number}", "vendor": vendor, "outcome": outcome, "label": label})


def test_a_vendor_held_out_is_judged_without_its_dialect_and_without_codes_of_its_documentation(bare: Bare) -> None:
    throttled = '{"__type": "com.amazon#ProvisionedThroughputExceededException"}'
    text = "\n".join(
        [
            answered(1, "shopify", 423, "UNAUTHORIZED", ""),
            answered(2, "aws-dynamodb", 400, "RATE_LIMIT_EXCEEDED", throttled),
            answered(3, "aws-s3", 400, "UNAUTHORIZED", "<Error><Code>InvalidAccessKeyId</Code></Error>"),
            answered(4, "acme", 400, "UNAUTHORIZED", "<Error><Code>InvalidAccessKeyId</Code></Error>"),
        ]
    )
    known = json.loads(bare("classify", "--score", "--json", stdin=text).stdout)
    held_out = json.loads(bare("classify", "--score", "--json", "--held-out", stdin=text).stdout)
    assert (known["wrong"], held_out["wrong"]) == ([], ["a1"])  # words say of the codes what their list says
    assert held_out["held_out"][-1] == {"vendor": "shopify", "total": 1, "right": 1, "right_when_held_out": 0}
    page = bare("classify", "--score", "--held-out", stdin=text).stdout
    assert "shopify\t1\t1\t0" in page


def test_the_least_sure_are_those_whose_signs_disagree(bare: Bare) -> None:
    text = "\n".join(
        [
            answered(1, "acme", 403, "RATE_LIMIT_EXCEEDED", '{"code": "forbidden", "message": "Rate limit exceeded"}'),
            answered(2, "acme", 429, "RATE_LIMIT_EXCEEDED", '{"message": "Too many requests"}'),
            answered(3, "acme", 200, "HEALTHY", '{"data": []}'),
        ]
    )
    document = json.loads(bare("classify", "--score", "--json", "--least-sure", "3", stdin=text).stdout)
    assert [kept["id"] for kept in document["least_sure"]] == ["a1"]
    assert {said["name"] for said in document["least_sure"][0]["opinions"]} == {"RATE_LIMIT_EXCEEDED", "UNAUTHORIZED"}
    assert "Least sure" in bare("classify", "--score", "--least-sure", "1", stdin=text).stdout


def test_a_score_tells_settled_labels_from_contested_ones(bare: Bare) -> None:
    text = "\n".join([*CASES, case(9, 404, "UNAUTHORIZED", contested=True)])
    document = json.loads(bare("classify", "--score", "--json", stdin=text).stdout)
    assert (document["settled"], document["contested"]) == ({"total": 3, "right": 2}, {"total": 1, "right": 0})
    assert "contested\t1\t0\t0.0%" in bare("classify", "--score", stdin=text).stdout


def test_without_a_label_there_is_nothing_to_score(bare: Bare) -> None:
    result = bare("classify", "--score", stdin=CASES[3])
    assert (result.exit_code, "no case has a label" in result.stderr) == (Exit.USAGE, True)


def test_the_trace_names_the_rule_that_fired(bare: Bare) -> None:
    line = json.loads(bare("classify", "--explain", stdin=CASES[1]).stdout)
    assert next(step["rule"] for step in line["trace"] if step["fired"]) == line["rule"]
    assert line["next_step"]


def test_without_dialects_a_vendors_own_meaning_is_not_known(bare: Bare) -> None:
    outcome = {
        "method": "GET", "url": "https://jira.vendor.example/rest/api/2/search", "status": 200,
        "headers": {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED", "Content-Type": "application/json"}, "body": "[]",
        "exception": None,
    }  # fmt: skip
    text = json.dumps({"id": "s", "vendor": "jira", "phase": "data", "outcome": outcome})
    with_dialects = json.loads(bare("classify", stdin=text).stdout)
    without = json.loads(bare("classify", "--no-dialects", stdin=text).stdout)
    assert (with_dialects["name"], without["name"]) == ("UNAUTHORIZED", "HEALTHY")


def test_a_file_that_is_not_there_is_one_sentence(bare: Bare) -> None:
    result = bare("classify", "/nowhere.jsonl")
    assert result.exit_code == Exit.USAGE
    assert result.stderr == "Error: cannot read /nowhere.jsonl: No such file or directory\n"


def test_ones_own_dialects_count_beside_ours(bare: Bare, tmp_path: Path) -> None:
    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "umbra.yaml").write_text(
        "family: umbra\nvendors: [x]\ndocumentation: https://docs.vendor.example\nrules:\n"
        "  - id: no_such_user_yet\n    when: {status: [404]}\n    reason: no_data\n    name: HEALTHY\n"
        "    source: https://docs.vendor.example\n    example: {status: 404}\n"
    )
    result = bare("classify", stdin=CASES[3], CONNECTION_HEALTH_VENDORS_DIR=str(tmp_path))
    assert json.loads(result.stdout)["name"] == "HEALTHY", result.stderr


def test_no_settings_are_needed(bare: Bare) -> None:
    assert bare("classify", stdin=CASES[0]).exit_code == 0
