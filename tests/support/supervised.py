"""A supervisor in the foreground, its log on a file: started, waited for by its own events, asked, stopped."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.runner import Argument, Result, Runner
from tests.support.waiting import PATIENCE_S, wait_for, wait_gone

Event = dict[str, Any]


class Supervised:
    """`nsinit up` on the service files below `services/` of the runner's directory; use it as a context manager.

    Leaving the block stops it in order if it still runs.
    """

    def __init__(self, runner: Runner, *options: Argument) -> None:
        """Not started yet: write the service files first, or add them with `service`."""
        self.runner = runner
        self._options = options
        self._log = runner.directory / "log"
        self._seen = 0

    def service(self, name: str, text: str) -> Path:
        """Write a service file."""
        return self.runner.write(f"services/{name}.toml", text)

    def __enter__(self) -> Self:
        """Start it."""
        with ExitStack() as stack, self._log.open("wb") as log:
            argv = [self.runner.nsinit, "up", "--log-format", "json", *self._options]
            self.process = stack.enter_context(self.runner.popen(argv, stdin=-3, stdout=log, stderr=log))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        with self._stack:
            if self.process.poll() is None:
                self.stop()

    @property
    def log(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def events(self) -> list[Event]:
        """Its own events so far; lines of services and anything else left out."""
        found = []
        for line in self.log.splitlines():
            if line.startswith("{") and line.endswith("}"):
                record = json.loads(line)
                if "event" in record:
                    found.append(record)
        return found

    def expect(self, event: str, service: str | None = None, timeout_s: float = PATIENCE_S) -> Event:
        """Wait for the next event of that name (and service); the search begins after the last one expected."""

        def look() -> Event | None:
            events = self.events
            for number in range(self._seen, len(events)):
                if events[number]["event"] == event and service in (None, events[number].get("service")):
                    self._seen = number + 1
                    return events[number]
            return None

        found: list[Event] = []

        def condition() -> bool:
            result = look()
            if result is not None:
                found.append(result)
            elif self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before {event} {service}:\n{self.log}")
            return bool(found)

        try:
            wait_for(condition, self._log.parent, f"{event} {service or ''}", timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the log:\n{self.log}") from None
        return found[0]

    def expect_each(self, event: str, services: list[str], timeout_s: float = PATIENCE_S) -> None:
        """Wait until the event has happened to each of these services, in any order, since the last one expected."""
        start = last = self._seen
        for service in services:
            self._seen = start
            self.expect(event, service, timeout_s)
            last = max(last, self._seen)
        self._seen = last

    def wait_for_output(self, service: str, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a service has printed a line with `text` in it."""

        def printed() -> bool:
            return any(f'"service":"{service}"' in line and text in line for line in self.log.splitlines())

        wait_for(printed, self._log.parent, f"{text!r} from {service}", timeout_s)

    def ask(self, *args: Argument, **options: Any) -> Result:
        """Run a verb beside the service files."""
        return self.runner.run(*args, **options)

    def services(self) -> dict[str, dict[str, Any]]:
        """What `ps --json` tells, by service."""
        result = self.ask("ps", "--json")
        assert result.status == 0, result.stderr
        return {service["name"]: service for service in json.loads(result.stdout)}

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """Ask it to stop, as a service manager does; returns its exit status."""
        self.process.terminate()
        wait_gone(self.process.pid, timeout_s)
        return self.process.wait()
