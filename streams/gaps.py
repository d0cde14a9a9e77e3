"""Records for topic `gaps`: what may be missing is said, not passed over."""

from __future__ import annotations

from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.platform import Gap
from streams.record import Outgoing

TOPIC = "gaps"


def outgoing(gap: Gap) -> Outgoing:
    """The record that publishes `gap`. Key: its source."""
    headers = cloud_headers(
        topic=TOPIC,
        id=gap.id,
        type="io.eventsphere.gap",
        source=f"/sources/{gap.source}",
        time_ms=gap.time_ms,
        subject=gap.topic or gap.source,
    )
    return Outgoing(TOPIC, encode(gap), gap.source.encode(), headers, gap.time_ms)


def retention_gap(
    group: str, cluster: str, topic: str, partition: int, topic_id: str, since: int, until: int, now_ms: int
) -> Gap:
    """Offsets [since, until) were deleted by retention before consumer group `group` read them."""
    return Gap(
        id=digest("retention", group, topic_id, str(partition), str(since)),
        source=group,
        cluster=cluster,
        topic=topic,
        partition=partition,
        since=str(since),
        until=str(until),
        reason="retention",
        time_ms=now_ms,
    )
