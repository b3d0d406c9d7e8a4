"""Service files -> typed, checked structs. Reads files, and nothing else of the machine."""

from nsinit.config.binds import Bind
from nsinit.config.effective import effective
from nsinit.config.load import DEFAULT_DIRECTORY, default_name, load_project
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
    "DEFAULT_DIRECTORY",
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
    "default_name",
    "effective",
    "load_project",
]
