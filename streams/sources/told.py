"""What the processes that share a port tell the one that started them, every second: a line of JSON into a pipe. It
serves their readiness and metrics as one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

TELL_S = 1.0
MAX_LINE = 16 << 20
LABEL = "process"


class Told(msgspec.Struct, frozen=True):
    """As of `Probes`: what a process waits for (nothing: it is ready), what does not work, and its metrics' text."""

    waiting: list[str]
    problems: dict[str, str] = {}
    metrics: str = ""


async def tell(fd: int, now: Callable[[], Told]) -> None:
    """Tell through the pipe `fd`, for ever. What a reader is late for is left out."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(fd, "wb", 0))
    try:
        while True:
            if not transport.get_write_buffer_size():
                transport.write(msgspec.json.encode(now()) + b"\n")
            await asyncio.sleep(TELL_S)
    finally:
        transport.close()


async def heard(fd: int, hear: Callable[[Told], None]) -> None:
    """Hand on what is told through the pipe `fd`, until its other end is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(MAX_LINE)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0))
    try:
        while line := await reader.readline():
            if line.endswith(b"\n"):  # else it died within it
                hear(msgspec.json.decode(line, type=Told))
    finally:
        transport.close()


def own_metrics() -> str:
    return generate_latest().decode()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def merged(texts: Mapping[str, str]) -> bytes:
    """The metrics of several processes as one text, each sample labelled with its `process`.

    They are not added up: after a restart of one, its counters alone begin anew, as `rate` and `increase` expect.
    """
    families: dict[str, Metric] = {}
    for process, text in texts.items():
        for family in text_string_to_metric_families(text):
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            into.samples.extend(_labelled(sample, process) for sample in family.samples)
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry)


def _labelled(sample: Sample, process: str) -> Sample:
    return sample._replace(labels={**sample.labels, LABEL: process})
