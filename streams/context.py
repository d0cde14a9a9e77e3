"""What stood around an alert: its pod's last log lines, Kubernetes events, and the rollout that came before it.

Asked of the search index when a notification is delivered. The mail never waits long for it: what the index does not
say within `TIMEOUT_S` is left out, with a note, and an index that was away is not asked again for `PAUSE_MS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from schemas.alerts import AlertState
from schemas.base import parse_time, rfc3339
from schemas.notifications import Context, Notification
from streams.errors import Failure
from streams.rollout import rollouts
from streams.sinks.index.fields import owners
from streams.sinks.index.port import Hit, Index, Kind, Query
from streams.sinks.letter import record_url, workload_of

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0
PAUSE_MS = 10_000
PLACES = 3
"""Places (pods, workloads) of one notification that are looked at."""
LOG_LINES = 15
EVENTS = 8
VERSIONS = 50
LINE_CHARS = 400
LOGS_BEFORE_MS = 900_000
EVENTS_BEFORE_MS = 1_800_000
ROLLOUT_BEFORE_MS = 3_600_000
SLACK_MS = 60_000
"""Clocks differ: what is a little after the decision still belongs to it."""


class Place(msgspec.Struct, frozen=True):
    clusters: tuple[str, ...]
    """What the cluster is called: by us, and in the alert's labels."""
    namespace: str
    workload: str
    pod: str


class Gathered(msgspec.Struct, frozen=True):
    context: Context
    notes: list[str]


class Surroundings:
    """Asks the index about notifications; one a process."""

    def __init__(self, index: Callable[[], Awaitable[Index]], base_url: str, clock: Callable[[], int]) -> None:
        self._index = index
        self._base_url = base_url
        self._clock = clock
        self._pause_until = 0

    async def gather(self, notification: Notification, alerts: Sequence[AlertState]) -> Gathered:
        """Never raises; takes `TIMEOUT_S` at most."""
        where = places(alerts)
        if not where:
            return Gathered(notification.context, [])
        if self._clock() < self._pause_until:
            return Gathered(notification.context, [_note("the search index is away")])
        try:
            async with asyncio.timeout(TIMEOUT_S):
                index = await self._index()
                found = await asyncio.gather(
                    *(_about(index, place, notification, alerts, self._base_url) for place in where)
                )
        except TimeoutError:
            return self._without(notification, "the search index did not answer in time")
        except Failure as error:
            return self._without(notification, f"the search index could not be asked ({error.reason})")
        except Exception:
            log.exception("context.failed", notification=notification.id)
            return self._without(notification, "asking the search index failed")
        return Gathered(
            Context(
                logs=_newest([line for each in found for line in each.logs], LOG_LINES),
                events=_newest([event for each in found for event in each.events], EVENTS),
                rollouts=_newest([item for each in found for item in each.rollouts], PLACES),
            ),
            [],
        )

    def _without(self, notification: Notification, why: str) -> Gathered:
        self._pause_until = self._clock() + PAUSE_MS
        return Gathered(notification.context, [_note(why)])


async def _about(
    index: Index, place: Place, notification: Notification, alerts: Sequence[AlertState], base_url: str
) -> Context:
    start = min(alert.starts_at_ms for alert in alerts)
    end = max(notification.decided_at_ms, start) + SLACK_MS
    logs, events, objects = await asyncio.gather(
        _search(index, place, Kind.LOGS, start - LOGS_BEFORE_MS, end, LOG_LINES),
        _search(index, _wide(place) if place.workload else place, Kind.EVENTS, start - EVENTS_BEFORE_MS, end, EVENTS),
        _versions(index, place, start - ROLLOUT_BEFORE_MS, start + SLACK_MS),
    )
    return Context(
        logs=[log_line(hit, base_url) for hit in reversed(logs)],
        events=[event_line(hit, base_url) for hit in reversed(events)],
        rollouts=rollouts(objects, start - ROLLOUT_BEFORE_MS, base_url),
    )


async def _search(index: Index, place: Place, kind: Kind, start: int, end: int, limit: int) -> list[Hit]:
    query = Query(kind=kind, start_ms=max(0, start), end_ms=end, limit=limit)
    return (await index.search(_at(place, query))).items


async def _versions(index: Index, place: Place, start: int, end: int) -> list[Hit]:
    """Versions of the place's Deployment within the time, and the last one before it to compare with."""
    if not place.workload:
        return []
    workload = _wide(place)
    kind, names = Kind.OBJECTS, ("Deployment",)
    inside = Query(kind=kind, names=names, start_ms=max(0, start), end_ms=end, limit=VERSIONS)
    earlier = Query(kind=kind, names=names, end_ms=max(1, start), limit=1)
    within, before = await asyncio.gather(index.search(_at(workload, inside)), index.search(_at(workload, earlier)))
    return [*before.items, *within.items]


def places(alerts: Sequence[AlertState]) -> list[Place]:
    """Where the alerts point, without repeats: a namespace at least."""
    out: dict[Place, None] = {}
    for alert in alerts:
        labels = alert.labels
        if labels.get("namespace"):
            pod = labels.get("pod", "")
            workload = workload_of(labels) or next((each for each in owners([pod]) if each != pod), "")
            clusters = tuple(sorted({alert.cluster, labels.get("cluster", "")} - {""}))
            out[Place(clusters, labels["namespace"], workload, pod)] = None
    return list(out)[:PLACES]


def log_line(hit: Hit, base_url: str) -> dict[str, str]:
    about = hit.record.get("kubernetes") or {}
    return {
        "time": rfc3339(hit.time_ms),
        "pod": str(about.get("pod_name", "")),
        "container": str(about.get("container_name", "")),
        "line": _text(hit.record.get("log", "")).rstrip("\n")[:LINE_CHARS],
        "link": record_url(base_url, hit.topic, hit.partition, hit.offset),
    }


def event_line(hit: Hit, base_url: str) -> dict[str, str]:
    record: Mapping[str, Any] = hit.record
    about = record.get("involved") or {}
    return {
        "time": rfc3339(hit.time_ms),
        "type": str(record.get("type", "Normal")),
        "reason": str(record.get("reason", "")),
        "object": f"{about.get('kind', '')}/{about.get('name', '')}".strip("/"),
        "message": str(record.get("message", "")).strip()[:LINE_CHARS],
        "count": str(record.get("count", 1)),
        "link": record_url(base_url, hit.topic, hit.partition, hit.offset),
    }


def _wide(place: Place) -> Place:
    """The workload as a whole: its other pods, ReplicaSets and itself."""
    return msgspec.structs.replace(place, pod="")


def _at(place: Place, query: Query) -> Query:
    """`query` narrowed to the place: its pod, else its workload, else its namespace."""
    return msgspec.structs.replace(
        query,
        cluster=place.clusters,
        namespace=(place.namespace,),
        pod=(place.pod,) if place.pod else (),
        workload=(place.workload,) if place.workload and not place.pod else (),
    )


def _newest(items: list[dict[str, str]], limit: int) -> list[dict[str, str]]:
    return sorted(items, key=lambda item: parse_time(item["time"]))[-limit:]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _note(why: str) -> str:
    return f"Sent without log lines, events and rollouts: {why}."
