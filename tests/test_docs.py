"""The reference says what the code does: options, keys and their defaults, methods, links, examples."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from msgspec.structs import FieldInfo, fields

from nsinit.cli.app import VERBS, nsinit
from nsinit.cli.toml import to_toml
from nsinit.config import load_project
from nsinit.config.model import Dependency, OuterSandbox, Readiness, ServiceConfig, SupervisorConfig
from nsinit.config.supported import KEYS, VALUES, ProjectFile, file_keys
from nsinit.config.syntax import Syntax
from nsinit.control.interface import DESCRIPTION
from nsinit.sandbox.options import OPTIONS
from nsinit.supervisor.diff import POLICY
from nsinit.supervisor.states import State
from tests.support.installation import ROOT

DOCS = ROOT / "contrib" / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
COMMANDS = (DOCS / "commands.md").read_text()
SERVICES = (DOCS / "services.md").read_text()
CONTROL = (DOCS / "control.md").read_text()

# No file can write these: they stand for something that nsinit knows.
IN_WORDS = {
    (ServiceConfig, "sandbox.hostname"): "the service's name",
    (SupervisorConfig, "supervisor.name"): "the directory's name",
}
# A reload applies no other key of nsinit.toml.
LIVE_IN_PROJECT = {"supervisor.exit_when"}
ENVIRONMENT = {"DATABASE_URL": "db://"}


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above; no code blocks."""
    level = heading.partition(" ")[0]
    without_code = re.sub(r"```.*?```", "", text, flags=re.S)
    _, found, rest = without_code.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all tables' rows, without their heads."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def options(text: str) -> set[str]:
    """The options that the tables of a section explain."""
    return {name for cells in rows(text) for name in re.findall(r"`(--?[A-Za-z][a-z-]*)", cells[0])}


def names(command: click.Command) -> set[str]:
    """The options that a verb takes."""
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts}


def test_every_option_of_an_init_is_explained_and_no_other():
    known = {name for option in OPTIONS for name in option[0]}
    assert options(section(COMMANDS, "## nsinit -- CMD, nsinit run")) == known


def test_the_options_of_an_init_that_need_a_sandbox_are_told_apart():
    _, _, refused = section(COMMANDS, "## nsinit -- CMD, nsinit run").partition("refused with `--no-unshare`:")
    assert options(refused) == {name for option in OPTIONS if option[4] for name in option[0]}


def test_every_option_of_an_init_has_the_value_that_its_help_shows():
    shown = [cell.replace("\\", "") for cell, *_ in rows(section(COMMANDS, "## nsinit -- CMD, nsinit run"))]
    for known, value, *_ in OPTIONS:
        assert any(f"`{known[-1]} {value}`" in cell or (f"`{known[-1]}`" in cell and not value) for cell in shown), (
            known
        )


def test_the_options_of_all_verbs_are_explained_and_no_other():
    general = section(COMMANDS, "## The verbs").partition("\n### ")[0]
    assert options(general) == names(nsinit) | {"-h", "--help"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_explained_and_no_other(verb):
    command = nsinit.get_command(click.Context(nsinit), verb)
    assert command is not None
    assert options(section(COMMANDS, f"### nsinit {verb}")) == names(command) - names(nsinit)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_takes_arguments_shows_how_it_is_called(verb):
    command = nsinit.get_command(click.Context(nsinit), verb)
    arguments = [one for one in command.params if isinstance(one, click.Argument)] if command else []
    calls = re.findall(rf"^    nsinit {verb}.*$", section(COMMANDS, f"### nsinit {verb}"), re.MULTILINE)
    assert bool(calls) == bool(arguments)


def keys(table: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, type[msgspec.Struct], FieldInfo]]:
    """All keys of a table and of those below it, by their full name."""
    known = file_keys(table)
    for field in fields(table):
        kind = known.get(field.encode_name)
        name = prefix + field.encode_name
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from keys(kind, f"{name}.")
        elif kind is not None:
            yield name, table, field
            if name == "depends_on":
                yield from keys(Dependency, "depends_on.NAME.")


