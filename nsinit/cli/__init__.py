"""The command line: every verb but `run` and `--`, which have to start without click."""


def main(argv: list[str]) -> int:
    """Run the verb in `argv` and return the exit status; never raises, never shows a traceback."""
    from nsinit.cli.app import run

    return run(argv)
