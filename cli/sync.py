"""`connection-health sync`: run a connection now."""

from typing import Annotated, Final

import typer

from classifier.vocabulary import OWNER
from cli import output, waiting
from cli.door import hints, station
from cli.durations import read_secs
from cli.errors import NotThereError
from cli.exits import exit_of
from cli.ids import ConnectionId, find_connection
from cli.output import Fact, Json
from cli.runs import records_text
from models import connections, runs
from models.representations import run_document
from models.vocabulary import Trigger
from worker.sync import wake

app = typer.Typer(rich_markup_mode=None)

SLACK_S: Final = 60
"""Beside the run's own budget: until a worker takes it, and until a dead worker is noticed."""


@app.command()
def sync(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; the exit code tells its health.")] = False,
    timeout: Annotated[
        int | None,
        typer.Option(parser=read_secs, metavar="TIME", help="How long to wait [default: its timeout and a minute]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a connection now; one that is running runs once more afterwards. Asking twice is no harm.

    With --wait: exit code 0 where it is healthy; 10, 11 or 12 where the customer, the vendor or you must act; 124 where
    the wait timed out.
    """
    with station(ctx) as at:
        # In one transaction: the trigger holds the schedule's row, so the number of the run that answers it is certain.
        with at.control.transaction() as db:
            connection_id = find_connection(db, connection)
            if not runs.trigger(db, connection_id, Trigger.MANUAL):
                raise waiting.missing(connection_id)
            view = connections.get_connection(db, connection_id)
        if view is None:
            raise NotThereError(f"no connection {connection_id}")
        run_seq = view.run_seq + 1
        wake(hints(at), connection_id)
        if not wait:
            if as_json:
                output.print_json({"connection_id": connection_id, "run_seq": run_seq})
            else:
                output.print_line(f"Run {run_seq} of {connection_id} was asked for.")
            return
        timeout_s = timeout if timeout is not None else view.timeout_secs + SLACK_S
        run = waiting.finished_run(at.control, connection_id, run_seq, timeout_s=timeout_s)
        platform = at.settings.platform_name
    owner = None if run.name is None else OWNER[run.name]
    if as_json:
        output.print_json(run_document(run))
    else:
        output.print_facts(
            [
                Fact("run", str(run.run_seq)),
                Fact("health", output.health_text(run.name, owner)),
                Fact("must act", output.who_acts(run.name, owner, platform)),
                Fact("why", run.sentence),
                Fact("next step", run.next_step if owner is not None and exit_of(run.name, owner) else None),
                Fact("records", records_text(run)),
                Fact("requests", str(run.requests)),
            ]
        )
    raise typer.Exit(exit_of(run.name, owner))
