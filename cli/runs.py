"""`connection-health runs`: what happened."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from classifier.vocabulary import OWNER
from cli import output
from cli.door import station
from cli.errors import NotThereError
from cli.ids import ConnectionId, find_connection
from cli.output import Fact, Json
from cli.waterfall import waterfall_rows
from models import history
from models.history import RunView
from models.representations import run_document

app = typer.Typer(no_args_is_help=True, help="A connection's runs.", rich_markup_mode=None)

LONGEST_BODY_CHARS: Final = 2000
LONGEST_DATA_CHARS: Final = 200
"""Of a success: it is the customer's data, and proves little."""
EVIDENCE_HEADERS: Final = ("www-authenticate", "retry-after", "content-type", "x-ratelimit-remaining", "x-request-id")


@app.command("list")
def list_runs(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 20,
    before: Annotated[int | None, typer.Option(help="Only runs numbered below this one.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """List a connection's runs, the newest first."""
    with station(ctx) as at, at.control.connection() as db:
        connection_id = find_connection(db, connection)
        found = history.list_runs(db, connection_id, before_seq=before, limit=limit)
    if as_json:
        following = found[-1].run_seq if len(found) == limit else None
        output.print_json({"items": [run_document(run) for run in found], "next_before": following})
        return
    columns = ("RUN", "STATE", "TRIGGER", "STARTED", "TOOK", "HEALTH", "REASON", "REQUESTS", "RECORDS")
    output.print_rows(columns, [_row(run) for run in found], empty="This connection has never run.")


@app.command("show")
def show(
    ctx: typer.Context,
    connection: ConnectionId,
    run: Annotated[int | None, typer.Argument(help="Number of the run; the newest one where it is left out.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one run: its exchanges in order, the rule that fired and the evidence that it rests on."""
    with station(ctx) as at, at.control.connection() as db:
        connection_id = find_connection(db, connection)
        if run is None:
            newest = history.list_runs(db, connection_id, limit=1)
            run = newest[0].run_seq if newest else 0
        found = history.get_run(db, connection_id, run)
    if found is None:
        what = f"connection {connection_id} has no run {run}" if run else f"connection {connection_id} has never run"
        raise NotThereError(f"{what}: `connection-health runs list {str(connection_id)[:8]}` shows those that are kept")
    if as_json:
        output.print_json(run_document(found, whole=True))
        return
    output.print_facts(_facts(found))
    _print_data_types(found.data_types)
    _print_exchanges(found.exchanges, found.requests)
    print_evidence(found.evidence)


def records_text(run: RunView) -> str:
    """Say what a run stored: `+12 ~3 =985`, and what it had to leave out."""
    text = f"+{run.records_new} ~{run.records_changed} ={run.records_unchanged}"
    return f"{text} skipped {run.records_skipped}" if run.records_skipped else text


def print_evidence(evidence: Mapping[str, Any] | None) -> None:
    """Print the exchange that decided: request line, status, telling headers, the beginning of the body."""
    if not evidence:
        return
    output.print_head("Evidence")
    output.print_line(f"  {evidence.get('method')} {evidence.get('url')}")
    if evidence.get("status") is not None:
        output.print_line(f"  HTTP {evidence['status']}")
    headers = evidence.get("headers") or {}
    for name in EVIDENCE_HEADERS:
        if name in headers:
            output.print_line(f"  {name}: {headers[name]}")
    for link in evidence.get("exception") or ():
        output.print_line(f"  {link.get('module')}.{link.get('name')}: {link.get('message')}")
    body = str(evidence.get("body") or "").strip()
    if body:
        shown = body[: LONGEST_DATA_CHARS if _is_success(evidence) else LONGEST_BODY_CHARS]
        output.print_line("")
        for line in shown.splitlines():
            output.print_line(f"  {line}")
        if len(body) > len(shown) or evidence.get("body_is_cut"):
            output.print_line("  […]")


def _is_success(evidence: Mapping[str, Any]) -> bool:
    status = evidence.get("status")
    return isinstance(status, int) and 200 <= status < 300 and not evidence.get("exception")


def _row(run: RunView) -> list[str | Text]:
    took = None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds()
    owner = None if run.name is None else OWNER[run.name]
    return [
        str(run.run_seq),
        str(run.state),
        str(run.trigger),
        output.ago(run.started_at),
        output.milliseconds(took),
        Text("") if run.name is None else output.health_text(run.name, owner),
        run.reason or "",
        str(run.requests),
        records_text(run),
    ]


def _facts(run: RunView) -> list[Fact]:
    took = None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds()
    verdict = None if run.name is None else output.health_text(run.name, OWNER[run.name])
    return [
        Fact("connection", str(run.connection_id)),
        Fact("run", f"{run.run_seq} ({run.trigger}, {run.vendor})"),
        Fact("state", str(run.state)),
        Fact("started", output.stamp(run.started_at)),
        Fact("took", output.milliseconds(took) or None),
        Fact("health", verdict),
        Fact("reason", run.reason),
        Fact("rule", run.rule),
        Fact("why", run.sentence),
        Fact("next step", run.next_step),
        Fact("retry at", output.stamp(run.retry_at)),
        Fact("requests", str(run.requests)),
        Fact("records", records_text(run)),
        Fact("skipped slots", str(run.skipped_slots) if run.skipped_slots else None),
    ]


def _print_data_types(data_types: Sequence[Mapping[str, Any]]) -> None:
    if not data_types:
        return
    output.print_head("Data types")
    rows: list[list[output.Cell]] = []
    for each in data_types:
        name = each.get("name")
        verdict = output.health_text(name, OWNER.get(name)) if name else Text("")
        if not each.get("attempted"):
            verdict = Text("not tried", style="dim")
        counts = f"+{each.get('new', 0)} ~{each.get('changed', 0)} ={each.get('unchanged', 0)}"
        rows.append(
            [
                str(each.get("data_type")),
                str(each.get("endpoint") or ""),
                verdict,
                str(each.get("reason") or ""),
                counts,
            ]
        )
    output.print_rows(("DATA TYPE", "ENDPOINT", "HEALTH", "REASON", "RECORDS"), rows, empty="")


def _print_exchanges(exchanges: Sequence[Mapping[str, Any]], requests: int) -> None:
    if not exchanges:
        return
    output.print_head(f"Exchanges ({len(exchanges)} of {requests} kept)" if len(exchanges) < requests else "Exchanges")
    columns = ("#", "FOR", "REQUEST", "STATUS", "START", "TOOK", "BYTES", "", "NOTE")
    output.print_rows(columns, waterfall_rows(exchanges), empty="")
