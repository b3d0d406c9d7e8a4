"""A directory of service files -> a Project, or all that is wrong with it at once. Files are opened here only."""

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping

from nsinit.config.decode import decode
from nsinit.config.dependencies import check_dependencies
from nsinit.config.model import OuterSandbox, Project, ServiceConfig, SupervisorConfig
from nsinit.config.report import Place, Report, Source, visible
from nsinit.config.service import read_service
from nsinit.config.supported import ProjectFile
from nsinit.config.syntax import MAX_NAME, parse_name
from nsinit.errors import InvalidConfig

DEFAULT_DIRECTORY = "services"
PROJECT_FILE = "nsinit.toml"

# A service file is a screenful; this keeps PID 1 from reading a disk image.
MAX_FILE_BYTES = 1 << 20


def load_project(directory: str, environ: Mapping[str, str]) -> Project:
    """Read and check `directory`: every NAME.toml is a service, nsinit.toml describes what is around them.

    `environ` is where the variables of pass_env come from. Nothing outside the directory is looked at.

    Raises:
        InvalidConfig: the directory can't be read or has no service; or with one line for every error of its files.
    """
    names = _service_names(directory)
    report = Report()
    project = _read_project_file(directory, report)
    services: dict[str, ServiceConfig] = {}
    places: dict[str, Place] = {}
    for name in names:
        path = os.path.join(directory, f"{name}.toml")
        table, places[name] = _read_table(path, report)
        _check_name(name, places[name])
        if table is None:
            # Its name still counts, so that nobody is told that it does not exist.
            services[name] = ServiceConfig(name=name, path=path, command=())
        else:
            services[name] = read_service(name, os.path.abspath(path), table, places[name], environ)
    check_dependencies(services, places)
    report.check()
    name = project.supervisor.name or default_name(directory)
    return Project(
        directory=os.path.abspath(directory),
        name=name,
        services=services,
        sandbox=project.sandbox,
        supervisor=SupervisorConfig(
            name=name, log_format=project.supervisor.log_format, exit_when=project.supervisor.exit_when
        ),
    )


def default_name(directory: str) -> str:
    """The name of a project that gives itself none: its directory's, or the parent's of one called `services`."""
    path = os.path.abspath(directory)
    if os.path.basename(path) == DEFAULT_DIRECTORY:
        path = os.path.dirname(path)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(path)).strip("-_.")
    return name[:MAX_NAME] or "nsinit"


def _service_names(directory: str) -> list[str]:
    try:
        entries = os.listdir(directory)
    except OSError as error:
        raise InvalidConfig(
            f"cannot read the directory {visible(directory)}: {_errno_name(error)}: "
            "give the directory that holds the service files"
        ) from None
    names = [
        entry.removesuffix(".toml")
        for entry in entries
        if entry.endswith(".toml") and not entry.startswith(".") and entry != PROJECT_FILE
    ]
    if not names:
        raise InvalidConfig(
            f"the directory {visible(directory)} has no service files: write one, "
            'as in web.toml with the line command = ["/usr/bin/web"]'
        )
    return sorted(names)


def _check_name(name: str, place: Place) -> None:
    if name.endswith("@"):
        place.error("templates (NAME@.toml) are not supported yet")
        return
    try:
        parse_name(name)
    except ValueError as error:
        place.error(f"the file's name is the service's: {error}")


def _read_project_file(directory: str, report: Report) -> ProjectFile:
    path = os.path.join(directory, PROJECT_FILE)
    if not os.path.lexists(path):
        return ProjectFile(sandbox=OuterSandbox(), supervisor=SupervisorConfig())
    table, place = _read_table(path, report)
    return decode(ProjectFile, table or {}, place, root=ProjectFile)


def _read_table(path: str, report: Report) -> tuple[dict[str, object] | None, Place]:
    """A file's content as TOML, or None and what is wrong with it in the report."""
    source = Source(path, "")
    try:
        source.text = _read_text(path)
        return tomllib.loads(source.text), Place(report, source)
    except OSError as error:
        report.add(source, 1, f"cannot read the file: {_errno_name(error)}: {_remedy(error)}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        report.add(source, line, "the file is not UTF-8, as TOML must be")
    except RecursionError:
        report.add(source, 1, "cannot read the file as TOML: it is nested too deeply")
    except ValueError as error:  # TOMLDecodeError, and int() on thousands of digits
        report.add(source, *_syntax_error(str(error), source.text))
    return None, Place(report, source)


def _read_text(path: str) -> str:
    # O_NONBLOCK: a FIFO of that name must not hang PID 1.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, "too large")
        chunks = []
        while chunk := os.read(fd, MAX_FILE_BYTES):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode()


def _remedy(error: OSError) -> str:
    remedies = {
        errno.EACCES: f"make it readable for uid {os.geteuid()}",
        errno.EINVAL: "it must be a regular file",
        errno.EFBIG: f"a service file has at most {MAX_FILE_BYTES} bytes",
        errno.ENOENT: "it is a link to nothing",
    }
    return remedies.get(error.errno or 0, "check the file")


def _syntax_error(message: str, text: str) -> tuple[int, str]:
    """The line and the text of tomllib's message, which ends in "(at line 3, column 5)" or "(at end of document)"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return 1, f"the file is not TOML: {message}"
    if match[2] is None:
        return text.count("\n", 0, -1) + 1, f"the file is not TOML: {match[1]} at its end"
    return int(match[2]), f"the file is not TOML: {match[1]} at column {match[3]}"


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
