"""The same way out as a `requests.Session`, for SDKs that take one."""

import http
import io
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3.response import HTTPResponse

from vendors.wire import Request
from worker.wire.answers import WireAnswer
from worker.wire.redactor import is_secret_header

_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "accept-encoding", "cookie"})
_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}


def sdk_session(attempt_once: Callable[[Request], WireAnswer], headers: Mapping[str, str]) -> requests.Session:
    """Return a session whose every call goes through attempt_once."""
    session = requests.Session()
    session.trust_env = False
    session.headers = CaseInsensitiveDict(headers)
    session.adapters.clear()
    adapter = RunAdapter(attempt_once)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class RunAdapter(BaseAdapter):
    """Guards, limits, times and captures every call that an SDK makes. Bodies come whole.

    Timeouts, proxies and verification are ours, whatever the SDK asks for. Redirects are followed here, by our rules;
    cookies are kept here, for the origin that set them.
    """

    def __init__(self, attempt_once: Callable[[Request], WireAnswer]) -> None:
        super().__init__()
        self._attempt_once = attempt_once

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:  # noqa: ARG002
        """Make one attempt and return its answer, body read. The other arguments are requests', and not heeded."""
        given = {name: _text(value) for name, value in request.headers.items() if name.lower() not in _FRAMING}
        answer = self._attempt_once(
            Request(
                method=str(request.method),
                url=str(request.url),
                endpoint=f"{request.method} {urlsplit(str(request.url)).path or '/'}",
                headers={name: value for name, value in given.items() if not is_secret_header(name.lower())},
                auth_headers={name: value for name, value in given.items() if is_secret_header(name.lower())},
                content=_content(request.body),
            )
        )
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.url, response.request = answer.url, request
        response.reason = _PHRASES.get(answer.status, "")
        response.raw = HTTPResponse(
            body=io.BytesIO(answer.body), headers=answer.headers, status=answer.status, preload_content=False
        )
        response._content, response._content_consumed = answer.body, True  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    def close(self) -> None:
        """Do nothing: the transport is shared by all runs."""


def _content(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return bytes(body.read()) if hasattr(body, "read") else b"".join(body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
