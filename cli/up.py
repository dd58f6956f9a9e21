"""`connection-health up`: everything on this machine, for real use, until it is ended."""

import os
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from cli import output
from cli.stack import DEFAULT_PORT, LocalStack, Wishes
from cli.stop_signals import stoppable
from cli.surroundings import home

app = typer.Typer(rich_markup_mode=None)

LOOK_EVERY_S: Final = 0.5

HOW_TO_GO_ON: Final = """\
Ready. The HTTP API is at {url} (docs/api.md). In another terminal:
  {prefix}connection-health vendors list
  {prefix}connection-health organizations create "My customer"
  {prefix}connection-health connections add VENDOR --org "My customer"
  {prefix}connection-health keys create dashboard --scope read
Logs: {logs}   Vault key: {keys} (keep a copy; without it the credentials are lost)
Ctrl-C ends it; what is stored stays."""


@app.command()
def up(
    *,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where everything is kept [default: CONNECTION_HEALTH_HOME].")
    ] = None,
    vendors_dir: Annotated[
        Path | None, typer.Option(help="A folder with definitions of your own.", exists=True, file_okay=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Runs at a time.", min=1, max=1000)] = 32,
    port: Annotated[
        int, typer.Option(help="Where the HTTP API listens; another one where it is taken.", min=1, max=65_535)
    ] = DEFAULT_PORT,
    allow_loopback_vendors: Annotated[
        bool, typer.Option("--allow-loopback-vendors", help="Let definitions name vendors on this machine.")
    ] = False,
) -> None:
    """Run PostgreSQL, Redis, worker, beat and HTTP API on this machine. What is stored stays; Ctrl-C ends it all."""
    usual = home(os.environ)
    where = folder or usual
    settings = {
        "concurrency": str(concurrency),
        "allow_loopback_vendors": str(allow_loopback_vendors).lower(),
        "http_port": str(port),
    }
    if vendors_dir is not None:
        settings["vendors_dir"] = str(vendors_dir.resolve())
    output.note(f"Starting PostgreSQL, Redis, a worker, a beat and the HTTP API in {where} ...")
    with stoppable(), LocalStack(where, Wishes(settings=settings, inherits=True)) as stack:
        prefix = "" if where.resolve() == usual.resolve() else f"CONNECTION_HEALTH_HOME={stack.folder} "
        output.note(HOW_TO_GO_ON.format(prefix=prefix, url=stack.url, logs=stack.logs, keys=stack.keys_file))
        while True:
            for restart in stack.tend():
                output.note(str(restart))
            time.sleep(LOOK_EVERY_S)
    output.note("Ended; nothing is left running.")
