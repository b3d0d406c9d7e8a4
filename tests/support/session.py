"""One run of the tests: its token, its directory, its accounts, the interpreter they all can use."""

import functools
import itertools
import os
import re
import shutil
import uuid
from pathlib import Path

from tests.support import processes
from tests.support.accounts import Account
from tests.support.installation import Installation
from tests.support.runner import Runner

_NAME = "nsinit-t-"


class Session:
    """Everything of a run lies in one directory, which every account can reach, and which `remove` removes."""

    def __init__(self) -> None:
        """Make the directory, mark the environment, remove the directories of runs that were killed."""
        for old in Path("/tmp").glob(f"{_NAME}*"):
            number = re.sub(r"\D.*", "", old.name.removeprefix(_NAME))
            if number and not processes.state(int(number)) and old.owner() == Path("/proc/self").owner():
                shutil.rmtree(old, ignore_errors=True)
        self.token = uuid.uuid4().hex
        os.environ[processes.MARK] = self.token
        self.directory = Path(f"/tmp/{_NAME}{os.getpid()}")
        self.directory.mkdir(mode=0o755)
        self.directory.chmod(0o755)
        self._numbers = itertools.count(1)

    @functools.cached_property
    def installation(self) -> Installation:
        """The interpreter with nsinit that every account can run; made at its first use."""
        return Installation(self.directory / "python")

    def runner(self, account: Account) -> Runner:
        """A runner with a new directory."""
        return Runner(account, self.directory / f"{next(self._numbers)}", self.installation)

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory)
