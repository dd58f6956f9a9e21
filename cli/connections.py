"""`connection-health connections`: your customers' accounts at their vendors."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.text import Text

from classifier.vocabulary import HealthName, HealthStatus, ResolutionOwner
from cli import output
from cli.board import next_run
from cli.credentials_input import gather, read_document, read_options
from cli.door import hints, station
from cli.durations import read_secs
from cli.errors import BadInputError, NotThereError, RefusedError
from cli.exits import exit_of
from cli.ids import ConnectionId, find_connection, find_organization
from cli.output import Fact, Json
from cli.waiting import spinner, until
from models import authorizations, connections
from models.authorizations import TokenOutlook
from models.connections import UNSET, ConnectionView
from models.database import Database
from models.lists import ConnectionFilter, Place, list_connections
from models.representations import connection_document, lapsing_document, outlook_document, proof
from models.vocabulary import ConnectionState, Trigger
from vendors.credentials_schema import prepare
from vendors.definition import Definition
from worker import authorization
from worker import credentials as live
from worker.authorization import is_chosen
from worker.credentials import ProbeReport
from worker.station import Station
from worker.sync import request_sync, wake

app = typer.Typer(no_args_is_help=True, help="Your customers' accounts at their vendors.", rich_markup_mode=None)

INTERVAL_SECS: Final = 14_400
TIMEOUT_SECS: Final = 3_600
CONSENT_SECS: Final = 900
AHEAD_SECS: Final = 14 * 86_400
_WORDS: Final[Mapping[bool | None, str]] = {True: "open", False: "refused", None: "not told"}

CredentialsFile = Annotated[
    Path | None, typer.Option(help="A file with one JSON object, the credentials.", dir_okay=False)
]
Credentials = Annotated[
    str | None, typer.Option(help="Only `-`: the credentials as one JSON object on standard input.", metavar="-")
]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="A setting of the vendor's, NAME=VALUE; may be repeated.")
]
OptionsFile = Annotated[Path | None, typer.Option(help="A file with one JSON object, the settings.", dir_okay=False)]
NoTest = Annotated[bool, typer.Option("--no-test", help="Store the credentials without trying them at the vendor.")]
Interval = Annotated[int, typer.Option(parser=read_secs, metavar="TIME", help="Time between runs: 15m, 4h, 1d.")]
Timeout = Annotated[int, typer.Option(parser=read_secs, metavar="TIME", help="The longest that a run may take.")]
NewInterval = Annotated[
    int | None, typer.Option(parser=read_secs, metavar="TIME", help="Time between runs: 15m, 4h, 1d.")
]
NewTimeout = Annotated[
    int | None, typer.Option(parser=read_secs, metavar="TIME", help="The longest that a run may take.")
]


@app.command("add")
def add(
    ctx: typer.Context,
    vendor: Annotated[str, typer.Argument(help="A vendor's name, as `vendors list` shows it.")],
    *,
    org: Annotated[str, typer.Option(help="The organization: its id, the beginning of it, or its name.")],
    identifier: Annotated[str | None, typer.Option(help="A name of your own for it.")] = None,
    option: Options = None,
    options_file: OptionsFile = None,
    credentials_file: CredentialsFile = None,
    credentials: Credentials = None,
    interval: Interval = INTERVAL_SECS,
    timeout: Timeout = TIMEOUT_SECS,
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Add a connection. Its credentials are tried at the vendor first; refused ones are not stored (exit code 4).

    Without --credentials-file and --credentials -, they are asked for at the terminal.
    """
    with station(ctx) as at:
        definition = at.catalogue.get(vendor)
        with at.control.connection() as db:
            organization = find_organization(db, org)
        options = _options(option, options_file, definition)
        given = gather(
            file=credentials_file,
            source=credentials,
            schema=definition.credentials,
            vendor=vendor,
            wanted=not is_chosen(definition, options),
        )
        prepare(definition, given or {}, options)  # what is not tested must at least have the right form
        connection_id, report = live.create(
            at,
            organization_id=organization.organization_id,
            vendor=vendor,
            credentials=given or {},
            options=options,
            identifier=identifier,
            refresh_interval_secs=interval,
            timeout_secs=timeout,
            test=not no_test,
        )
        wake(hints(at), connection_id)
        view = _view(at.control, connection_id)
    if as_json:
        output.print_json({**connection_document(view), "test": _report_document(report)})
        return
    output.print_line(str(connection_id))
    if view.state is ConnectionState.PENDING:
        output.note(
            "It waits for its customer's consent at the vendor: "
            f"`connection-health connections authorize {connection_id}` gives the link"
        )
        return
    output.note(f"{_tested(report)} Its first run starts at once: `connection-health health wait {connection_id}`")


