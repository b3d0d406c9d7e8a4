"""Service files -> typed, checked structs. Reads files, and nothing else of the machine."""

from nsinit.config.binds import Bind
from nsinit.config.model import (
    Dependency,
    OuterSandbox,
    Project,
    Readiness,
    Restart,
    Sandbox,
    ServiceConfig,
    Stop,
    SupervisorConfig,
)

__all__ = [
    "Bind",
    "Dependency",
    "OuterSandbox",
    "Project",
    "Readiness",
    "Restart",
    "Sandbox",
    "ServiceConfig",
    "Stop",
    "SupervisorConfig",
]
