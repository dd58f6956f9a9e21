"""Every connection in one table that is drawn anew twice a second, or a line a change where nobody watches."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from rich.console import Group
from rich.table import Table
from rich.text import Text

from classifier.vocabulary import HealthName
from cli.output import ago, health_text, short_id, span, who_acts
from models.connections import ConnectionView

LINES_OF_NEWS: Final = 6


def table(views: Sequence[ConnectionView], *, platform: str, now: datetime | None = None) -> Table:
    """Return the table of connections, in the order given."""
    moment = now or datetime.now(UTC)
    drawn = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column in ("CONNECTION", "HEALTH", "WHO MUST ACT", "SINCE", "WHY", "NEXT RUN", "RUNS"):
        drawn.add_column(column, ratio=1 if column == "WHY" else None, overflow="ellipsis", no_wrap=True)
    for view in views:
        health = view.health
        name, owner = (health.name, health.owner) if health is not None else (None, None)
        drawn.add_row(
            Text(view.identifier or short_id(view.connection_id)),
            health_text(name, owner),
            who_acts(name, owner, platform),
            "" if health is None else span(max(0.0, (moment - health.since).total_seconds())),
            Text("" if health is None else health.sentence or ""),
            next_run(view, now=moment),
            str(view.run_seq),
        )
    return drawn


def next_run(view: ConnectionView, *, now: datetime | None = None) -> str:
    """Say when the connection runs next: `running`, `due`, `in 8s`, or why it does not."""
    if view.active_run is not None:
        return "running"
    if not view.is_active:
        return view.state.lower()
    moment = now or datetime.now(UTC)
    return "due" if view.next_due_at <= moment else ago(view.next_due_at, now=moment)


def screen(views: Sequence[ConnectionView], *, platform: str, head: str, news: Sequence[str]) -> Group:
    """Return all that the demo shows: a head, the table, the last lines of the story."""
    parts: list[Table | Text] = [Text(head, style="bold"), Text(), table(views, platform=platform), Text()]
    parts += [Text(line, style="dim") for line in news[-LINES_OF_NEWS:]]
    return Group(*parts)


def changes(
    before: Mapping[UUID, HealthName | None], views: Sequence[ConnectionView], *, platform: str
) -> tuple[dict[UUID, HealthName | None], list[str]]:
    """Return the healths as they are, and a line for each that is not what it was."""
    after: dict[UUID, HealthName | None] = {}
    lines = []
    for view in views:
        health = view.health
        after[view.connection_id] = None if health is None else health.name
        if health is None or before.get(view.connection_id) == health.name:
            continue
        who = who_acts(health.name, health.owner, platform)
        was = before.get(view.connection_id) or "never run"
        title = view.identifier or short_id(view.connection_id)
        lines.append(f"{title}: {was} -> {health.name} ({health.reason}; must act: {who}) {health.sentence}")
    return after, lines
