"""What a person sees: tables, bars, times, and no colour where none is wanted."""

import io
import json
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import typer

from classifier.vocabulary import HealthName, ResolutionOwner
from cli import output
from cli.credentials_input import read_options, typed
from cli.durations import read_secs
from cli.exits import Exit, exit_of
from cli.waterfall import bar, waterfall_rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


def sick_row() -> str:
    """What a terminal shows of one row."""
    with redirect_stdout(Terminal()) as screen:
        output.print_rows(("ID", "HEALTH"), [["1", output.health_text("UNAUTHORIZED", "CUSTOMER")]], empty="")
    return screen.getvalue()


@pytest.mark.usefixtures("_colours")
def test_a_terminal_gets_a_table_with_a_head_and_colours() -> None:
    shown = sick_row()
    assert "HEALTH" in shown
    assert "\x1b[33mUNAUTHORIZED" in shown


@pytest.mark.usefixtures("_colours")
def test_no_color_takes_the_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in sick_row()


def test_a_cell_with_tabs_and_line_breaks_stays_one_cell(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows(("A", "B"), [["one\ttwo\nthree", "four"]], empty="")
    assert capsys.readouterr().out == "one two three\tfour\n"


def test_json_is_one_line_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"at": NOON, "id": UUID(int=1), "name": HealthName.HEALTHY, "for": timedelta(seconds=1.5), "all": (1,)}
    output.print_json(document)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert json.loads(told) == {
        "at": "2026-01-01T12:00:00Z", "id": str(UUID(int=1)), "name": "HEALTHY", "for": 1.5, "all": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7200, "2h ago"), (200_000, "2d ago"), (-240, "in 4m")],
)
def test_a_moment_is_told_from_now(seconds: int, said: str) -> None:
    assert output.ago(NOON - timedelta(seconds=seconds), now=NOON) == said


def test_no_moment_is_an_empty_text() -> None:
    assert output.ago(None) == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("4H", 14_400), (" 1d ", 86_400), (60, 60)]
)
def test_a_length_of_time_is_read_as_it_is_typed(text: str | int, seconds: int) -> None:
    assert read_secs(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5h", "1w", "h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 90s, 15m, 4h or 1d"):
        read_secs(text)


@pytest.mark.parametrize("name", [*HealthName, None])
def test_every_health_has_an_exit_code(name: HealthName | None) -> None:
    codes = {
        HealthName.HEALTHY: Exit.OK,
        HealthName.UNAUTHORIZED: Exit.CUSTOMER_MUST_ACT,
        HealthName.VENDOR_SERVER_ERROR: Exit.VENDOR_MUST_ACT,
        None: Exit.OK,
    }
    owners = {HealthName.UNAUTHORIZED: ResolutionOwner.CUSTOMER, HealthName.VENDOR_SERVER_ERROR: ResolutionOwner.VENDOR}
    owner = None if name is None else owners.get(name, ResolutionOwner.LEEN)
    assert exit_of(name, owner) is codes.get(name, Exit.PLATFORM_MUST_ACT)


@pytest.mark.parametrize("owner", ResolutionOwner)
def test_every_owner_has_a_name_and_a_colour(owner: ResolutionOwner) -> None:
    told = output.who_acts(HealthName.INTERNAL_ERROR, owner, "Umbra")
    assert str(told) in ("the customer", "the vendor", "Umbra")
    assert told.style


@pytest.mark.parametrize(
    ("waited", "started", "elapsed", "drawn"),
    [
        pytest.param(0, 0, 500, "█████", id="from the beginning"),
        pytest.param(0, 500, 500, "     █████", id="from the middle"),
        pytest.param(300, 500, 100, "  ···█", id="after a wait"),
        pytest.param(0, 1000, 0, "         █", id="nothing at the very end is still seen"),
    ],
)
def test_an_exchange_is_drawn_where_it_lies(waited: int, started: int, elapsed: int, drawn: str) -> None:
    assert bar(waited_ms=waited, started_ms=started, elapsed_ms=elapsed, end_ms=1000, width=10) == drawn


def test_a_waterfall_tells_attempts_and_what_was_made_of_them() -> None:
    rows = waterfall_rows(
        [
            {"n": 1, "data_type": "users", "method": "GET", "url": "https://x.example/users?page=1", "status": 503,
             "started_ms": 0, "elapsed_ms": 100, "attempt": 1, "decision": "retry"},
            {"n": 2, "data_type": "users", "method": "GET", "url": "https://x.example/users?page=1", "status": None,
             "started_ms": 600, "elapsed_ms": 100, "waited_ms": 500, "attempt": 2, "error": "ReadTimeout: slow"},
        ]
    )  # fmt: skip
    assert [str(cell) for cell in rows[0]][:4] == ["1", "users", "GET /users?page=1", "503"]
    assert str(rows[0][-1]) == "retry"
    assert str(rows[1][-1]) == "attempt 2, ReadTimeout: slow"
    assert str(rows[1][3]) == "none"


def test_a_waterfall_of_nothing_is_empty() -> None:
    assert waterfall_rows([]) == []


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        pytest.param("8080", {"type": "integer"}, 8080, id="a number"),
        pytest.param("true", {"type": "boolean"}, True, id="a truth"),
        pytest.param("8080", {"type": "string"}, "8080", id="a text of digits"),
        pytest.param("many", {"type": "integer"}, "many", id="a word stays for the schema to refuse"),
    ],
)
def test_an_option_has_the_type_that_the_schema_gives_it(text: str, rule: dict[str, str], value: object) -> None:
    assert typed(text, rule) == value
    assert read_options([f"x={text}"], {"properties": {"x": rule}}) == {"x": value}


def test_an_option_may_hold_an_equals_sign() -> None:
    assert read_options(["query=a=b"], {}) == {"query": "a=b"}


def test_markup_in_what_a_vendor_said_is_text() -> None:
    with redirect_stdout(Terminal()) as screen:
        output.print_rows(("WHY",), [["[bold]not bold[/bold] [/]"]], empty="")
        output.print_facts([output.Fact("why", "[red]no[/red] [/]")])
    assert "[bold]not bold[/bold] [/]" in screen.getvalue()
    assert "[red]no[/red] [/]" in screen.getvalue()
