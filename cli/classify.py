"""`connection-health classify`: recorded answers in, verdicts out. Needs no database and no settings."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeVar

import orjson
import typer
from rich.text import Text

from classifier import classify, explain
from classifier.cases import Case, CaseError, Score, line, read_case, score
from classifier.codes import learned_from
from classifier.dialect import Dialect
from classifier.sureness import Opinion, doubt, opinions
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName, ResolutionOwner
from cli import output
from cli.credentials_input import STANDARD_INPUT
from cli.errors import BadInputError
from cli.exits import Exit
from cli.output import Fact, Json
from cli.surroundings import environment
from vendors.dialect_files import DIALECTS, load_dialects
from worker.settings import merged

_T = TypeVar("_T", bound=StrEnum)

app = typer.Typer(rich_markup_mode=None)

WORTH_A_BAR_BYTES: Final = 5_000_000
MOST_TOLD: Final = 10
"""So many unreadable lines are told one by one."""


@app.command("classify")
def classify_cases(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="A file of JSON lines, or - for standard input.")] = STANDARD_INPUT,
    *,
    scored: Annotated[
        bool, typer.Option("--score", help="Print, instead, how the verdicts meet each case's `label`.")
    ] = False,
    traced: Annotated[bool, typer.Option("--explain", help="Add the rules that were asked to each line.")] = False,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="With --score: judge each vendor as if it were new, without what was learned from it.",
        ),
    ] = False,
    least_sure: Annotated[
        int, typer.Option(help="With --score: list so many cases, those first whose signs disagree most.", min=0)
    ] = 0,
    fail_under: Annotated[
        float | None,
        typer.Option(help="With --score: exit code 5 where fewer per cent are right by name.", min=0, max=100),
    ] = None,
    no_dialects: Annotated[bool, typer.Option("--no-dialects", help="Use the general rules alone.")] = False,
    as_json: Json = False,
) -> None:
    """Judge recorded answers: one case a line in, one verdict a line out, in the same order.

    A case: {"id", "vendor", "phase", "outcome": {"method", "url", "status", "headers", "body", "exception"}, "label"}.
    A line that cannot be read gives {"id": null, "error": …} and exit code 2 at the end. --explain at a terminal prints
    a page for a person. --held-out is the cross-validation by vendor: each vendor's cases are judged without its own
    dialect, and without the general codes that rest on nothing but its documentation.
    """
    for name, is_given in (
        ("--fail-under", fail_under is not None),
        ("--held-out", held_out),
        ("--least-sure", least_sure > 0),
    ):
        if is_given and not scored:
            raise BadInputError(f"{name} goes with --score: add it")
    dialects = {} if no_dialects else load_dialects(DIALECTS, *_own_folders(environment(ctx)))
    reader = _Reader(dialects, traced=traced, held_out=held_out)
    with ExitStack() as undo:
        source, size = _open(undo, file)
        lines = _with_progress(undo, source, size) if size >= WORTH_A_BAR_BYTES else source
        if scored:
            watched = _Watched(least_sure)
            result = score(watched.watch(pair for pair in reader.judged(lines) if pair is not None))
            _print_score(result, _Beside(reader.told, watched), as_json=as_json)
            is_too_low = fail_under is not None and result.accuracy * 100 < fail_under
        else:
            is_too_low = False
            reader.write(lines, sys.stdout.buffer)
    if reader.unreadable:
        raise BadInputError(f"{reader.unreadable} of {reader.seen} lines could not be read; the others were judged")
    if is_too_low:
        output.note(f"{result.accuracy:.2%} are right, which is less than the {fail_under:g} % asked for")
        raise typer.Exit(Exit.NOT_PASSED)


@dataclass(slots=True)
class _Told:
    """One vendor's cases: how many, how many are right as ever, and how many with what was learned from it left out."""

    cases: int = 0
    known: int = 0
    held_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """A case whose signs disagree: how much, and what they say."""

    case: Case
    verdict: Verdict
    said: tuple[Opinion, ...]

    @property
    def share(self) -> float:
        return doubt(self.verdict.name, self.said)

    def against(self) -> str:
        """Return what the signs say that differ from the verdict, each health once, by the first that says it."""
        told: dict[HealthName, str] = {}
        for opinion in self.said:
            if opinion.name is not self.verdict.name:
                told.setdefault(opinion.name, opinion.rule)
        return "; ".join(f"{rule}: {name}" for name, rule in told.items())


