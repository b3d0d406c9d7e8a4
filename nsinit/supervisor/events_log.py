"""The supervisor's own events: structlog, one line each, to the console or as JSON."""

import os
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from nsinit.supervisor.faults import describe
from nsinit.supervisor.output import Console

_PAD_EVENT_TO = 20


def configure(console: Console, log_format: str) -> None:
    """Send all events to `console`."""
    renderer: Processor
    if log_format == "json":
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        renderer = structlog.processors.JSONRenderer()
    else:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        renderer = structlog.dev.ConsoleRenderer(_PAD_EVENT_TO, colors=console.colour)
    exceptions = structlog.processors.format_exc_info if os.environ.get("NSINIT_DEBUG") == "1" else _name_exception
    processors: list[Any] = [structlog.processors.add_log_level, stamp, exceptions, renderer]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(file=console),  # type: ignore[arg-type]  # only write() is used
        cache_logger_on_first_use=False,
    )


def _name_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """One line a bug, also for whoever logs it with its traceback."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event
