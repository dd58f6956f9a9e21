"""`connection-health db`: make and migrate the tables."""

import typer

from cli import output
from cli.exits import Exit
from cli.output import Fact, Json
from cli.surroundings import read_settings
from models import migrate
from models.database import SCHEMA_REVISION, Database, target_of
from models.errors import SchemaMissingError, SchemaOutdatedError

app = typer.Typer(no_args_is_help=True, help="Make and migrate the tables.", rich_markup_mode=None)


@app.command("migrate")
def migrate_tables(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Bring the tables to the newest revision. Safe to run again, and while older workers still run."""
    url = read_settings(ctx).database_url.get_secret_value()
    before = migrate.current(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    if as_json:
        output.print_json({"before": before, "after": after, "target": target_of(url)})
    elif before == after:
        output.print_line(f"Nothing to do: {target_of(url)} is at revision {after}.")
    else:
        output.print_line(f"{target_of(url)}: {before or 'empty'} -> revision {after}.")


@app.command("status")
def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Say whether the tables are those that this version needs; exit code 1 where they are not."""
    url = read_settings(ctx).database_url.get_secret_value()
    database = Database(url, max_size=1)
    problem = None
    try:
        database.check()
    except (SchemaMissingError, SchemaOutdatedError) as error:
        problem = str(error)
    finally:
        database.close()
    found = migrate.current(url)
    if as_json:
        document = {"ok": problem is None, "revision": found, "needed": SCHEMA_REVISION, "target": target_of(url)}
        output.print_json({**document, "problem": problem})
    else:
        output.print_facts(
            [
                Fact("database", target_of(url)),
                Fact("revision", found or "none"),
                Fact("needed", SCHEMA_REVISION),
                Fact("problem", problem),
            ]
        )
    if problem is not None:
        raise typer.Exit(Exit.OURS)
