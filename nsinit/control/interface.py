"""The control interface: its varlink description, its parameters as structs, its errors.

The description is what `varlinkctl introspect` and every other varlink client reads; a test holds it against the
structs of this module and of `nsinit.supervisor.model`. It is an interface that changes only with a major version.
"""

import msgspec

from nsinit.errors import Denied, Inactive, InvalidConfig, NoSuchService, NsinitError, OperationFailed, TimedOut
from nsinit.supervisor.model import LogLine, ServiceStatus

NAME = "io.nsinit.Supervisor"
VARLINK_NAME = "org.varlink.service"

DESCRIPTION = """\
# Watches and controls a running nsinit supervisor. Only its owner and root may connect.
interface io.nsinit.Supervisor

type State (
  waiting, starting, running, ready, unready, stopping, stopped, completed, backoff, failed, frozen
)

# One service. All pids are those of the supervisor's pid namespace: pid is the main process, init_pid the service's
# PID 1. exit_code or signal say how the last run ended.
type Service (
  name: string,
  state: State,
  reason: string,
  ready: bool,
  pid: ?int,
  init_pid: ?int,
  restarts: int,
  uptime_s: ?float,
  exit_code: ?int,
  signal: ?string,
  type: string,
  startup: string
)

# One line that a service wrote. seq grows with each line of the supervisor, time is seconds since 1970.
type LogLine (
  seq: int,
  time: float,
  service: string,
  stream: (stdout, stderr),
  text: string
)

# The supervisor itself.
method Info() -> (
  name: string,
  directory: string,
  version: string,
  pid: int,
  namespaces: bool,
  orphans_reaped: int,
  uptime_s: float
)

# All services, by name.
method List() -> (services: []Service)

# One service.
method Status(name: string) -> (service: Service)

# What a further command of a running service needs: where, as whom, with which environment.
method ExecContext(name: string) -> (
  name: string,
  pid: int,
  env: [string]string,
  user: string,
  working_dir: string
)

# Starts the services and what they need; returns when they are up.
method Start(names: []string) -> ()

# Stops what depends on the services, then them; returns when all are stopped.
method Stop(names: []string) -> ()

# Stops and starts the services; returns when they are up again.
method Restart(names: []string) -> ()

# Reads the configuration again and applies what has changed.
method Reload() -> (
  added: []string,
  removed: []string,
  restarted: []string,
  updated: []string
)

# The lines kept in memory, in order, at most the last `tail` of each service. Without names: of all services. With
# `more` the lines come in several replies; with `follow` too, lines to come follow those that are there.
method Logs(names: ?[]string, tail: ?int, follow: ?bool) -> (lines: []LogLine)

# Returns when all enabled services are up.
method WaitUp() -> ()

# Begins the ordered shutdown of all services and of the supervisor; returns at once.
method Shutdown() -> ()

# What was asked for was tried and did not work.
error OperationFailed (reason: string)

# The service is not running.
error Inactive (reason: string)

# The supervisor has no service of that name.
error NoSuchService (reason: string)

# The caller may not control this supervisor.
error PermissionDenied (reason: string)

# Service files are wrong: one line an error, FILE:LINE: TEXT. Nothing was changed.
error InvalidConfig (reason: string)

# It took longer than allowed.
error TimedOut (reason: string)

# There are too many connections.
error Busy (reason: string)

# A bug in nsinit.
error InternalError (reason: string)
"""

VARLINK_DESCRIPTION = """\
# What every varlink service provides: which interfaces it has, and their descriptions.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)
"""

DESCRIPTIONS = {VARLINK_NAME: VARLINK_DESCRIPTION, NAME: DESCRIPTION}


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a method that takes none."""


class ServiceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of Status and ExecContext."""

    name: str


class ServiceNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of Start, Stop and Restart."""

    names: list[str]


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of Logs."""

    names: list[str] | None = None
    tail: int | None = None
    follow: bool | None = None


class InterfaceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of GetInterfaceDescription."""

    interface: str


class Services(msgspec.Struct, frozen=True):
    """The reply to List."""

    services: list[ServiceStatus]


class Service(msgspec.Struct, frozen=True):
    """The reply to Status."""

    service: ServiceStatus


class Lines(msgspec.Struct, frozen=True):
    """One reply to Logs."""

    lines: list[LogLine]


# The varlink name of each error that crosses the socket. The client raises the class again; the server looks for the
# most special class of the error it caught.
ERRORS: dict[str, type[NsinitError]] = {
    "OperationFailed": OperationFailed,
    "Inactive": Inactive,
    "NoSuchService": NoSuchService,
    "PermissionDenied": Denied,
    "InvalidConfig": InvalidConfig,
    "TimedOut": TimedOut,
}


def error_name(error: NsinitError) -> str:
    """The qualified varlink name that stands for an error; OperationFailed for those without one of their own."""
    names = {kind: name for name, kind in ERRORS.items()}
    known = (names[kind] for kind in type(error).__mro__ if kind in names)
    return f"{NAME}.{next(known, 'OperationFailed')}"


def error_from(name: str, reason: str) -> NsinitError:
    """The exception that a varlink error stands for; the inverse of `error_name`."""
    interface, _, short = name.rpartition(".")
    kind = ERRORS.get(short, OperationFailed) if interface == NAME else OperationFailed
    return kind(reason or name)
