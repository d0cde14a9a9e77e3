"""Kafka brokers for tests: the product's own embedded broker, on free ports, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.broker import Broker
from tests.parts.process import folder, free_ports


@contextmanager
def broker(**options: object) -> Iterator[Broker]:
    """A ready broker; `options` are `Broker`'s (`users`, `heap_mb`)."""
    port, controller = free_ports(2)
    with folder("broker") as base:
        part = Broker(base, port, controller, **options)  # type: ignore[arg-type]
        part.start()
        try:
            part.wait_ready(120)
            yield part
        finally:
            part.stop()
