"""The settings of every door, read once. Flags beat the environment, that beats the file, that beats the default.

Environment: `CONNECTION_HEALTH_<NAME>`; secrets also as `CONNECTION_HEALTH_<NAME>_FILE` (a path whose content is the
value). File: TOML, named by `CONNECTION_HEALTH_CONFIG`. A key that nobody knows is refused, so that a misspelt one
is never silently without effect.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from worker.applications import parse_applications
from worker.wire.canary import parse_targets

PREFIX: Final = "CONNECTION_HEALTH_"
_CONFIG: Final = PREFIX + "CONFIG"
# Read by others than Settings: the container's health check, and `up` for its own folder.
_ALSO_KNOWN: Final = frozenset({_CONFIG, PREFIX + "HOME"})
_SECRETS: Final = ("database_url", "redis_url", "vault_keys", "oauth_apps")


class SettingsError(Exception):
    """The settings cannot be used; each problem says which key, from where, and what to do."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "settings: " + "; ".join(self.problems)


class Settings(BaseModel):
    """What an operator may set. Durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr
    """`postgresql://user:password@host:5432/name`."""
    redis_url: SecretStr
    """`redis://host:6379/0`, `rediss://…`, or `unix:///path/to/redis.sock`."""
    vault_keys: SecretStr | None = None
    """Keys of the vault, one a line, the newest first (`connection-health vault generate-key`)."""
    oauth_apps: SecretStr | None = None
    """Your OAuth applications at vendors, as TOML: `[hubspot]`, then `client_id = "…"` and `client_secret = "…"`."""
    platform_name: Annotated[str, Field(min_length=1, max_length=60)] = "Connection Health"
    """What pages and sentences call the operator of this software."""
    vendors_dir: Path | None = None
    """The operator's own definitions, and below it, in `dialects/`, the operator's own dialects."""
    allow_loopback_vendors: bool = False
    """Let definitions name vendors on 127.0.0.1 and ::1: for trying out and for tests only."""
    egress_proxy: str | None = None
    """`http://proxy:3128`: every call to a vendor goes through it."""
    ca_file: Path | None = None
    """Certificates to trust instead of the public ones."""
    egress_canaries: str = ""
    """`host:port` of places that answer when our own way out works, separated by `,`."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 64
    """Runs at a time in one worker process."""
    database_pool: Annotated[int, Field(ge=2, le=200)] = 10
    """Database connections of one process."""
    dispatch_interval_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    dispatch_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    queue_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Dispatch no more while so many hints wait in Redis; what is due stays due in PostgreSQL."""
    rehint_after_s: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """A connection still due so long after its hint is hinted again."""
    degraded_after_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """With Redis away for so long, workers claim straight from PostgreSQL."""
    lease_s: Annotated[float, Field(ge=2, le=600)] = 20.0
    """A worker not heard of for so long is dead."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """On SIGTERM, let runs in flight go on for so long before they are interrupted."""
    hard_after_s: Annotated[float, Field(ge=1, le=600)] = 15.0
    """A run that outlives its budget by so long costs its process."""
    dead_man_s: Annotated[float, Field(ge=3, le=600)] = 30.0
    """A process whose interpreter was held by one thread for so long is ended by the kernel."""
    heartbeat_file: Path | None = None
    """Touched while the worker lives, for a container's health check."""
    http_host: str = "127.0.0.1"
    """Where the HTTP API listens."""
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """0: any that is free."""
    public_url: str | None = None
    """`https://health.example.com`: how the HTTP API is reached from outside; vendors send customers back to it."""
    cors_origins: str = ""
    """Origins whose pages may call the HTTP API, separated by `,`; none where empty."""
    http_requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 6000
    """Of each API key that has no limit of its own, over all processes."""
    http_body_limit: Annotated[int, Field(ge=1024, le=100_000_000)] = 1_000_000
    """The largest body of a request, in bytes."""
    http_slow_after_s: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """A client that takes longer to send its headers, or its body, is sent away."""
    http_drain_s: Annotated[int, Field(ge=0, le=600)] = 20
    """On SIGTERM, let requests go on for so long."""
    run_history_days: Annotated[int, Field(ge=1, le=3650)] = 14
    health_history_days: Annotated[int, Field(ge=1, le=3650)] = 400
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("egress_canaries")
    @classmethod
    def _are_targets(cls, value: str) -> str:
        parse_targets(value)
        return value

    @field_validator("oauth_apps", mode="before")
    @classmethod
    def _are_applications(cls, value: object) -> object:
        """Take the tables of a settings file as well as a text of its own."""
        text = json.dumps(value) if isinstance(value, Mapping) else value
        if isinstance(text, SecretStr):
            text = text.get_secret_value()
        if isinstance(text, str):
            parse_applications(text)
        return text

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9/_.-]*)?", value):
            raise ValueError("must look like https://health.example.com")
        return value.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in filter(None, value.split(",")):
            if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin.strip()):
                raise ValueError(f"{origin.strip()!r} is no origin: it must look like https://app.example.com")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://", "redis+socket://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @property
    def broker_url(self) -> str:
        """The Redis URL in the form that Celery takes."""
        url = self.redis_url.get_secret_value()
        if not url.startswith("unix://"):
            return url
        path, _, query = url.removeprefix("unix://").partition("?")
        database = next((part[3:] for part in query.split("&") if part.startswith("db=")), "0")
        return f"redis+socket://{path}?virtual_host={database}"

    @property
    def redis_client_url(self) -> str:
        """The Redis URL in the form that redis-py takes."""
        return client_url(self.redis_url.get_secret_value())

    @classmethod
    def read(cls, environ: Mapping[str, str], **flags: object) -> Self:
        """Return the settings. Raises SettingsError naming every problem at once."""
        return cls._checked(merged(environ, flags))

    @classmethod
    def _checked(cls, found: Mapping[str, tuple[object, str]]) -> Self:
        try:
            return cls(**{name: value for name, (value, _origin) in found.items()})  # type: ignore[arg-type]  # pydantic checks each value
        except ValidationError as error:
            problems = []
            for item in error.errors(include_input=False, include_url=False):
                name = str(item["loc"][0]) if item["loc"] else "?"
                if item["type"] == "missing":
                    problems.append(f"{PREFIX}{name.upper()} is not set")
                else:
                    origin = found[name][1] if name in found else "default"
                    problems.append(f"{name} ({origin}): {item['msg'].removeprefix('Value error, ')}")
            raise SettingsError(tuple(problems)) from None  # pydantic's own text would show the values


