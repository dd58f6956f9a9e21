"""Dialect files: every rule's example is replayed, and a bad file says where and what to write."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from classifier import judge
from vendors.dialect_files import DIALECTS, DialectExample, DialectFile, dialect_files, load_dialects, read_dialect
from vendors.errors import DefinitionError

NOW: Final = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
FILES: Final = tuple(dialect_files())
EXAMPLES: Final = [
    pytest.param(file, example, id=example.rule.removeprefix("dialect.")) for file in FILES for example in file.examples
]
GOOD: Final = """\
family: acme
vendors: [acme]
documentation: https://acme.example/docs
rules:
  - id: locked
    when: {status: [423]}
    name: UNAUTHORIZED
    reason: account_locked
    source: https://acme.example/docs/423
    example: {status: 423}
"""


@pytest.mark.parametrize(("file", "example"), EXAMPLES)
def test_an_example_meets_its_rule(file: DialectFile, example: DialectExample) -> None:
    judged = judge(example.exchange, observed_at=NOW, dialect=file.dialect)
    assert judged.rule == example.rule


@pytest.mark.parametrize(("file", "example"), EXAMPLES)
def test_a_rule_says_something_that_the_general_rules_do_not_or_names_a_finer_reason(
    file: DialectFile, example: DialectExample
) -> None:
    plain = judge(example.exchange, observed_at=NOW)
    told = judge(example.exchange, observed_at=NOW, dialect=file.dialect)
    assert plain.rule != told.rule


@pytest.mark.parametrize("file", [pytest.param(file, id=file.dialect.family) for file in FILES])
def test_a_file_is_named_after_its_family_and_leaves_plain_successes_alone(file: DialectFile) -> None:
    assert Path(file.file).stem == file.dialect.family
    for rule in file.dialect.rules:
        assert rule.source.startswith("https://")


def test_no_vendor_is_served_twice_and_families_are_found_too() -> None:
    dialects = load_dialects()
    assert dialects["slack" if "slack" in dialects else "meta"].rules
    assert dialects["instagram"].family == "meta"
    assert {file.dialect.family for file in FILES} <= set(dialects)


def test_a_later_directory_overrules_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("[acme]", "[shopify]").replace("acme", "mine"), encoding="utf-8")
    assert load_dialects(DIALECTS, tmp_path)["shopify"].family == "mine"


def test_two_files_of_one_directory_must_not_serve_one_vendor(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(GOOD.replace("family: acme", "family: b"), encoding="utf-8")
    with pytest.raises(DefinitionError, match="acme is served by"):
        load_dialects(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        pytest.param("reason: account_locked", "reason: account_lockd", 8, "account_locked", id="a reason misspelt"),
        pytest.param("name: UNAUTHORIZED", "name: HEALTHY", 7, "account_locked means UNAUTHORIZED", id="another name"),
        pytest.param("status: [423]", "status: [4233]", 6, "4233 is no status", id="a status out of range"),
        pytest.param("status: [423]", "stauts: [423]", 6, "did you mean 'status'", id="a key misspelt"),
        pytest.param("{status: [423]}", "{}", 6, "would match every answer", id="no condition"),
        pytest.param("status: [423]", "status: [200]", 6, "would match every success", id="every success"),
        pytest.param("source: https://acme.example/docs/423", "source: a friend", 9, "is not a link", id="hearsay"),
        pytest.param(
            "example: {status: 423}", "example: {body: x}", 10, "Write the status", id="an example without one"
        ),
        pytest.param("when: {status: [423]}", "when: {status: [423], phase: later}", 6, "no phase", id="a phase"),
        pytest.param("vendors: [acme]", "vendors: []", 2, "is empty", id="no vendors"),
        pytest.param("    example: {status: 423}\n", "", 5, "is not a mapping", id="no example"),
    ],
)
def test_a_bad_file_says_where_and_what(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        read_dialect(path)
    assert said in str(caught.value)
    assert any(finding.line == line for finding in caught.value.findings), caught.value.findings


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(GOOD, encoding="utf-8")
    file = read_dialect(path)
    assert [rule.id for rule in file.dialect.rules] == ["dialect.acme.locked"]
    assert file.documentation == "https://acme.example/docs"
