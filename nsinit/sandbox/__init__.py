"""Sandboxes: a `SandboxSpec` in, a process in its own namespaces out.

Owns everything between a specification and the running command: namespaces, id maps, mounts, identity, the small
init. Imports the standard library and `nsinit.kernel` only, because it lives on the start-up path and in the
processes that fork.
"""
