import json
import logging
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
import structlog

from tests.worker.conftest import settings_of
from worker import journal

SECRET = "hunter2-the-password"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def fail_with_a_local_secret() -> None:
    password = SECRET
    raise RuntimeError(len(password))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    journal.set_up(settings_of(log_format=log_format))
    try:
        fail_with_a_local_secret()
    except RuntimeError:
        structlog.get_logger().exception("run.broke")
        logging.getLogger("another.library").exception("it broke")

    told = capsys.readouterr().err
    assert told.count("RuntimeError: 20") == 2
    assert SECRET not in told


def test_json_is_one_object_a_line_whoever_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    journal.set_up(settings_of(log_format="json"))
    structlog.get_logger().info("run.finished", run_seq=3)
    logging.getLogger("another.library").warning("two\nlines")

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["run_seq"], ours["level"]) == ("run.finished", 3, "info")
    assert (theirs["event"], theirs["level"]) == ("two\nlines", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("\ud800", id="half of a character"),
        pytest.param(2**70, id="a number beyond 64 bits"),
        pytest.param({1: "x"}, id="a key that is no text"),
        pytest.param(UUID(int=1), id="an id"),
        pytest.param(b"\xff", id="bytes"),
    ],
)
def test_no_value_keeps_a_line_from_being_written(odd: object, capsys: pytest.CaptureFixture[str]) -> None:
    journal.set_up(settings_of(log_format="json"))
    structlog.get_logger().info("odd", value=odd)

    assert json.loads(capsys.readouterr().err)["event"] == "odd"


def test_the_level_holds_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    journal.set_up(settings_of(log_level="WARNING"))
    structlog.get_logger().info("quiet")
    logging.getLogger("another.library").info("quiet")
    logging.getLogger("celery.app.trace").info("quiet")

    assert capsys.readouterr().err == ""
    assert sys.stderr is not None
