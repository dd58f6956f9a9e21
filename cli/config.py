"""`connection-health config`: the settings in force, and where each comes from."""

import typer
from pydantic import SecretStr

from cli import output
from cli.exits import Exit
from cli.output import Json
from cli.surroundings import environment, read_settings_offline
from worker.settings import PREFIX, Settings, merged

app = typer.Typer(no_args_is_help=True, help="The settings in force.", rich_markup_mode=None)

SET = "set, not shown"


@app.callback()
def config() -> None:
    """Show the settings in force, and where each comes from."""  # without this, one command alone would be no group


@app.command("show")
def show(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Show every setting, its value and where it comes from. Secrets are never shown."""
    found = merged(environment(ctx), {})
    settings = read_settings_offline(ctx)
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        origin = found[name][1] if name in found else "missing" if field.is_required() else "default"
        if name not in found and field.is_required():
            value = None
        rows.append({"name": name, "value": _shown(value), "origin": origin, "variable": f"{PREFIX}{name.upper()}"})
    if as_json:
        output.print_json({"settings": rows})
    else:
        columns = ("SETTING", "VALUE", "ORIGIN", "VARIABLE")
        output.print_rows(columns, [[str(row[key] or "") for key in row] for row in rows], empty="no settings")
    if any(row["origin"] == "missing" for row in rows):
        output.note("Error: set what is missing; the `up` command needs none of it")
        raise typer.Exit(Exit.USAGE)


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return SET
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
