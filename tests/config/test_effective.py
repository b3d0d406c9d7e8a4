import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nsinit.config import Bind, Dependency, Project, Readiness, Restart, Sandbox, ServiceConfig, Stop, effective
from nsinit.config.load import load_project
from nsinit.config.syntax import NAMESPACES

Toml = Callable[[Mapping[str, object]], str]


def test_the_effective_configuration_has_all_defaults_in_the_words_of_the_files(
    load: Callable[..., Project], tmp_path: Path
) -> None:
    files = {"nsinit.toml": '[supervisor]\nname = "shop"', "web.toml": 'command = "/bin/web -v"\nenv.A = "%n"'}
    assert effective(load(files)) == {
        "directory": str(tmp_path / "services"),
        "name": "shop",
        "sandbox": {"hostname": "nsinit"},
        "supervisor": {"name": "shop", "log_format": "console", "exit_when": "never"},
        "services": {
            "web": {
                "path": str(tmp_path / "services" / "web.toml"),
                "type": "simple",
                "command": ["/bin/web", "-v"],
                "env": {"A": "web"},
                "pass_env": [],
                "working_dir": "/",
                "user": "root",
                "startup": "enabled",
                "umask": "022",
                "init": True,
                "success_exit_codes": [0],
                "after": [],
                "before": [],
                "depends_on": {},
                "readiness": {"method": "none", "timeout": "1m"},
                "restart": {
                    "policy": "always",
                    "delay": "500ms",
                    "factor": 2.0,
                    "max_delay": "30s",
                    "jitter": 0.1,
                    "reset_after": "30s",
                    "limit": 10,
                    "window": "10m",
                    "on_limit": "fail",
                    "prevent_exit_codes": [],
                },
                "stop": {"signal": "TERM", "scope": "main", "timeout": "10s"},
                "sandbox": {
                    "unshare": list(NAMESPACES),
                    "hostname": "web",
                    "rootfs": "",
                    "read_only": True,
                    "binds": [],
                    "tmpfs": ["/tmp"],
                    "proc": True,
                },
            }
        },
    }


seconds = st.integers(0, 10**7).map(lambda millis: millis / 1000)
paths = st.from_regex(r"/[a-z]{1,9}(/[a-z]{1,9})?", fullmatch=True)
codes = st.lists(st.integers(0, 255), max_size=3).map(tuple)
texts = st.text(st.characters(blacklist_characters="\0%$", blacklist_categories=["Cs"]))
binds = st.builds(lambda s, d, ro: Bind(source=s, destination=d, read_only=ro), paths, paths, st.booleans())

services = st.builds(
    ServiceConfig,
    name=st.just("web"),
    path=st.just(""),
    command=st.tuples(texts.filter(bool), texts),
    env=st.dictionaries(st.from_regex(r"[A-Z_a-z]{1,9}", fullmatch=True), texts, max_size=3),
    working_dir=paths,
    user=st.sampled_from(["root", "33", "0:0", "www-data:www"]),
    startup=st.sampled_from(["enabled", "disabled"]),
    umask=st.integers(0, 0o777),
    init=st.booleans(),
    success_exit_codes=codes,
    after=st.sampled_from([(), ("db",)]),
    depends_on=st.dictionaries(
        st.just("db"),
        st.builds(Dependency, condition=st.sampled_from(["started", "ready"]), required=st.booleans()),
    ),
    readiness=st.builds(Readiness, method=st.sampled_from(["none", "notify"]), timeout_s=seconds),
    restart=st.builds(
        Restart,
        delay_s=seconds.filter(lambda delay: delay < 10_000),
        factor=st.floats(1, 1000),
        max_delay_s=st.just(10_000.0),
        jitter=st.floats(0, 1),
        limit=st.integers(0, 100),
        window_s=seconds,
        prevent_exit_codes=codes,
    ),
    stop=st.builds(Stop, signal=st.integers(1, 15), scope=st.sampled_from(["main", "group", "all"]), timeout_s=seconds),
    sandbox=st.builds(
        Sandbox,
        unshare=st.sampled_from([NAMESPACES, ("user", "mount", "uts")]),
        unshare_given=st.just(True),
        hostname=st.sampled_from(["web", "h-1"]),
        rootfs=st.sampled_from(["", "/srv/root"]),
        read_only=st.booleans(),
        binds=st.lists(binds, max_size=3, unique_by=lambda bind: bind.destination).map(tuple),
        tmpfs=st.lists(paths, max_size=2, unique=True).map(tuple),
        proc=st.booleans(),
    ),
)


@settings(deadline=None)
@given(service=services)
def test_a_service_written_out_loads_as_the_same_service(
    tmp_path_factory: pytest.TempPathFactory, toml: Toml, service: ServiceConfig
) -> None:
    directory = tmp_path_factory.mktemp("effective")
    project = Project(directory=str(directory), name="x", services={"web": service})
    written = json.loads(json.dumps(effective(project)))["services"]["web"]
    del written["path"]
    (directory / "web.toml").write_text(toml(written))
    (directory / "db.toml").write_text('command = "db"')
    assert replace(load_project(str(directory), {}).services["web"], path="") == service
    shutil.rmtree(directory)
