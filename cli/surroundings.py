"""What is set around a command: the environment, a file that is named, or a local `up`; and the settings made of it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import typer

from worker.settings import PREFIX, Settings, merged

HOME: Final = PREFIX + "HOME"
_CONFIG: Final = PREFIX + "CONFIG"
_SAY_WHERE: Final = tuple(PREFIX + name for name in ("DATABASE_URL", "DATABASE_URL_FILE", "CONFIG"))
CONFIG_FILE: Final = "config.toml"
KEYS_FILE: Final = "vault.keys"


def home(environ: Mapping[str, str]) -> Path:
    """Return the folder in which `connection-health up` keeps what it keeps."""
    if named := environ.get(HOME):
        return Path(named).expanduser()
    data = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(data) / "connection-health").expanduser()


def environment(ctx: typer.Context) -> dict[str, str]:
    """Return the environment with the file that --config names, or with that of a local `up` where nothing is said."""
    environ = dict(os.environ)
    config: Path | None = (ctx.find_root().obj or {}).get("config")
    if config is not None:
        environ[_CONFIG] = str(config)
    elif not any(environ.get(name) for name in _SAY_WHERE):
        folder = home(environ)
        if (folder / CONFIG_FILE).is_file():
            environ[_CONFIG] = str(folder / CONFIG_FILE)
            if f"{PREFIX}VAULT_KEYS" not in environ:
                environ.setdefault(f"{PREFIX}VAULT_KEYS_FILE", str(folder / KEYS_FILE))
    return environ


def local_home(ctx: typer.Context) -> Path | None:
    """Return the folder of a local `up` where the settings come from there, else None."""
    folder = home(os.environ)
    return folder if environment(ctx).get(_CONFIG) == str(folder / CONFIG_FILE) else None


def read_settings(ctx: typer.Context) -> Settings:
    """Return the settings in force. Raises SettingsError."""
    return Settings.read(environment(ctx))


def read_settings_offline(ctx: typer.Context) -> Settings:
    """Return the settings for commands that reach neither database nor Redis; those two may be missing."""
    found = {name: value for name, (value, _origin) in merged(environment(ctx), {}).items()}
    unreachable = {"database_url": "postgresql://nowhere", "redis_url": "redis://nowhere"}
    return Settings.read({}, **{**unreachable, **found})
