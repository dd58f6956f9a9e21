"""A client written only from Leen's documented shapes: paths, header, bodies, members. It knows nothing of ours."""

from typing import Any

import httpx


class LeenClient:
    """Leen's provisioning API. base_url: with /v1, as in its documentation."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._http = httpx.Client(base_url=base_url, headers={"X-API-KEY": api_key}, timeout=60)

    def close(self) -> None:
        self._http.close()

    def create_organization(self, name: str) -> str:
        return str(self._json("POST", "/provisioning/organizations", {"name": name})["id"])

    def list_organizations(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "/provisioning/organizations")["items"])

    def connectors(self) -> list[dict[str, Any]]:
        answered = self._http.get("/connectors", headers={"X-API-KEY": ""})
        answered.raise_for_status()
        return list(answered.json())

    def create_connection(self, organization_id: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._json("POST", f"/provisioning/organizations/{organization_id}/connections", body, expected=200)

    def list_connections(self, organization_id: str, **params: Any) -> list[dict[str, Any]]:
        path = f"/provisioning/organizations/{organization_id}/connections"
        return list(self._json("GET", path, params=params)["items"])

    def get_connection(self, organization_id: str, connection_id: str) -> dict[str, Any]:
        return self._json("GET", f"/provisioning/organizations/{organization_id}/connections/{connection_id}")

    def update_connection(self, organization_id: str, connection_id: str, **body: Any) -> dict[str, Any]:
        path = f"/provisioning/organizations/{organization_id}/connections/{connection_id}"
        return self._json("PATCH", path, {"credentials": None, "identifier": body.get("identifier"), **body})

    def test_connection(self, organization_id: str, connection_id: str) -> tuple[bool, str]:
        found = self._json("GET", f"/provisioning/organizations/{organization_id}/connections/{connection_id}/test")
        return bool(found["is_valid"]), str(found["message"])

    def jobs(self, organization_id: str, connection_id: str) -> list[dict[str, Any]]:
        path = f"/provisioning/organizations/{organization_id}/connections/{connection_id}/jobs"
        return list(self._json("GET", path)["items"])

    def invite(self, organization_id: str, **body: Any) -> str:
        path = f"/provisioning/organizations/{organization_id}/connection-invite-tokens"
        return str(self._json("POST", path, body)["token"])

    def validate_invite(self, organization_id: str, token: str) -> dict[str, Any]:
        path = f"/provisioning/organizations/{organization_id}/connection-invite-token/validate"
        return self._json("POST", path, {"token": token}, headers={"X-API-KEY": ""})

    def create_invited(self, organization_id: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        path = f"/provisioning/organizations/{organization_id}/connections"
        return self._json("POST", path, body, headers={"X-API-KEY": "", "X-CONNECTION-INVITE-TOKEN": token})

    def update_invited(
        self, organization_id: str, connection_id: str, token: str, credentials: dict[str, Any]
    ) -> dict[str, Any]:
        path = f"/provisioning/organizations/{organization_id}/connections/{connection_id}"
        headers = {"X-API-KEY": "", "X-CONNECTION-INVITE-TOKEN": token}
        return self._json("PATCH", path, {"credentials": credentials}, headers=headers)

    def delete_connection(self, organization_id: str, connection_id: str) -> None:
        path = f"/provisioning/organizations/{organization_id}/connections/{connection_id}"
        self._http.delete(path).raise_for_status()

    def _json(
        self, method: str, path: str, body: Any = None, *, expected: int | None = None, **more: Any
    ) -> dict[str, Any]:
        answered = self._http.request(method, path, json=body, **more)
        if answered.is_error:
            # As Leen's own front end reads it.
            raise LeenError(answered.status_code, answered.json()["detail"])
        assert expected in (None, answered.status_code)
        return dict(answered.json())


class LeenError(Exception):
    """An answer that is an error. detail: what Leen's clients show."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail
