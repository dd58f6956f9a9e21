"""fakeredis on a unix socket, for machines on which no Redis can be had. Run as a program: `imitation.py SOCKET`."""

import importlib.util
import itertools
import signal
import socket
import sys
from typing import Any


def is_available() -> bool:
    """Tell whether fakeredis and the Lua that kombu's acknowledgements need are installed."""
    return importlib.util.find_spec("fakeredis") is not None and importlib.util.find_spec("lupa") is not None


def main(path: str) -> None:
    """Serve until SIGTERM."""
    from fakeredis import TcpFakeServer  # noqa: PLC0415 -- an extra: only this process needs it, and it takes a second

    class Imitation(TcpFakeServer):
        address_family = socket.AF_UNIX
        daemon_threads = True
        numbers = itertools.count(1)

        def get_request(self) -> tuple[Any, Any]:
            # Clients of a unix socket have no address, and fakeredis tells its clients apart by theirs.
            connection, _ = super().get_request()
            return connection, ("unix", next(self.numbers))

    server = Imitation(path)  # type: ignore[arg-type]  # the address of a unix socket is its path
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
