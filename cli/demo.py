"""`python -m cli.demo`: everything, with simulated vendors that bring connections through all seven healths."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import psycopg
import typer
from celery import Celery
from rich.console import Console
from rich.live import Live

from classifier.vocabulary import HealthName
from cli import board, output
from cli.errors import CliError
from cli.failures import explain
from cli.stack import LocalStack, Wishes
from cli.stop_signals import stoppable
from cli.story import ACTS, Act, Part, Stage, Story
from models import api_keys, connections, history
from models.connections import ConnectionView
from models.lists import ConnectionFilter, list_connections
from models.representations import proof
from models.vocabulary import Scope
from simulator.server import Simulator
from worker import credentials as worker_credentials
from worker.app import make_app
from worker.station import Station
from worker.sync import wake

FOLDER: Final = Path(".demo")
DEFINITIONS: Final = Path(__file__).resolve().parent.parent / "simulator" / "definitions"
INTERVAL_SECS: Final = 10
LOOK_EVERY_S: Final = 0.25
PAUSE_S: Final = 15.0
"""Between the end of the story and its beginning, where it is told again and again."""
TIME_LIMIT_S: Final = 240.0
ORGANIZATION: Final = "Demo"


class StoryFailedError(CliError):
    """The story did not come to its end in time."""


class Demo:
    """One demo as it runs."""

    def __init__(self, stack: LocalStack, simulator: Simulator) -> None:
        self._stack, self._simulator = stack, simulator
        self._station: Station = stack.station
        self._app: Celery = make_app(stack.station.settings)
        self._platform = stack.station.settings.platform_name
        self._news: list[str] = []
        self._known: dict[UUID, HealthName | None] = {}
        self._began_s = time.monotonic()
        self._organization_id: UUID | None = None
        self._console = Console(highlight=False)
        self._story: Story | None = None
        self.key = ""

    def set_up(self) -> None:
        """Make the organization and its connections anew; what an earlier demo left is removed."""
        station = self._station
        with station.database.transaction() as db:
            for old in connections.list_organizations(db, limit=100).items:
                connections.delete_organization(db, old.organization_id)
            self._organization_id = connections.create_organization(db, ORGANIZATION).organization_id
            self.key = _new_key(db)
        parts = [Part(act, self._add(act)) for act in ACTS]
        stage = Stage(world=self._simulator.world, replace_credentials=self._replace)
        self._story = Story(stage, parts, self._tell, self._prove)

    def play(self, *, once: bool) -> Story:
        """Tell the story, once or until somebody ends it. Raises StoryFailedError."""
        story = self._story
        if story is None:
            raise StoryFailedError("the demo was not set up")
        with ExitStack() as undo:
            live = undo.enter_context(self._live()) if self._console.is_terminal else None
            over_at_s: float | None = None
            while True:
                for restart in self._stack.tend():
                    self._tell(str(restart))
                views = self._views()
                story.go_on({view.connection_id: view for view in views})
                self._show(views, live)
                if story.is_over and once and not story.missing:
                    return story
                if once and time.monotonic() - self._began_s > TIME_LIMIT_S:
                    raise StoryFailedError(_why_not(story, views, self._stack.logs))
                if story.is_over and not once:
                    over_at_s = over_at_s or time.monotonic()
                    if time.monotonic() - over_at_s > PAUSE_S:
                        over_at_s = None
                        story.again()
                time.sleep(LOOK_EVERY_S)

    def _add(self, act: Act) -> UUID:
        console_of = self._simulator.world.act(act.vendor, act.account, "credentials", {})
        credentials = console_of["credentials"]
        if self._organization_id is None or not isinstance(credentials, Mapping):
            raise StoryFailedError(f"the simulator gave no credentials for {act.vendor}")
        connection_id, _report = worker_credentials.create(
            self._station,
            organization_id=self._organization_id,
            vendor=act.vendor,
            credentials=dict(credentials),
            options={"port": self._simulator.port},
            identifier=act.title,
            refresh_interval_secs=INTERVAL_SECS,
            timeout_secs=act.timeout_secs,
        )
        wake(self._app, connection_id)
        return connection_id

    def _replace(self, connection_id: UUID, credentials: Mapping[str, object]) -> None:
        with self._station.database.connection() as db:
            view = connections.get_connection(db, connection_id)
        if view is None:
            return
        worker_credentials.replace(
            self._station,
            connection_id,
            vendor=view.vendor,
            credentials=credentials,
            options={"port": self._simulator.port},
        )
        wake(self._app, connection_id)

    def _prove(self, view: ConnectionView) -> str:
        if view.health is None:
            return ""
        with self._station.database.connection() as db:
            run = history.get_run(db, view.connection_id, view.health.run_seq)
        sentence = view.health.sentence or ""
        exchange = proof(None if run is None else run.evidence).replace(self._simulator.url, "")
        # A sentence on an answer tells the call itself; one on our own side is told together with the call.
        return sentence if " answered " in sentence or not exchange else f"{sentence} {exchange}"

    def _views(self) -> Sequence[ConnectionView]:
        with self._station.database.connection() as db:
            found = list_connections(db, ConnectionFilter(organization_id=self._organization_id), limit=100)
        order = {act.title: place for place, act in enumerate(ACTS)}
        return sorted(found.items, key=lambda view: order.get(view.identifier or "", len(order)))

    def _live(self) -> Live:
        return Live(console=self._console, auto_refresh=False, screen=False, transient=False)

    def _show(self, views: Sequence[ConnectionView], live: Live | None) -> None:
        self._known, lines = board.changes(self._known, views, platform=self._platform)
        if live is None:
            for line in lines:
                self._print(line)
            return
        elapsed = output.span(time.monotonic() - self._began_s)
        seen = len(HealthName) - len(self._story.missing if self._story else HealthName)
        head = f"Connection Health demo, {elapsed}: {seen} of {len(HealthName)} healths seen. Ctrl-C ends it."
        live.update(board.screen(views, platform=self._platform, head=head, news=self._news), refresh=True)

    def _tell(self, line: str) -> None:
        self._news.append(f"{time.monotonic() - self._began_s:5.1f}s  {line}")
        if not self._console.is_terminal:
            self._print(line)

    def _print(self, line: str) -> None:
        output.print_line(f"{time.monotonic() - self._began_s:6.1f}s  {line}")
        sys.stdout.flush()


def _new_key(db: "psycopg.Connection[Any]") -> str:
    """Make a key that reads; those of earlier demos open nothing from now on."""
    for old in api_keys.list_keys(db, limit=1000):
        api_keys.revoke_key(db, old.key_id)
    return api_keys.create_key(db, name="demo", scope=Scope.READ, organization_id=None, created_by="demo")[1]


def main(
    *,
    once: Annotated[bool, typer.Option("--once", help="End with 0 once every health was seen and healed.")] = False,
    folder: Annotated[Path, typer.Option("--dir", help="Where the demo keeps its data.")] = FOLDER,
) -> None:
    """Run everything with simulated vendors and show what happens. Ctrl-C leaves nothing behind."""
    try:
        with stoppable():
            _run(folder, once=once)
            return
    except Exception as error:
        code, sentence = explain(error)
        output.note(f"Error: {sentence}")
        raise typer.Exit(code) from error
    output.note("Ended; nothing is left running.")


def _run(folder: Path, *, once: bool) -> None:
    settings = {
        "vendors_dir": str(DEFINITIONS),
        "allow_loopback_vendors": "true",
        "concurrency": "16",
        "dispatch_interval_s": "0.5",
    }
    output.note(f"Starting PostgreSQL, Redis, a worker, a beat and the HTTP API in {folder} ...")
    with Simulator() as simulator, LocalStack(folder, Wishes(settings=settings, durable=False)) as stack:
        output.note(f"Logs are in {stack.logs}. In another terminal:")
        output.note(f"  CONNECTION_HEALTH_HOME={folder.resolve()} connection-health connections list")
        demo = Demo(stack, simulator)
        demo.set_up()
        output.note("The HTTP API, with a key that reads (docs/api.md says more):")
        output.note(f"  curl -H 'X-API-KEY: {demo.key}' '{stack.url}/v1/provisioning/connections?health=UNAUTHORIZED'")
        _summarize(demo.play(once=once), stack.station.settings.platform_name)


def _summarize(story: Story, platform: str) -> None:
    rows: list[list[output.Cell]] = []
    for name in HealthName:
        sighting = story.seen[name]
        health = sighting.view.health
        who = output.who_acts(name, health.owner if health else None, platform)
        back = next((part for part in story.parts if part.connection_id == sighting.view.connection_id), None)
        healed = f"{back.over_at_s - story.began_s:.0f}s" if back is not None and back.over_at_s else ""
        rows.append(
            [
                output.health_text(name, health.owner if health else None),
                who,
                f"{sighting.after_s:.0f}s",
                sighting.view.identifier or "",
                sighting.proof,
                healed,
            ]
        )
    columns = ("HEALTH", "WHO MUST ACT", "SEEN AFTER", "CONNECTION", "EVIDENCE", "HEALTHY AGAIN AFTER")
    output.print_rows(columns, rows, empty="nothing was seen")
    output.print_line("All seven healths were seen, and every connection is healthy again.")


def _why_not(story: Story, views: Sequence[ConnectionView], logs: Path) -> str:
    unseen = ", ".join(story.missing) or "none"
    stuck = [f"{part.act.title} ({part.scene})" for part in story.parts if part.scene != "over"]
    sick = [
        f"{view.identifier}: {view.health.name if view.health else 'never run'}"
        for view in views
        if view.health is None or view.health.name is not HealthName.HEALTHY
    ]
    return (
        f"the story did not end within {TIME_LIMIT_S:.0f} s; healths not seen: {unseen}; acts not over: "
        f"{', '.join(stuck) or 'none'}; not healthy: {', '.join(sick) or 'none'}. The logs are in {logs}"
    )


if __name__ == "__main__":
    typer.run(main)
