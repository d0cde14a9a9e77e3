"""What became of a window's alert -> the observation that goes to `alerts`. The same change gives the same bytes."""

from __future__ import annotations

from schemas.alerts import Alert, alert_key, fingerprint
from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.rule_document import SHADOW, Rule
from streams.record import Outgoing
from streams.rules import templates
from streams.rules.window import Change, Window

TOPIC = "alerts"
SHADOW_TOPIC = "rules.shadow"


def observation(rule: Rule | None, window: Window, change: Change) -> Alert:
    """`rule` None: it is gone, and its alert with it."""
    episode = change.episode
    labels = episode.alert_labels
    return Alert(
        labels=labels,
        annotations=_annotations(rule, change) if rule else {},
        starts_at_ms=episode.starts_at_ms,
        ends_at_ms=change.ends_at_ms,
        observed_at_ms=change.at_ms,
        tenant=episode.tenant,
        cluster=window.group.get("cluster", ""),
        fingerprint=fingerprint(labels),
        source=f"rule/{window.rule}",
        for_ms=rule.for_ms if rule else 0,
        evidence=change.evidence,
        without=episode.without,
    )


def _annotations(rule: Rule, change: Change) -> dict[str, str]:
    episode = change.episode
    values = {
        "count": str(episode.total),
        "message": episode.values.get("message", ""),
        "rule": rule.name,
        "severity": rule.severity,
        "value": episode.values.get("value", ""),
        "within": duration(rule.within_ms),
    }
    known = episode.values | episode.alert_labels
    out = {name: templates.render(text, known, values) for name, text in rule.annotations.items()}
    return out | ({"owner": rule.contact} if rule.contact and "owner" not in out else {})


def outgoing(alert: Alert, topic: str = "") -> Outgoing:
    """To `topic`; without one, where alerts of its rule go: those of rules in shadow mode have a topic of their own."""
    topic = topic or (SHADOW_TOPIC if alert.source.endswith(SHADOW) else TOPIC)
    key = alert_key(alert.tenant, alert.fingerprint)
    status = "resolved" if alert.ends_at_ms else "firing"
    times = (str(alert.starts_at_ms), str(alert.observed_at_ms), str(alert.ends_at_ms))
    headers = cloud_headers(
        topic=topic,
        id=digest(key, alert.source, *times),
        type=f"io.eventsphere.alert.{status}",
        source="eventsphere/evaluate-windows",
        time_ms=alert.observed_at_ms,
        subject=key,
    )
    return Outgoing(topic, encode(alert), key.encode(), headers)


def duration(ms: int) -> str:
    """5m, 1h30m, 250ms: as it is written in rules."""
    out = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"
