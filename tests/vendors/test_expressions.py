"""The small language of definitions: what it yields, what it refuses, and that it never fails in another way."""

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vendors.errors import ExpressionError, MissingReferenceError, UnusableValueError
from vendors.expressions import (
    ACCOUNT_ROOTS,
    JOB_ROOTS,
    OMIT,
    REQUEST_ROOTS,
    compile_value,
    did_you_mean,
    expression_problems,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
SCOPE: Mapping[str, object] = {
    "now": NOW,
    "settings": {
        "region": "EU",
        "sites": ["a", "b"],
        "count": 7,
        "on": True,
        "none": None,
        "tree": {"x.y": 1, "@z": 2},
    },
    "parent": {"site": {"id": 12, "name": "north"}},
    "window": {"start": datetime(2026, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param("plain", "plain", id="text"),
        pytest.param("", "", id="empty text"),
        pytest.param(7, 7, id="a number"),
        pytest.param(None, None, id="null"),
        pytest.param("${settings.count}", 7, id="a whole reference keeps its type"),
        pytest.param("${settings.sites}", ["a", "b"], id="a list too"),
        pytest.param("n${settings.count}", "n7", id="inside text it is written out"),
        pytest.param("${settings.on}!", "true!", id="true is written in lower case"),
        pytest.param("${parent.site.id}/${parent.site.name}", "12/north", id="two references"),
        pytest.param("${settings.missing ?? 'eu'}", "eu", id="a literal in place of what is missing"),
        pytest.param("${settings.none ?? 3}", 3, id="null counts as missing"),
        pytest.param("${settings.missing ?? settings.region}", "EU", id="a reference in place"),
        pytest.param("${settings.a ?? settings.b ?? 'c'}", "c", id="from left to right"),
        pytest.param("${settings.missing ?? true}", True, id="true is a literal"),
        pytest.param("${settings.missing?}", OMIT, id="optional"),
        pytest.param("x${settings.missing?}", OMIT, id="optional inside text leaves the text out"),
        pytest.param(
            {"a": "${settings.missing?}", "b": ["${settings.missing?}", 1]}, {"b": [1]}, id="left out of structures"
        ),
        pytest.param("${settings.region | lower}", "eu", id="lower"),
        pytest.param("${settings.sites | join('+')}", "a+b", id="join"),
        pytest.param("${settings.region | base64}", "RVU=", id="base64"),
        pytest.param("${settings.sites | json}", '["a","b"]', id="json"),
        pytest.param("${now | date('date')}", "2026-03-04", id="date"),
        pytest.param("${now | shift('-P30D') | date('epoch_s')}", 1770008767, id="shift, then date"),
        pytest.param("${'2026-01-31' | date('epoch_ms')}", 1769817600000, id="a text that is a time"),
        pytest.param("${window.start | date('%Y/%m')}", "2026/01", id="a pattern"),
        pytest.param("${settings.missing | lower ?? 'none'}", "none", id="what is missing passes through functions"),
        pytest.param("${settings.sites.1}", "b", id="a number picks from a list"),
        pytest.param("${settings.tree.'x.y'}", 1, id="a quoted segment"),
        pytest.param("${settings.tree.@z}", 2, id="an at sign in a segment"),
        pytest.param("$${settings.region}", "${settings.region}", id="a doubled dollar is literal"),
        pytest.param("a $ b } {", "a $ b } {", id="lone signs are text"),
        pytest.param("${'a}b'}", "a}b", id="a brace inside quotation marks"),
        pytest.param({"choose": "settings.region", "map": {"EU": 1, "US": 2}}, 1, id="choose"),
        pytest.param({"choose": "settings.on", "map": {"true": "yes"}}, "yes", id="choose by a flag"),
        pytest.param(
            {"choose": "settings.nope", "map": {"a": 1}, "default": "${settings.count}"}, 7, id="choose: default"
        ),
        pytest.param({"choose": "settings.nope?", "map": {"a": 1}}, OMIT, id="choose: optional"),
        pytest.param({"choose": "x"}, {"choose": "x"}, id="a member that is only called choose"),
    ],
)
def test_a_value_resolves(raw: object, value: object) -> None:
    assert compile_value(raw, roots=REQUEST_ROOTS).resolve(SCOPE) == value


def test_a_resolved_structure_is_free_to_be_changed() -> None:
    value = compile_value({"a": {"b": []}}, roots=REQUEST_ROOTS)
    first = value.resolve({})
    assert isinstance(first, dict)
    first["a"]["b"].append("changed")
    assert value.resolve({}) == {"a": {"b": []}}


def test_references_tell_what_a_value_uses_and_needs() -> None:
    raw = ["${settings.a?}", "x${settings.b ?? 'y'}", {"choose": "settings.c", "map": {"d": "${parent.e.f}"}}, "${now}"]
    value = compile_value(raw, roots=REQUEST_ROOTS)
    assert value.references == {"settings.a", "settings.b", "settings.c", "parent.e.f", "now"}
    assert value.needed == {"settings.c", "parent.e.f", "now"}
    assert not value.is_constant
    assert compile_value(["a", {"b": 1}], roots=REQUEST_ROOTS).is_constant


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(
            "${setings.x}",
            "'setings' is not known here (did you mean 'settings'?); known: credentials, now, settings",
            id="unknown root",
        ),
        pytest.param(
            "${settings}",
            "name what you want of settings, as in settings.name",
            id="a bare root",
        ),
        pytest.param("a ${settings.x", "`${` has no closing `}`", id="not closed"),
        pytest.param("${}", "a reference such as settings.region is missing here", id="empty"),
        pytest.param(
            "${settings.x | lowr}",
            "'lowr' is not a function (did you mean 'lower'?);"
            " the functions are date, shift, join, lower, base64, json",
            id="unknown function",
        ),
        pytest.param(
            "${settings.x |}",
            "a function is missing; the functions are date, shift, join, lower, base64, json",
            id="no function",
        ),
        pytest.param(
            "${settings.x | date}",
            "date needs something in brackets, as in date('iso8601')",
            id="no argument",
        ),
        pytest.param(
            "${settings.x | lower('a')}",
            "lower takes nothing in brackets",
            id="an argument too many",
        ),
        pytest.param(
            "${settings.x | join(,)}",
            "what join takes stands in quotation marks, as in join(',')",
            id="no quotation marks",
        ),
        pytest.param(
            "${settings.x | shift('30 days')}",
            "shift: '30 days' is not a duration such as P30D, PT5M, P1M or -P1Y",
            id="no duration",
        ),
        pytest.param(
            "${settings.x | date('%Q')}",
            "date: '%Q' has %Q, which no time pattern knows",
            id="no pattern",
        ),
        pytest.param(
            "${settings.x.lower()}",
            "a value has no functions to call; the six functions stand after a |",
            id="a call on a value",
        ),
        pytest.param(
            "${settings.x + 1}",
            "'+' is not part of the language: no arithmetic, no comparison",
            id="arithmetic",
        ),
        pytest.param(
            "${settings.x settings.y}",
            "'s' is not expected here; after a reference come ??, | or the end",
            id="two references without a sign",
        ),
        pytest.param("${settings.}", "a name is missing after the dot", id="a dot too many"),
        pytest.param(
            "${settings.'x}",
            "`${` has no closing `}`",
            id="a quotation mark too few",
        ),
        pytest.param("${1.2.3}", "'1.2.3' is not a number", id="no number"),
        pytest.param(
            "{{ config['x'] }}",
            "{{ … }} is not spoken here; write ${settings.name}",
            id="another language",
        ),
        pytest.param(
            {"choose": "region", "map": {"a": 1}},
            "'region' is not known here; known: credentials, now, settings",
            id="choose by no root",
        ),
        pytest.param(
            {"choose": "settings.x", "map": {}},
            "choose names a reference (settings.region) and map says what each of its values stands for",
            id="choose without a map",
        ),
        pytest.param(
            {"choose": "settings.x", "map": {"a": 1}, "else": 2},
            "'else' does not belong beside choose and map; only default does",
            id="choose with a word too many",
        ),
        pytest.param(
            {"${settings.x}": 1},
            "a name cannot be computed, only its value",
            id="a computed name",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(raw: object, sentence: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(raw, roots=ACCOUNT_ROOTS)
    assert caught.value.problem == sentence


def test_a_refusal_says_where() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value("a ${settings.x + 1}", roots=ACCOUNT_ROOTS)
    assert caught.value.position == 15
    assert str(caught.value).endswith("no comparison (at character 16 of 'a ${settings.x + 1}')")


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    problems = expression_problems({"a": ["ok", "${x.y}"], "b": {"c": "${"}}, roots=ACCOUNT_ROOTS)
    assert [(problem.where, problem.position) for problem in problems] == [(("a", 1), 2), (("b", "c"), 0)]


def test_a_structure_without_end_is_refused() -> None:
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    assert "nested deeper" in str(expression_problems(deep, roots=ACCOUNT_ROOTS)[0])


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        pytest.param("${settings.missing}", "settings.missing", id="whole"),
        pytest.param("a${parent.site.none}", "parent.site.none", id="inside text"),
        pytest.param("${settings.none}", "settings.none", id="null"),
        pytest.param("${settings.count.x}", "settings.count.x", id="below a number"),
        pytest.param("${settings.sites.9}", "settings.sites.9", id="beyond a list"),
        pytest.param("${settings.a ?? settings.b}", "settings.a", id="the first of several is named"),
        pytest.param({"choose": "settings.missing", "map": {"a": 1}}, "settings.missing", id="choose"),
    ],
)
def test_a_missing_value_is_an_error_that_names_its_path(raw: object, path: str) -> None:
    with pytest.raises(MissingReferenceError) as caught:
        compile_value(raw, roots=REQUEST_ROOTS).resolve(SCOPE)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(
            "a${settings.sites}",
            "${settings.sites}: is a list or an object and cannot stand in text; add | join(',') or | json",
            id="a list in text",
        ),
        pytest.param(
            "${settings.region | join(',')}", "${settings.region | join(',')}: join needs a list", id="join of a text"
        ),
        pytest.param(
            "${settings.region | date('date')}",
            "${settings.region | date('date')}: date and shift need a time, or a text such as 2026-01-31T00:00:00Z",
            id="date of a word",
        ),
        pytest.param(
            "${now | shift('P9999Y')}",
            "${now | shift('P9999Y')}: cannot use a value of this kind",
            id="a time beyond the calendar",
        ),
        pytest.param(
            {"choose": "settings.region", "map": {"A": 1, "B": 2}},
            "settings.region: is none of A, B, and the map has no default",
            id="choose of none",
        ),
    ],
)
def test_an_unusable_value_is_named_but_never_shown(raw: object, sentence: str) -> None:
    with pytest.raises(UnusableValueError) as caught:
        compile_value(raw, roots=REQUEST_ROOTS).resolve(SCOPE)
    assert str(caught.value) == sentence
    assert "EU" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        pytest.param(
            "/sites/${settings.x}/all", "/sites/a%2Fb%20%3F%23%25/all", id="a reference is encoded, a slash too"
        ),
        pytest.param("/a b/${settings.x}", "/a b/a%2Fb%20%3F%23%25", id="literal text is not"),
        pytest.param("/v${settings.n}/x", "/v2/x", id="part of a segment"),
        pytest.param("${settings.n}", "2", id="whole"),
        pytest.param(
            {"choose": "settings.n", "map": {"2": "/two/${settings.x}"}}, "/two/a%2Fb%20%3F%23%25", id="chosen"
        ),
    ],
)
def test_references_in_paths_are_percent_encoded(raw: object, path: str) -> None:
    scope = {"settings": {"x": "a/b ?#%", "n": 2}}
    assert compile_value(raw, roots=REQUEST_ROOTS).resolve_path(scope) == path


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        *(
            (raw, value)
            for raw in ("/a/${settings.x}/b", "/a/${settings.x}", "${settings.x}")
            for value in ("", ".", "..")
        ),
        ("/a/.${settings.x}", ""),
        ("/a/.${settings.x}/b", "."),
    ],
)
def test_a_reference_never_leads_to_another_path(raw: str, value: str) -> None:
    with pytest.raises(UnusableValueError, match="would lead to another path"):
        compile_value(raw, roots=REQUEST_ROOTS).resolve_path({"settings": {"x": value}})