@app.command("list")
def list_all(
    ctx: typer.Context,
    *,
    health: Annotated[
        HealthName | None, typer.Option(case_sensitive=False, help="Only those with this health.")
    ] = None,
    status: Annotated[HealthStatus | None, typer.Option(case_sensitive=False, help="Healthy or unhealthy.")] = None,
    owner: Annotated[
        ResolutionOwner | None, typer.Option(case_sensitive=False, help="Who must act; LEEN is you.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason (`token_expired`).")] = None,
    never_run: Annotated[bool, typer.Option("--never-run", help="Only those that have not finished a run.")] = False,
    vendor: Annotated[str | None, typer.Option(help="Only those of this vendor.")] = None,
    org: Annotated[str | None, typer.Option(help="Only those of this organization: id or name.")] = None,
    state: Annotated[
        ConnectionState | None, typer.Option(case_sensitive=False, help="Only those in this state.")
    ] = None,
    identifier: Annotated[str | None, typer.Option(help="Only those with exactly this identifier.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this connection: its whole id.")] = None,
    as_json: Json = False,
) -> None:
    """List connections, the oldest first. Every filter that is given must hold."""
    with station(ctx) as at, at.control.connection() as db:
        organization_id = None if org is None else find_organization(db, org).organization_id
        chosen = ConnectionFilter(
            health=health,
            status=status,
            owner=owner,
            vendor=vendor,
            organization_id=organization_id,
            state=state,
            identifier=identifier,
            reason=reason,
            never_run=never_run,
        )
        page = list_connections(db, chosen, after=_place(after), limit=limit)
        platform = at.settings.platform_name
    next_after = None if page.after is None else page.after.connection_id
    if as_json:
        output.print_json({"items": [connection_document(each) for each in page.items], "next_after": next_after})
        return
    columns = ("ID", "ORGANIZATION", "VENDOR", "IDENTIFIER", "HEALTH", "WHO MUST ACT", "REASON", "SINCE", "NEXT RUN")
    empty = "No connections" + (" that fit." if chosen != ConnectionFilter() or after else " yet.")
    output.print_rows(columns, [_row(each, platform) for each in page.items], empty=empty)
    if next_after is not None:
        output.note(f"There are more: --after {next_after}")


@app.command("show")
def show(ctx: typer.Context, connection: ConnectionId, *, as_json: Json = False) -> None:
    """Show one connection: its settings, its health, when it runs next."""
    with station(ctx) as at:
        view = _found(at.control, connection)
        platform = at.settings.platform_name
        with at.control.connection() as db:
            outlook = authorizations.outlook(db, view.connection_id)
    if as_json:
        output.print_json({**connection_document(view), "authorization": outlook_document(outlook)})
        return
    output.print_facts([*_facts(view, platform), *_outlook_facts(outlook)])


