"""When a request is sent again, and after which wait. Pure: what happened goes in, a decision or a number comes out.

The loop itself stands in `worker.wire.session`, in the open: it looks at an answer's judgement, at what the vendor
asked for, at the run's remaining time and at whether the request's fate is known, and notes attempt and wait on each
exchange. A library for retries (tenacity, stamina) knows exceptions and numbers; all of that would be callbacks that
share state.
"""

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from classifier.outcome import Exchange
from classifier.verdict import Judgement
from classifier.vocabulary import HealthName, Phase
from vendors.wire import Action, Decision
from worker.wire.errors import IncompleteBodyError
from worker.wire.links import linked

_UNKNOWN_NAME: Final = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """How often and how long. attempts: the first one included; first_backoff_s doubles up to longest_backoff_s.

    longest_wait_s: a vendor that asks for more gets it, but no worker sits it out: the answer stands, the run ends.
    """

    attempts: int = 3
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 8.0
    longest_wait_s: float = 30.0

    def backoff_s(self, attempt: int, draw: float) -> float:
        """Return the wait after an attempt (from 1): anywhere between nothing and the doubled step (full jitter).

        draw: 0 to 1, at random, so that clients which failed together do not come back together.
        """
        return draw * min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** (attempt - 1))


def default_decision(exchange: Exchange, judgement: Judgement, *, now: datetime) -> Decision:
    """Return what to do with an answer of which the definition says nothing. now: aware, UTC."""
    wait_s = None if judgement.retry_at is None else max(0.0, (judgement.retry_at - now).total_seconds())
    match judgement.name:
        case HealthName.HEALTHY:
            action = Action.ACCEPT
        case HealthName.RATE_LIMIT_EXCEEDED:
            action = Action.RATE_LIMITED
        case HealthName.VENDOR_SERVER_ERROR:
            action = Action.RETRY
        case HealthName.UNAUTHORIZED if exchange.status == 401 and exchange.phase is not Phase.TOKEN:
            action = Action.REAUTHENTICATE
        case _:
            action = Action.FAIL
    return Decision(action=action, wait_s=wait_s, rule=judgement.rule)


def is_passing(error: BaseException) -> bool:
    """Say whether a failure without an answer may be over the next time."""
    links = tuple(linked(error))
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in links):
        return False
    if any(isinstance(link, socket.gaierror) and link.errno in _UNKNOWN_NAME for link in links):
        return False
    if isinstance(error, requests.exceptions.ProxyError) and "407" in str(error):
        return False
    return isinstance(
        error,
        requests.exceptions.ConnectionError
        | requests.exceptions.Timeout
        | requests.exceptions.ChunkedEncodingError
        | IncompleteBodyError,
    )


def was_never_sent(error: BaseException) -> bool:
    """Say whether it is certain that the vendor did not see the request: no connection came about."""
    return any(isinstance(link, NewConnectionError | ConnectTimeoutError) for link in linked(error))
