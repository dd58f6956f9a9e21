"""What can keep an embedded server from running.

EmbeddedError
├── ServerMissingError         no usable server program on this machine (what was looked at, what to install)
├── VersionMismatchError       the data were written by another major version of PostgreSQL than we can start
├── DirectoryRefusedError      the folder cannot hold a server's data
├── DirectoryBusyError         another process runs a server on the folder
├── SocketPathTooLongError     the system takes no unix socket under so long a path
├── ServerFailedError          the server, or its preparation, ended before it was ready
└── NotRunningError            asked for something that only a running server has
"""

from pathlib import Path


class EmbeddedError(Exception):
    """The root of this package's errors."""


class ServerMissingError(EmbeddedError):
    """No usable server program is on this machine. looked_at: one sentence a place."""

    def __init__(self, server: str, looked_at: tuple[str, ...], remedy: str) -> None:
        super().__init__(server, looked_at, remedy)
        self.server, self.looked_at, self.remedy = server, looked_at, remedy

    def __str__(self) -> str:
        return f"no usable {self.server} on this machine ({'; '.join(self.looked_at)}). {self.remedy}"


class VersionMismatchError(EmbeddedError):
    """The data in the folder were written by a major version of PostgreSQL that is not here."""

    def __init__(self, data_dir: Path, written_by: int, available: tuple[int, ...]) -> None:
        super().__init__(data_dir, written_by, available)
        self.data_dir, self.written_by, self.available = data_dir, written_by, available

    def __str__(self) -> str:
        have = ", ".join(map(str, self.available))
        return (
            f"{self.data_dir} was written by PostgreSQL {self.written_by}, and only {have} is here: "
            f"install PostgreSQL {self.written_by}, or choose another folder"
        )


class DirectoryRefusedError(EmbeddedError):
    """The folder cannot hold a server's data."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


class DirectoryBusyError(EmbeddedError):
    """Another process runs a server on the folder. holder: its process id where that is known."""

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(path, holder)
        self.path, self.holder = path, holder

    def __str__(self) -> str:
        who = f"process {self.holder}" if self.holder else "another process"
        return f"{self.path} is in use by {who}: stop that one, or choose another folder"


class SocketPathTooLongError(EmbeddedError):
    """The system takes no unix socket under so long a path."""

    def __init__(self, path: Path, length: int, limit: int) -> None:
        super().__init__(path, length, limit)
        self.path, self.length, self.limit = path, length, limit

    def __str__(self) -> str:
        return (
            f"the socket {self.path} has a path of {self.length} bytes, and this system takes at most {self.limit}: "
            "choose a shorter folder for it"
        )


class ServerFailedError(EmbeddedError):
    """The server, or its preparation, ended before it was ready. log_tail: the last of what it wrote."""

    def __init__(self, server: str, problem: str, log_tail: str) -> None:
        super().__init__(server, problem, log_tail)
        self.server, self.problem, self.log_tail = server, problem, log_tail

    def __str__(self) -> str:
        told = f"; its last words:\n{self.log_tail}" if self.log_tail else ""
        return f"{self.server} did not start: {self.problem}{told}"


class NotRunningError(EmbeddedError):
    """Asked for something that only a running server has."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.server = server

    def __str__(self) -> str:
        return f"{self.server} is not running: call start() first"