@app.command("update")
def update(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    identifier: Annotated[str | None, typer.Option(help="A name of your own for it; empty takes it away.")] = None,
    option: Options = None,
    options_file: OptionsFile = None,
    credentials_file: CredentialsFile = None,
    credentials: Credentials = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask for new credentials at the terminal.")] = False,
    interval: NewInterval = None,
    timeout: NewTimeout = None,
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Change what is given and nothing else. New credentials are tried first, and a run follows at once."""
    with station(ctx) as at:
        before = _found(at.control, connection)
        definition = at.catalogue.get(before.vendor)
        given = gather(
            file=credentials_file,
            source=credentials,
            schema=definition.credentials,
            vendor=before.vendor,
            wanted=ask,
        )
        changed = _options(option, options_file, definition)
        options = {**before.options, **changed}
        if given is None and not changed and identifier is None and interval is None and timeout is None:
            raise BadInputError("nothing to change: give --identifier, --option, --interval, --timeout or credentials")
        report = None
        if given is not None:
            prepare(definition, given, options)
            report = live.replace(
                at,
                before.connection_id,
                vendor=before.vendor,
                credentials=given,
                options=options,
                test=not no_test,
            )
        with at.control.transaction() as db:
            connections.update_connection(
                db,
                before.connection_id,
                identifier=UNSET if identifier is None else identifier or None,
                refresh_interval_secs=interval,
                timeout_secs=timeout,
                options=options if changed else None,
            )
        if given is not None or changed:
            # After both are stored: a worker that was quicker has run with the former options and runs again.
            request_sync(at.control, hints(at), before.connection_id, Trigger.CREDENTIALS)
        view = _view(at.control, before.connection_id)
    if as_json:
        output.print_json({**connection_document(view), "test": _report_document(report)})
        return
    output.print_line(str(view.connection_id))
    if given is not None or changed:
        told = _tested(report) if given is not None else "Changed."
        output.note(f"{told} A run starts at once: `connection-health health wait {view.connection_id}`")


@app.command("authorize")
def authorize(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the customer has consented.")] = False,
    timeout: Annotated[int, typer.Option(parser=read_secs, metavar="TIME", help="How long to wait.")] = CONSENT_SECS,
    as_json: Json = False,
) -> None:
    """Print the link by which the customer authorizes a connection at its vendor; the first time, or anew.

    Whoever has the link may connect an account of theirs, so it goes to that customer alone. It is good for a week, and
    void once it was used. The HTTP API (public_url) must be reachable for their browser.
    With --wait: exit code 0 once they have consented, 124 where the wait timed out.
    """
    with station(ctx) as at:
        before = _found(at.control, connection)
        link = authorization.whole_link(at, before.connection_id)
        if not as_json:
            output.print_line(link)
        if wait:
            _wait_for_consent(at.control, before, timeout_s=timeout)
        view = _view(at.control, before.connection_id)
    if as_json:
        output.print_json({"id": view.connection_id, "oauth2_authorize_url": link, "state": view.state})
    elif wait:
        output.note(f"It is authorized, and runs at once: `connection-health health wait {view.connection_id}`")


def _wait_for_consent(database: Database, before: ConnectionView, *, timeout_s: float) -> None:
    def look() -> bool | None:
        return True if _view(database, before.connection_id).cred_version > before.cred_version else None

    what = f"the consent for {before.connection_id}"
    with spinner(what):
        until(look, timeout_s=timeout_s, what=what)


@app.command("lapsing")
def lapsing(
    ctx: typer.Context,
    *,
    within: Annotated[int, typer.Option(parser=read_secs, metavar="TIME", help="Look ahead so far: 14d.")] = AHEAD_SECS,
    org: Annotated[str | None, typer.Option(help="Only those of this organization: id or name.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List connections whose access ends soon unless their customer consents again, the soonest first.

    Only where the vendor says when: what is renewed without anybody is not listed.
    """
    with station(ctx) as at, at.control.connection() as db:
        organization_id = None if org is None else find_organization(db, org).organization_id
        found = authorizations.list_lapsing(
            db, within=timedelta(seconds=within), organization_id=organization_id, limit=limit
        )
    if as_json:
        output.print_json({"items": [lapsing_document(each) for each in found]})
        return
    columns = ("ID", "VENDOR", "IDENTIFIER", "ACCESS ENDS")
    listed = [
        [output.shown_id(each.connection_id), each.vendor, each.identifier or "", output.stamp(each.lapses_at) or ""]
        for each in found
    ]
    output.print_rows(columns, listed, empty=f"No access ends within {output.span(within)}.")


@app.command("pause")
def pause(ctx: typer.Context, connection: ConnectionId, *, as_json: Json = False) -> None:
    """Run it no more until it is resumed. A run that is on goes to its end."""
    with station(ctx) as at:
        found = _found(at.control, connection)
        with at.control.transaction() as db:
            view = connections.pause_connection(db, found.connection_id)
    _print_state(view, as_json=as_json)


@app.command("resume")
def resume(ctx: typer.Context, connection: ConnectionId, *, as_json: Json = False) -> None:
    """Run it again, at once."""
    with station(ctx) as at:
        found = _found(at.control, connection)
        with at.control.transaction() as db:
            view = connections.resume_connection(db, found.connection_id)
        wake(hints(at), view.connection_id)
    _print_state(view, as_json=as_json)


@app.command("delete")
def delete(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a connection: its run is cancelled and its credentials are destroyed; its history stays."""
    with station(ctx) as at:
        view = _found(at.control, connection)
        name = f"{view.vendor} of {view.organization_name} ({view.identifier or view.connection_id})"
        if not yes:
            if not output.is_asked():
                raise RefusedError(f"deleting {name} destroys its credentials: say --yes")
            if not output.is_agreed(f"Delete {name}? Its credentials are destroyed"):
                raise RefusedError("nothing was deleted")
        with at.control.transaction() as db:
            gone = connections.delete_connection(db, view.connection_id)
    if not gone:
        raise NotThereError(f"connection {view.connection_id} was deleted before")
    if as_json:
        output.print_json({"id": view.connection_id, "state": ConnectionState.DELETED})
    else:
        output.note(f"Deleted {name}.")


@app.command("test")
def try_credentials(
    ctx: typer.Context,
    connection: ConnectionId,
    *,
    credentials_file: CredentialsFile = None,
    credentials: Credentials = None,
    as_json: Json = False,
) -> None:
    """Try the stored credentials at the vendor, or others before they are stored. Changes nothing.

    Exit code 0 where the vendor takes them; else 10, 11 or 12: the customer, the vendor or you must act.
    """
    with station(ctx) as at:
        view = _found(at.control, connection)
        definition = at.catalogue.get(view.vendor)
        given = gather(
            file=credentials_file,
            source=credentials,
            schema=definition.credentials,
            vendor=view.vendor,
            wanted=False,
        )
        report = _probe(at, view, given)
        platform = at.settings.platform_name
    verdict = report.verdict
    if as_json:
        output.print_json(_report_document(report))
    else:
        output.print_facts(
            [
                Fact("valid", "yes" if report.is_valid else Text("no", style="red")),
                Fact("message", report.message),
                Fact("health", output.health_text(verdict.name, verdict.resolution_owner)),
                Fact("must act", output.who_acts(verdict.name, verdict.resolution_owner, platform)),
                Fact("reason", verdict.reason),
                Fact("next step", verdict.next_step if not report.is_valid else None),
                *(Fact(each.name, f"{_WORDS[each.is_ok]}: {each.sentence}") for each in report.data_types),
            ]
        )
    raise typer.Exit(exit_of(verdict.name, verdict.resolution_owner))


def _probe(at: Station, view: ConnectionView, given: Mapping[str, object] | None) -> ProbeReport:
    if given is not None:
        return live.probe(at, view.vendor, credentials=given, options=view.options)
    return live.probe_stored(at, view.connection_id)


def _found(database: Database, text: str) -> ConnectionView:
    with database.connection() as db:
        connection_id = find_connection(db, text)
    return _view(database, connection_id)


def _view(database: Database, connection_id: UUID) -> ConnectionView:
    with database.connection() as db:
        view = connections.get_connection(db, connection_id)
    if view is None:
        raise NotThereError(f"no connection {connection_id}")
    return view


def _options(pairs: list[str] | None, file: Path | None, definition: Definition) -> dict[str, Any]:
    stored = {} if file is None else read_document(str(file), "options")
    return {**stored, **read_options(pairs or [], definition.settings)}


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    try:
        return Place(connection_id=UUID(text))
    except ValueError:
        raise BadInputError(f"--after takes a whole id, not {text!r}") from None


def _row(view: ConnectionView, platform: str) -> list[output.Cell]:
    health = view.health
    name, owner = (None, None) if health is None else (health.name, health.owner)
    return [
        output.shown_id(view.connection_id),
        view.organization_name,
        view.vendor,
        view.identifier or "",
        output.health_text(name, owner),
        output.who_acts(name, owner, platform),
        "" if health is None else health.reason,
        "" if health is None else output.ago(health.since),
        next_run(view),
    ]


def _facts(view: ConnectionView, platform: str) -> list[Fact]:
    health = view.health
    name, owner = (None, None) if health is None else (health.name, health.owner)
    facts = [
        Fact("id", str(view.connection_id)),
        Fact("organization", f"{view.organization_name} ({view.organization_id})"),
        Fact("vendor", view.vendor),
        Fact("identifier", view.identifier),
        Fact("state", str(view.state)),
        Fact("interval", output.span(view.refresh_interval_secs)),
        Fact("timeout", output.span(view.timeout_secs)),
        Fact("options", ", ".join(f"{key}={value}" for key, value in view.options.items()) or None),
        Fact("created", output.stamp(view.created_at)),
        Fact("next run", next_run(view)),
        Fact("health", output.health_text(name, owner)),
    ]
    if health is None:
        return facts
    changed = "these credentials were replaced since" if health.superseded else None
    return [
        *facts,
        Fact("must act", output.who_acts(name, owner, platform)),
        Fact("since", f"{output.stamp(health.since)} ({output.ago(health.since)})"),
        Fact("reason", health.reason),
        Fact("why", health.sentence),
        Fact("next step", health.next_step if name is not HealthName.HEALTHY else None),
        Fact("retry at", output.stamp(health.retry_at)),
        Fact("failures", str(health.consecutive_failures) if health.consecutive_failures else None),
        Fact("evidence", proof(health.evidence) or None),
        Fact("note", changed),
        Fact("run", str(health.run_seq)),
    ]


def _outlook_facts(outlook: TokenOutlook | None) -> list[Fact]:
    if outlook is None:
        return []
    return [
        Fact("token ends", output.stamp(outlook.access_token_expires_at)),
        Fact("access ends", output.stamp(outlook.lapses_at)),
    ]


def _print_state(view: ConnectionView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(connection_document(view))
    else:
        output.note(f"{view.vendor} of {view.organization_name} is {view.state}.")


def _tested(report: ProbeReport | None) -> str:
    return "Stored without a test." if report is None else report.message


def _report_document(report: ProbeReport | None) -> dict[str, object] | None:
    if report is None:
        return None
    verdict = report.verdict
    return {
        "is_valid": report.is_valid,
        "message": report.message,
        "name": verdict.name,
        "status": verdict.status,
        "resolution_owner": verdict.resolution_owner,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "next_step": verdict.next_step,
        "data_types": [
            {"name": each.name, "is_ok": each.is_ok, "sentence": each.sentence, "endpoint": each.endpoint}
            for each in report.data_types
        ],
        "exchanges": list(report.exchanges),
    }
