"""As whom a server runs and where its files lie.

A server never runs as root. Where we are root it runs as an account that needs nothing from us, and then its files
must lie where that account can go: not below a home that only root may enter. Nothing here starts a process.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedded.errors import DirectoryRefusedError, SocketPathTooLongError

# The size of sun_path, less the byte that ends it: unix(7), and sys/un.h of the BSDs and macOS.
SOCKET_PATH_LIMIT: Final = 107 if sys.platform == "linux" else 103
_PEOPLE_WHO_OWN_NOTHING: Final = ("nobody", "daemon", "postgres")
_LASTING: Final = Path("/var/tmp")  # noqa: S108 -- only a folder below it that we made and whose owner we check
_SHORT: Final = Path("/tmp")  # noqa: S108 -- likewise; the shortest place that every system has
_MARK: Final = "lock"
_PROGRAMS: Final = "programs-"
_DAY_S: Final = 86_400
_ELSEWHERE: Final = "elsewhere"
_NOT_A_SERVERS: Final = "is not empty and not a server's: choose a new folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account of a server."""

    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Tell whether the account can reach `folder` itself, by the mode bits of it and of all above it."""
        return all(self._may_search(place) for place in (folder, *folder.parents))

    def _may_search(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarters:
    """Where one server lives. account: None where it runs as ourselves.

    home: the folder that holds all of it, for its account alone; socket_dir likewise, with a short path.
    """

    home: Path
    socket_dir: Path
    account: Account | None

    @property
    def lock(self) -> Path:
        """The file whose lock is held as long as any process of the server lives."""
        return self.home / _MARK

    @property
    def data(self) -> Path:
        """The server's own files."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self.home / "log"


def quarters(data_dir: Path, *, socket_name: str, socket_dir: Path | None = None) -> Quarters:
    """Make the folders of a server and return them.

    socket_name: as in `.s.PGSQL.5432`, for the length of its path. socket_dir: None takes one below the home, or a
    short one elsewhere where that is too long; a given one that is too long raises SocketPathTooLongError.
    Raises DirectoryRefusedError where the folder holds something else or belongs to somebody else.
    """
    if socket_dir is not None:
        _check_length(_absolute(socket_dir) / socket_name)
    asked = _absolute(data_dir)
    asked.mkdir(parents=True, exist_ok=True)
    home = _home(asked)
    account = _account_for(home)
    if home == asked and account is not None and not account.may_enter(asked.resolve().parent):
        home = _place_elsewhere(asked)
    if home != asked and home.parent != _own_base(_LASTING):
        raise DirectoryRefusedError(asked, "holds the server of another account: choose another folder")
    home.mkdir(mode=0o700, exist_ok=True)
    _occupy(home, account)
    chosen = home / "socket"  # what lies in the home is made by the server's own account, not by us as root
    if socket_dir is not None:
        chosen = _absolute(socket_dir)
        _make_or_judge(chosen, account)
    elif len(os.fsencode(chosen / socket_name)) > SOCKET_PATH_LIMIT:
        chosen = _own_base(_SHORT) / _digest(home)
        chosen.mkdir(mode=0o700, exist_ok=True)
        _give(chosen, account)
    return Quarters(home=home, socket_dir=chosen, account=account)


