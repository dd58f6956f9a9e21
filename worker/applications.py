"""The operator's own OAuth applications at vendors, under which customers consent: of the settings, in no table."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MEMBERS: Final = frozenset({"client_id", "client_secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application as its vendor knows it. client_secret None: a public client, which has PKCE alone."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)

    def as_scope(self) -> dict[str, object]:
        """Return what `${app.…}` of a definition reads."""
        secret = {} if self.client_secret is None else {"client_secret": self.client_secret}
        return {"client_id": self.client_id, **secret}


def parse_applications(text: str) -> Mapping[str, Application]:
    """Read applications by the name that definitions give them (`app`, or the vendor's name), from TOML or JSON.

    Raises ValueError with the table and what is wrong with it, never with what stands there.
    """
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError:  # its own sentence would show the text
        raise ValueError("is neither TOML nor JSON: write [vendor], then client_id = and client_secret =") from None
    found = {}
    for name, table in document.items():
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"[{name[:64]}] is no vendor's name: lower case letters, digits and _")
        found[name] = _application(name, table)
    return found


def _application(name: str, table: object) -> Application:
    if not isinstance(table, Mapping):
        raise ValueError(f"{name} should be a table: [{name}], then client_id = and client_secret =")  # noqa: TRY004 - of a setting
    unknown = sorted(set(table) - _MEMBERS)
    if unknown:
        raise ValueError(f"[{name}] has {unknown[0][:40]!r}, but takes client_id and client_secret")
    client_id, client_secret = table.get("client_id"), table.get("client_secret")
    if not isinstance(client_id, str) or not client_id.strip():
        raise ValueError(f"[{name}] has no client_id")
    if client_secret is not None and (not isinstance(client_secret, str) or not client_secret.strip()):
        raise ValueError(f"[{name}] has a client_secret that is no text; leave it out for a public client")
    return Application(client_id=client_id.strip(), client_secret=client_secret and client_secret.strip())
