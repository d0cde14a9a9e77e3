"""Metrics of the cluster as the gateway last saw it: records written, lag of our consumer groups, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.cluster import OURS
from schemas.catalogue import DLQ_SUFFIX, catalogue

if TYPE_CHECKING:
    from gateway.cluster import Cluster


OF_PLATFORM = (
    ("eventsphere_topic_records", "Records ever written to a topic", ["topic"]),
    ("eventsphere_dead_letters_held", "Dead letters of a topic", ["topic"]),
    ("eventsphere_group_lag_records", "Records a group has not finished", ["group", "topic"]),
)
"""Name, meaning and labels."""


class PlatformCollector(Collector):
    """Reads what the cluster last said; asks nothing itself, so a scrape never waits for Kafka here."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[Metric]:
        seen = self._cluster.known
        written, dead, lag = (GaugeMetricFamily(name, text, labels=labels) for name, text, labels in OF_PLATFORM)
        if seen is not None:
            for topic in catalogue():
                if topic.endswith(DLQ_SUFFIX):
                    dead.add_metric([topic.removesuffix(DLQ_SUFFIX)], seen.held(topic))
                else:
                    written.add_metric([topic], seen.produced(topic))
            for agent in seen.agents:
                for topic in seen.committed[OURS + agent]:
                    lag.add_metric([OURS + agent, topic], seen.lag(OURS + agent, topic))
        yield from (written, dead, lag)
