"""`connection-health health`: why a connection is healthy or not, who must act, and since when."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from classifier import PRECEDENCE
from classifier.verdict import Verdict
from classifier.vocabulary import OWNER, HealthName
from cli import output, waiting
from cli.door import station
from cli.durations import read_secs
from cli.errors import NotThereError
from cli.exits import Exit, exit_of
from cli.ids import ConnectionId, find_connection
from cli.output import Fact, Json
from cli.runs import print_evidence
from models import connections, history
from models.connections import ConnectionView
from models.history import HealthView
from models.representations import change_document, connection_document, health_document
from worker.explanation import explanation_document, judged_again

app = typer.Typer(no_args_is_help=True, help="Why a connection is healthy or not.", rich_markup_mode=None)

WAIT_S: Final = 300


@app.command("show")
def show(ctx: typer.Context, connection: ConnectionId, *, as_json: Json = False) -> None:
    """Say how a connection is. Exit code 0 healthy; 10, 11, 12: the customer, the vendor or you must act."""
    with station(ctx) as at, at.control.connection() as db:
        view = _view(connections.get_connection(db, find_connection(db, connection)))
        platform = at.settings.platform_name
    health = view.health
    if as_json:
        output.print_json({"connection_id": view.connection_id, "health": health and health_document(health)})
    elif health is None:
        output.print_line("This connection has not finished a run yet.")
    else:
        name, owner = health.name, health.owner
        output.print_facts(
            [
                Fact("health", output.health_text(name, owner)),
                Fact("must act", output.who_acts(name, owner, platform)),
                Fact("since", f"{output.stamp(health.since)} ({output.ago(health.since)})"),
                Fact("why", health.sentence),
                Fact("next step", health.next_step if name is not HealthName.HEALTHY else None),
            ]
        )
    raise typer.Exit(Exit.OK if health is None else exit_of(health.name, health.owner))


@app.command("explain")
def explain_health(ctx: typer.Context, connection: ConnectionId, *, as_json: Json = False) -> None:
    """Show what a health rests on: evidence, the rule that fired, what outranked what, the owner, the next step."""
    with station(ctx) as at:
        with at.control.connection() as db:
            view = _view(connections.get_connection(db, find_connection(db, connection)))
        platform = at.settings.platform_name
        judged = None if view.health is None else judged_again(view, view.health, at.dialect_of(view.vendor))
    if as_json:
        output.print_json(explanation_document(view, judged))
        return
    if view.health is None:
        output.print_line("This connection has not finished a run yet, so there is nothing to explain.")
        return
    _print_explanation(view, view.health, judged, platform)


@app.command("history")
def show_history(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only changes before this run.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Show how a connection's health changed, the newest change first."""
    with station(ctx) as at, at.control.connection() as db:
        connection_id = find_connection(db, connection)
        found = history.health_history(db, connection_id, before_seq=before, limit=limit)
        platform = at.settings.platform_name
    if as_json:
        following = found[-1].run_seq if len(found) == limit else None
        output.print_json({"items": [change_document(each) for each in found], "next_before": following})
        return
    rows: list[list[output.Cell]] = [
        [
            output.stamp(each.changed_at) or "",
            str(each.previous_name or "never run"),
            output.health_text(each.name, each.owner),
            each.reason,
            output.who_acts(each.name, each.owner, platform),
            str(each.run_seq),
        ]
        for each in found
    ]
    columns = ("WHEN", "FROM", "TO", "REASON", "WHO MUST ACT", "RUN")
    output.print_rows(columns, rows, empty="This connection has not finished a run yet.")


@app.command("wait")
def wait(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    wanted: Annotated[
        HealthName, typer.Option("--for", case_sensitive=False, help="The health to wait for.")
    ] = HealthName.HEALTHY,
    timeout: Annotated[int, typer.Option(parser=read_secs, metavar="TIME", help="How long to wait at most.")] = WAIT_S,
    as_json: Json = False,
) -> None:
    """Wait until a connection has a health. Exit code 0 once it has; 124 where the wait timed out."""
    with station(ctx) as at:
        with at.control.connection() as db:
            connection_id = find_connection(db, connection)

        def look() -> ConnectionView | None:
            with at.control.connection() as db:
                view = _view(connections.get_connection(db, connection_id))
            return view if view.health is not None and view.health.name is wanted else None

        with waiting.spinner(f"waiting for {wanted}"):
            view = waiting.until(look, timeout_s=timeout, what=f"{wanted} of {connection_id}")
    if as_json:
        output.print_json(connection_document(view))
    else:
        output.print_line(f"{connection_id} is {wanted}.")


def _view(view: ConnectionView | None) -> ConnectionView:
    if view is None:
        raise NotThereError("the connection is gone")
    return view


def _print_explanation(view: ConnectionView, health: HealthView, judged: Verdict | None, platform: str) -> None:
    name, owner = health.name, health.owner
    output.print_facts(
        [
            Fact("connection", f"{view.connection_id} ({view.vendor}, {view.identifier or view.organization_name})"),
            Fact("health", output.health_text(name, owner)),
            Fact("reason", health.reason),
            Fact("why", health.sentence),
            Fact("run", f"{health.run_seq}, {output.ago(health.classified_at)}"),
            Fact("note", "these credentials were replaced since" if health.superseded else None),
        ]
    )
    print_evidence(health.evidence)
    output.print_head("Rule")
    _print_rules(health, judged)
    output.print_head("Data types and precedence")
    _print_precedence(health.data_types, name)
    output.print_head("Who must act")
    next_step = health.next_step if name is not HealthName.HEALTHY else None
    output.print_facts(
        [
            Fact("owner", output.who_acts(name, owner, platform)),
            Fact("next step", next_step or "none"),
            Fact("retry at", output.stamp(health.retry_at)),
        ]
    )


def _print_rules(health: HealthView, judged: Verdict | None) -> None:
    output.print_line(f"  {health.rule or 'none'} fired, which says {health.name} ({health.reason}).")
    if judged is None:
        output.print_line(
            "  No exchange decided: it rests on what our own side says, or on every data type being read."
        )
        return
    rows: list[list[output.Cell]] = [
        [Text("=>" if step.fired else "", style="bold"), step.stage, step.rule, step.saw] for step in judged.trace
    ]
    if judged.rule != health.rule:
        output.print_line(
            f"  Judged again from what was kept of the evidence, the rules of today say {judged.name} ({judged.rule})."
        )
    if rows:
        output.print_rows(("", "STAGE", "RULE", "SAW"), rows, empty="")


def _print_precedence(data_types: Sequence[Mapping[str, Any]], decided: HealthName) -> None:
    ranks = {str(name): place for place, name in enumerate(PRECEDENCE)}
    tried = [each for each in data_types if each.get("attempted") and each.get("name")]
    rows: list[list[output.Cell]] = []
    for each in sorted(tried, key=lambda each: ranks.get(str(each["name"]), len(ranks))):
        name = HealthName(each["name"])
        mark = "=>" if name is decided else ""
        rows.append(
            [
                Text(mark, style="bold"),
                str(each.get("data_type")),
                str(each.get("endpoint") or ""),
                output.health_text(name, OWNER[name]),
                str(each.get("reason") or ""),
            ]
        )
    if rows:
        output.print_rows(("", "DATA TYPE", "ENDPOINT", "HEALTH", "REASON"), rows, empty="")
    untried = [str(each.get("data_type")) for each in data_types if not each.get("attempted")]
    if untried:
        output.print_line(f"  Not tried after that: {', '.join(untried)}.")
    output.print_line(f"  The gravest one stands: {' > '.join(PRECEDENCE)}.")