class _Watched:
    """Watches what is judged: how settled and contested labels are met, and which verdicts are least sure."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[_Doubt] = []
        self.settled, self.contested = Counter[bool](), Counter[bool]()

    def watch(self, judged: Iterable[tuple[Case, Verdict]]) -> Iterator[tuple[Case, Verdict]]:
        """Yield what is judged, unchanged."""
        for case, verdict in judged:
            yield case, verdict
            if case.label is not None:
                (self.contested if case.contested else self.settled)[verdict.name is case.label] += 1
            exchange = verdict.evidence
            if self._most and exchange is not None and not verdict.rule.startswith("dialect."):  # those are documented
                self._kept.append(_Doubt(case=case, verdict=verdict, said=opinions(exchange)))
                if len(self._kept) > 1_000 + self._most:
                    self._kept = self.least_sure()

    def least_sure(self) -> list[_Doubt]:
        """Return so many cases as were asked for, the least sure first; of equals those with more signs."""
        by_doubt = sorted(self._kept, key=lambda kept: (-kept.share, -len(kept.said), kept.case.id))
        return [kept for kept in by_doubt if kept.share][: self._most]


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is printed with a score: vendors held out, cases least sure."""

    held_out: Mapping[str, _Told]
    watched: _Watched

    @property
    def least_sure(self) -> list[_Doubt]:
        return self.watched.least_sure()


class _Reader:
    """Reads cases and judges them, one at a time, and counts what it could not read."""

    def __init__(self, dialects: Mapping[str, Dialect], *, traced: bool, held_out: bool = False) -> None:
        self._dialects, self._traced, self._held_out = dialects, traced, held_out
        self.told: dict[str, _Told] = {}
        self._judge = explain if traced else classify
        self.seen = self.unreadable = 0
        self.error = ""

    def judged(self, lines: Iterable[bytes]) -> Iterator[tuple[Case, Verdict] | None]:
        """Yield each case with its verdict, None for a line that cannot be read; empty lines count for nothing."""
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            self.seen += 1
            try:
                case = read_case(orjson.loads(raw))
            except (orjson.JSONDecodeError, CaseError) as error:
                self._tell(number, error)
                yield None
                continue
            yield (
                case,
                self._held(case) if self._held_out else self._judge(case.outcome, self._dialects.get(case.vendor)),
            )

    def _held(self, case: Case) -> Verdict:
        """Judge a case as if its vendor were new, and note what that costs."""
        verdict = self._judge(case.outcome, Dialect(family="held out", without=learned_from(case.vendor)))
        if case.label is not None:
            known = classify(case.outcome, self._dialects.get(case.vendor))
            told = self.told.setdefault(case.vendor, _Told())
            told.cases += 1
            told.known += known.name is case.label
            told.held_out += verdict.name is case.label
        return verdict

    def write(self, lines: Iterable[bytes], target: BinaryIO) -> None:
        """Write one JSON line for each case."""
        sys.stdout.flush()
        if self._traced and output.is_terminal():
            for pair in self.judged(lines):
                if pair is not None:
                    _print_explanation(*pair)
            return
        for pair in self.judged(lines):
            if pair is None:
                document: dict[str, object] = {"id": None, "error": self.error}
            else:
                document = line(*pair)
                if self._traced:
                    document["sentence"], document["next_step"] = pair[1].sentence, pair[1].next_step
                    document["trace"] = [
                        {"stage": step.stage, "rule": step.rule, "saw": step.saw, "fired": step.fired}
                        for step in pair[1].trace
                    ]
            target.write(orjson.dumps(document) + b"\n")
        target.flush()

    def _tell(self, number: int, error: Exception) -> None:
        what = f"not JSON: {error}" if isinstance(error, orjson.JSONDecodeError) else str(error)
        self.error = f"line {number}: {what}"
        self.unreadable += 1
        if self.unreadable <= MOST_TOLD:
            output.note(self.error)
        elif self.unreadable == MOST_TOLD + 1:
            output.note("Further lines that cannot be read are not told one by one.")


