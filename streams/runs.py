"""What librdkafka's `consume` returns, sorted by partition. About 0.2 us a record."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import cast

from confluent_kafka import Message as RdMessage

from streams.batch import Message

TP = tuple[str, int]


def by_partition(messages: Sequence[RdMessage]) -> tuple[dict[TP, list[Message]], list[RdMessage]]:
    """Records of each partition in their order, and the messages that are events (errors, ends of partitions)."""
    events: list[RdMessage] = []
    if any(map(RdMessage.error, messages)):
        events = [message for message in messages if message.error() is not None]
        messages = [message for message in messages if message.error() is None]
    runs: dict[TP, list[Message]] = {}
    start = 0
    for tp, group in groupby(zip(map(RdMessage.topic, messages), map(RdMessage.partition, messages), strict=True)):
        stop = start + sum(1 for _ in group)
        runs.setdefault(cast("TP", tp), []).extend(cast("Sequence[Message]", messages[start:stop]))
        start = stop
    return runs, events
