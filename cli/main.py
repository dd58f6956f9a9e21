"""The command `connection-health`: which module serves which word, and how every failure ends.

A command's module is loaded when the command is called: the libraries behind all of them together take a second and
more, and `--help`, completion and `classify` need few of them.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.exits import Exit

DEBUG_FLAG = "--debug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word after `connection-health`. module: has an `app`; verb: the one command that the word itself is."""

    module: str
    help: str


WORDS: Mapping[str, Word] = {
    "up": Word(module="cli.up", help="Run everything on this machine: PostgreSQL, Redis, worker, beat, HTTP API."),
    "connections": Word(module="cli.connections", help="Add, list, show, change, pause, test and delete connections."),
    "sync": Word(module="cli.sync", help="Run a connection now."),
    "runs": Word(module="cli.runs", help="What happened: a connection's runs, and each run's exchanges."),
    "health": Word(module="cli.health", help="Why a connection is healthy or not, who must act, and since when."),
    "organizations": Word(module="cli.organizations", help="Your customers, each with connections of its own."),
    "vendors": Word(module="cli.vendors", help="The vendors that can be connected; check a definition of your own."),
    "rules": Word(module="cli.rules", help="What today's rules, or new ones of yours, would say of past runs."),
    "classify": Word(module="cli.classify", help="Judge recorded answers: JSON lines in, verdicts out."),
    "doctor": Word(module="cli.doctor", help="Whether everything is well here: servers, workers, queue, keys, disk."),
    "db": Word(module="cli.db", help="Make and migrate the tables."),
    "keys": Word(module="cli.keys", help="Keys of the HTTP API: create, list, revoke."),
    "vault": Word(module="cli.vault", help="Keys of the vault that holds the credentials."),
    "config": Word(module="cli.config", help="The settings in force, and where each comes from."),
}


class Words(TyperGroup):
    """The group of all words. Loads a word's module when it is called, and turns every failure into one sentence."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the words in the order of the table."""
        return list(WORDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """Return the command of a word, or None."""
        word = WORDS.get(cmd_name)
        if word is None:
            return None
        command = typer.main.get_command(import_module(word.module).app)
        command.name = cmd_name
        return command

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write the table of words, for which no module need be loaded."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, word.help) for name, word in WORDS.items()])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a failure becomes a sentence on standard error and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Whoever read us has seen enough (`… | head`). What is still buffered must not fail at the end once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.OK) from error
        except (typer.Exit, typer.Abort, typer.TyperException, KeyboardInterrupt):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            code, sentence = import_module("cli.failures").explain(error)
            typer.echo(f"Error: {sentence}", err=True)
            raise typer.Exit(code) from error
        return result


app = typer.Typer(
    cls=Words,
    name="connection-health",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _word in WORDS.items():
    # Known to the group, so that a misspelt word is answered with the one that was meant; replaced when called.
    app.add_typer(typer.Typer(), name=_name, help=_word.help)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        try:
            typer.echo(f"connection-health {version('connection-health')}")
        except PackageNotFoundError:
            typer.echo("connection-health, not installed: run from its source")
        raise typer.Exit


@app.callback()
def connection_health(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings; the environment beats it.", dir_okay=False)
    ] = None,
    _version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of a failure.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Run connection syncs against vendor APIs, and know which connections work and who must act.

    Exit codes: 0 ok, 1 our fault, 2 usage, 3 not found, 4 refused, 5 a check did not pass (`doctor`,
    `rules replay`, `classify --fail-under`); for a connection that is unhealthy: 10 the customer must act, 11 the
    vendor, 12 you; 124 a wait timed out. Settings come from CONNECTION_HEALTH_* (see `config show`).
    """
    ctx.obj = {"config": config, "debug": debug}


def main(arguments: list[str] | None = None) -> None:
    """Run the command with the arguments of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, _, rest = _cut(given)
    if DEBUG_FLAG in options:
        # It says something about the whole, so it may stand anywhere before a bare `--`.
        options = [DEBUG_FLAG, *(each for each in options if each != DEBUG_FLAG)]
    app([*options, *rest], prog_name="connection-health")


def _cut(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in arguments:
        return arguments, "", []
    at = arguments.index("--")
    return arguments[:at], "--", arguments[at:]


if __name__ == "__main__":
    main()
