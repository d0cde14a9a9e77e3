"""What a rule in shadow mode said beside its live version: alerts of both, of one alone, and those that differ.

`rules.shadow` holds what both observed since the draft is there (streams/rules/evaluation.py). Two alerts are the same
when they are about the same thing and overlap in time; their severity and own labels may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.cluster import Cluster
from gateway.reader import MAX_RECORDS, Reader
from gateway.rules_trials import shown_episode
from schemas.alerts import Alert
from schemas.base import UNREADABLE
from schemas.rule_document import SHADOW, Rule
from schemas.tables import RuleVersion
from streams.rules.alert import SHADOW_TOPIC
from streams.rules.cases import Episode, episodes_of

NEWEST = 20_000
"""Observations that are looked at."""
MAX_SHOWN = 200
_decoder = msgspec.json.Decoder(Alert)


class Difference(NamedTuple):
    """`same` and `changed`: (of the live version, of the draft)."""

    same: list[tuple[Episode, Episode]]
    changed: list[tuple[Episode, Episode]]
    only_live: list[Episode]
    only_shadow: list[Episode]


def compared(live: Iterable[Episode], shadow: Iterable[Episode], own: frozenset[str]) -> Difference:
    """`own`: labels the versions set themselves. Each alert is paired once, with the first that overlaps it. Pure."""
    left = list(shadow)
    out = Difference([], [], [], [])
    for each in live:
        like = next((other for other in left if _alike(each, other, own)), None)
        if like is None:
            out.only_live.append(each)
            continue
        left.remove(like)
        (out.same if _same(each, like) else out.changed).append((each, like))
    out.only_shadow.extend(left)
    return out


def _alike(a: Episode, b: Episode, own: frozenset[str]) -> bool:
    def about(each: Episode) -> dict[str, str]:
        return {name: value for name, value in each.labels.items() if name not in own}

    overlap = (not a.until_ms or b.from_ms <= a.until_ms) and (not b.until_ms or a.from_ms <= b.until_ms)
    return overlap and about(a) == about(b)


def _same(a: Episode, b: Episode) -> bool:
    return (a.labels, a.from_ms, a.until_ms) == (b.labels, b.from_ms, b.until_ms)


def own_labels(rules: Iterable[Rule]) -> frozenset[str]:
    return frozenset({"severity", *(name for rule in rules for name in rule.labels)})


def since_ms(versions: Sequence[RuleVersion]) -> int:
    """Since when what is in shadow mode now is as it is. `versions`: newest first."""
    now, since = versions[0], versions[0].at_ms
    for each in versions:
        if (each.draft, "" if now.draft else each.text) != (now.draft, "" if now.draft else now.text):
            break
        since = each.at_ms
    return since


async def observations(cluster: Cluster, reader: Reader, key: str, from_ms: int) -> tuple[list[Alert], list[Alert]]:
    """What the live version and the draft of the rule of this key observed. Raises Retryable when Kafka is away."""
    live: list[Alert] = []
    shadow: list[Alert] = []
    spans = (await cluster.snapshot(max_age_s=0)).topics.get(SHADOW_TOPIC, [])
    wanted = {f"rule/{key}": live, f"rule/{key}{SHADOW}": shadow}
    for partition, span in enumerate(spans):
        for start in range(max(span.start, span.end - NEWEST), span.end, MAX_RECORDS):
            for record in await reader.span(SHADOW_TOPIC, partition, start, min(start + MAX_RECORDS, span.end)):
                try:
                    alert = _decoder.decode(record.value or b"")
                except UNREADABLE:
                    continue
                if alert.source in wanted and record.timestamp_ms >= from_ms:
                    wanted[alert.source].append(alert)
    return live, shadow


def difference(live: Sequence[Alert], shadow: Sequence[Alert], own: frozenset[str], from_ms: int) -> Difference:
    """Of alerts that began since then: the draft knows of none that fired before it was there."""

    def begun(alerts: Sequence[Alert]) -> list[Episode]:
        return [each for each in episodes_of(alerts) if each.from_ms >= from_ms]

    return compared(begun(live), begun(shadow), own)


def shown(found: Difference) -> dict[str, Any]:
    def pairs(each: list[tuple[Episode, Episode]]) -> list[dict[str, Any]]:
        return [{"live": shown_episode(a), "shadow": shown_episode(b)} for a, b in each[-MAX_SHOWN:]]

    return {
        "same": len(found.same),
        "changed": pairs(found.changed),
        "only_live": [shown_episode(each) for each in found.only_live[-MAX_SHOWN:]],
        "only_shadow": [shown_episode(each) for each in found.only_shadow[-MAX_SHOWN:]],
    }
