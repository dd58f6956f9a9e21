"""`connection-health classify`: recorded answers in, verdicts out. Needs no database and no settings."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import orjson
import typer

from classifier import classify, explain
from classifier.cases import Case, CaseError, Score, line, read_case, score
from classifier.dialect import Dialect
from classifier.verdict import Verdict
from classifier.vocabulary import HealthName
from cli import output
from cli.credentials_input import STANDARD_INPUT
from cli.errors import BadInputError
from cli.output import Json
from cli.surroundings import environment
from vendors.dialect_files import DIALECTS, load_dialects
from worker.settings import merged

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
    no_dialects: Annotated[bool, typer.Option("--no-dialects", help="Use the general rules alone.")] = False,
    as_json: Json = False,
) -> None:
    """Judge recorded answers: one case a line in, one verdict a line out, in the same order.

    A case: {"id", "vendor", "phase", "outcome": {"method", "url", "status", "headers", "body", "exception"}, "label"}.
    A line that cannot be read gives {"id": null, "error": …} and exit code 2 at the end.
    """
    dialects = {} if no_dialects else load_dialects(DIALECTS, *_own_folders(environment(ctx)))
    reader = _Reader(dialects, traced=traced)
    with ExitStack() as undo:
        source, size = _open(undo, file)
        lines = _with_progress(undo, source, size) if size >= WORTH_A_BAR_BYTES else source
        if scored:
            result = score(pair for pair in reader.judged(lines) if pair is not None)
            _print_score(result, as_json=as_json)
        else:
            reader.write(lines, sys.stdout.buffer)
    if reader.unreadable:
        raise BadInputError(f"{reader.unreadable} of {reader.seen} lines could not be read; the others were judged")


class _Reader:
    """Reads cases and judges them, one at a time, and counts what it could not read."""

    def __init__(self, dialects: Mapping[str, Dialect], *, traced: bool) -> None:
        self._dialects, self._traced = dialects, traced
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
            yield case, self._judge(case.outcome, self._dialects.get(case.vendor))

    def write(self, lines: Iterable[bytes], target: BinaryIO) -> None:
        """Write one JSON line for each case."""
        sys.stdout.flush()
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


def _print_score(result: Score, *, as_json: bool) -> None:
    labels = Counter[HealthName]()
    right = Counter[HealthName]()
    for (label, given), count in result.confusion.items():
        labels[label] += count
        right[label] += count if label is given else 0
    if as_json:
        output.print_json(
            {
                "total": result.total,
                "right_by_name": result.right_by_name,
                "right_by_owner": result.right_by_owner,
                "accuracy": result.accuracy,
                "owner_accuracy": result.owner_accuracy,
                "by_label": {
                    name: {"total": labels[name], "right": right[name]} for name in HealthName if labels[name]
                },
                "confusion": [
                    {"label": label, "given": given, "count": count}
                    for (label, given), count in sorted(result.confusion.items())
                ],
                "customer_blamed": result.customer_blamed,
                "failures_passed": result.failures_passed,
                "successes_failed": result.successes_failed,
                "wrong": list(result.wrong),
            }
        )
        return
    rows: list[list[output.Cell]] = [
        [name, str(labels[name]), str(right[name]), f"{right[name] / labels[name]:.1%}"]
        for name in HealthName
        if labels[name]
    ]
    rows.append(["all", str(result.total), str(result.right_by_name), f"{result.accuracy:.1%}"])
    rows.append(["all, by owner", str(result.total), str(result.right_by_owner), f"{result.owner_accuracy:.1%}"])
    if not result.total:
        raise BadInputError("no case has a label, so there is nothing to score")
    output.print_rows(("LABEL", "CASES", "RIGHT", "ACCURACY"), rows, empty="")
    output.print_facts(
        [
            output.Fact("customer blamed for what is not theirs", str(result.customer_blamed)),
            output.Fact("failures called healthy", str(result.failures_passed)),
            output.Fact("successes called failures", str(result.successes_failed)),
        ]
    )
