"""The sources: the forward server and the Kubernetes watches, in as many processes as settings and cores say.
`python -m streams.sources.main`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys

from streams import logs
from streams.errors import Fatal
from streams.settings import CONFIG, Settings, WrongSettings, load
from streams.sources import share

GC_OBJECTS = 50_000


def main() -> int:
    """The exit code: 2 for settings it cannot start with, 1 when it cannot go on."""
    parser = argparse.ArgumentParser(prog="eventsphere sources")
    parser.add_argument("--member", type=int, default=0)  # how fleet.py starts each of several
    parser.add_argument("--tell", type=int, default=-1)
    given = parser.parse_args()
    try:
        settings = load(os.environ.get(CONFIG))
        logs.configure(settings, f"sources-{given.member}" if given.member > 1 else "sources")
        count = share.processes(settings.forward, share.cores())
        if count == 1 or given.member:
            return _one(settings, given.member, given.tell)
        from streams.sources import fleet

        return fleet.run(settings, count)
    except WrongSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Fatal as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _one(settings: Settings, number: int, pipe: int) -> int:
    # What only those need that take records in: the one that starts several of them stays small.
    import uvloop

    from streams.sources.process import Member, run

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for signal_ in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_, stop.set)
        await run(settings, stop, Member(number, pipe) if number else None)

    # Records live for a moment and hold no cycles: looking for them at every 700th object costs a tenth of all CPU.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    uvloop.run(until_stopped())
    return 0


if __name__ == "__main__":
    sys.exit(main())
