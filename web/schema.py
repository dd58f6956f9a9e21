"""The OpenAPI document: what FastAPI finds out by itself, and what holds for every operation."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from web.api.documents import ORGANIZATIONS
from web.api.shapes import ProblemShape
from web.problems import MEDIA_TYPE

DESCRIPTION: Final = """\
Which connections to your customers' vendors work, why others do not, and who must act.

**Authority.** Send an API key in `X-API-KEY`. A key is of the whole account or of one organization, and of scope
`read`, `write` or `admin`; what is another organization's is not there for it (404). An invite token in
`X-CONNECTION-INVITE-TOKEN` creates, or mends, one connection in the place of a key.

**Errors** are `application/problem+json` (RFC 9457); `detail` is a sentence, `errors` points at what is wrong.

**Sending twice.** A POST with an `Idempotency-Key` is carried out once; the same request with the same key gets the
same answer for 24 hours, with `Idempotency-Replayed: true`.

**Changing what somebody else changes too.** A connection comes with an `ETag`; send it back in `If-Match`.

**Limits.** Each key may send so many requests a minute, as each answer tells (`RateLimit-Policy`, `RateLimit`); beyond
that it is a 429 with `Retry-After`.
"""
_ERRORS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
    HTTPStatus.UNAUTHORIZED: "No key or token, or one that opens nothing.",
    HTTPStatus.FORBIDDEN: "The key's scope, or the token, does not allow this.",
    HTTPStatus.NOT_FOUND: "There is no such thing, or it is another organization's.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Not possible here.",
    HTTPStatus.REQUEST_TIMEOUT: "The body came too slowly.",
    HTTPStatus.CONFLICT: "Not possible in the present state, or the first request is still being carried out.",
    HTTPStatus.PRECONDITION_FAILED: "The connection was changed since it was read.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not JSON.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Something in the request is wrong; where the vendor was asked, what it said.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key's limit is reached.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something broke on our side.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not possible just now; send it again after `Retry-After`.",
}
_ALWAYS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
_WITH_AUTHORITY: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application (OpenAPI 3.1)."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        servers=[{"url": app.state.desk.settings.public_url or "/"}],
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = ProblemShape.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemShape"] = problem
    components["responses"] = {_name(status): _response(status, words) for status, words in _ERRORS.items()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1/"):
                _complete(operation, path, method)
    _link(document["paths"])
    return document


_CONNECTION: Final = f"{ORGANIZATIONS}/{{organization_id}}/connections/{{connection_id}}"
_SOURCES: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    (ORGANIZATIONS, "201"): {"organization_id": "$response.body#/id"},
    (f"{ORGANIZATIONS}/{{organization_id}}/connections", "200"): {
        "organization_id": "$response.body#/organization_id",
        "connection_id": "$response.body#/id",
    },
    (f"{_CONNECTION}/sync", "202"): {
        "organization_id": "$request.path.organization_id",
        "connection_id": "$response.body#/connection_id",
        "run_seq": "$response.body#/run_seq",
    },
    (f"{ORGANIZATIONS}/{{organization_id}}/connection-invite-tokens", "200"): {
        "organization_id": "$response.body#/organization_id",
        "invite_id": "$response.body#/id",
    },
    ("/v1/keys", "201"): {"key_id": "$response.body#/id"},
}
"""What POST makes, and where its answer says how it is addressed."""


def _link(paths: dict[str, Any]) -> None:
    """Say of each thing that is made which operations go on with it (OpenAPI's links)."""
    for (source, status), known in _SOURCES.items():
        links: dict[str, Any] = {}
        for path, operations in paths.items():
            needed = set(re.findall(r"{(\w+)}", path))
            if needed == set(known):
                links |= {
                    operation["operationId"]: {"operationId": operation["operationId"], "parameters": dict(known)}
                    for operation in operations.values()
                }
        paths[source]["post"]["responses"][status]["links"] = links


def _complete(operation: dict[str, Any], path: str, method: str) -> None:
    responses = operation["responses"]
    needed = [*_ALWAYS]
    if operation.get("security"):
        needed += _WITH_AUTHORITY
    if path.endswith("/validate"):
        needed += [HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS]
    if "{" in path or (path, method) == ("/v1/keys", "post"):  # the body names an organization
        needed.append(HTTPStatus.NOT_FOUND)
    if method in {"post", "patch"} or path.endswith("/test"):
        needed.append(HTTPStatus.CONFLICT)
    if operation.get("requestBody"):
        needed += _WITH_BODY
    headers = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "header"}
    if "If-Match" in headers:
        needed.append(HTTPStatus.PRECONDITION_FAILED)
    for status in needed:
        responses[str(status.value)] = {"$ref": f"#/components/responses/{_name(status)}"}
    for status, response in responses.items():
        if status.startswith("2"):
            response["headers"] = _headers_of(operation, path, method)


def _headers_of(operation: Mapping[str, Any], path: str, method: str) -> dict[str, Any]:
    headers = {"X-Request-Id": "Of this request; in every line of our log, too."}
    if operation.get("security"):
        headers |= {
            "RateLimit-Policy": "How many requests (`q`) the key may send in how many seconds (`w`).",
            "RateLimit": "How many are left (`r`), at the least.",
        }
    if path.endswith("/connections/{connection_id}") and method != "delete":
        headers["ETag"] = "Of what people change of the connection; for `If-Match`."
    if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())):
        headers["Idempotency-Replayed"] = "`true` where the request had been carried out before."
    return {name: {"description": words, "schema": {"type": "string"}} for name, words in headers.items()}


def _name(status: HTTPStatus) -> str:
    return "".join(part.capitalize() for part in status.name.split("_"))


def _response(status: HTTPStatus, words: str) -> dict[str, Any]:
    example = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": words,
        "request_id": "5b1a3c1e-6a53-4f06-b0c6-6f4e9c4ac5a7",
    }
    return {
        "description": words,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemShape"}, "example": example}},
    }
