"""Which module may import which: the rule, and a checker that reads the imports out of the source.

Imports inside functions count, and so do those that only type checkers see: they too may only point downwards.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "nsinit"
# From the top down: a layer may import itself and those after it.
LAYERS = ("cli", "control", "supervisor", "config", "network", "sandbox", "inspect", "kernel")
# What every layer may import, and what imports none of them: the package itself and the errors.
SHARED = ("", "__init__", "__version__", "errors")
# Above all layers.
ENTRY_POINT = "__main__"
# These run before third-party packages are there, and fork: the standard library only, and little of it.
LEAN = ("sandbox", "inspect", "kernel")
LEAN_MODULES = frozenset(
    "_signal _socket ctypes errno fcntl gc marshal os select stat sys termios time".split(" ")  # noqa: SIM905
)


class Import(NamedTuple):
    """One import: the module named, its line, and whether only type checkers see it."""

    module: str
    line: int
    typing_only: bool


def imports(source: str, package: str) -> list[Import]:
    """All imports of a module that lies in `package`; relative ones are resolved."""
    return list(_imports(ast.parse(source), package, typing_only=False))


def _imports(node: ast.AST, package: str, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, typing_only)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*parents, *([node.module] if node.module else [])])
        for alias in node.names:
            # `from nsinit import kernel` names a layer; `from nsinit.kernel import mounts` one of its modules.
            yield Import(f"{module}.{alias.name}" if module == PACKAGE else module, node.lineno, typing_only)
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for branch in node.body:
            yield from _imports(branch, package, typing_only=True)
        for branch in node.orelse:
            yield from _imports(branch, package, typing_only)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
        yield Import("(computed at run time)", node.lineno, typing_only)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, package, typing_only)


def violations(source: str, module: str) -> list[str]:
    """What is wrong with the imports of `nsinit.LAYER.NAME`, a sentence each."""
    layer = module.split(".")[1] if "." in module else ""
    if layer == ENTRY_POINT:
        return []
    if layer not in (*LAYERS, *SHARED):
        return [f"{module}: {layer} is not a layer"]
    found = []
    for imported, line, typing_only in imports(source, module.rpartition(".")[0]):
        complaint = _complaint(layer, imported, typing_only)
        if complaint:
            found.append(f"{module}:{line}: {complaint}")
    return found


def _complaint(layer: str, imported: str, typing_only: bool) -> str:
    top, _, rest = imported.partition(".")
    if top == PACKAGE:
        target = rest.split(".")[0]
        if target in SHARED:
            return ""
        if target not in (*LAYERS, ENTRY_POINT):
            return f"{target} is not a layer"
        if layer in SHARED or target == ENTRY_POINT or LAYERS.index(target) < LAYERS.index(layer):
            return f"{layer or PACKAGE} must not import {target}, which lies above it"
    elif layer in (*LEAN, *SHARED) and not typing_only:
        if top not in sys.stdlib_module_names:
            return f"{layer or PACKAGE} must not import {imported}, which is not of the standard library"
        if imported not in LEAN_MODULES:
            return f"{layer or PACKAGE} must not import {imported}, which is not on the list of what it needs"
    return ""


def modules(root: Path) -> Iterator[tuple[str, str]]:
    """Every module of the package below `root`, as (name, source)."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts), path.read_text()
