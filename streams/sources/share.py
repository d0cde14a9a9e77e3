"""How many processes take in what is forwarded, and what they share: the limits that are set for all, and the port.

One process takes in some 200 000 records a second: as much as one worker stores. A second one pays only where cores are
left beside broker, worker and gateway; hence one for every four cores.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streams.settings import Forward
from streams.sources.forward_settings import cannot_listen

CORES_EACH = 4
MOST = 4
LEAST_BYTES = 1 << 20
CGROUP = Path("/sys/fs/cgroup/cpu.max")


def processes(settings: Forward, cores: float) -> int:
    """How many there are: as set, else by `cores`. One where the system cannot share a port."""
    wanted = settings.processes or min(MOST, int(cores) // CORES_EACH)
    return max(1, min(wanted, settings.max_connections)) if hasattr(socket, "SO_REUSEPORT") else 1


def cores(cgroup: Path = CGROUP) -> float:
    """That this process may use: those it is bound to, or less by its container's limit."""
    here = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with suppress(OSError, ValueError):
        quota, period = cgroup.read_text("ascii").split()
        here = min(here, float(quota) / float(period))  # "max" is no number: no limit
    return here


def share(settings: Forward, count: int) -> Forward:
    """What one of `count` processes is given. A chunk may be as large as ever: one alone may go beyond a budget."""
    if count == 1:
        return settings
    return settings.model_copy(
        update={
            "max_in_flight_bytes": max(LEAST_BYTES, settings.max_in_flight_bytes // count),
            "max_connections": -(-settings.max_connections // count),
            "processes": count,
        }
    )


@contextmanager
def held(settings: Forward) -> Iterator[int]:
    """The port all listen on, bound but not listened on by this process: nobody else gets it while one restarts.

    Raises WrongSettings when somebody listens there: without this look, members would share the port with them.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with _bound(family, kind, place, socket.SO_REUSEADDR):
            pass
        mine = _bound(family, kind, place, socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    except OSError as error:
        raise cannot_listen(settings, error) from None
    with mine:
        yield int(mine.getsockname()[1])


def _bound(family: int, kind: int, place: Any, *options: int) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(place)
    except OSError:
        made.close()
        raise
    return made
