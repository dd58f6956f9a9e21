"""Ids as people type them: whole, or as many of the first characters as it takes."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from psycopg import Connection

from cli.errors import AmbiguousIdError, BadInputError, NotThereError
from models import connections
from models.connections import Organization
from models.lists import Place, list_connections

ConnectionId = Annotated[str, typer.Argument(help="The connection's id, or the beginning of it.", metavar="CONNECTION")]

SHORTEST_PREFIX: Final = 4
PAGE: Final = 500
_HEX: Final = re.compile(r"[0-9a-f]{1,8}(-?[0-9a-f]{1,4}){0,3}(-?[0-9a-f]{1,12})?-?")


def find_connection(db: Connection[Any], text: str) -> UUID:
    """Return the id of the one connection that the text names.

    Raises BadInputError, NotThereError, AmbiguousIdError; each says what to type instead.
    """
    prefix = text.strip().lower()
    if not _HEX.fullmatch(prefix) or not SHORTEST_PREFIX <= len(prefix.replace("-", "")) <= 32:
        raise BadInputError(
            f"{text!r} is no connection's id: give the id that `connection-health connections list` shows, "
            f"or its first {SHORTEST_PREFIX} characters or more"
        )
    whole = prefix.replace("-", "")
    if len(whole) == len(UUID(int=0).hex):
        if connections.get_connection(db, UUID(whole)) is None:
            raise NotThereError(f"no connection {text}: `connection-health connections list` shows them all")
        return UUID(whole)
    first, last = _range(whole)
    page = list_connections(db, after=Place(connection_id=UUID(int=first - 1)) if first else None, limit=2)
    found = [each.connection_id for each in page.items if each.connection_id.int <= last]
    if not found:
        raise NotThereError(f"no connection {text}: `connection-health connections list` shows them all")
    if len(found) > 1:
        raise AmbiguousIdError(f"{text} is the beginning of several ids ({found[0]}, {found[1]} …): type more of it")
    return found[0]


def all_organizations(db: Connection[Any]) -> Iterator[Organization]:
    """Yield every organization, the oldest first."""
    after: UUID | None = None
    while True:
        page = connections.list_organizations(db, after=after, limit=PAGE)
        yield from page.items
        after = page.after
        if after is None:
            return


def find_organization(db: Connection[Any], text: str) -> Organization:
    """Return the one organization of that id, beginning of an id, or name. Raises NotThereError, AmbiguousIdError."""
    wanted = text.strip()
    prefix = wanted.lower().replace("-", "")
    if _HEX.fullmatch(wanted.lower()) and len(prefix) >= SHORTEST_PREFIX:
        first, last = _range(prefix)
        page = connections.list_organizations(db, after=UUID(int=first - 1) if first else None, limit=2)
        near = [each for each in page.items if each.organization_id.int <= last]
    else:
        near = []
    found = near or [each for each in all_organizations(db) if each.name == wanted]
    if not found:
        raise NotThereError(f"no organization {text!r}: `connection-health organizations list` shows them all")
    if len(found) > 1:
        raise AmbiguousIdError(f"{text!r} fits more than one organization: give the whole id")
    return found[0]


def _range(prefix: str) -> tuple[int, int]:
    """Return the first and the last id that begin with these hexadecimal digits, as numbers."""
    return int(prefix.ljust(32, "0"), 16), int(prefix.ljust(32, "f"), 16)
