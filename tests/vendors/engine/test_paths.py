import pytest

from vendors.paths import MISSING, compile_path


@pytest.mark.parametrize(
    ("path", "document", "found"),
    [
        pytest.param("", [1], [1], id="an empty path is the whole document"),
        pytest.param("a", {"a": None}, None, id="a null that is there is no missing member"),
        pytest.param("a", {}, MISSING, id="a missing member"),
        pytest.param("a", [1], MISSING, id="a name in a list"),
        pytest.param("a.b", {"a": {"b": 1}}, 1, id="dotted"),
        pytest.param("a.b", {"a": None}, MISSING, id="through a null"),
        pytest.param("a.1", {"a": [5, 6]}, 6, id="a number picks from a list"),
        pytest.param("a.9", {"a": [5, 6]}, MISSING, id="a number beyond the list"),
        pytest.param("@odata.nextLink", {"@odata.nextLink": "u"}, "u", id="a name with a dot, as it stands"),
        pytest.param('a."b.c".d', {"a": {"b.c": {"d": 1}}}, 1, id="a quoted name with a dot"),
        pytest.param("urn:x-y:1", {"urn:x-y:1": 1}, 1, id="colons and hyphens"),
        pytest.param("Host ID", {"Host ID": 1}, 1, id="blanks"),
        pytest.param("groups.*.items", {"groups": [{"items": [1]}, {"items": [2, 3]}]}, [1, 2, 3], id="a star is flat"),
        pytest.param("files.*.href", {"files": [{"href": "a"}, {"href": "b"}]}, ["a", "b"], id="a star over members"),
        pytest.param("g.*.h.*.i", {"g": [{"h": [{"i": 1}, {"i": 2}]}, {"h": []}]}, [1, 2], id="two stars"),
        pytest.param("by_name.*", {"by_name": {"x": 1, "y": 2}}, [1, 2], id="a star over an object's values"),
        pytest.param("g.*.i", {"g": [{"i": 1}, {}]}, MISSING, id="one element without it is missing as a whole"),
        pytest.param("g.*.i", {"g": {"i": 1}}, MISSING, id="a star over plain values"),
        pytest.param("g.*.i", {"g": []}, [], id="a star over an empty list"),
        pytest.param("a[?b==`1`].c | [0]", {"a": [{"b": 1, "c": 7}]}, 7, id="jmespath"),
        pytest.param("length(a)", {"a": 3}, MISSING, id="a jmespath function that meets another type"),
    ],
)
def test_a_path_leads_to(path: str, document: object, found: object) -> None:
    assert compile_path(path)(document) == found


def test_a_lenient_star_leaves_out_what_leads_nowhere() -> None:
    assert compile_path("g.*.i", lenient=True)({"g": [{"i": 1}, {}]}) == [1]


def test_a_path_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a dotted path nor a jmespath"):
        compile_path("a[?")
