"""A client for programs of others: publish to topics and follow them over HTTP, records typed by the schemas.

    with Client(url, token) as bus:
        bus.publish("cicd.events", [CicdEvent(...)])
        for each in bus.follow("notifications", condition='status == "firing"', after=point):
            ...each.record, each.point

`AsyncClient` is the same with `await` and `async for`. It needs no Kafka. docs/how-to/use-the-python-client.md
"""

from __future__ import annotations

from streams.client.aio import AsyncClient
from streams.client.sync import Client
from streams.client.wire import Gap, Received

__all__ = ["AsyncClient", "Client", "Gap", "Received"]
