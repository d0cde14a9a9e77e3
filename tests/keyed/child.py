"""A worker process for tests that kill it: `python -m tests.keyed.child AGENT INPUT OUTPUT` counts records by key.

Each record `key` gives an output `key count` keyed alike; a tick gives nothing. Settings come from the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import msgspec

from streams.lifecycle import run
from streams.logs import configure
from streams.record import Outgoing, Record
from streams.settings import load
from streams.state import State


class Count(msgspec.Struct, frozen=True):
    seen: int = 0


class Counter:
    version = 1
    entry = Count

    def __init__(self, output: str) -> None:
        self._output = output

    def decide(self, state: State[Count], record: Record) -> Iterator[Outgoing]:
        key = (record.key or b"").decode()
        state[key] = count = Count(state.get(key, Count()).seen + 1)
        yield Outgoing(self._output, f"{key} {count.seen}".encode(), record.key)

    def tick(self, state: State[Count], now_ms: int) -> list[Outgoing]:
        return []


def main(agent: str, input_: str, output: str) -> int:
    settings = load()
    configure(settings, "worker")
    return run(
        settings,
        lambda worker: worker.stateful(agent, input_, Counter(output)),
        lambda worker: print(f"worker ready: {worker.name}", flush=True),
    )


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