def test_a_path_needs_its_optional_references() -> None:
    with pytest.raises(MissingReferenceError):
        compile_value("/a/${settings.x?}", roots=REQUEST_ROOTS).resolve_path({})


@pytest.mark.parametrize(
    ("word", "hint"),
    [("setings", " (did you mean 'settings'?)"), ("SETTINGS", " (did you mean 'settings'?)"), ("qqq", "")],
)
def test_a_misspelt_word_finds_its_neighbour(word: str, hint: str) -> None:
    assert did_you_mean(word, ["settings", "parent"]) == hint


@pytest.mark.parametrize(
    "error",
    [
        ExpressionError("a", 1, "b", ("c",)),
        MissingReferenceError("a.b"),
        UnusableValueError("a", "b"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again)) == (type(error), str(error))


PIECES = st.sampled_from(
    [
        *(
            "${",
            "}",
            "settings.",
            "settings.x",
            "now",
            "??",
            "?",
            "|",
            "date",
            "shift",
            "join",
            "lower",
            "json",
            "base64",
        ),
        *(
            "(",
            ")",
            "'",
            '"',
            "'P1D'",
            "'iso8601'",
            ".",
            "$",
            "$$",
            " ",
            "1",
            "-",
            "true",
            "é",
            "\n",
            "{{",
            "}}",
            "window.start",
        ),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(pieces=st.lists(PIECES, max_size=14), x=VALUES, start=VALUES)
def test_any_text_is_read_or_refused_and_never_fails_otherwise(pieces: list[str], x: object, start: object) -> None:
    text = "".join(pieces)
    problems = expression_problems(text, roots=JOB_ROOTS)
    for problem in problems:
        assert 0 <= problem.position <= len(text)
    if problems:
        return
    value = compile_value(text, roots=JOB_ROOTS)
    scope = {"settings": {"x": x}, "window": {"start": start}, "now": NOW}
    for resolve in (value.resolve, value.resolve_path):
        try:
            resolve(scope)
        except (MissingReferenceError, UnusableValueError):
            continue


@given(raw=VALUES)
def test_a_structure_without_references_resolves_to_itself(raw: object) -> None:
    if "$" in repr(raw) or "choose" in repr(raw) or "nan" in repr(raw):
        return
    assert compile_value(raw, roots=ACCOUNT_ROOTS).resolve({}) == raw


@given(typed=st.text(max_size=12))
def test_an_encoded_segment_holds_no_sign_that_means_something(typed: str) -> None:
    value = compile_value("/a/${settings.x}/b", roots=ACCOUNT_ROOTS)
    try:
        path = value.resolve_path({"settings": {"x": typed}})
    except UnusableValueError:
        return
    assert path.count("/") == 3
    assert not set("?#\\ \n") & set(path)
