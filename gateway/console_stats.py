"""The numbers the console shows live: records, lag and dead letters of every topic, alerts by state."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.cluster import OURS, Snapshot, is_agent
from gateway.lists import sees
from gateway.principal import Principal
from gateway.services import Services
from schemas.alerts import Status
from schemas.catalogue import declared, dlq_name


async def gathered(kit: Services, who: Principal) -> dict[str, Any]:
    """Raises Retryable when nothing is known of the cluster yet and it does not answer."""
    await kit.cluster_quietly()
    seen = kit.cluster.known or await kit.cluster.snapshot()
    return numbers(seen) | {"alerts": alerts(kit, who), "at_ms": kit.clock()}


def numbers(seen: Snapshot) -> dict[str, Any]:
    """Of the cluster as it was seen. Pure."""
    topics = {}
    for topic in declared().values():
        groups = [group for group in seen.groups_of(topic.name) if is_agent(group)]
        topics[topic.name] = {
            "records": seen.produced(topic.name),
            "lag": max((seen.lag(group, topic.name) for group in groups), default=0),
            "dead": seen.held(dlq_name(topic.name)) if topic.dead_letters else 0,
        }
    agents = {
        group.removeprefix(OURS): sum(seen.lag(group, topic) for topic in topics)
        for group, topics in seen.committed.items()
        if is_agent(group)
    }
    dead = sum(topic["dead"] for topic in topics.values())
    return {"topics": topics, "agents": agents, "lag": sum(agents.values()), "dead": dead}


def alerts(kit: Services, who: Principal) -> dict[str, int]:
    found = Counter(alert.state for alert in kit.views.alerts.values() if sees(who, alert.tenant))
    return {state.value: found.get(state, 0) for state in Status}


def news(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Topics that were written to between two looks; at the first, all: the page is older than the look. Pure."""
    earlier = before.get("topics", {})
    return [name for name, topic in now["topics"].items() if topic != earlier.get(name)]
