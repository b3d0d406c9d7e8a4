"""The standard streams: there in any case, and whatever goes wrong with the output is said in words."""

import io
import os
import sys
from errno import errorcode
from typing import TYPE_CHECKING

from nsinit.errors import OperationFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputFailed(OperationFailed):
    """The standard output takes no more. Not raised for a reader that has gone: that is BrokenPipeError, as ever."""


class _Output(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except (BrokenPipeError, BlockingIOError):
            raise
        except OSError as error:
            name = errorcode.get(error.errno or 0, str(error))
            raise OutputFailed(f"cannot write to the standard output: {name}") from error


def prepare() -> None:
    """Fill in the streams that were closed, and make text that can't be encoded no error.

    Whoever closes a stream does not want it; but the next file that is opened must not take its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)
            os.set_inheritable(stream.fileno(), True)  # what `up` starts needs it, too
            setattr(sys, name, stream)
    output = sys.stdout
    untouched = output is sys.__stdout__
    if untouched:
        raw = io.BufferedWriter(_Output(output.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(raw, output.encoding, line_buffering=output.isatty())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Nobody will get it: what is still buffered would fail again at the end, noisily."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