def reachable_copy(root: Path, account: Account | None) -> Path:
    """Return `root`, or a copy of it where the account can go, when it cannot go to `root`.

    Shared libraries that a wheel keeps beside its package (`<package>.libs`) are taken along.
    """
    resolved = root.resolve()
    folders = (resolved, *resolved.glob("*/")) if resolved.is_dir() else (resolved.parent,)
    if account is None or all(map(account.may_enter, folders)):
        return root
    version = resolved.stat()
    base = _own_base(_LASTING) / f"{_PROGRAMS}{_digest(resolved)}-{version.st_mtime_ns:x}"
    package = resolved.parent
    copy = base / package.name / resolved.name
    if copy.exists():
        return copy
    unfinished = base.with_name(f"{base.name}.{os.getpid()}")
    if resolved.is_dir():
        unwanted = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(resolved, unfinished / package.name / resolved.name, symlinks=True, ignore=unwanted)
    else:
        (unfinished / package.name).mkdir(parents=True)
        shutil.copy2(resolved, unfinished / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    _open_for_reading(unfinished)
    try:
        unfinished.rename(base)
    except OSError:  # somebody else was first; theirs is as good
        shutil.rmtree(unfinished)
    _remember(base, resolved)
    return copy


def remove(data_dir: Path) -> None:
    """Remove all that a server left, wherever it lies. Only for a server that is not running."""
    asked = _absolute(data_dir)
    if not asked.is_dir():
        return
    home = _home(asked)
    shutil.rmtree(_base_path(_SHORT) / _digest(home), ignore_errors=True)
    if home != asked and home.parent == _base_path(_LASTING):
        shutil.rmtree(home, ignore_errors=True)
        _note_of(home).unlink(missing_ok=True)
    if (asked / _MARK).exists() or (asked / _ELSEWHERE).is_symlink():
        shutil.rmtree(asked)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 -- resolve() would follow a link that we are to judge


def _home(asked: Path) -> Path:
    link = asked / _ELSEWHERE
    return link.readlink() if link.is_symlink() else asked


def _account_for(home: Path) -> Account | None:
    if os.geteuid() != 0:
        return None
    data = home / "data"
    if data.exists() and (status := data.lstat()).st_uid != 0:
        return Account(uid=status.st_uid, gid=status.st_gid)  # whoever wrote the data goes on with them
    for name in _PEOPLE_WHO_OWN_NOTHING:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    accounts = ", ".join(_PEOPLE_WHO_OWN_NOTHING)
    raise DirectoryRefusedError(
        home, f"needs an account other than root for its server, and none of {accounts} is here"
    )


def _place_elsewhere(asked: Path) -> Path:
    # The link tells a reader of the folder where its content is, and lets remove() find it.
    if any(asked.iterdir()):
        raise DirectoryRefusedError(asked, _NOT_A_SERVERS)
    base = _own_base(_LASTING)
    _sweep(base)
    home = base / _digest(asked)
    (asked / _ELSEWHERE).symlink_to(home)
    _remember(home, asked)
    return home


def _occupy(home: Path, account: Account | None) -> None:
    owner = home.stat().st_uid
    if account is None and owner != os.geteuid():
        raise DirectoryRefusedError(home, f"belongs to the account {owner}, not to us: choose another folder")
    if not (home / _MARK).exists() and any(home.iterdir()):
        raise DirectoryRefusedError(home, _NOT_A_SERVERS)
    _give(home, account)


def _make_or_judge(folder: Path, account: Account | None) -> None:
    """Make the folder of a socket; one that exists is left as it is.

    It is refused where others may enter: whoever reaches the socket is let in without a password.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        status = folder.lstat()
        owner = account.uid if account else os.geteuid()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
            problem = f"must be a folder of the account {owner} that nobody else may enter (mode 0700)"
            raise DirectoryRefusedError(folder, problem) from None
    else:
        _give(folder, account)


def _give(folder: Path, account: Account | None) -> None:
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def _base_path(parent: Path) -> Path:
    return parent / f"connection-health-{os.geteuid()}"


def _own_base(parent: Path) -> Path:
    """Return our folder in a place where everybody may write, after looking that nobody put another there."""
    base = _base_path(parent)
    base.mkdir(mode=0o711, exist_ok=True)
    status = base.lstat()
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not ours or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DirectoryRefusedError(base, "was put there by somebody else: have it removed")
    base.chmod(0o711)  # past the umask: others' servers pass through, and cannot list it
    return base


def _note_of(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.of")


def _remember(kept: Path, source: Path) -> None:
    """Note for whose sake something is kept, so that it can go when that is gone."""
    _note_of(kept).write_text(str(source), encoding="utf-8")


def _sweep(base: Path) -> None:
    """Remove what is kept for folders that somebody deleted without asking us."""
    for note in base.glob("*.of"):
        source, kept = Path(note.read_text(encoding="utf-8")), note.with_suffix("")
        wanted = source.exists() if kept.name.startswith(_PROGRAMS) else (source / _ELSEWHERE).is_symlink()
        if not wanted and not _is_in_use(kept):
            shutil.rmtree(kept, ignore_errors=True)
            note.unlink()


def _is_in_use(kept: Path) -> bool:
    if not kept.exists():
        return False
    if kept.name.startswith(_PROGRAMS):  # a server may still run from it, and nobody tells
        return time.time() - kept.stat().st_mtime < _DAY_S
    try:
        with (kept / _MARK).open("rb") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise SocketPathTooLongError(path, length, SOCKET_PATH_LIMIT)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
