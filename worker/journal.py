"""How the processes write their logs: one event a line, JSON or for a terminal, never a secret's value."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from worker.settings import Settings


def set_up(settings: Settings) -> None:
    """Set up structlog and the standard library's logging alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    ours: structlog.typing.Processor = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    logger_factory: Callable[..., Any] = structlog.stdlib.LoggerFactory()
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
        # Our own lines go past the standard library, with which each takes five times as long.
        ours = structlog.processors.JSONRenderer(serializer=_json)
        logger_factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        # Without locals: a frame may hold a credential.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, ours],
        logger_factory=logger_factory,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Celery logs each hint twice and each tick, where our run.finished says more; urllib3 logs URLs.
    for name, level in {
        "celery.worker.strategy": "WARNING",
        "celery.app.trace": "WARNING",
        "celery.beat": "WARNING",
        "urllib3": "WARNING",
    }.items():
        logging.getLogger(name).setLevel(level)


def _json(event: dict[str, Any], default: Callable[[Any], Any]) -> bytes:
    try:
        return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half of a character, or a number beyond 64 bits
        return json.dumps(event, default=default).encode()
