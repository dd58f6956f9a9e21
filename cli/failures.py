"""Every exception that a command can meet, as one sentence and an exit code. Loaded when something has failed."""

import difflib

import psycopg

from cli.errors import CliError
from cli.exits import Exit
from embedded.errors import DirectoryBusyError, EmbeddedError
from models.errors import InvalidValueError, ModelsError, NotFoundError
from vendors.errors import (
    DefinitionError,
    InvalidCredentialsError,
    MissingCredentialError,
    UnknownVendorError,
    VendorError,
)
from worker.errors import AuthorizationNotOfferedError, CredentialsRefusedError, WorkerError
from worker.settings import SettingsError

_UNSET = "CONNECTION_HEALTH_DATABASE_URL is not set"


def explain(error: Exception) -> tuple[Exit, str]:
    """Return how the command ends and what is said: what is wrong, and what to do about it."""
    for kind, answer in _ANSWERS:
        if isinstance(error, kind):
            return answer(error)
    return Exit.OURS, f"{_first_line(error)} ({type(error).__name__}). Run again with --debug to see where"


def _ours(error: Exception) -> tuple[Exit, str]:
    return Exit.OURS, str(error)


def _cli(error: Exception) -> tuple[Exit, str]:
    code = error.exit_code if isinstance(error, CliError) else Exit.OURS
    return code, str(error)


def _settings(error: Exception) -> tuple[Exit, str]:
    hint = "; `connection-health up` runs everything on this machine" if _UNSET in str(error) else ""
    return Exit.USAGE, f"{error}{hint}"


def _unknown_vendor(error: Exception) -> tuple[Exit, str]:
    if not isinstance(error, UnknownVendorError):
        return _ours(error)
    close = difflib.get_close_matches(error.vendor.lower(), error.known, n=1, cutoff=0.5)
    meant = f" Did you mean {close[0]}?" if close else ""
    return Exit.NOT_FOUND, f"no vendor named {error.vendor!r}.{meant} `connection-health vendors list` shows them all"


def _busy(error: Exception) -> tuple[Exit, str]:
    return Exit.REFUSED, str(error)


def _refused(error: Exception) -> tuple[Exit, str]:
    return Exit.REFUSED, f"{error} Nothing was stored"


def _database(error: Exception) -> tuple[Exit, str]:
    return Exit.OURS, f"PostgreSQL: {_first_line(error)}. Is it running, and reachable from here?"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_ANSWERS = (
    (CliError, _cli),
    (SettingsError, _settings),
    (NotFoundError, lambda error: (Exit.NOT_FOUND, str(error))),
    (InvalidValueError, lambda error: (Exit.USAGE, str(error))),
    (ModelsError, _ours),
    (UnknownVendorError, _unknown_vendor),
    ((InvalidCredentialsError, MissingCredentialError), lambda error: (Exit.USAGE, str(error))),
    (DefinitionError, lambda error: (Exit.REFUSED, str(error))),
    (VendorError, _ours),
    (CredentialsRefusedError, _refused),
    (AuthorizationNotOfferedError, lambda error: (Exit.REFUSED, str(error))),
    (WorkerError, _ours),
    (DirectoryBusyError, _busy),
    (EmbeddedError, _ours),
    (psycopg.Error, _database),
)
