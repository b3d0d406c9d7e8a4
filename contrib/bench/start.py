"""What it costs to start a command: nsinit beside a bare interpreter and beside its peers, where they are installed.

.venv/bin/python contrib/bench/start.py [ROUNDS]
"""

import sys
from pathlib import Path

from measure import Argv, interleaved, median, print_table, verdict, works

NSINIT = str(Path(sys.executable).with_name("nsinit"))
BARE = "python -I -c pass"
NESTED = "nsinit -- true"
LIMIT = 2.5
UNSHARE = "--user --map-root-user --mount --pid --fork --mount-proc --net --uts --ipc --cgroup --time"

COMMANDS: dict[str, Argv] = {
    BARE: [sys.executable, "-I", "-c", "pass"],
    "true": ["true"],
    NESTED: [NSINIT, "--", "true"],
    "nsinit --no-unshare -- true": [NSINIT, "--no-unshare", "--", "true"],
    "unshare, 8 types": ["unshare", *UNSHARE.split(), "true"],
    "bwrap --unshare-all": ["bwrap", "--unshare-all", "--dev-bind", "/", "/", "--proc", "/proc", "true"],
    "tini (no namespaces)": ["tini", "-s", "--", "true"],
    "dumb-init (no namespaces)": ["dumb-init", "true"],
    "catatonit (no namespaces)": ["catatonit", "--", "true"],
}


def main() -> None:
    """Measure, and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    commands = {name: argv for name, argv in COMMANDS.items() if works(argv)}
    times = interleaved(commands, rounds)
    bare = median(times[BARE])
    rows = [
        [name, f"{median(values):.2f}", f"{min(values):.2f}", f"{median(values) / bare:.2f}"]
        for name, values in times.items()
    ]
    print_table(f"Starting a command ({rounds} interleaved rounds)", ["command", "median ms", "min ms", "ratio"], rows)
    for name in COMMANDS.keys() - commands.keys():
        print(f"  not measured, does not run here: {name}")
    ratio = median(times[NESTED]) / bare
    print(f"\n  {NESTED} takes {ratio:.2f} x {BARE}; limit {LIMIT}: {verdict(ratio, LIMIT)}")


if __name__ == "__main__":
    main()
