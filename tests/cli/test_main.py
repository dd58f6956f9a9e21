"""The command as a whole: its words, its help, and how every failure ends."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from uuid import UUID

import pytest
import typer
from typer.testing import Result

import embedded.errors
import models.errors
import vendors.errors
import worker.errors
from classifier.vocabulary import HealthName
from cli.errors import BadInputError, CliError, NotThereError, RefusedError, WaitTimedOutError
from cli.exits import Exit
from cli.failures import explain
from cli.main import WORDS, main
from worker.settings import SettingsError

Bare = Callable[..., Result]


def test_help_lists_every_word_of_the_table(bare: Bare) -> None:
    result = bare("--help")
    assert result.exit_code == 0
    for word in WORDS:
        assert f"\n  {word}" in result.stdout


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_help_of_its_own(bare: Bare, word: str) -> None:
    result = bare(word, "--help")
    assert result.exit_code == 0, result.stderr
    assert f"connection-health {word}" in result.stdout


@pytest.mark.parametrize("word", WORDS)
def test_every_command_but_up_can_speak_json(word: str) -> None:
    command = typer.main.get_command(import_module(WORDS[word].module).app)
    leaves = getattr(command, "commands", None) or {word: command}
    for name, leaf in leaves.items():
        options = {option for parameter in leaf.params for option in parameter.opts}
        assert ("--json" in options) is (word != "up"), name


def test_help_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'sqlalchemy', 'celery', 'psycopg', 'pydantic', 'requests'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("conections", "list"), "Did you mean 'connections'", id="a word"),
        pytest.param(("connections", "lst"), "Did you mean 'list'", id="a command"),
        pytest.param(("connections", "list", "--helth", "x"), "--helth", id="an option"),
        pytest.param(("connections", "list", "--health", "SICK"), "SICK", id="a value"),
        pytest.param(("sync",), "Missing argument", id="an argument that is missing"),
        pytest.param(("connections", "list", "--limit", "0"), "--limit", id="a number out of bounds"),
    ],
)
def test_what_cannot_be_understood_is_usage(bare: Bare, words: tuple[str, ...], said: str) -> None:
    result = bare(*words)
    assert result.exit_code == Exit.USAGE
    assert said in result.stderr
    assert result.stdout == ""


def test_nothing_set_says_what_to_set_and_names_the_easy_way(bare: Bare) -> None:
    result = bare("connections", "list")
    assert result.exit_code == Exit.USAGE
    assert "CONNECTION_HEALTH_DATABASE_URL is not set" in result.stderr
    assert "connection-health up" in result.stderr


def test_a_misspelt_setting_is_refused_by_name(bare: Bare) -> None:
    result = bare("connections", "list", CONNECTION_HEALTH_DATABSE_URL="postgresql://x")
    assert result.exit_code == Exit.USAGE
    assert "did you mean database_url" in result.stderr


def test_an_unreachable_database_is_our_fault_and_one_sentence(bare: Bare) -> None:
    result = bare(
        "connections", "list",
        CONNECTION_HEALTH_DATABASE_URL="postgresql://me:s3cr3t@127.0.0.1:1/x", CONNECTION_HEALTH_REDIS_URL="redis://x",
    )  # fmt: skip
    assert result.exit_code == Exit.OURS
    assert "cannot reach PostgreSQL at 127.0.0.1:1/x" in result.stderr
    assert "s3cr3t" not in result.output
    assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(bare: Bare) -> None:
    result = bare(
        "--debug", "connections", "list",
        CONNECTION_HEALTH_DATABASE_URL="postgresql://127.0.0.1:1/x", CONNECTION_HEALTH_REDIS_URL="redis://x",
    )  # fmt: skip
    assert isinstance(result.exception, models.errors.DatabaseUnreachableError)


def test_debug_may_stand_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONNECTION_HEALTH_DATABASE_URL", raising=False)
    monkeypatch.setenv("CONNECTION_HEALTH_HOME", "/nowhere")
    with pytest.raises(SettingsError):
        main(["db", "status", "--debug"])


def test_version_is_that_of_the_package(bare: Bare) -> None:
    assert bare("--version").stdout.startswith("connection-health")


def test_the_config_file_is_named_by_a_flag(bare: Bare, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('platform_name = "Umbra"\ndatabase_url = "postgresql://x/x"\nredis_url = "redis://x"\n')
    shown = json.loads(bare("--config", str(file), "config", "show", "--json").stdout)["settings"]
    assert {"name": "platform_name", "value": "Umbra", "origin": str(file)}.items() <= _named(shown).items()


def _named(shown: list[dict[str, object]]) -> dict[str, object]:
    return next(each for each in shown if each["name"] == "platform_name")


def test_a_closed_pipe_is_no_failure() -> None:
    # Enough lines to fill the pipe, so that the command is still writing when its reader has gone.
    code = "import sys\nfrom cli.main import main\nmain(['vendors', 'list', '--json'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate()
    assert process.returncode == 0
    assert stderr == b""


A_CONNECTION = UUID(int=1)


def _subclasses(root: type[Exception]) -> Iterator[type[Exception]]:
    for each in root.__subclasses__():
        yield each
        yield from _subclasses(each)


@pytest.mark.parametrize(
    "root",
    [models.errors.ModelsError, vendors.errors.VendorError, worker.errors.WorkerError, embedded.errors.EmbeddedError],
)
def test_every_error_of_every_package_is_foreseen(root: type[Exception]) -> None:
    for kind in list(_subclasses(root)):
        code, sentence = explain(_made(kind))
        assert code in (Exit.OURS, Exit.USAGE, Exit.NOT_FOUND, Exit.REFUSED)
        assert "--debug" not in sentence, f"{kind.__name__} counts as a bug"


def _made(kind: type[Exception]) -> Exception:
    """Return an error of this class without calling it: what counts here is its place in the tree."""
    made = kind.__new__(kind)
    kind_of_it = type(f"Told{kind.__name__}", (kind,), {"__str__": lambda _self: "what went wrong"})
    made.__class__ = kind_of_it
    for name, value in (("vendor", "okta"), ("known", ("okta",))):
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(models.errors.NotFoundError("connection", "x"), Exit.NOT_FOUND, id="not found"),
        pytest.param(models.errors.InvalidValueError("ck_x", "too short"), Exit.USAGE, id="a value that cannot be"),
        pytest.param(vendors.errors.UnknownVendorError("okto", ("okta",)), Exit.NOT_FOUND, id="unknown vendor"),
        pytest.param(
            worker.errors.CredentialsRefusedError("okta", "no", HealthName.UNAUTHORIZED, "bad_key"),
            Exit.REFUSED,
            id="refused credentials",
        ),
        pytest.param(embedded.errors.DirectoryBusyError(Path("x"), 1), Exit.REFUSED, id="a folder in use"),
        pytest.param(SettingsError(("x",)), Exit.USAGE, id="settings"),
        pytest.param(WaitTimedOutError("x"), Exit.WAIT_TIMED_OUT, id="a wait"),
        pytest.param(ZeroDivisionError("x"), Exit.OURS, id="a bug"),
    ],
)
def test_an_error_ends_with_its_code(error: Exception, code: Exit) -> None:
    assert explain(error)[0] is code


def test_a_bug_is_told_with_the_way_to_see_where() -> None:
    assert "--debug" in explain(ZeroDivisionError("division by zero"))[1]


@pytest.mark.parametrize("kind", [CliError, BadInputError, NotThereError, RefusedError, WaitTimedOutError])
def test_the_commands_own_errors_survive_pickling(kind: type[CliError]) -> None:
    again = pickle.loads(pickle.dumps(kind("what went wrong")))  # noqa: S301 - our own bytes
    assert str(again) == "what went wrong"
