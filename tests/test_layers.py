import pytest

from tests.support.installation import ROOT
from tests.support.layers import LEAN, LEAN_MODULES, imports, modules, violations


def test_imports_point_downwards_only_and_the_lower_layers_import_little():
    found = [sentence for module, source in modules(ROOT) for sentence in violations(source, module)]
    assert not found, "\n".join(found)


def test_the_list_of_what_the_lower_layers_need_has_nothing_that_they_do_not_need():
    used = {
        imported.module
        for module, source in modules(ROOT)
        if module.split(".")[1] in (*LEAN, "errors")
        for imported in imports(source, module.rpartition(".")[0])
        if not imported.typing_only
    }
    assert used >= LEAN_MODULES


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("nsinit.kernel.mounts", "from nsinit.sandbox import spec", "kernel must not import sandbox"),
        ("nsinit.kernel.mounts", "import nsinit.sandbox.spec", "kernel must not import sandbox"),
        ("nsinit.kernel.mounts", "from nsinit import sandbox", "kernel must not import sandbox"),
        ("nsinit.kernel.mounts", "from ..sandbox import spec", "kernel must not import sandbox"),
        ("nsinit.kernel.mounts", "from .. import sandbox", "kernel must not import sandbox"),
        ("nsinit.kernel.mounts", "def f():\n    import nsinit.sandbox", "kernel must not import sandbox"),
        (
            "nsinit.sandbox.pty",
            "if TYPE_CHECKING:\n    from nsinit.config import Bind",
            "sandbox must not import config",
        ),
        ("nsinit.config.load", "from nsinit.supervisor.model import LogLine", "config must not import supervisor"),
        ("nsinit.supervisor.manager", "from nsinit.control import server", "supervisor must not import control"),
        ("nsinit.control.server", "from nsinit.cli import main", "control must not import cli"),
        ("nsinit.cli.up", "from nsinit.__main__ import main", "cli must not import __main__"),
        ("nsinit.errors", "from nsinit.kernel import libc", "errors must not import kernel"),
        ("nsinit.kernel.libc", "import trio", "trio, which is not of the standard library"),
        ("nsinit.inspect.procfs", "import re", "re, which is not on the list"),
        ("nsinit.sandbox.init", "try:\n    pass\nfinally:\n    import typing", "typing, which is not on the list"),
        ("nsinit.sandbox.init", "import importlib", "importlib, which is not on the list"),
        ("nsinit.sandbox.init", "__import__(name)", "(computed at run time)"),
        ("nsinit.sandbox.init", "if TYPE_CHECKING:\n    pass\nelse:\n    import re", "re, which is not on the list"),
        ("nsinit.web.server", "", "web is not a layer"),
        ("nsinit.cli.up", "import nsinit.web", "web is not a layer"),
    ],
)
def test_a_wrong_import_is_found(module, source, complaint):
    (found,) = violations(source, module)
    assert found.startswith(module + ":")
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nsinit.cli.up", "from nsinit.sandbox import launch\nimport click, re"),
        ("nsinit.sandbox.spec", "if TYPE_CHECKING:\n    from typing import Any\n    from nsinit.kernel import libc"),
        ("nsinit.kernel.libc", "import os, sys\nfrom nsinit.errors import KernelError\nfrom . import mounts"),
        ("nsinit.sandbox.main", "from nsinit import __version__"),
        ("nsinit.__main__", "from nsinit.cli import main"),
    ],
)
def test_a_right_import_is_no_matter(module, source):
    assert violations(source, module) == []
