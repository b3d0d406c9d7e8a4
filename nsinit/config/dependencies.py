"""What services say about each other: every name must exist, and no order may go in a circle."""

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from nsinit.config.model import ServiceConfig
from nsinit.config.report import Place

# waiting service -> the services it waits for, with the place that says so
Edges = dict[str, dict[str, Place]]


def check_dependencies(services: Mapping[str, ServiceConfig], places: Mapping[str, Place]) -> None:
    """Report unknown names in depends_on, after and before, and every circle of them."""
    edges: Edges = {name: {} for name in services}
    for name, config in services.items():
        for other, place in _mentions(config, places[name]):
            if other not in services:
                place.error(_unknown(other, services))
            elif place.path[0] == "before":
                edges[other].setdefault(name, place)
            else:
                edges[name].setdefault(other, place)
    _check_cycles(edges)


def _mentions(config: ServiceConfig, place: Place) -> list[tuple[str, Place]]:
    return [
        *((other, place.key("depends_on", other)) for other in config.depends_on),
        *((other, place.key("after")) for other in config.after),
        *((other, place.key("before")) for other in config.before),
    ]


def _unknown(name: str, services: Collection[str]) -> str:
    import difflib  # only for a wrong file

    near = difflib.get_close_matches(name, sorted(services), n=1)
    return f"there is no service {name!r}" + (f", did you mean {near[0]!r}?" if near else f": {name}.toml is missing")


def _check_cycles(edges: Edges) -> None:
    """Report cycles until none is left, taking the edges of each away."""
    while True:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            # graphlib's order is from what comes first to what waits for it, and it closes the circle.
            cycle = error.args[1][:0:-1]
        else:
            return
        start = cycle.index(min(cycle))
        path = [*cycle[start:], *cycle[: start + 1]]
        place = edges[path[0]][path[1]]
        place.error(f"services wait for each other in a circle: {' -> '.join(path)}")
        for waiting, other in pairwise(path):
            del edges[waiting][other]
