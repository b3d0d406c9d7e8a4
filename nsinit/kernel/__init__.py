"""Typed system calls and constants: the only code that uses ctypes.

Every call raises `KernelError` with the call's name, the errno and, where there is one, the path. Nothing here knows
what a sandbox or a service is.
"""
