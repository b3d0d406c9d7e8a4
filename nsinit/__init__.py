"""nsinit: an init (PID 1) and async process supervisor for Linux namespaces."""

__version__ = "0.1.0"
