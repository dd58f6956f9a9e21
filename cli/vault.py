"""`connection-health vault`: keys of the vault that holds the credentials."""

import typer

from cli import output
from cli.door import station
from cli.errors import CliError
from cli.output import Json
from models import rotation, vault
from models.vault import RotationProgress

app = typer.Typer(no_args_is_help=True, help="Keys of the vault that holds the credentials.", rich_markup_mode=None)


class RotationIncompleteError(CliError):
    """Some credentials could not be opened, so they are still under an older key."""


@app.command("generate-key")
def generate_key(*, as_json: Json = False) -> None:
    """Make a new key. Put it into the file that CONNECTION_HEALTH_VAULT_KEYS_FILE names, above the older ones."""
    key = vault.generate_key()
    if as_json:
        output.print_json({"key": key})
    else:
        output.print_line(key)


@app.command("rotate")
def rotate(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Seal every credential anew with the newest key, while everything runs. Ended early, it goes on where it was."""
    last = RotationProgress(done=0, left=0)
    with station(ctx) as at:
        keyring = at.keyring
        with output.progress("sealing anew", total=None) as bar:
            for last in rotation.rotate(at.control, keyring):
                bar.update(bar.task_ids[0], completed=last.done, total=last.done + last.left)
    if as_json:
        output.print_json({"done": last.done, "left": last.left, "failed": list(last.failed)})
    else:
        output.print_line(f"{last.done} sealed anew with the key {keyring.newest.key_id}, {last.left} left.")
    if last.left:
        for reason in last.failed:
            output.note(f"- {reason}")
        raise RotationIncompleteError(
            f"{last.left} credentials are still under an older key: keep the older keys, mend what is said above, "
            "and run `connection-health vault rotate` again"
        )