def default(name: str, table: type[msgspec.Struct], field: FieldInfo) -> str:
    """A default as a file would write it."""
    words = IN_WORDS.get((SupervisorConfig if table is SupervisorConfig else ServiceConfig, name))
    if words and table is not OuterSandbox:
        return words
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    for note in getattr(field.type, "__metadata__", ()):
        if isinstance(note, Syntax):
            value = note.render(value)
    return f"`{to_toml({'x': value}).removeprefix('x = ').strip()}`"


def reload(name: str, table: type[msgspec.Struct], field: FieldInfo) -> str:
    """What a reload does about a change of a key of a service."""
    if table is Readiness:
        return "restart" if field.name == "method" else "live"
    return "live" if name.partition(".")[0] in POLICY else "restart"


def test_every_key_of_a_service_is_explained_with_its_default_and_what_a_reload_does():
    table = section(SERVICES, "## Keys").partition("\n### ")[0]
    said = {cells[0].strip("`"): (cells[2], cells[4]) for cells in rows(table)}
    assert said == {key[0]: (default(*key), reload(*key)) for key in keys(ServiceConfig)}


def test_every_key_of_nsinit_toml_is_explained_with_its_default_and_what_a_reload_does():
    said = {cells[0].strip("`"): (cells[2], cells[4]) for cells in rows(section(SERVICES, "### nsinit.toml"))}
    known = {key[0]: default(*key) for key in keys(ProjectFile)}
    assert said == {name: (text, "live" if name in LIVE_IN_PROJECT else "next `up`") for name, text in known.items()}


def test_every_key_and_value_that_is_not_supported_yet_is_listed():
    said = set(re.findall(r"`([^`]+)`", section(SERVICES, "## Not yet")))
    known = {key for table, unsupported in KEYS.items() if table is not OuterSandbox for key in unsupported}
    known = known - {"state_dir"} | {"supervisor.state_dir", "uplink"}
    assert known <= said
    values = {value for unsupported in VALUES.values() for value in unsupported}
    assert values <= {text.rpartition(" = ")[2].strip('"') for text in said}


def test_every_state_is_explained():
    assert {state for state in State if f"`{state}`" in section(SERVICES, "## States")} == set(State)


def test_every_method_and_error_of_the_control_interface_is_explained_and_no_other():
    known = set(re.findall(r"^(?:method|error) (\w+)", DESCRIPTION, re.MULTILINE))
    assert {cells[0].strip("`") for cells in rows(section(CONTROL, "## Interface io.nsinit.Supervisor"))} == known


def test_every_parameter_of_a_method_is_named():
    said = {cells[0].strip("`"): " ".join(cells[1:]) for cells in rows(CONTROL)}
    for method, given, returned in re.findall(r"^method (\w+)\((.*?)\) -> \((.*?)\)", DESCRIPTION, re.M | re.S):
        for parameter in re.findall(r"(\w+):", f"{given},{returned}"):
            assert f"`{parameter}`" in said[method], f"{method} {parameter}"


def test_the_examples_are_service_files_that_load(tmp_path):
    for example in re.findall(r"```toml\n(.*?)```", SERVICES, re.S):
        name = re.match(r"# services/([\w.]+)\n", example)
        assert name, f"an example does not say which file it is: {example}"
        assert not (tmp_path / name[1]).exists()
        (tmp_path / name[1]).write_text(example)
    project = load_project(str(tmp_path), ENVIRONMENT)
    assert project.services["web"].env == {"DATABASE_URL": "db://", "URL": "db://", "SERVICE": "web"}
    assert project.supervisor.exit_when == "any-failed"


def test_the_readme_s_service_file_has_only_keys_that_are_explained():
    example = re.search(r"( +# services/web.toml\n.*?)\n\n(?! )", (ROOT / "README.md").read_text(), re.S)
    assert example
    table = tomllib.loads(re.sub(r"^ {4}", "", example[1], flags=re.MULTILINE))
    assert set(table) <= {name.partition(".")[0] for name, *_ in keys(ServiceConfig)}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page():
    linked = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text())
    assert {f"contrib/docs/{page.name}" for page in DOCS.glob("*.md")} <= set(linked)
