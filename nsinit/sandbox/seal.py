"""The seal: from here on nothing can be imported but what is compiled into the interpreter.

After pivot_root the file system belongs to whoever made it. An import would run its code with nsinit's rights, and
imports hide in the most innocent calls (an unusual codec, a warning, a traceback). So a child empties every way to
find a module on disk before it changes its root, and fails closed instead.
"""

import sys


def seal() -> None:
    """Leave only the builtin and frozen finders; can't be undone in this process."""
    if sys.path_importer_cache or sys.path:
        # What is dropped is kept: freeing it would touch, and so copy, every page that it lies on.
        _dropped.extend((sys.path, sys.path_hooks, sys.path_importer_cache, sys.meta_path))
        compiled_in = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in _COMPILED_IN]
        sys.path, sys.path_hooks, sys.path_importer_cache, sys.meta_path = [], [], {}, compiled_in


_COMPILED_IN = ("BuiltinImporter", "FrozenImporter")
_dropped: list[object] = []