def client_url(url: str) -> str:
    """Return a Redis URL as redis-py takes it, from that form or from Celery's (`redis+socket://`)."""
    if not url.startswith("redis+socket://"):
        return url
    path, _, query = url.removeprefix("redis+socket://").partition("?")
    database = next((part[13:] for part in query.split("&") if part.startswith("virtual_host=")), "0")
    return f"unix://{path}?db={database}"


def merged(environ: Mapping[str, str], flags: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    """Return each given setting with its origin (`flag`, `environment`, a path). Raises SettingsError."""
    known = frozenset(Settings.model_fields)
    problems: list[str] = []
    found: dict[str, tuple[object, str]] = {}
    if config := environ.get(_CONFIG):
        found.update(_from_file(Path(config), known, problems))
    for key in sorted(environ):
        if not key.startswith(PREFIX) or key in _ALSO_KNOWN:
            continue
        name = key.removeprefix(PREFIX).lower()
        secret = name.removesuffix("_file")
        if name in known:
            found[name] = (environ[key], "environment")
        elif name.endswith("_file") and secret in _SECRETS:
            if secret.upper() in {k.removeprefix(PREFIX) for k in environ}:
                problems.append(f"{PREFIX}{secret.upper()} and {key} are both set; keep one")
            try:
                found[secret] = (Path(environ[key]).read_text().strip(), f"file of {key}")
            except OSError as error:
                problems.append(f"{key}: cannot read {environ[key]}: {error.strerror}")
        else:
            problems.append(f"{key} is no setting{_meant(name, known)}")
    found.update({name: (value, "flag") for name, value in flags.items() if value is not None})
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _from_file(path: Path, known: frozenset[str], problems: list[str]) -> dict[str, tuple[object, str]]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        problems.append(f"{_CONFIG}: cannot read {path}: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not TOML: {error}")
        return {}
    problems.extend(f"{path}: {key} is no setting{_meant(key, known)}" for key in document if key not in known)
    return {key: (value, str(path)) for key, value in document.items() if key in known}


def _meant(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
