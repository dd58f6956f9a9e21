"""The control interface from outside, for whoever runs the simulator as a process of its own."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit


class SimulatorError(RuntimeError):
    """The simulator refused a control request, or does not answer."""


class Control:
    """Talks to `/control` of a simulator. url: scheme and authority."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url, self._timeout_s = url, timeout_s

    def state(self) -> dict[str, Any]:
        """Return accounts, faults and counts."""
        return self._call("GET", "/control/state")

    def reset(self) -> None:
        """Put every vendor into its first state."""
        self._call("POST", "/control/reset")

    def advance(self, seconds: float) -> None:
        """Put the vendors' clock forward."""
        self._call("POST", "/control/clock", {"advance_s": seconds})

    def fault(self, vendor: str, kind: str, **how: object) -> int:
        """Put a fault in force and return its number."""
        return int(self._call("POST", "/control/faults", {"vendor": vendor, "kind": kind, **how})["id"])

    def clear(self, fault: int | None = None) -> None:
        """End one fault, or all."""
        self._call("DELETE", "/control/faults" if fault is None else f"/control/faults/{fault}")

    def act(self, vendor: str, account: str, action: str, **how: object) -> dict[str, Any]:
        """Do something in the vendor's console; the answer holds the `credentials` that are good from now on."""
        return self._call("POST", f"/control/accounts/{quote(vendor)}/{quote(account, safe='')}/{quote(action)}", how)

    def credentials(self, vendor: str, account: str) -> dict[str, str]:
        """Return what a customer copies out of the vendor's console now."""
        return dict(self.act(vendor, account, "credentials")["credentials"])

    def requests(self, *, vendor: str = "", after: int = 0) -> list[dict[str, Any]]:
        """Return what the vendors saw after the request numbered `after`, oldest first."""
        query = f"after={after}" + (f"&vendor={quote(vendor)}" if vendor else "")
        found: Any = self._call("GET", f"/control/requests?{query}")
        return list(found)

    def _call(self, method: str, path: str, document: Mapping[str, object] | None = None) -> dict[str, Any]:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=self._timeout_s)
        try:
            connection.request(method, path, body=json.dumps(document or {}) if method == "POST" else None)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise SimulatorError(f"the simulator at {self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise SimulatorError(f"{method} {path}: {body.get('error')}")
        return body  # type: ignore[no-any-return]  # JSON of our own server
