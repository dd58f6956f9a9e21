"""Which references decide where calls go, and what a typed host may be."""

import pytest

from vendors.hosts import HostReference, authority_references, clean_host, is_loopback


@pytest.mark.parametrize(
    ("url", "references"),
    [
        pytest.param("https://api.x.example/${settings.a}", [], id="in the path: none"),
        pytest.param("/v1/${settings.a}", [], id="no host at all"),
        pytest.param("https://${settings.a}", [("settings.a", "", False)], id="the whole host"),
        pytest.param("${settings.a}/v1", [("settings.a", "", False)], id="the whole URL"),
        pytest.param(
            "https://${settings.a}.x.example/v1", [("settings.a", ".x.example", False)], id="a fixed part after it"
        ),
        pytest.param(
            "https://x.${settings.a}.b.c:${settings.p}/",
            [("settings.a", ".b.c", False), ("settings.p", "", True)],
            id="host and port",
        ),
        pytest.param(
            "https://${settings.a ?? 'b/c'}.x.example", [("settings.a", ".x.example", False)], id="a slash inside ${…}"
        ),
        pytest.param("https://x.example?y=${settings.a}", [], id="in the query: none"),
    ],
)
def test_references_in_the_authority_are_found(url: str, references: list[tuple[str, str, bool]]) -> None:
    found = authority_references(url)
    assert found == tuple(HostReference(path=path, suffix=suffix, is_port=port) for path, suffix, port in references)


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("acme", "acme"),
        (" Acme.Example. ", "acme.example"),
        ("https://acme.example/login?x#y", "acme.example"),
        *(
            (typed, None)
            for typed in ("", "a b", "a_b", "-a", "a-", "a..b", "a:1", "u@a", "a\\b", "é.example", "[::1]", "%2e")
        ),
        *((typed, None) for typed in ("https://", "a\nb", "a" * 64, ".".join(["a" * 60] * 5))),
    ],
)
def test_a_typed_host_is_cleaned_or_refused(typed: str, host: str | None) -> None:
    assert clean_host(typed) == host


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://127.0.0.1:${settings.port}/x", True),
        ("http://localhost", True),
        ("http://[::1]:80/", True),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example/", False),
        ("http://10.0.0.1/", False),
    ],
)
def test_this_machine_is_known_by_name(url: str, answer: bool) -> None:
    assert is_loopback(url) is answer
