"""What goes to standard output: one JSON document, a table on a terminal, or plain columns for another program."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from classifier.vocabulary import HealthName, ResolutionOwner

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

OWNER_STYLE: Final = {
    ResolutionOwner.CUSTOMER: "yellow",
    ResolutionOwner.VENDOR: "magenta",
    ResolutionOwner.LEEN: "red",
}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))

Cell = str | Text


def console() -> Console:
    """Return a console on what standard output is now. NO_COLOR and a pipe take its colours away."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def is_asked() -> bool:
    """Whether a person can be asked: both ends of the conversation are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def is_agreed(question: str) -> bool:
    """Ask a person; anything but y or yes is no. Not on standard output, which is for results."""
    sys.stderr.write(f"{question} [y/N]: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_json(document: object) -> None:
    """Print one JSON document: indented for a person, on one line for a program."""
    indent = 2 if is_terminal() else None
    sys.stdout.write(json.dumps(document, indent=indent, default=_plain, ensure_ascii=False) + "\n")


def print_line(text: str = "") -> None:
    """Print one line as it is."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Tell the person something beside the result: on standard error, so that results can be piped."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Print a table on a terminal; elsewhere a line a row, its cells parted by tabs, without a head.

    empty: what is said on standard error where there are no rows.
    """
    listed = [tuple(each) for each in rows]
    if not listed:
        note(empty)
        return
    if not is_terminal():
        for each in listed:
            print_line("\t".join(_flat(cell) for cell in each))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for each in listed:
        table.add_row(*map(_as_text, each))
    console().print(table)


def print_head(text: str) -> None:
    """Print the head of a part: bold after an empty line, or behind a # for a program."""
    if is_terminal():
        print_line()
        console().print(Text(text, style="bold"))
    else:
        print_line(f"# {text}")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a description: what it is, and its value; None leaves the line out."""

    name: str
    value: Cell | None


def print_facts(facts: Iterable[Fact]) -> None:
    """Print names and values in two columns; off a terminal parted by a tab."""
    shown = [each for each in facts if each.value is not None and str(each.value)]
    if not is_terminal():
        for each in shown:
            print_line(f"{each.name}\t{_flat(each.value or '')}")
        return
    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for each in shown:
        table.add_row(each.name, _as_text(each.value or ""))
    console().print(table)


def progress(label: str, *, total: int | None) -> Progress:
    """Return a bar on standard error; nothing is shown where that is no terminal. The task of the bar has the id 0."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    bar.add_task(label, total=total)
    return bar


def health_text(name: HealthName | str | None, owner: ResolutionOwner | str | None) -> Text:
    """Return the name coloured by who must act; a connection that never ran has a dim dash."""
    if name is None:
        return Text("never run", style="dim")
    style = "green" if name == HealthName.HEALTHY else OWNER_STYLE.get(ResolutionOwner(owner or "LEEN"), "red")
    return Text(str(name), style=style)


def who_acts(name: HealthName | str | None, owner: ResolutionOwner | str | None, platform: str) -> Text:
    """Say who must act in a person's words; a healthy connection needs nobody."""
    if name is None or name == HealthName.HEALTHY or owner is None:
        return Text("nobody", style="dim")
    words = {ResolutionOwner.CUSTOMER: "the customer", ResolutionOwner.VENDOR: "the vendor"}
    return Text(words.get(ResolutionOwner(owner), platform), style=OWNER_STYLE[ResolutionOwner(owner)])


def short_id(connection_id: UUID) -> str:
    """Return enough of an id to tell connections apart: ids begin with the millisecond in which they were made."""
    return str(connection_id)[:13]


def shown_id(connection_id: UUID) -> str:
    """Return an id for a table: short for a person, whole for a program."""
    return short_id(connection_id) if is_terminal() else str(connection_id)


def ago(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Say how long ago a moment was, or how far ahead it is: `3m ago`, `in 4h`; an empty text for None."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Write a length of time in its largest unit: `12s`, `3m`, `5h`, `2d`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def stamp(moment: datetime | None) -> str | None:
    """Write a moment to the second, UTC; None for None."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def milliseconds(seconds: float | None) -> str:
    """Write a short length of time: `84 ms`, `2.31 s`."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _as_text(cell: Cell) -> Text:
    # What a vendor said may hold square brackets, which rich would take for its own markup.
    return cell if isinstance(cell, Text) else Text(cell)


def _flat(cell: Cell) -> str:
    return " ".join(str(cell).split())


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
