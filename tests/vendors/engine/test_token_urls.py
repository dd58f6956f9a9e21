"""The guard must know where tokens are got: their ports are open only because the definition names them."""

import pytest

from vendors.auth import token_urls
from vendors.definition import Auth, AuthType, RequestSpec
from vendors.expressions import ACCOUNT_ROOTS, Value, compile_value

SCOPE = {"credentials": {}, "settings": {"port": "8443"}}


def value(text: str) -> Value:
    return compile_value(text, roots=ACCOUNT_ROOTS)


def grant(url: str) -> Auth:
    return Auth(type=AuthType.OAUTH2_CLIENT_CREDENTIALS, token_url=value(url))


@pytest.mark.parametrize(
    ("auth", "urls"),
    [
        pytest.param(grant("https://id.example:8443/token"), ("https://id.example:8443/token",), id="a whole URL"),
        pytest.param(
            grant("https://id.example:${settings.port}/t"), ("https://id.example:8443/t",), id="a setting in it"
        ),
        pytest.param(grant("/oauth/token"), (), id="below the base URL it needs no port of its own"),
        pytest.param(grant("https://${settings.tenant}.example/t"), (), id="what is not there was not chosen"),
        pytest.param(
            Auth(type=AuthType.LOGIN, request=RequestSpec(path=value("HTTPS://id.example/login"))),
            ("HTTPS://id.example/login",),
            id="a login",
        ),
        pytest.param(
            Auth(
                type=AuthType.CHOOSE,
                by="settings.way",
                options={"a": grant("https://a.example/t"), "b": grant("https://b.example:1/t")},
            ),
            ("https://a.example/t", "https://b.example:1/t"),
            id="every way of a choice",
        ),
        pytest.param(Auth(type=AuthType.NONE), (), id="none"),
    ],
)
def test_token_urls_are_those_that_lie_elsewhere(auth: Auth, urls: tuple[str, ...]) -> None:
    assert token_urls(auth, SCOPE) == urls