def _own_folders(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of the operator's own dialects, where the settings name any."""
    value = merged(environ, {}).get("vendors_dir", ("", ""))[0]
    folders = value.split(os.pathsep) if isinstance(value, str) else []
    return [Path(folder) / "dialects" for folder in folders if folder and (Path(folder) / "dialects").is_dir()]


def _open(undo: ExitStack, file: str) -> tuple[BinaryIO, int]:
    if file == STANDARD_INPUT:
        if sys.stdin.isatty():
            output.note("Reading cases from standard input; end with Ctrl-D.")
        return sys.stdin.buffer, 0
    try:
        source = undo.enter_context(open(file, "rb"))  # noqa: PTH123, SIM115 - closed by the stack
    except OSError as error:
        raise BadInputError(f"cannot read {file}: {error.strerror}") from None
    return source, os.fstat(source.fileno()).st_size


def _with_progress(undo: ExitStack, source: BinaryIO, size: int) -> Iterator[bytes]:
    bar = undo.enter_context(output.progress("judging", total=size))
    for raw in source:
        yield raw
        bar.advance(bar.task_ids[0], len(raw))


def _print_explanation(case: Case, verdict: Verdict) -> None:
    """Print a verdict for a person: what it is, why, who must act, and the rules that were asked."""
    output.print_head(f"{case.id} ({case.vendor})" if case.vendor else case.id)
    output.print_facts(
        [
            Fact("verdict", output.health_text(verdict.name, verdict.resolution_owner)),
            Fact("must act", str(verdict.resolution_owner) if verdict.name is not HealthName.HEALTHY else "nobody"),
            Fact("reason", verdict.reason),
            Fact("why", verdict.sentence),
            Fact("next step", verdict.next_step),
            Fact("retry at", output.stamp(verdict.retry_at)),
            Fact("label", f"{case.label}, so this is wrong" if case.label not in {None, verdict.name} else None),
        ]
    )
    rows: list[list[output.Cell]] = [
        [Text("=>" if step.fired else "", style="bold"), step.stage, step.rule, step.saw] for step in verdict.trace
    ]
    output.print_rows(("", "STAGE", "RULE", "SAW"), rows, empty="")


SHORT: Final[Mapping[str, str]] = {
    HealthName.HEALTHY: "HEALTHY",
    HealthName.EXECUTION_TIMEOUT: "TIMEOUT",
    HealthName.RATE_LIMIT_EXCEEDED: "RATE",
    HealthName.VENDOR_CLIENT_ERROR: "CLIENT",
    HealthName.INTERNAL_ERROR: "INTERNAL",
    HealthName.VENDOR_SERVER_ERROR: "SERVER",
    HealthName.UNAUTHORIZED: "UNAUTH",
}
"""Heads of the confusion table's columns, so that it fits a terminal."""


def _print_score(result: Score, beside: _Beside, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_score_document(result, beside))
        return
    if not result.total:
        raise BadInputError("no case has a label, so there is nothing to score")
    if beside.held_out:
        output.print_line("Held out: each vendor judged without what was learned from it.\n")
    _print_accuracy("LABEL", _shares(result.confusion, HealthName), result.total, result.right_by_name)
    if beside.watched.contested:
        output.print_head("By whether the label is contested")
        parts = (("settled", beside.watched.settled), ("contested", beside.watched.contested))
        shares = {name: (counted.total(), counted[True]) for name, counted in parts if counted}
        _print_accuracy("LABELS", shares, result.total, result.right_by_name)
    output.print_head("By owner")
    _print_accuracy("OWNER", _shares(result.owners, ResolutionOwner), result.total, result.right_by_owner)
    output.print_head("Confusion: a row for each label, a column for each verdict")
    given = [name for name in HealthName if any(name in pair for pair in result.confusion)]
    heads = ("LABEL", *(SHORT[name] for name in given))
    rows: list[Sequence[output.Cell]] = [] if output.is_terminal() else [heads]
    labels = [label for label in given if any(label is pair[0] for pair in result.confusion)]
    rows.extend(
        (label, *(_count_cell(result.confusion.get((label, name), 0), label is name) for name in given))
        for label in labels
    )
    output.print_rows(heads, rows, empty="")
    output.print_head("Worst mistakes")
    output.print_facts(
        [
            Fact("customer blamed for what is not theirs", str(result.customer_blamed)),
            Fact("failures called healthy", str(result.failures_passed)),
            Fact("successes called failures", str(result.successes_failed)),
        ]
    )
    mistakes = [
        (mistake.id, mistake.label, mistake.given, mistake.reason, mistake.rule)
        for mistake in result.mistakes[:MOST_MISTAKES_SHOWN]
    ]
    if mistakes:
        output.print_rows(("CASE", "LABEL", "VERDICT", "REASON", "RULE"), mistakes, empty="")
        left = len(result.wrong) - len(mistakes)
        if left:
            output.print_line(f"and {left} more: --json lists the ids of all")

    if beside.held_out:
        _print_held_out(beside.held_out)
    if beside.least_sure:
        output.print_head("Least sure: the share of signs that say something else")
        doubts = [
            (kept.case.id, kept.verdict.name, kept.verdict.rule, f"{kept.share:.0%}", kept.against())
            for kept in beside.least_sure
        ]
        output.print_rows(("CASE", "VERDICT", "RULE", "AGAINST", "WHAT ELSE IS SAID"), doubts, empty="")


def _print_held_out(vendors: Mapping[str, _Told]) -> None:
    output.print_head("Vendors that need what was learned from them")
    rows = [
        (vendor, str(told.cases), str(told.known), str(told.held_out))
        for vendor, told in sorted(vendors.items())
        if told.known != told.held_out
    ]
    output.print_rows(
        ("VENDOR", "CASES", "RIGHT", "RIGHT WHEN HELD OUT"), rows, empty="None: all are right as they were."
    )


MOST_MISTAKES_SHOWN: Final = 15


def _count_cell(count: int, is_right: bool) -> Text:  # noqa: FBT001 - a cell's count and its colour
    if not count:
        return Text("." if output.is_terminal() else "0", style="dim")
    return Text(str(count), style="green" if is_right else "red")


def _print_accuracy(head: str, shares: Mapping[str, tuple[int, int]], total: int, right: int) -> None:
    rows = [[name, str(of), str(met), f"{met / of:.1%}"] for name, (of, met) in shares.items()]
    rows.append(["all", str(total), str(right), f"{right / total:.1%}"])
    output.print_rows((head, "CASES", "RIGHT", "ACCURACY"), rows, empty="")


def _shares(confusion: Mapping[tuple[_T, _T], int], words: type[_T]) -> dict[str, tuple[int, int]]:
    """Return for each label how many cases have it, and of those how many are right."""
    found: dict[str, tuple[int, int]] = {}
    for word in words:
        total = sum(count for (label, _given), count in confusion.items() if label == word)
        if total:
            found[str(word)] = (total, confusion.get((word, word), 0))
    return found


def _score_document(result: Score, beside: _Beside) -> dict[str, object]:
    document: dict[str, object] = {
        "total": result.total,
        "right_by_name": result.right_by_name,
        "right_by_owner": result.right_by_owner,
        "accuracy": result.accuracy,
        "owner_accuracy": result.owner_accuracy,
        "by_label": {
            name: {"total": total, "right": right}
            for name, (total, right) in _shares(result.confusion, HealthName).items()
        },
        "by_owner": {
            owner: {"total": total, "right": right}
            for owner, (total, right) in _shares(result.owners, ResolutionOwner).items()
        },
        "confusion": [
            {"label": label, "given": given, "count": count}
            for (label, given), count in sorted(result.confusion.items())
        ],
        "customer_blamed": result.customer_blamed,
        "failures_passed": result.failures_passed,
        "successes_failed": result.successes_failed,
        "mistakes": [
            {
                "id": mistake.id,
                "label": mistake.label,
                "given": mistake.given,
                "reason": mistake.reason,
                "rule": mistake.rule,
                "gravity": mistake.gravity.name.lower(),
            }
            for mistake in result.mistakes
        ],
        "wrong": list(result.wrong),
    }
    document["settled"] = {"total": beside.watched.settled.total(), "right": beside.watched.settled[True]}
    document["contested"] = {"total": beside.watched.contested.total(), "right": beside.watched.contested[True]}
    if beside.held_out:
        document["held_out"] = [
            {"vendor": vendor, "total": told.cases, "right": told.known, "right_when_held_out": told.held_out}
            for vendor, told in sorted(beside.held_out.items())
        ]
    if beside.least_sure:
        document["least_sure"] = [
            {
                "id": kept.case.id,
                "given": kept.verdict.name,
                "rule": kept.verdict.rule,
                "doubt": round(kept.share, 3),
                "opinions": [{"rule": said.rule, "name": said.name} for said in kept.said],
            }
            for kept in beside.least_sure
        ]
    return document
