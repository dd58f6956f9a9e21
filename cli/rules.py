"""`connection-health rules`: what today's rules would have said of past runs, before a rule goes live."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from classifier.dialect import Dialect
from classifier.replay import NotReplayable, Replayed, Stored, replay
from classifier.vocabulary import OWNER
from cli import output
from cli.door import station
from cli.durations import read_secs
from cli.errors import BadInputError
from cli.exits import Exit
from cli.output import Fact, Json
from models import evidence
from models.evidence import JudgedRun
from vendors.dialect_files import DIALECTS, load_dialects
from vendors.errors import VendorError
from worker.station import Station

app = typer.Typer(no_args_is_help=True, help="What the rules would say of past runs.", rich_markup_mode=None)

SINCE_S: Final = 7 * 86_400
RETRY_SLACK_S: Final = 60.0
"""Relative waits count from the moment of the judgement, which is not stored to the millisecond."""
KINDS: Final = ("name", "owner", "reason", "retry_at")
MOST_TRANSITIONS: Final = 10
TOLD_EVERY: Final = 500

DialectOf = Callable[[str], Dialect | None]


@app.callback()
def rules() -> None:
    """Ask the rules about past runs."""


@app.command("replay")
def replay_runs(
    ctx: typer.Context,
    *,
    since: Annotated[
        int, typer.Option(parser=read_secs, metavar="TIME", help="How far back: 12h, 7d. Runs kept no longer are gone.")
    ] = SINCE_S,
    vendor: Annotated[str | None, typer.Option(help="Only this vendor's runs.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many runs, the newest days first.", min=1)] = None,
    rules_dir: Annotated[
        Path | None,
        typer.Option(help="A folder of your own dialects (*.yaml) that is not live yet, put over those that are."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge past runs again and print each verdict that would change.

    Exit code 0: none would. 5: at least one would. Nothing is written. Each run is judged from what is stored of it:
    the exchange that decided. Healthy answers keep no body, so runs that were healthy can seldom be judged again.
    """
    with station(ctx) as at:
        live = _finder(at, at.dialects)
        proposed = live if rules_dir is None else _finder(at, _dialects_with(at, rules_dir))
        tally = Tally()
        writer: _Writer = _JsonWriter() if as_json else _LineWriter()
        with at.control.connection() as db:
            runs = evidence.judged_runs(db, since_s=since, vendor=vendor)
            for change in _changes(_told(runs, limit), live, proposed, tally):
                writer.change(change)
    writer.end(tally)
    raise typer.Exit(Exit.NOT_PASSED if tally.changed else Exit.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A run whose verdict would change. kinds: what of it; cause: `rules` (today's) or `folder` (the one named)."""

    run: JudgedRun
    after: Replayed
    kinds: tuple[str, ...]
    cause: str
    is_evidence_cut: bool


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a replay came to. It holds counts alone, so it does not grow with the runs."""

    seen: int = 0
    unchanged: int = 0
    other_rule: int = 0
    """Of the unchanged: the same verdict, by another rule."""
    changed: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_cause: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    not_replayable: Counter[NotReplayable] = field(default_factory=Counter)

    @property
    def replayed(self) -> int:
        """How many runs could be judged again."""
        return self.unchanged + self.changed


def _changes(runs: Iterator[JudgedRun], live: DialectOf, proposed: DialectOf, tally: Tally) -> Iterator[Change]:
    """Judge each run again, count it, and yield those whose verdict would change."""
    for run in runs:
        tally.seen += 1
        stored = Stored(
            vendor=run.vendor,
            judged_at=run.finished_at,
            name=run.name,
            reason=run.reason,
            rule=run.rule,
            retry_at=run.retry_at,
            evidence=run.evidence,
            data_types=run.data_types,
        )
        after = replay(stored, proposed(run.vendor))
        if isinstance(after, NotReplayable):
            tally.not_replayable[after] += 1
            continue
        kinds = _kinds(run, after)
        if not kinds:
            tally.unchanged += 1
            tally.other_rule += run.rule != after.rule
            continue
        cause = "rules" if proposed is live or replay(stored, live(run.vendor)) == after else "folder"
        tally.changed += 1
        tally.by_kind.update(kinds)
        tally.by_cause[cause] += 1
        tally.transitions[f"{run.name} ({run.reason})", f"{after.name} ({after.reason})"] += 1
        yield Change(run=run, after=after, kinds=kinds, cause=cause, is_evidence_cut=stored.is_evidence_cut)


def _kinds(run: JudgedRun, after: Replayed) -> tuple[str, ...]:
    is_name_new = run.name is not after.name
    return tuple(
        kind
        for kind, is_new in (
            ("name", is_name_new),
            ("owner", run.name is None or OWNER[run.name] is not after.owner),
            ("reason", run.reason != after.reason),
            ("retry_at", not is_name_new and _is_another_time(run, after)),
        )
        if is_new
    )


def _is_another_time(run: JudgedRun, after: Replayed) -> bool:
    if run.retry_at is None or after.retry_at is None:
        return run.retry_at is not after.retry_at
    return abs((run.retry_at - after.retry_at).total_seconds()) > RETRY_SLACK_S


def _finder(at: Station, dialects: Mapping[str, Dialect]) -> DialectOf:
    """Return what finds a vendor's dialect among these, as a run does: by its definition, else by its name."""

    @cache
    def dialect_of(vendor: str) -> Dialect | None:
        try:
            named = at.catalogue.get(vendor).dialect
        except VendorError:  # gone or broken: its runs can be judged all the same
            named = None
        return dialects.get(named or vendor)

    return dialect_of


def _dialects_with(at: Station, folder: Path) -> Mapping[str, Dialect]:
    """Return the live dialects with those of a folder over them. Raises BadInputError, DefinitionError."""
    proposed = folder / "dialects" if (folder / "dialects").is_dir() else folder
    if not any(proposed.glob("*.yaml")):
        raise BadInputError(f"{folder} holds no dialects: name a folder with *.yaml files (see docs/definitions.md)")
    own = at.settings.vendors_dir
    live = [DIALECTS] if own is None else [DIALECTS, own / "dialects"]
    return load_dialects(*live, proposed)


def _told(runs: Iterator[JudgedRun], limit: int | None) -> Iterator[JudgedRun]:
    """Pass the runs on, at most so many, and tell a person at a terminal how many there were so far."""
    with output.progress("replaying", total=None) as bar:
        for number, run in enumerate(runs, start=1):
            yield run
            if number % TOLD_EVERY == 0 or number == limit:
                bar.update(bar.task_ids[0], completed=number, description=f"replaying {run.finished_at:%Y-%m-%d}")
            if number == limit:
                return


# --- what is printed: as it is found, so that nothing is gathered -----------------------------------------------------


class _Writer:
    def change(self, change: Change) -> None:
        """Write one change."""
        raise NotImplementedError

    def end(self, tally: Tally) -> None:
        """Write the summary."""
        raise NotImplementedError


class _JsonWriter(_Writer):
    """One JSON document, written piece by piece."""

    def __init__(self) -> None:
        self._is_first = True

    def change(self, change: Change) -> None:
        sys.stdout.write(('{"changes": [' if self._is_first else ", ") + json.dumps(_document(change)))
        self._is_first = False

    def end(self, tally: Tally) -> None:
        summary = json.dumps(_summary(tally))
        sys.stdout.write(('{"changes": [' if self._is_first else "") + f'], "summary": {summary}}}{os.linesep}')


class _LineWriter(_Writer):
    """A line a change: columns for a program, colours for a person; then the summary."""

    def change(self, change: Change) -> None:
        run, after = change.run, change.after
        before = OWNER[run.name] if run.name is not None else None
        was = Text.assemble(output.health_text(run.name, before), f" {before} {run.reason}")
        becomes = Text.assemble(output.health_text(after.name, after.owner), f" {after.owner} {after.reason}")
        marks = ["folder"] * (change.cause == "folder") + ["cut"] * change.is_evidence_cut
        cells = (
            output.stamp(run.finished_at) or "",
            run.vendor,
            output.shown_id(run.connection_id),
            str(run.run_seq),
        )
        if not output.is_terminal():
            told = (*cells, str(was), str(becomes), after.rule, ",".join(marks))
            output.print_line("\t".join(" ".join(cell.split()) for cell in told))
            return
        head = "  ".join(cells[:-1]) + f"  run {run.run_seq}\n  "
        tail = "  ".join(("", after.rule, *marks))
        output.console().print(Text.assemble((head, "dim"), was, " → ", becomes, (tail, "dim")))

    def end(self, tally: Tally) -> None:
        output.print_head("Summary")
        facts = [
            Fact("runs", str(tally.seen)),
            Fact("replayed", str(tally.replayed)),
            Fact(
                "unchanged", f"{tally.unchanged}" + (f" ({tally.other_rule} by another rule)" * bool(tally.other_rule))
            ),
            Fact("would change", str(tally.changed)),
            *(Fact(f"  {kind}", str(tally.by_kind[kind])) for kind in KINDS if tally.by_kind[kind]),
            Fact("  by the folder's rules", str(tally.by_cause["folder"]) if tally.by_cause["folder"] else None),
            *(
                Fact(f"  {before} → {after}", str(count))
                for (before, after), count in tally.transitions.most_common(MOST_TRANSITIONS)
            ),
            Fact("not replayable", str(sum(tally.not_replayable.values()))),
            *(Fact(f"  {why}", str(count)) for why, count in tally.not_replayable.most_common()),
        ]
        output.print_facts(facts)


def _document(change: Change) -> dict[str, Any]:
    run, after = change.run, change.after
    return {
        "connection_id": str(run.connection_id),
        "run_seq": run.run_seq,
        "vendor": run.vendor,
        "finished_at": output.stamp(run.finished_at),
        "before": {
            "name": run.name,
            "owner": None if run.name is None else OWNER[run.name],
            "reason": run.reason,
            "rule": run.rule,
            "retry_at": output.stamp(run.retry_at),
        },
        "after": {
            "name": after.name,
            "owner": after.owner,
            "reason": after.reason,
            "rule": after.rule,
            "retry_at": output.stamp(after.retry_at),
        },
        "changed": list(change.kinds),
        "cause": change.cause,
        "evidence_is_cut": change.is_evidence_cut,
    }


def _summary(tally: Tally) -> dict[str, Any]:
    return {
        "runs": tally.seen,
        "replayed": tally.replayed,
        "unchanged": tally.unchanged,
        "unchanged_by_another_rule": tally.other_rule,
        "changed": tally.changed,
        "changed_by_kind": {kind: tally.by_kind[kind] for kind in KINDS},
        "changed_by_cause": {cause: tally.by_cause[cause] for cause in ("rules", "folder")},
        "transitions": [
            {"before": before, "after": after, "count": count}
            for (before, after), count in tally.transitions.most_common()
        ],
        "not_replayable": {why.name.lower(): tally.not_replayable[why] for why in NotReplayable},
    }
