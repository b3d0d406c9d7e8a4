"""Directories of service files, written by the test that reads them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nsinit.config import Project, ServiceConfig, load_project
from nsinit.errors import InvalidConfig

Load = Callable[..., Project]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | bytes]], str]:
    """Write files into `services` below the working directory; returns the directory's relative name."""
    monkeypatch.chdir(tmp_path)
    directory = Path("services")
    directory.mkdir()

    def write_files(files: dict[str, str | bytes]) -> str:
        for name, content in files.items():
            (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return str(directory)

    return write_files


@pytest.fixture
def load(write: Callable[[dict[str, str | bytes]], str]) -> Load:
    """Load a project of these files: {"web.toml": TEXT}, with this environment."""

    def load_files(files: dict[str, str | bytes], environ: dict[str, str] | None = None) -> Project:
        return load_project(write(files), environ or {})

    return load_files


@pytest.fixture
def service(load: Load) -> Callable[..., ServiceConfig]:
    """The service of a web.toml with a command and this text."""

    def load_service(text: str, environ: dict[str, str] | None = None) -> ServiceConfig:
        return load({"web.toml": f'command = ["/bin/web"]\n{text}'}, environ).services["web"]

    return load_service


@pytest.fixture
def errors(load: Load) -> Callable[..., list[str]]:
    """The lines of the InvalidConfig that these files raise; a plain text is a web.toml."""

    def load_wrong(files: dict[str, str | bytes] | str, environ: dict[str, str] | None = None) -> list[str]:
        with pytest.raises(InvalidConfig) as caught:
            load({"web.toml": files} if isinstance(files, str) else files, environ)
        return str(caught.value).split("\n")

    return load_wrong


@pytest.fixture(scope="session")
def toml() -> Callable[[Mapping[str, object]], str]:
    """A writer of TOML files, a key a line."""

    def write_toml(table: Mapping[str, object]) -> str:
        return "".join(f"{_inline(key)} = {_inline(value)}\n" for key, value in table.items())

    return write_toml


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_inline(key)} = {_inline(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in value) + '"'
    return str(value).lower()
