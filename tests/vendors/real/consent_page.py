"""Canaille's sign-in and consent pages as a person with a browser meets them, and an application registered there."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from tests.vendors.real.servers import Server

APPLICATION: Final = "connection-health"

# Run by the server's own Python. An application is registered by the operator of the authorization server.
_REGISTER: Final = """
import datetime, json, logging, os, secrets, sys
folder, client_id, redirect_uri = sys.argv[1:4]
os.chdir(folder + "/state")
os.environ["CONFIG"] = os.environ["CANAILLE_CONFIG"] = folder + "/state/canaille.toml"
logging.disable(logging.CRITICAL)
from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
app = create_app()
with app.app_context(), Backend.instance.session():
    backend = Backend.instance
    client = backend.get(models.Client, client_id=client_id)
    if not client:
        client = models.Client(
            client_id=client_id, client_name=client_id, client_secret=secrets.token_urlsafe(24),
            client_id_issued_at=datetime.datetime.now(datetime.timezone.utc),
            grant_types=["authorization_code", "refresh_token"], response_types=["code"],
            token_endpoint_auth_method="client_secret_basic", scope=["openid", "profile"], redirect_uris=[redirect_uri],
        )
    client.redirect_uris = [redirect_uri]
    backend.save(client)
    client.audience = [client]
    backend.save(client)
    print(json.dumps({"client_id": client_id, "client_secret": client.client_secret}))
"""
_FIELD: Final = re.compile(r"<input[^>]*>")
_ACTION: Final = re.compile(r'<form[^>]*\baction="([^"]*)"')
_MOST_PAGES: Final = 12


def registered(server: Server, redirect_uri: str) -> dict[str, str]:
    """Register an application that customers may consent to; return its client_id and client_secret."""
    own = server.folder / "venv" / "bin" / "python"
    done = subprocess.run(
        [str(own), "-B", "-c", _REGISTER, str(server.folder), APPLICATION, redirect_uri],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@dataclass(slots=True, kw_only=True)
class Browser:
    """One person's browser: signs in where it is asked to, answers the consent page, stops where it is sent back.

    callback: the URL at which our own service would be reached; account: username and password there.
    """

    callback: str
    account: Mapping[str, str] = field(repr=False)
    session: requests.Session = field(default_factory=requests.Session)

    def visit(self, url: str, *, answer: str = "accept") -> dict[str, str]:
        """Follow a URL to the consent page, answer it, and return what the browser brings back to the callback."""
        page = self._get(url)
        for _ in range(_MOST_PAGES):
            if isinstance(page, dict):
                return page
            assert page.status_code == 200, (page.url, page.status_code, page.text[:300])
            page = self._answered(page, answer)
        raise AssertionError(f"no way back after {_MOST_PAGES} pages")

    def revoke_consent(self, base_url: str) -> None:
        """Take back what was granted, on the account's own page."""
        listed = self.session.get(f"{base_url}/consent/", timeout=30).text
        found = re.search(r'"(/consent/revoke/[^"]+)"', listed)
        assert found is not None, listed[:2000]
        assert self.session.get(urljoin(base_url, found[1]), timeout=30).status_code == 200

    def _answered(self, page: requests.Response, answer: str) -> Any:
        fields = dict(_fields(page.text))
        found = _ACTION.search(page.text)
        action = urljoin(page.url, found[1].replace("&amp;", "&")) if found and found[1] else page.url
        if 'value="accept"' in page.text:
            fields["answer"] = answer
        elif "password" in fields:
            fields["password"] = self.account["password"]
        else:
            name = "login" if "login" in fields else "user_name"
            fields[name] = self.account["username"]
        return self._followed(self.session.post(action, data=fields, timeout=30, allow_redirects=False))

    def _get(self, url: str) -> Any:
        return self._followed(self.session.get(url, timeout=30, allow_redirects=False))

    def _followed(self, answer: requests.Response) -> Any:
        while answer.is_redirect:
            target = urljoin(answer.url, answer.headers["location"])
            if target.startswith(self.callback):
                return dict(parse_qsl(urlsplit(target).query))
            answer = self.session.get(target, timeout=30, allow_redirects=False)
        return answer


def _fields(html: str) -> list[tuple[str, str]]:
    found = []
    for tag in _FIELD.findall(html):
        words = dict(re.findall(r'\b(name|value|type)="([^"]*)"', tag))
        if words.get("name") and words.get("type") not in {"submit", "button"}:
            found.append((words["name"], words.get("value", "")))
    return found
