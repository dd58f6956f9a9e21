"""`connection-health keys`: keys of the HTTP API."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.text import Text

from cli import output
from cli.door import station
from cli.durations import read_secs
from cli.errors import BadInputError, NotThereError
from cli.ids import find_organization
from cli.output import Fact, Json
from models import api_keys, audit
from models.api_keys import ApiKey
from models.audit import Actor
from models.representations import key_document
from models.vocabulary import Scope

app = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API.", rich_markup_mode=None)

PAGE: Final = 500
COMMAND: Final = Actor(name="command")


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for, to tell keys apart by.")],
    *,
    scope: Annotated[
        Scope, typer.Option(case_sensitive=False, help="What it may do; each includes those before it.")
    ] = Scope.READ,
    org: Annotated[
        str | None, typer.Option(help="The one organization that it sees: id or name [default: all].")
    ] = None,
    expires: Annotated[
        int | None, typer.Option(parser=read_secs, metavar="TIME", help="After how long it ends: 12h, 90d.")
    ] = None,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute, where not the usual.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it. It is shown this once: kept is only a digest."""
    with station(ctx) as at, at.control.transaction() as db:
        organization_id = None if org is None else find_organization(db, org).organization_id
        key, text = api_keys.create_key(
            db,
            name=name,
            scope=scope,
            organization_id=organization_id,
            created_by=COMMAND.name,
            expires_at=None if expires is None else datetime.now(UTC) + timedelta(seconds=expires),
            requests_per_minute=per_minute,
        )
        audit.write_entry(
            db,
            COMMAND,
            "key.created",
            organization_id=organization_id,
            subject_id=key.key_id,
            changes={"name": key.name, "scope": key.scope, "expires_at": key.expires_at},
        )
    if as_json:
        output.print_json({"key": text, **key_document(key)})
        return
    output.print_line(text)
    output.note(f"Key {key.key_id} ({key.scope}, {_of(key)}). It is not shown again: send it as X-API-KEY.")


@app.command("list")
def list_all(
    ctx: typer.Context,
    *,
    org: Annotated[str | None, typer.Option(help="Only those of this organization: id or name.")] = None,
    as_json: Json = False,
) -> None:
    """List keys, the oldest first, those that open nothing any more too."""
    with station(ctx) as at, at.control.connection() as db:
        organization_id = None if org is None else find_organization(db, org).organization_id
        found: list[ApiKey] = []
        while True:
            after = found[-1].key_id if found else None
            part = api_keys.list_keys(db, organization_id=organization_id, after=after, limit=PAGE)
            found += part
            if len(part) < PAGE:
                break
    if as_json:
        output.print_json({"items": [key_document(key) for key in found]})
        return
    columns = ("ID", "NAME", "SCOPE", "OF", "ENDS IN", "STATE", "LAST USED")
    rows: list[list[output.Cell]] = [
        [
            str(key.key_id),
            key.name,
            str(key.scope),
            _of(key),
            f"…{key.ending}",
            _state(key),
            output.ago(key.last_used_at) if key.last_used_at else "never",
        ]
        for key in found
    ]
    output.print_rows(columns, rows, empty="No keys yet: `connection-health keys create NAME --scope read`")


@app.command("revoke")
def revoke(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Its id, as `keys list` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """Let a key open nothing from now on."""
    try:
        key_id = UUID(key)
    except ValueError:
        raise BadInputError("a key is named by its whole id, as `connection-health keys list` shows it") from None
    with station(ctx) as at, at.control.transaction() as db:
        found = api_keys.get_key(db, key_id)
        if found is None:
            raise NotThereError(f"no key {key_id}: `connection-health keys list` shows those there are")
        if api_keys.revoke_key(db, key_id):
            audit.write_entry(
                db,
                COMMAND,
                "key.revoked",
                organization_id=found.organization_id,
                subject_id=key_id,
                changes={"name": found.name},
            )
        found = api_keys.get_key(db, key_id)
    if found is None:
        raise NotThereError(f"no key {key_id}")
    if as_json:
        output.print_json(key_document(found))
    else:
        output.print_facts([Fact("key", str(key_id)), Fact("name", found.name), Fact("state", _state(found))])


def _of(key: ApiKey) -> str:
    return "the whole account" if key.organization_id is None else str(key.organization_id)


def _state(key: ApiKey) -> Text:
    if key.revoked_at is not None:
        return Text("revoked", style="dim")
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return Text("expired", style="dim")
    until = f", until {output.stamp(key.expires_at)}" if key.expires_at else ""
    return Text(f"open{until}", style="green")
