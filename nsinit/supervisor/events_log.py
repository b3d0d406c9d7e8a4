"""The supervisor's own events: structlog, one line each, to the console or as JSON."""

from typing import Any

import structlog
from structlog.typing import Processor

from nsinit.supervisor.output import Console


def configure(console: Console, log_format: str) -> None:
    """Send all events to `console`."""
    renderer: Processor
    if log_format == "json":
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        renderer = structlog.processors.JSONRenderer()
    else:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        renderer = structlog.dev.ConsoleRenderer(colors=console.colour, pad_event_to=20)
    processors: list[Any] = [structlog.processors.add_log_level, stamp, structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(file=console),  # type: ignore[arg-type]  # only write() is used
        cache_logger_on_first_use=False,
    )
