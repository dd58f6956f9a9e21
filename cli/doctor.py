"""`connection-health doctor`: whether everything is well, and what to do where it is not."""

import difflib
from collections import Counter
from typing import Annotated, Final

import typer
from rich.text import Text

from cli import output
from cli.door import station
from cli.errors import BadInputError
from cli.exits import Exit
from cli.output import Json
from cli.surroundings import local_home
from worker.checks.examination import CHECKS, Result, examine, worst
from worker.checks.finding import Bench, State

app = typer.Typer(rich_markup_mode=None)

STYLE: Final = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


@app.command()
def doctor(
    ctx: typer.Context,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this check, by its name; may be given several times.", metavar="CHECK"),
    ] = None,
    within: Annotated[
        float, typer.Option(help="How long each check may take, in seconds; they run side by side.", min=1, max=60)
    ] = 5.0,
    strict: Annotated[bool, typer.Option("--strict", help="Take a warning for a failure.")] = False,
    as_json: Json = False,
) -> None:
    """Look after everything: servers, tables, workers, queue, keys, definitions, disk. Changes nothing.

    Exit code 0 where nothing failed, 5 where something did (with --strict: where there is a warning).
    """
    names = [_known(name) for name in only or CHECKS]
    with station(ctx, checked=False) as at:
        results = examine(Bench(station=at, within_s=within), names)
    state = worst(results)
    if as_json:
        output.print_json({"state": state, "checks": [_document(each) for each in results]})
    else:
        output.print_rows(("CHECK", "STATE", "MEASURED", "WHAT TO DO"), map(_row, results), empty="No checks.")
        counts = Counter(each.state for each in results)
        output.note(", ".join(f"{counts[each]} {each}" for each in State if counts[each]))
    folder = local_home(ctx)
    if folder is not None and any(each.name == "database" and each.state is State.FAILED for each in results):
        output.note(f"The settings are those of {folder}: `connection-health up` starts what belongs to it")
    if state is State.FAILED or (strict and state is State.WARNING):
        raise typer.Exit(Exit.NOT_PASSED)


def _known(name: str) -> str:
    if name not in CHECKS:
        close = difflib.get_close_matches(name, CHECKS, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise BadInputError(f"no check named {name!r}.{meant} There are {', '.join(CHECKS)}")
    return name


def _row(each: Result) -> list[output.Cell]:
    finding = each.finding
    return [each.name, Text(each.state, style=STYLE[each.state]), finding.measured, finding.remedy]


def _document(each: Result) -> dict[str, object]:
    return {
        "name": each.name,
        "state": each.state,
        "measured": each.finding.measured,
        "remedy": each.finding.remedy or None,
        "took_ms": round(each.took_s * 1000),
        "values": each.finding.values,
    }
