"""PostgreSQL as an owner has it: what survives, what ends, and what is refused."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from embedded import binaries
from embedded.binaries import PostgresBinaries, postgres_binaries
from embedded.errors import (
    DirectoryBusyError,
    DirectoryRefusedError,
    NotRunningError,
    ServerFailedError,
    ServerMissingError,
    SocketPathTooLongError,
    VersionMismatchError,
)
from embedded.postgres import Postgres

pytestmark = pytest.mark.service
OwnProcess = Callable[[str], tuple[subprocess.Popen[str], list[str]]]

OWNER = """
import os, sys, time
from pathlib import Path
from embedded.postgres import Postgres
server = Postgres(Path({folder!r}), durable=False)
server.start()
{more}
print(server.pid, server._guard.pid, flush=True)
time.sleep(600)
"""


def small(folder: Path, **more: object) -> Postgres:
    return Postgres(folder, durable=False, shared_buffers_mb=16, **more)  # type: ignore[arg-type]  # per test


def note(server: Postgres, text: str) -> None:
    with psycopg.connect(server.url) as db:
        db.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        db.execute("INSERT INTO note VALUES (%s)", (text,))


def notes(server: Postgres) -> list[str]:
    with psycopg.connect(server.url) as db:
        return [text for (text,) in db.execute("SELECT text FROM note ORDER BY text")]


def test_what_was_committed_survives_every_kind_of_end(new_folder: Path) -> None:
    with small(new_folder) as server:
        address = server.url
        note(server, "before kill -9")
        server.kill()
        assert not server.alive
        server.start()
        note(server, "before an immediate restart")
        server.restart(immediate=True)
        note(server, "before a restart in order")
        server.restart()
        assert server.url == address
    with small(new_folder) as next_owners:
        assert notes(next_owners) == ["before a restart in order", "before an immediate restart", "before kill -9"]


def test_a_kill_ends_busy_connections_too(folder: Path) -> None:
    endless = "SELECT count(*) FROM generate_series(1, 1000000000000)"  # looks for nothing while it counts
    with small(folder) as server, closing(psycopg.connect(server.url)) as busy:
        busy.pgconn.send_query(endless.encode())
        server.kill()
        server.start()
        note(server, "nobody is left to be in the way")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_started_by_root_it_runs_as_somebody_else(postgres_server: Postgres) -> None:
    assert Path(f"/proc/{postgres_server.pid}").stat().st_uid != 0
    status = Path(f"/proc/{postgres_server.pid}/status").read_text(encoding="utf-8")
    assert "Groups:\t\n" in status.replace("Groups:\t \n", "Groups:\t\n")


def test_its_folders_are_closed_to_other_accounts(postgres_server: Postgres) -> None:
    socket_dir = Path(str(conninfo_to_dict(postgres_server.url)["host"]))
    for private in (postgres_server.data_dir, socket_dir):
        assert private.stat().st_mode & 0o077 == 0
    assert postgres_server.tcp_url is None


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("", id="alone"),
        pytest.param("if os.fork() == 0: time.sleep(600)", id="leaving a child that inherited its end of the pipe"),
    ],
)
def test_a_killed_owner_leaves_no_server(
    more: str, folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]
) -> None:
    owner, _ = own_process(OWNER.format(folder=str(folder), more=more))
    children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text(encoding="ascii").split()
    owner.kill()
    try:
        assert ended(folder)
    finally:
        for child in children if more else ():
            name = Path(f"/proc/{child}/cmdline")
            if name.exists() and b"time.sleep(600)" in name.read_bytes():
                os.kill(int(child), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_guard_leaves_no_server(folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]) -> None:
    _, (_, guard) = own_process(OWNER.format(folder=str(folder), more=""))
    os.kill(int(guard), signal.SIGKILL)
    assert ended(folder)


def test_an_owner_that_just_leaves_takes_its_server_along(
    folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]
) -> None:
    own_process(OWNER.format(folder=str(folder), more="os._exit(0)"))
    assert ended(folder)


def test_it_outlives_the_thread_that_started_it(folder: Path) -> None:
    server = small(folder)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    with server:
        note(server, "the thread is gone")
        assert notes(server) == ["the thread is gone"]


def test_two_owners_of_one_folder_are_one_too_many(folder: Path, own_process: OwnProcess) -> None:
    owner, _ = own_process(OWNER.format(folder=str(folder), more=""))
    with pytest.raises(DirectoryBusyError, match=f"in use by process {owner.pid}"):
        small(folder).start()


def test_the_next_owner_waits_for_a_killed_ones_server_to_end(folder: Path, own_process: OwnProcess) -> None:
    owner, (pid, _) = own_process(OWNER.format(folder=str(folder), more=""))
    os.kill(int(pid), signal.SIGSTOP)  # it takes its time
    owner.kill()
    owner.wait()
    go_on = threading.Timer(1, os.kill, (int(pid), signal.SIGCONT))
    go_on.start()
    try:
        with small(folder) as server:
            assert server.alive
    finally:
        go_on.join()


def test_the_folder_is_taken_as_long_as_its_server_lives_even_without_a_guard(
    folder: Path, own_process: OwnProcess, ended: Callable[[Path], bool]
) -> None:
    owner, (pid, guard) = own_process(OWNER.format(folder=str(folder), more=""))
    os.kill(int(pid), signal.SIGSTOP)
    os.kill(int(guard), signal.SIGKILL)
    try:
        with pytest.raises(DirectoryBusyError, match=f"in use by process {owner.pid}"):
            small(folder).start()
    finally:
        os.kill(int(pid), signal.SIGCONT)
    assert ended(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server itself judges")
def test_a_process_id_that_now_is_somebody_elses_does_not_keep_it_down(folder: Path) -> None:
    with small(folder) as server:
        note(server, "kept")
        server.kill()
        pid_file = folder / "data" / "postmaster.pid"
        # A process of the server's own account, as in a container where ids are small and soon used again.
        account = {"user": folder.stat().st_uid, "extra_groups": []} if os.geteuid() == 0 else {}
        stranger = subprocess.Popen(["sleep", "600"], **account)  # type: ignore[call-overload]  # a dict of options
        try:
            lines = pid_file.read_text(encoding="utf-8").split("\n")
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]), encoding="utf-8")
            server.start()
            assert notes(server) == ["kept"]
        finally:
            stranger.kill()
            stranger.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server itself judges")
def test_a_server_that_somebody_started_past_us_is_left_alone(folder: Path) -> None:
    with small(folder) as server:
        assert server.binaries is not None
        command = [server.binaries.postgres, "-D", folder / "data", "-k", folder / "socket", "-h", ""]
    account = {"user": folder.stat().st_uid, "group": folder.stat().st_gid} if os.geteuid() == 0 else {}
    with (folder / "log").open("ab") as log:
        stranger = subprocess.Popen(command, stdout=log, stderr=log, **account)  # type: ignore[call-overload]  # as above
    try:
        server._pid = stranger.pid
        _await_ready(server, stranger)
        with pytest.raises(DirectoryBusyError, match=f"in use by process {stranger.pid}"):
            server.start()
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGQUIT)
        stranger.wait()


def _await_ready(server: Postgres, stranger: subprocess.Popen[bytes]) -> None:
    while not server._is_ready(server._place()):
        assert stranger.poll() is None


def test_a_preparation_cut_short_is_begun_anew(folder: Path) -> None:
    (folder / "data").rename(folder / "data.new")
    with small(folder) as server:
        assert server.alive
        assert not (folder / "data.new").exists()


def test_tcp_asks_for_the_password_and_listens_on_loopback_alone(folder: Path) -> None:
    with small(folder, port=0) as server:
        assert server.tcp_url is not None
        with psycopg.connect(server.tcp_url) as db:
            assert db.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        guess = server.tcp_url.replace(str(conninfo_to_dict(server.tcp_url)["password"]), "guess")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(guess)
        note(server, "the socket works beside it")


def test_a_long_folder_gets_a_short_socket_elsewhere(new_folder: Path) -> None:
    deep = new_folder / ("a" * 60) / ("b" * 60)
    with small(deep) as server:
        note(server, "reached")
        socket_dir = Path(str(conninfo_to_dict(server.url)["host"]))
        assert not socket_dir.is_relative_to(new_folder)
        assert socket_dir.stat().st_mode & 0o077 == 0
        server.remove()
    assert not socket_dir.exists()


def test_a_long_folder_for_the_socket_is_refused_with_the_limit(new_folder: Path) -> None:
    with pytest.raises(SocketPathTooLongError, match=r"at most 10[37].*choose a shorter folder"):
        small(new_folder, socket_dir=new_folder / ("s" * 120)).start()


def test_a_socket_folder_open_to_others_is_refused(new_folder: Path) -> None:
    shared = new_folder.with_name(f"{new_folder.name}-shared")
    shared.mkdir(mode=0o755)
    with pytest.raises(DirectoryRefusedError, match="nobody else may enter"):
        small(new_folder, socket_dir=shared).start()


def test_a_folder_with_something_else_in_it_is_left_as_it_is(new_folder: Path) -> None:
    new_folder.mkdir()
    (new_folder / "thesis.tex").touch()
    before = new_folder.stat()
    with pytest.raises(DirectoryRefusedError, match="choose a new folder"):
        small(new_folder).start()
    small(new_folder).remove()
    assert (new_folder / "thesis.tex").exists()
    assert (new_folder.stat().st_mode, new_folder.stat().st_uid) == (before.st_mode, before.st_uid)


def test_what_kept_it_from_starting_is_told(folder: Path) -> None:
    with pytest.raises(ServerFailedError, match=r"(?s)did not start: it ended.*shared_buffers"):
        small(folder, settings={"shared_buffers": "many"}).start()
    with small(folder) as server:
        assert server.alive


def test_data_of_another_major_version_are_not_touched(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with pytest.raises(VersionMismatchError, match="written by PostgreSQL 9"):
        small(folder).start()


def test_data_are_opened_by_the_version_that_wrote_them(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest, *older = postgres_binaries()
    if not any(candidate.major != newest.major for candidate in older):
        pytest.skip("only one major version is here")
    written_by = next(candidate for candidate in older if candidate.major != newest.major)
    monkeypatch.setattr(binaries, "postgres_binaries", lambda: (written_by,))
    with small(new_folder) as server:
        note(server, "old")
    monkeypatch.undo()
    with small(new_folder) as server:
        assert notes(server) == ["old"]
        assert server.binaries is not None
        assert server.binaries.major == written_by.major


@pytest.mark.usefixtures("no_wheels")
def test_without_the_wheel_a_server_of_the_machine_is_taken(new_folder: Path) -> None:
    try:
        found = postgres_binaries()
    except ServerMissingError as error:
        pytest.skip(str(error))
    with small(new_folder) as server:
        note(server, "works")
        assert isinstance(server.binaries, PostgresBinaries)
        assert server.binaries.source == found[0].source


@pytest.mark.usefixtures("no_servers")
def test_without_any_server_the_message_says_what_to_install(new_folder: Path) -> None:
    with pytest.raises(ServerMissingError, match=r"no usable PostgreSQL.*apt install postgresql"):
        small(new_folder).start()


def test_databases_come_and_go(postgres_server: Postgres) -> None:
    model = postgres_server.create_database("the model")
    with psycopg.connect(model) as db:
        db.execute("CREATE TABLE mark ()")
    with closing(psycopg.connect(postgres_server.create_database("copy", template="the model"))) as db:
        assert db.execute("SELECT FROM mark").rowcount == 0
        postgres_server.drop_database("copy")  # with a connection in it
    postgres_server.drop_database("the model")
    postgres_server.drop_database("the model")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(model)


def test_a_server_that_does_not_run_has_no_process(new_folder: Path) -> None:
    server = small(new_folder)
    with pytest.raises(NotRunningError, match="call start"):
        _ = server.pid
    server.stop()


@pytest.fixture
def lasting(server_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be kept below /var/tmp goes away with the tests."""
    monkeypatch.setattr("embedded.quarters._LASTING", server_dir)


