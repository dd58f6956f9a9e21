"""`connection-health organizations`: your customers."""

from typing import Annotated

import typer

from cli import output
from cli.door import station
from cli.ids import all_organizations
from cli.output import Json
from models import connections
from models.representations import organization_document

app = typer.Typer(no_args_is_help=True, help="Your customers, each with connections.", rich_markup_mode=None)


@app.command("create")
def create(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name.")], *, as_json: Json = False
) -> None:
    """Create an organization and print its id."""
    with station(ctx) as at, at.control.transaction() as db:
        organization = connections.create_organization(db, name)
    if as_json:
        output.print_json(organization_document(organization))
    else:
        output.print_line(str(organization.organization_id))


@app.command("list")
def list_all(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the organizations."""
    with station(ctx) as at, at.control.connection() as db:
        found = list(all_organizations(db))
    if as_json:
        output.print_json({"items": [organization_document(each) for each in found]})
        return
    rows = [[str(each.organization_id), each.name, output.ago(each.created_at)] for each in found]
    empty = 'No organizations yet: `connection-health organizations create "My customer"`'
    output.print_rows(("ID", "NAME", "CREATED"), rows, empty=empty)
