"""The server around the application: where it listens, how long it waits, how it ends."""

import socket
from typing import Final

import structlog
import uvicorn

from web.app import make_app
from web.desk import Desk
from web.protocol import WaryProtocol

log = structlog.get_logger()

IDLE_S: Final = 30
MOST_CONNECTIONS: Final = 2000


class Server(uvicorn.Server):
    """Tells where it listens once it does."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            log.info("web.ready", host=self.config.host, port=self.port)


def make_server(desk: Desk) -> Server:
    """Return a server for these settings; `run` serves until SIGTERM or SIGINT, and then finishes what it answers."""
    settings = desk.settings
    bounds = {"slowest_head_s": settings.http_slow_after_s, "most_connections": MOST_CONNECTIONS}
    protocol = type("Protocol", (WaryProtocol,), bounds)
    return Server(
        uvicorn.Config(
            make_app(desk),
            host=settings.http_host,
            port=settings.http_port,
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=settings.http_drain_s,
            proxy_headers=False,
        )
    )