@pytest.mark.usefixtures("lasting")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's folders are closed to the server's account")
def test_below_a_folder_that_only_root_may_enter_the_data_lie_elsewhere(tmp_path: Path) -> None:
    tmp_path.parent.chmod(0o700)
    asked = tmp_path / "closed"
    with small(asked) as server:
        note(server, "elsewhere")
        home = (asked / "elsewhere").readlink()
        assert home.stat().st_uid != 0
    with small(asked) as server:
        assert notes(server) == ["elsewhere"]
    small(asked).remove()
    assert not home.exists()
    assert not asked.exists()


@pytest.mark.usefixtures("lasting")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's folders are closed to the server's account")
def test_what_lies_elsewhere_goes_after_its_folder_was_deleted(tmp_path: Path) -> None:
    tmp_path.parent.chmod(0o700)
    with small(tmp_path / "deleted while it runs") as server:
        running = (server.data_dir / "elsewhere").readlink()
        shutil.rmtree(server.data_dir)
        with small(tmp_path / "deleted afterwards") as other:
            stopped = (other.data_dir / "elsewhere").readlink()
        assert running.exists()
        shutil.rmtree(other.data_dir)
        with small(tmp_path / "next") as following:
            assert not stopped.exists()
            assert running.exists()
            assert (following.data_dir / "elsewhere").readlink().exists()


@pytest.mark.usefixtures("lasting")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's programs are closed to the server's account")
def test_programs_that_only_root_can_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = postgres_binaries()[0]
    if found.root is None:
        pytest.skip("the wheel is not here")
    closed = str(found.root.parent)
    monkeypatch.setattr("embedded.quarters.Account.may_enter", lambda account, place: closed not in str(place))
    with small(folder) as server:
        note(server, "started from a copy")
        copy = Path(f"/proc/{server.pid}/exe").readlink()
        assert closed not in str(copy)
        modified = copy.stat().st_mtime_ns
        server.restart()  # from the same copy
        assert copy.stat().st_mtime_ns == modified
